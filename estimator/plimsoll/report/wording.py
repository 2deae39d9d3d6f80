"""One text for every rule: how a finding becomes the problem or the sentence that a user reads.

In a text, ``{name}`` is a fact of the finding and ``{shown.name}`` the same made safe to print;
``{given}`` is the value that was there and ``{path}`` its place, ``{at.max_model_len}`` the whole
path of a field in the user's own manifest, ``{name_of.max_model_len}`` the last part of that path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.errors import Problem, shown
from plimsoll.findings import Finding, Rule
from plimsoll.paths import Field
from plimsoll.report import refusals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Estimate
    from plimsoll.findings import Fact
    from plimsoll.paths import Places

TEXTS: Final[dict[Rule, tuple[str, str]]] = {
    Rule.SIZE: ("must be at least 1 and at most {most}", ""),
} | refusals.REFUSALS
"""What would have been right, and the next step (empty if the first says it all)."""

SENTENCES: Final[dict[Rule, str]] = refusals.VAIN | refusals.ASSUMED
"""Findings that are told in one whole sentence: warnings, and what an estimate assumed."""


def problem(finding: Finding | Problem, places: Places) -> Problem:
    """A finding in the four parts of every error, at its place in the user's manifest."""
    if isinstance(finding, Problem):
        return finding
    wanted, fix = TEXTS[finding.rule]
    facts = _facts(finding, places)
    path = places.path(finding.field, finding.index)
    given = facts["given"]
    if finding.rule in refusals.GIVEN:
        given = refusals.GIVEN[finding.rule].format_map(facts)
    return Problem(path, str(given), wanted.format_map(facts), fix.format_map(facts))


def problems(findings: Iterable[Finding | Problem], places: Places) -> tuple[Problem, ...]:
    """All of them, in order."""
    return tuple(problem(one, places) for one in findings)


def sentence(finding: Finding | str, places: Places) -> str:
    """A finding that is told in one sentence; a sentence that is worded already stays."""
    if isinstance(finding, str):
        return finding
    return SENTENCES[finding.rule].format_map(_facts(finding, places))


def problems_of(verdict: Verdict) -> tuple[Problem, ...]:
    """What is wrong with the request, worded for the object that states it."""
    return problems(verdict.problems, verdict.places)


def warnings_of(verdict: Verdict) -> tuple[str, ...]:
    """What a reader of the verdict should know, a sentence each."""
    return tuple(sentence(one, verdict.places) for one in verdict.warnings)


def notes_of(estimate: Estimate, places: Places) -> tuple[str, ...]:
    """What an estimate assumed, a sentence each."""
    return tuple(sentence(one, places) for one in estimate.notes)


def _facts(finding: Finding, places: Places) -> dict[str, object]:
    """What a text may name."""
    facts: dict[str, object] = {name: _fact(value, places) for name, value in finding.facts}
    return facts | {
        "given": _given(finding),
        "path": places.path(finding.field, finding.index),
        "shown": _Shown(facts),
        "at": _Paths(places),
        "name_of": _Names(places),
    }


def _given(finding: Finding) -> str:
    """The value that was there, safe to print; booleans as a manifest spells them."""
    if finding.given is None:
        return ""
    if isinstance(finding.given, bool):
        return str(finding.given).lower()
    return shown(finding.given)


def _fact(value: Fact, places: Places) -> object:
    if isinstance(value, Field):
        return places.path(value)
    if isinstance(value, tuple):
        return _Joined(value)
    return value


class _Joined(tuple[str, ...]):
    """Names in a text: joined by commas, or by the word that the text gives."""

    __slots__ = ()

    def __format__(self, word: str) -> str:
        return (f" {word} " if word else ", ").join(self)

    def __str__(self) -> str:
        return format(self)


@dataclass(frozen=True, slots=True)
class _Shown:
    """``{shown.NAME}`` of a text."""

    facts: dict[str, object]

    def __getattr__(self, name: str) -> str:
        return shown(self.facts[name])


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
