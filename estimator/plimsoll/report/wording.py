"""One sentence for every rule: how a finding becomes the problem that a user reads.

In a text, ``{name}`` is a fact of the finding, ``{at.max_model_len}`` the whole path of a field in
the user's own manifest, and ``{name_of.max_model_len}`` the last part of that path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.errors import Problem, shown
from plimsoll.findings import Finding, Rule
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.verdict import Verdict
    from plimsoll.findings import Fact
    from plimsoll.paths import Places

TEXTS: Final[dict[Rule, tuple[str, str]]] = {
    Rule.SIZE: ("must be at least 1 and at most {most}", ""),
    Rule.TOO_MANY_STAGES: ("at most {layers}, the number of layers", ""),
}
"""What would have been right, and the next step (empty if the first says it all)."""


def problem(finding: Finding | Problem, places: Places) -> Problem:
    """A finding in the four parts of every error, at its place in the user's manifest."""
    if isinstance(finding, Problem):
        return finding
    wanted, fix = TEXTS[finding.rule]
    facts = _facts(finding, places)
    given = "" if finding.given is None else shown(finding.given)
    path = places.path(finding.field, finding.index)
    return Problem(path, given, wanted.format_map(facts), fix.format_map(facts))


def problems(findings: Iterable[Finding | Problem], places: Places) -> tuple[Problem, ...]:
    """All of them, in order."""
    return tuple(problem(one, places) for one in findings)


def problems_of(verdict: Verdict) -> tuple[Problem, ...]:
    """What is wrong with the request, worded for the object that states it."""
    return problems(verdict.problems, verdict.places)


def _facts(finding: Finding, places: Places) -> dict[str, object]:
    """What a text may name."""
    facts: dict[str, object] = {name: _fact(value, places) for name, value in finding.facts}
    return facts | {"at": _Paths(places), "name_of": _Names(places)}


def _fact(value: Fact, places: Places) -> object:
    if isinstance(value, Field):
        return places.path(value)
    if isinstance(value, tuple):
        return ", ".join(value)
    return value


@dataclass(frozen=True, slots=True)
class _Paths:
    """``{at.FIELD}`` of a text."""

    places: Places

    def __getattr__(self, name: str) -> str:
        return self.places.path(Field(name))


@dataclass(frozen=True, slots=True)
class _Names:
    """``{name_of.FIELD}`` of a text."""

    places: Places

    def __getattr__(self, name: str) -> str:
        return self.places.name(Field(name))
