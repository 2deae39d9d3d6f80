"""Findings as a user of an LLMDeployment reads them: what tests assert on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from plimsoll.report import wording
from plimsoll.workloads.llmdeployment import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.verdict import Alternative
    from plimsoll.engines.base import Estimate
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding


class _WithProblems(Protocol):
    @property
    def problems(self) -> tuple[Finding | Problem, ...]: ...


class _WithWarnings(Protocol):
    @property
    def warnings(self) -> tuple[Finding | str, ...]: ...


def worded(findings: Iterable[Finding | Problem]) -> tuple[Problem, ...]:
    """Each with its path in an LLMDeployment and its sentence."""
    return wording.problems(findings, PLACES)


def problems_in(of: _WithProblems) -> tuple[Problem, ...]:
    """What is wrong according to a request, a reading or a verdict."""
    return worded(of.problems)


def warnings_in(of: _WithWarnings) -> tuple[str, ...]:
    """What a request, a reading or a verdict warns of, a sentence each."""
    return tuple(wording.sentence(warning, PLACES) for warning in of.warnings)


def changes_in(alternative: Alternative) -> str:
    """The changes of an alternative in one line."""
    return " + ".join(
        f"{PLACES.path(c.field)}: {c.value}" if c.value else f"without {PLACES.path(c.field)}"
        for c in alternative.changes
    )


def notes_in(estimate: Estimate) -> tuple[str, ...]:
    """What an estimate assumed."""
    return wording.notes_of(estimate, PLACES)
