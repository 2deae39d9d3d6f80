"""The figures of vLLM that change from release to release, each with where it was seen.

It must not hold a figure of its own: all of them are in data/constants.json, by the version from
which they hold. Versions between two entries take the older one; a version newer than the table
takes the newest and says that it is assumed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from plimsoll.engines.base import Known
from plimsoll.errors import Unreadable
from plimsoll.units import GIB

Version = tuple[int, int, int]

_VERSION: Final = re.compile(
    r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:[.+a-zA-Z-].{0,80})?"
)


def parse_version(text: str) -> Version:
    """``"0.19.0"``, ``"v0.9.2"``, ``"0.23.1rc1.dev280+g1"`` as three numbers.

    Raises `Unreadable` for anything else, and for a version before the first in the table.
    """
    match = _VERSION.fullmatch(text.strip()) if len(text) <= 128 else None
    if match is None:
        raise Unreadable(text, "a vLLM version such as 0.19.0")
    version = (int(match[1]), int(match[2]), int(match[3] or 0))
    if version < oldest():
        raise Unreadable(text, f"a vLLM version of {_text(oldest())} or later")
    return version


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
    figures: by name; see data/constants.json for what each is.
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


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """The data file, as read."""
    text = Path(__file__).parent.joinpath("data/constants.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


@lru_cache(maxsize=1)
def oldest() -> Version:
    """The first version that the table speaks of."""
    return _numbers(table()["oldest"])


@lru_cache(maxsize=1)
def newest() -> Version:
    """The last version that the table speaks of; an unsaid version is this one."""
    return _numbers(table()["newest"])


def constants(version: str = "") -> Constants:
    """The figures for a version; the newest where none is said.

    Raises `Unreadable` for a text that is no version or one before the table begins.
    """
    return _constants(parse_version(version) if version.strip() else newest())


@lru_cache(maxsize=64)
def _constants(version: Version) -> Constants:
    figures = {name: _in_force(entries, version) for name, entries in table()["figures"].items()}
    newer = version[:2] > newest()[:2]
    facts = sorted((name, f.value, f.error, f.known.value, f.names) for name, f in figures.items())
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return Constants(_text(version), newer, digest, figures)


def _in_force(entries: list[dict[str, Any]], version: Version) -> Figure:
    entry = next(e for e in reversed(entries) if _numbers(e["since"]) <= version)
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
