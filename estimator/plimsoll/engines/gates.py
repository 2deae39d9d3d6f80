"""Why an engine refuses to start, or dies while starting: one table of gates, by version.

A gate is a rule with the stage of the start at which it stands, and for each engine the versions
in which it holds, with the source where that was read:

    in force    since <= version < until
    stages      in the order in which a start meets them, the first in the table first

What an engine's own checks find is kept only if the gate of its rule is in force; so the table,
not the code, says from when to when a rule holds. A finding whose rule has no gate of that engine
is kept: no refusal is lost by a row that is missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.engines.tables import VersionTable
    from plimsoll.findings import Finding


@dataclass(frozen=True, slots=True)
class Span:
    """Versions of an engine in which a gate holds. since: the first, until: the first without it;
    "" for no end. source: the engine's file, or an address, where that was read.
    """

    since: str
    until: str
    source: str


@dataclass(frozen=True, slots=True)
class Gate:
    """One reason for which engines refuse to start.

    rule: the name of the rule that tells of it. stage: a key of `stages`. engines: the versions of
    each engine in which it holds. test: the file and function that hold both of its sides.
    """

    rule: str
    stage: str
    engines: Mapping[str, tuple[Span, ...]]
    test: str

    def span(self, engine: str, versions: VersionTable | None, version: str) -> Span | None:
        """The versions around this one in which it holds; None if it does not hold in it.

        versions: reads the engine's versions; None for an engine whose versions nobody knows.
        """
        spans = self.engines.get(engine, ())
        if versions is None:
            return spans[0] if spans else None
        own = versions.number(version)
        for span in spans:
            begun = not span.since or versions.parse(span.since) <= own
            if begun and (not span.until or own < versions.parse(span.until)):
                return span
        return None

    def begun(self, engine: str, versions: VersionTable | None) -> str:
        """The release from which the newest has it, if one before, that may still run where no
        release is named, has not; else "".
        """
        spans = self.engines.get(engine, ())
        if versions is None or not spans or spans[-1].until:
            return ""
        since, oldest = spans[-1].since, _data()["unnamed"].get(engine, "")
        if oldest and since and versions.parse(since) <= versions.parse(oldest):
            return ""
        return since


@cache
def stages() -> dict[str, str]:
    """The stages of a start in their order, with what each asks."""
    return dict(_data()["stages"])


@cache
def table() -> dict[str, Gate]:
    """All gates by their rule, those of an earlier stage first."""
    order = list(stages())
    gates = [
        Gate(
            rule,
            row["stage"],
            {name: tuple(Span(*span) for span in spans) for name, spans in row["engines"].items()},
            row["test"],
        )
        for rule, row in _data()["gates"].items()
    ]
    return {gate.rule: gate for gate in sorted(gates, key=lambda gate: order.index(gate.stage))}


@lru_cache(maxsize=128)
def in_force(engine: str, versions: VersionTable | None, version: str) -> tuple[Gate, ...]:
    """The gates of one version of an engine, in the order in which a start meets them."""
    return tuple(gate for gate in table().values() if gate.span(engine, versions, version))


def held(
    found: Iterable[Finding], engine: str, versions: VersionTable | None, version: str
) -> tuple[Finding, ...]:
    """The findings whose gate is in force in that version, and those that have none."""
    return tuple(one for one in found if _holds(str(one.rule), engine, versions, version))


def _holds(rule: str, engine: str, versions: VersionTable | None, version: str) -> bool:
    gate = table().get(rule)
    if gate is None or engine not in gate.engines:
        return True
    return gate.span(engine, versions, version) is not None


@cache
def _data() -> dict[str, dict[str, Any]]:
    text = (Path(__file__).parent / "data/gates.json").read_text("utf-8")
    data: dict[str, dict[str, Any]] = json.loads(text)
    return data
