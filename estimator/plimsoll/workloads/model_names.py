"""From how a manifest calls a model to the model that is meant: ids, locations, paths.

The last parts of a path that are an id of the catalogue are taken for that model; this is an
assumption, and it is said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from plimsoll.models import catalogue
from plimsoll.models.typed import ends, of_place

MAX_NAME: Final = 512
"""Characters of a name that are looked at."""

_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,127}")
_GGUF: Final = re.compile(
    r"[-._](?:UD-)?(?:I?Q[0-9]\w*|B?F16|F32|MXFP4\w*)(?:-[0-9]{5}-of-[0-9]{5})?\.gguf$"
    r"|(?:-[0-9]{5}-of-[0-9]{5})?\.gguf$|-GGUF$",
    re.I,
)
"""What the name of a GGUF file, or of a repository of such, has after the model's own."""
_CACHE: Final = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
_SIZE: Final = re.compile(
    r"(?<![A-Za-z0-9.])(?:([0-9]{1,2})x)?([0-9]{1,4}(?:\.[0-9]{1,2})?)B(?![A-Za-z0-9])", re.I
)
"""Parameters in a model's name: 70B, 0.6b, 8x7B."""
_NAMED_TIMES: Final = 1.5
"""So many times what is believed is another size, not the same one rounded."""


@dataclass(frozen=True, slots=True)
class Meant:
    """The model that a name means. uri: for `resolve`, empty if nobody knows what is meant.

    assumed: whether that is read off a path, which may hold anything. gguf: whether it is that
    model in a GGUF file, whose weights are of another type.
    """

    uri: str
    assumed: bool = False
    gguf: bool = False


def meant(name: str) -> Meant:
    """What a name in a command line or a field means."""
    text = name.strip()[:MAX_NAME]
    scheme, sign, rest = text.partition("://")
    if not sign:
        scheme, rest = "", text
    rest = rest.strip("/")
    if scheme in ("hf", "huggingface") or (not scheme and is_id(text)):
        owner_and_name = "/".join(rest.split("/")[:2]).partition(":")[0]
        entry = catalogue.load().find(owner_and_name)
        if entry is not None and entry.word == "gguf":
            return Meant(f"hf://{entry.of}", gguf=True)
        if _GGUF.search(owner_and_name) and entry is None:
            converted = _of_path(owner_and_name)
            return converted if converted.uri else Meant(f"hf://{owner_and_name}")
        return Meant(f"hf://{owner_and_name}")
    if scheme == "ollama":
        return Meant("")
    return _of_path(rest)


def size_beyond(name: str, parameters: int) -> str:
    """The least size that a model's name says, if it says none that so few parameters may be."""
    sizes = {
        found[0]: int(found[1] or 1) * float(found[2]) * 1e9
        for found in _SIZE.finditer(name[:MAX_NAME])
    }
    if not sizes or min(sizes.values()) <= _NAMED_TIMES * parameters:
        return ""
    return min(sizes, key=lambda one: sizes[one])


def is_id(text: str) -> bool:
    """Whether a text has the form of a Hugging Face id."""
    return _ID.fullmatch(text.partition(":")[0].partition("@")[0]) is not None


def _of_path(path: str) -> Meant:
    """The model that the last parts of a path name, if the catalogue knows exactly one."""
    cached = _CACHE.search(path)
    known = catalogue.load()
    if cached:
        entry = known.find(f"{cached[1]}/{cached[2]}")
        if entry is not None:
            return Meant(f"hf://{entry.id}", assumed=True)
    parts = [part for part in path.split("/") if part]
    for end in ends(parts):
        if end >= 2:
            entry = known.find("/".join(parts[end - 2 : end]))
            if entry is not None:
                return Meant(f"hf://{entry.id}", assumed=True)
        alone = known.named(_GGUF.sub("", parts[end - 1]))
        if alone is not None:
            gguf = _GGUF.search(parts[end - 1]) or _GGUF.search(parts[-1])
            return Meant(f"hf://{alone.id}", assumed=True, gguf=gguf is not None)
    found = of_place(path)
    if found is not None and found.stored in ("", "gguf"):
        gguf = _GGUF.search(parts[-1])
        stored = found.stored == "gguf" or gguf is not None
        return Meant(f"hf://{found.id}", assumed=True, gguf=stored)
    return Meant("")
