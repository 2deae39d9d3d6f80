"""Why a figure of a fact is off: causes by pattern, each of which must still explain something.

tests/data/drystart/causes.json: a row has the cause in words, the kind of figure, a pattern that
is searched in the line that `Compared` prints (release, case, name of the figure).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from accuracy.data import ROOT
from drystart.report import all_compared, near, shares

if TYPE_CHECKING:
    from drystart.compare import Compared

CAUSES: Final = ROOT / "tests" / "data" / "drystart" / "causes.json"


@dataclass(frozen=True)
class Cause:
    """A cause, and what it explains. ours: whether it is a fault of ours that is not yet mended."""

    kind: str
    pattern: str
    cause: str
    ours: bool


@lru_cache(maxsize=1)
def causes() -> tuple[Cause, ...]:
    """Every cause, in order; the first that matches counts."""
    return tuple(Cause(**row) for row in json.loads(CAUSES.read_text("utf-8")))


def cause_of(one: Compared) -> Cause | None:
    """The cause of a difference, if one is known."""
    text = str(one)
    return next((c for c in causes() if c.kind == one.kind and re.search(c.pattern, text)), None)


def comparable_shares() -> dict[str, tuple[int, int]]:
    """By kind: figures that are reproduced, of those that a dry start can see.

    Left out is what differs by a cause that is not ours: what a file would have said that the dry
    start lacks, and what measured rows contradict.
    """
    by_cause, _ = explained()
    out = shares()
    for cause, found in by_cause.items():
        if not cause.ours:
            good, whole = out[cause.kind]
            out[cause.kind] = (good, whole - len(found))
    return out


def explained() -> tuple[dict[Cause, list[Compared]], list[Compared]]:
    """Differences by their cause, and those without one."""
    by_cause: dict[Cause, list[Compared]] = defaultdict(list)
    without = []
    for one in all_compared():
        if near(one):
            continue
        cause = cause_of(one)
        if cause is None:
            without.append(one)
        else:
            by_cause[cause].append(one)
    return by_cause, without
