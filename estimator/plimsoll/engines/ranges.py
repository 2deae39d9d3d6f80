"""How far a measured term lies from its estimate: ranges by group, read from a file.

    low, high     GiB that are added to the estimate
    group         GPU family, one rank or many that speak to one another, kind of model (one, or
                  several in ``kinds``), and the version from which it holds
    lookup        the first line that matches; lines stand from the narrowest group to the widest
    elsewhere     for a group of which nothing was measured: wider than any that was

``make ranges`` writes the files from tests/data/measured.jsonl (tests/accuracy/ranges.py says
how); it must not be edited by hand.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import Known, Term
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.tables import Version

HOPPER, BLACKWELL, AMD, OTHER = "hopper", "blackwell", "amd", "other"
_DATA_CENTER_BLACKWELL: Final = 10
ONE, MANY = "one", "many"


def gpu_group(accelerator: Accelerator) -> str:
    """The group of GPUs whose start-ups are alike."""
    if accelerator.compute == (0, 0):
        return AMD
    if accelerator.compute[0] == _DATA_CENTER_BLACKWELL:
        return BLACKWELL
    return HOPPER if accelerator.family == HOPPER else OTHER


@dataclass(frozen=True, slots=True)
class Group:
    """What a start-up is like. gpu: see `gpu_group`; ranks: one or many; kind: of model."""

    gpu: str = ""
    ranks: str = ""
    kind: str = ""
    version: Version = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Range:
    """Where the truth lies beside an estimate. rows: how many start-ups it is from; 0: none."""

    low: float
    high: float
    rows: int

    def around(self, term: Term) -> Term:
        """The term with this range; assumed where nothing like it was measured."""
        low, high = term.bytes + self.low * GIB, term.bytes + self.high * GIB
        known = term.known if self.rows else Known.ASSUMED
        least, most = min(term.bytes, round(low)), max(term.bytes, round(high))
        return Term(term.name, term.bytes, max(0, least), most, known, term.basis)

    def at_least(self, term: Term) -> Term:
        """The term with its own range, and this one where it goes further."""
        wide = self.around(term)
        low, high = min(term.low, wide.low), max(term.high, wide.high)
        return Term(term.name, term.bytes, low, high, term.known, term.basis)


class RangeTable:
    """The ranges of one engine's terms. read: gives what is in its file, once it is wanted."""

    def __init__(self, read: Callable[[], dict[str, Any]]) -> None:
        self._read = read
        self._of = lru_cache(maxsize=1024)(self._find)

    @classmethod
    def in_file(cls, file: Path) -> RangeTable:
        """The ranges of a file, which is read once it is wanted."""
        return cls(lambda: json.loads(file.read_text("utf-8")))

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> RangeTable:
        """Ranges as a file has them."""
        return cls(lambda: data)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What is in the file."""
        return self._read()

    @cached_property
    def digest(self) -> str:
        """Short hash of all of them, for the request hash."""
        text = json.dumps(self.data, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def of(self, name: str, group: Group) -> Range:
        """The range of a term for a group."""
        return self._of(name, group)

    def _find(self, name: str, group: Group) -> Range:
        entry = self.data[name]
        for line in entry["groups"]:
            if _matches(line, group):
                return Range(line["low"], line["high"], line["rows"])
        line = entry["elsewhere"][group.ranks]
        return Range(line["low"], line["high"], 0)


def _matches(line: dict[str, Any], group: Group) -> bool:
    named = all(line.get(key, "") in ("", getattr(group, key)) for key in ("gpu", "ranks", "kind"))
    kinds = line.get("kinds", ())
    named = named and (not group.kind or not kinds or group.kind in kinds)
    since, until = line.get("since", ""), line.get("until", "")
    after = not since or _numbers(since) <= group.version
    return named and after and (not until or group.version < _numbers(until))


def _numbers(text: str) -> Version:
    parts = [int(part) for part in text.split(".")]
    return (parts[0], parts[1], parts[2] if len(parts) > 2 else 0)
