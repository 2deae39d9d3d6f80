"""From an id as people type it to one of the catalogue: without owner, as an address, as a copy.

key(name)    lower case, without the strokes, blanks and colons that people leave out or change
a copy       a name with the words of a storage behind it (-AWQ, -FP8, -bnb-4bit): the model in
             front of them, stored so
never        another size, or a model that only resembles it: that is a suggestion's business
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from plimsoll.models import catalogue
from plimsoll.models.catalogue import sizes
from plimsoll.models.uris import repository

MAX_TYPED: Final = 300
"""Characters that are looked at."""
_SCHEME: Final = re.compile(r"^(?:https?|hf)://", re.I)
_BETWEEN: Final = re.compile(r"[-_\s:]+")
_STORED: Final = (
    (r"(?:unsloth[-_])?bnb[-_]4bit|bitsandbytes(?:[-_]4bit)?", "bitsandbytes"),
    (r"(?:int4[-_])?(?:autoround[-_])?awq(?:[-_](?:int4|4bit|sym))?", "awq"),
    (r"gptq(?:[-_](?:int4|4bit))?", "gptq"),
    (r"fp8(?:[-_](?:dynamic|block|kv))?", "fp8"),
    (r"nv?fp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"(?:quantized[-_.])?w4a16", "w4a16"),
    (r"(?:quantized[-_.])?w8a8|int8", "w8a8"),
)
_COPY: Final = tuple(
    (re.compile(rf"^(?P<base>.+?)[-_.](?:{words})$", re.I), stored) for words, stored in _STORED
)
_DATE: Final = re.compile(r"^(?P<base>.+?)[-_](?:20\d{6}|20\d\d[-_]\d\d(?:[-_]\d\d)?|2[3-9]\d\d)$")


@dataclass(frozen=True, slots=True)
class Typed:
    """What was meant. id: of the catalogue. stored: how a copy is stored, "" as the id itself is.

    name: what the model is called; said: what was read into the text, "" if it is the id.
    """

    id: str
    name: str
    stored: str = ""
    said: str = ""


def typed(text: str) -> Typed | None:
    """What a text means; None if nothing of the catalogue surely is meant."""
    text = text.strip().strip("'\"")
    if not text or len(text) > MAX_TYPED:
        return None
    bare = _SCHEME.sub("", text)
    name = repository(f"hf://{bare}")[0] if "/" in bare else bare
    models = catalogue.load()
    entry = models.find(name)
    if entry is not None:
        return Typed(name, name, said="" if name == bare else f"{name}, out of its address")
    owner, _, short = name.rpartition("/")
    if not owner and (found := _of_key(short)):
        return Typed(found, found, said=found)
    for pattern, stored in _COPY:
        copy = pattern.match(short)
        base = _base(copy["base"]) if copy else ""
        if base:
            return Typed(base, name, stored, f"{base}, stored as {stored}")
    date = _DATE.match(short)
    base = _of_key(date["base"]) if date else ""
    if base:
        return Typed(base, name, said=f"{base}, whose structure it is taken to have")
    return None


def _base(short: str) -> str:
    """The model that a copy is of; its date may be missing from the catalogue."""
    found = _of_key(short)
    date = None if found else _DATE.match(short)
    return _of_key(date["base"]) if date else found


def _of_key(short: str) -> str:
    """The id of the one model of that name, however its parts are joined; "" for none or several.

    Of several ids of one model that of its maker.
    """
    names = [name for name in _keys().get(_key(short), ()) if sizes(name) == sizes(short)]
    shorts = {name.rpartition("/")[2].lower() for name in names}
    entries = [catalogue.load().named(name) for name in shorts]
    found = {entry.id: entry for entry in entries if entry is not None}
    if len(found) != 1 or not all(entries):
        return ""
    maker = next(iter(found)).partition("/")[0]
    return min(names, key=lambda name: (name.partition("/")[0] != maker, name))


def _key(short: str) -> str:
    return _BETWEEN.sub("", short.lower())


@cache
def _keys() -> dict[str, tuple[str, ...]]:
    """Every name of the catalogue by its key."""
    found: dict[str, list[str]] = {}
    for entry in catalogue.load():
        for name in (entry.id, *entry.aliases):
            found.setdefault(_key(name.rpartition("/")[2]), []).append(name)
    return {key: tuple(names) for key, names in found.items()}
