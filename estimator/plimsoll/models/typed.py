"""From an id as people type it to one of the catalogue: without owner, as an address, as a copy.

key(name)    lower case, without the strokes, blanks, colons and dots that people leave out or
             change, and without a "meta" in front
a copy       a name with the words of a storage behind it (-AWQ, -FP8, -bnb-4bit, -GGUF:Q4_K_M): the
             model in front of them, stored so
a mirror     an owner that publishes others' models under their names
a place      a path in a store, a hub's cache, an image of a NIM or of weights: its last parts name
             the model, or nothing does
ollama       name:size is the instruct model of that size in a GGUF file; without a size nobody
             knows which
never        another size, or a model that only resembles it: that is a suggestion's business
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Final

from plimsoll.models import catalogue
from plimsoll.models.catalogue import sizes
from plimsoll.models.uris import repository

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TYPED: Final = 300
"""Characters that are looked at."""
MAX_NAME: Final = 128
"""Of these, characters of a model's own name."""
_SCHEME: Final = re.compile(
    r"^(?:https?|hf|huggingface|modelscope|ms)://(?:(?:www\.)?modelscope\.(?:cn|ai)/models/)?", re.I
)
_OLLAMA: Final = re.compile(r"^ollama://|^(?:https?://)?(?:www\.)?ollama\.com/(?:library/)?", re.I)
_PLACE: Final = re.compile(
    r"^(?:s3|gs|gcs|oci|pvc|file|nfs|az|abfss?|wasbs?|ngc|docker)://|^(?=nvcr\.io/|models--)", re.I
)
_CACHED: Final = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
_BETWEEN: Final = re.compile(r"[-_\s:.]+")
_STORED: Final = (
    (r"(?:unsloth[-_])?bnb[-_]4bit|bitsandbytes(?:[-_]4bit)?", "bitsandbytes"),
    (r"(?:int4[-_])?(?:autoround[-_])?awq(?:[-_](?:int4|4bit|sym))?", "awq"),
    (r"gptq(?:[-_](?:int4|4bit|4b))?(?:[-_]128g)?", "gptq"),
    (r"fp8(?:[-_](?:dynamic|block|kv|static|static[-_]pertensor))?", "fp8"),
    (r"(?:nv)?fp4(?:[-_]v\d)?", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"(?:quantized[-_.])?w4a16|int4[-_]autoround", "w4a16"),
    (r"(?:quantized[-_.])?w8a8|int8", "w8a8"),
    (r"(?:quantized[-_.])?w8a16", "int8"),
    (r"(?:bf|fp)16", "none"),
)
_COPY: Final = tuple(
    (re.compile(rf"^(?P<base>.+?)[-_.](?:{words})$", re.I), stored) for words, stored in _STORED
)
_FILE: Final = r"(?:UD-)?(?:I?Q[0-9]\w*|B?F16|F32|MXFP4\w*)"
_GGUF: Final = re.compile(
    rf"^(?P<base>.+?)(?:[-._](?P<file>{_FILE})(?:-\d{{5}}-of-\d{{5}})?)?[-_.]gguf$", re.I
)
_OF_GGUF: Final = re.compile(rf":(?P<file>{_FILE})$", re.I)
_TAG: Final = re.compile(
    r"^(?P<size>(?:\d+x)?\d+(?:\.\d+)?b(?:-a\d+b)?)(?:-(?P<kind>[a-z]+))?(?:-(?P<file>i?q\d\w*|fp16))?$"
)
"""What stands behind the name of a model in Ollama's library."""
_PLAIN: Final = ("", "-base")
_KINDS: Final = {"": ("-instruct", "-it", "-chat", ""), "text": _PLAIN, "base": _PLAIN}
"""What a tag's word, or none, stands for in a hub's names; another stands for itself."""
_DATE: Final = re.compile(r"^(?P<base>.+?)[-_](?:20\d{6}|20\d\d[-_]\d\d(?:[-_]\d\d)?|2[3-9]\d\d)$")
_MIRRORS: Final = frozenset(
    {
        "meta", "deepseek", "mistral", "llm-research", "ai-modelscope", "modelscope", "zhipuai",
        "thudm", "zai-org", "cohereforai", "coherelabs", "unsloth", "redhatai", "neuralmagic",
        "nousresearch",
    }
)  # fmt: skip
"""Owners whose models of a maker's name are that model: mirrors, former and shorter names."""
_PUT_IN_FRONT: Final = ("modelcar-",)


@dataclass(frozen=True, slots=True)
class Typed:
    """What was meant. id: of the catalogue. stored: how a copy is stored, "" as the id itself is.

    name: what the model is called; said: what was read into the text, "" if it is the id.
    file: the type of the GGUF file, if it is said.
    """

    id: str
    name: str
    stored: str = ""
    said: str = ""
    file: str = ""


def typed(text: str) -> Typed | None:
    """What a text means; None if nothing of the catalogue surely is meant."""
    text = text.strip().strip("'\"")
    if not text or len(text) > MAX_TYPED:
        return None
    if library := _OLLAMA.match(text):
        return _of_ollama(text[library.end() :])
    if place := _PLACE.match(text):
        found = of_place(text[place.end() :])
        return found and replace(found, name=text if "://" in text else found.id)
    bare = _SCHEME.sub("", text)
    file = _OF_GGUF.search(bare)
    name = repository(f"hf://{bare}")[0] if "/" in bare else bare
    entry = catalogue.load().find(name)
    if entry is not None:
        said = "" if name == bare else f"{name}, out of its address"
        return Typed(name, name, said=said, file=file["file"].lower() if file else "")
    owner, _, short = name.rpartition("/")
    found = _named(owner, short)
    if found is None:
        return None
    called = name if found.stored or not found.name else found.id
    return replace(found, name=called, file=file["file"].lower() if file else found.file)


def of_place(path: str) -> Typed | None:
    """The model that the last parts of a path, or of the name of an image, are called after."""
    known = catalogue.load()
    cached = _CACHED.search(path)
    if cached:
        entry = known.find(f"{cached[1]}/{cached[2]}")
        if entry is not None:
            return Typed(entry.id, entry.id, said=f"{entry.id}, which its path names")
    parts = [part for part in path.partition("@")[0].split("/") if part]
    for end in ends(parts):
        entry = known.find("/".join(parts[end - 2 : end])) if end >= 2 else None
        if entry is not None:
            return Typed(entry.id, entry.id, said=f"{entry.id}, which its path names")
        for name in parts[end - 1].split(":"):
            found = _named("", _without(name)) if any(map(str.isalpha, name)) else None
            if found is not None:
                return replace(found, said=f"{found.said}, which its path names")
    return None


def ends(parts: Sequence[str]) -> range:
    """After how many parts of a place a model's name may end, most first: after all of them, or
    before the last, unless that says a size of its own (qwen3-8b/our-70b)."""
    said = sizes(parts[-1]) if len(parts) > 1 else frozenset()
    least = len(parts) - 1 if said and said != sizes(parts[-2]) else len(parts) - 2
    return range(len(parts), max(0, least), -1)


def _without(name: str) -> str:
    """A name without what is put in front of a model's in the names of images."""
    return next((name.removeprefix(one) for one in _PUT_IN_FRONT if name.startswith(one)), name)


def _of_ollama(name: str) -> Typed | None:
    """What a name and a tag of Ollama's library mean."""
    short, _, tag = name.rpartition("/")[2].partition(":")
    said = _TAG.match(tag.lower())
    if said is None:
        return None
    kind = said["kind"] or ""
    for behind in _KINDS.get(kind, (f"-{kind}",)):
        found = _of_key(f"{short}-{said['size']}{behind}")
        if found:
            file = (said["file"] or "q4_k_m").replace("fp16", "f16")
            return Typed(found, found, "gguf", f"{found}, in a GGUF file as Ollama serves it", file)
    return None


def _named(owner: str, short: str) -> Typed | None:
    """What the name of a repository means. name of what is found: empty if it is the id."""
    if len(short) > MAX_NAME:
        return None
    found = _of_key(short)
    maker = found.partition("/")[0].lower()
    if found and (not owner or owner.lower() in {maker, *_MIRRORS}):
        return Typed(found, "", said=found)
    for pattern, stored in _COPY:
        copy = pattern.match(short)
        base = _base(copy["base"]) if copy else ""
        if base:
            return Typed(base, short, stored, f"{base}, stored as {stored}")
    gguf = _GGUF.match(short)
    base = _base(gguf["base"]) if gguf else ""
    if gguf and base:
        return Typed(base, short, "gguf", f"{base}, stored as gguf", (gguf["file"] or "").lower())
    date = _DATE.match(short)
    base = _of_key(date["base"]) if date else ""
    if base:
        return Typed(base, short, said=f"{base}, whose structure it is taken to have")
    return None


def _base(short: str) -> str:
    """The model that a copy is of; its date may be missing from the catalogue, or its owner stand
    in front of its name.
    """
    found = _of_key(short)
    date = None if found else _DATE.match(short)
    if date:
        return _of_key(date["base"])
    maker, sign, rest = ("", "", "") if found else short.partition("_")
    behind = _of_key(rest) if sign else ""
    return behind if behind and behind.partition("/")[0].lower() == maker.lower() else found


def _of_key(short: str) -> str:
    """The id of the one model of that name, however its parts are joined; "" for none or several.

    Of several ids of one model that of its maker, and of these the one that is written so.
    """
    names = [name for name in _keys().get(_key(short), ()) if sizes(name) == sizes(short)]
    shorts = sorted({name.rpartition("/")[2].lower() for name in names})
    entries = [catalogue.load().named(name) for name in shorts]
    found = {entry.digest: entry for entry in entries if entry is not None}
    if len(found) != 1 or not all(entries):
        return ""
    maker, wanted = next(iter(found.values())).id.partition("/")[0], short.lower()
    return min(
        names,
        key=lambda name: (
            name.partition("/")[0] != maker,
            name.lower().rpartition("/")[2] != wanted,
            name,
        ),
    )


def _key(short: str) -> str:
    return _BETWEEN.sub("", short.lower()).removeprefix("meta")


@cache
def _keys() -> dict[str, tuple[str, ...]]:
    """Every name of the catalogue by its key."""
    found: dict[str, list[str]] = {}
    for entry in catalogue.load():
        for name in (entry.id, *entry.aliases):
            found.setdefault(_key(name.rpartition("/")[2]), []).append(name)
    return {key: tuple(names) for key, names in found.items()}
