"""An engine's figures by version, read from its data file: what holds for one release of it.

A file has ``oldest``, ``newest``, and
per figure its values, each with the version from which it holds and where it was seen. Versions
between two entries take the older one; one newer than the table takes the newest and says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import Known
from plimsoll.errors import Unreadable
from plimsoll.findings import Finding, Rule, finding
from plimsoll.paths import Field
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Version = tuple[int, int, int]

_LONGEST: Final = 129
"""Characters of a version that are looked at: one more than any version has."""
_VERSION: Final = re.compile(
    r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:[.+a-zA-Z-].{0,80})?"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number in force. error: relative half-width of its band. known: how it is known.

    source: where it was seen, for people. note: what it means there. names: model types that it
    speaks of.
    """

    value: float
    error: float
    known: Known
    source: str
    note: str = ""
    names: tuple[str, ...] = ()

    def bytes(self) -> int:
        """A value that the table gives in GiB, in bytes."""
        return round(self.value * GIB)


@dataclass(frozen=True, slots=True)
class Constants:
    """What holds for one version.

    version: as shown to people. newer: it is newer than anything in the table.
    digest: short hash of all figures in force, for the request hash.
    figures: by name; see the data file for what each is.
    """

    version: str
    newer: bool
    digest: str
    figures: dict[str, Figure]

    def __getitem__(self, name: str) -> Figure:
        return self.figures[name]

    def number(self, name: str) -> float:
        """The value of a figure."""
        return self.figures[name].value

    def flag(self, name: str) -> bool:
        """Whether a figure that is 0 or 1 is 1."""
        return self.figures[name].value != 0

    @property
    def utilization(self) -> Decimal:
        """The engine's default share of physical memory."""
        return Decimal(str(self.figures["utilization"].value))


class VersionTable:
    """The data file of one engine. title: its name as people write it; file: where the data is.

    numbers: how many numbers of a version tell a release that the table does not know from a
    patch of one that it knows.
    """

    def __init__(self, title: str, file: Path, numbers: int = 3) -> None:
        self.title = title
        self._numbers = numbers
        self._file = file
        self._digests = lru_cache(maxsize=64)(self._constants)
        self._read = lru_cache(maxsize=256)(self._number)
        self._by_text = lru_cache(maxsize=256)(self._of_text)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The data file, as read once."""
        data: dict[str, Any] = json.loads(self._file.read_text("utf-8"))
        return data

    def parse(self, text: str) -> Version:
        """``"0.5.9"``, ``"v0.4.6.post5"`` or ``"0.5.10rc0"`` as three numbers.

        Raises `Unreadable` for anything else, and for a version before the first in the table.
        """
        match = _VERSION.fullmatch(text.strip()) if len(text) <= 128 else None
        newest = self.data["newest"]
        if match is None:
            raise Unreadable(text, f"{_article(self.title)} {self.title} version such as {newest}")
        version = (int(match[1]), int(match[2]), int(match[3] or 0))
        if version < _numbers(self.data["oldest"]):
            wanted = (
                f"{_article(self.title)} {self.title} version of {self.data['oldest']} or later"
            )
            raise Unreadable(text, wanted)
        return version

    def constants(self, version: str = "") -> Constants:
        """The figures for a version; the newest where none is said.

        Raises `Unreadable` for a text that is no version or one before the table begins.
        """
        return self._by_text(version) if len(version) <= _LONGEST else self._of_text(version)

    def _of_text(self, version: str) -> Constants:
        newest = self.data["newest"]
        return self._digests(self.parse(version if version.strip() else newest))

    def or_newest(self, version: str) -> Constants:
        """The figures for a version; those of the newest where `constants` would refuse it."""
        try:
            return self.constants(version)
        except Unreadable:
            return self.constants()

    def number(self, version: str) -> Version:
        """A version as three numbers; the newest where it is unsaid or `parse` would refuse it."""
        return self._read(version[:_LONGEST])

    def _number(self, version: str) -> Version:
        try:
            return self.parse(version if version.strip() else self.data["newest"])
        except Unreadable:
            return self.parse(self.data["newest"])

    def problems(self, version: str) -> Iterator[Finding]:
        """What is wrong with the version that a user says."""
        try:
            self.constants(version)
        except Unreadable as error:
            yield finding(Rule.UNREADABLE_VERSION, Field.VERSION, version, wanted=error.wanted)

    def steps(self) -> tuple[Version, ...]:
        """The versions at which a figure changes, the oldest that is known first."""
        entries = (entry for figure in self.data["figures"].values() for entry in figure)
        since = {self.parse(str(entry["since"])) for entry in entries}
        return tuple(sorted({_numbers(self.data["oldest"]), *since}))

    def before(self, version: str) -> str:
        """The last version before this one at which a figure changes; "" if none is before it."""
        own = self.parse(version)
        earlier = [step for step in self.steps() if step < own]
        return self._digests(earlier[-1]).version if earlier else ""

    def _constants(self, version: Version) -> Constants:
        figures = {
            name: _in_force(entries, version) for name, entries in self.data["figures"].items()
        }
        facts = sorted(
            (name, f.value, f.error, f.known.value, f.names) for name, f in figures.items()
        )
        tables = {k: v for k, v in self.data.items() if k not in ("figures", "oldest", "newest")}
        text = json.dumps([facts, tables], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        first = self._numbers
        newer = version[:first] > _numbers(self.data["newest"])[:first]
        return Constants(_text(version), newer, digest, figures)


def _in_force(entries: list[dict[str, Any]], version: Version) -> Figure:
    held = [e for e in entries if _numbers(e["since"]) <= version]
    entry = held[-1] if held else entries[0]
    return Figure(
        float(entry["value"]),
        float(entry.get("error", 0.0)),
        Known(entry["known"]),
        str(entry["source"]),
        str(entry.get("note", "")),
        tuple(entry.get("names", ())),
    )


def _numbers(text: str) -> Version:
    parts = [int(part) for part in text.split(".")]
    return (parts[0], parts[1], parts[2] if len(parts) > 2 else 0)


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}" + (f".{version[2]}" if version[2] else "")


def _article(title: str) -> str:
    return "an" if title[:1].upper() in "AEIOS" else "a"
