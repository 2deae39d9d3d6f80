"""What changed since another page: the rows of a page are the data that the next one reads.

A row carries `data-k`, by which it is known again, and `data-d`: its state, MiB needed per GPU,
GPUs of a replica and their kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

from plimsoll.report.page.objects import DOUBT, FITS, OVER
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.report.page.objects import Row

MARK: Final = "plimsoll-page"
"""The name of the meta element that tells a page of ours, with the time when it was made."""
WORDS: Final = {FITS: "fits", DOUBT: "in doubt", OVER: "does not fit"}
MOST: Final = 200
"""Changes of one kind that are listed."""


@dataclass(frozen=True, slots=True)
class Was:
    """One object on another page. need: MiB per GPU, 0 if it was not known."""

    state: str
    need: int
    gpus: int
    accelerator: str


@dataclass(frozen=True, slots=True)
class Before:
    """Another page. made: when, as it says."""

    made: str
    objects: Mapping[str, Was]


@dataclass(frozen=True, slots=True)
class Change:
    """One object that changed. state: how it is now, "" if it is gone. said: what changed."""

    key: str
    state: str
    said: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that changed since another page, and how many objects did not."""

    made: str
    new: tuple[Change, ...]
    gone: tuple[Change, ...]
    other: tuple[Change, ...]
    same: int

    @property
    def lists(self) -> tuple[tuple[str, tuple[Change, ...], int], ...]:
        """Each list with its heading, and how many of it are not shown."""
        named = (("Changed", self.other), ("New", self.new), ("Gone", self.gone))
        return tuple((name, each[:MOST], max(0, len(each) - MOST)) for name, each in named if each)


class _Reader(HTMLParser):
    """The rows of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.made: str | None = None
        self.objects: dict[str, Was] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a row carries."""
        values = dict(attrs)
        if tag == "meta" and values.get("name") == MARK:
            self.made = values.get("content") or ""
        key, data = values.get("data-k"), (values.get("data-d") or "").split(" ")
        if tag != "li" or not key or len(data) != 4 or data[0] not in WORDS:
            return
        state, need, gpus, accelerator = data
        if need.isdecimal() and gpus.isdecimal() and len(need + gpus) < 20:
            self.objects[key] = Was(state, int(need), int(gpus), accelerator)


def read(text: str) -> Before | None:
    """A page as the next one needs it; None if the text is no page of ours. Never raises."""
    reader = _Reader()
    try:
        reader.feed(text)
        reader.close()
    except (AssertionError, ValueError):  # what html.parser raises for broken declarations
        return None
    return Before(reader.made, reader.objects) if reader.made is not None else None


def changes(before: Before, rows: Sequence[Row]) -> Changes:
    """What changed since another page."""
    new, other, same = [], [], 0
    for row in rows:
        was, now = before.objects.get(row.key), _now(row)
        if was is None:
            new.append(Change(row.key, row.state, _placed(now)))
        elif said := _difference(was, now):
            other.append(Change(row.key, row.state, said))
        else:
            same += 1
    there = {row.key for row in rows}
    gone = [Change(k, "", _placed(was)) for k, was in before.objects.items() if k not in there]
    return Changes(before.made, tuple(new), tuple(gone), tuple(other), same)


def _now(row: Row) -> Was:
    state, need, gpus, accelerator = row.data.split(" ")
    return Was(state, int(need), int(gpus), accelerator)


def _placed(was: Was) -> str:
    where = f", {was.gpus} × {was.accelerator}" if was.gpus else ""
    return WORDS[was.state] + where


def _difference(was: Was, now: Was) -> str:
    """What is another, in words; a need that differs by less than a tenth of a GiB is the same."""
    said = []
    if was.state != now.state:
        said.append(f"{WORDS[was.state]} → {WORDS[now.state]}")
    if (was.gpus, was.accelerator) != (now.gpus, now.accelerator):
        before, after = (f"{each.gpus} × {each.accelerator}" for each in (was, now))
        said.append(f"{before} → {after}")
    if abs(was.need - now.need) * MIB * 10 >= GIB:
        before, after = (f"{each.need * MIB / GIB:.1f}" for each in (was, now))
        said.append(f"needs {before} → {after} GiB per GPU")
    return "; ".join(said)
