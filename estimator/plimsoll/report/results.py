"""A verdict as results, one for each thing that is said: its rule, its field, its sentence.

What SARIF, JUnit, annotations and a comment print. Where a result stands in a file is filled in
by whoever has the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.decision.policy import Outcome, outcome
from plimsoll.decision.verdict import Decision, Reason
from plimsoll.findings import Finding, Rule
from plimsoll.report import messages, wording
from plimsoll.report.arithmetic import fix
from plimsoll.report.rules import READER_WARNING, UNREADABLE, Severity, rule_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Alternative, Verdict
    from plimsoll.errors import Problem
    from plimsoll.report.rules import RuleText

_SAID_BY: Final = {
    Reason.UNKNOWN_MODEL: {Rule.UNKNOWN_MODEL, Rule.UNKNOWN_MODEL_LIKE, Rule.MODEL_TYPE_ASSUMED},
    Reason.UNKNOWN_ACCELERATOR: {
        Rule.NOMINAL_MEMORY,
        Rule.NOTHING_TO_PLAN_ON,
        Rule.STATED_ABOVE_TABLE,
        Rule.UNKNOWN_ACCELERATOR,
        Rule.UNKNOWN_ACCELERATOR_LIKE,
    },
    Reason.RULE_OF_THUMB: {Rule.RULE_OF_THUMB_ALONE},
    Reason.UNREAD_FLAGS: {Rule.UNREAD_FLAGS},
}
"""Warnings that say of a verdict what its reason says; then the reason is no result of its own."""


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file, from the first character up to the one after the last; counted from 1."""

    file: str
    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 0


@dataclass(frozen=True, slots=True)
class Replacement:
    """A way out as one change of a file. description: what it writes; text: in place of a span."""

    description: str
    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that is said of one object, or of a file that could not be read.

    subject: kind, namespace and name of the object, or the file. path: the field in the object.
    severity: that of the rule, or less if the policy of the namespace lets the object in.
    message: in one line; detail: everything that is said of a misfit, line by line.
    alternatives: the ways out, and fixes: those of them that are one change of the file.
    ignored: why it does not count; empty if it does.
    """

    rule: RuleText
    severity: Severity
    subject: str
    path: str
    message: str
    detail: str = ""
    alternatives: tuple[Alternative, ...] = ()
    span: Span | None = None
    fixes: tuple[Replacement, ...] = ()
    ignored: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """One object with everything that is said of it. failed: whether it makes the check fail."""

    subject: str
    span: Span
    request: Request
    verdict: Verdict
    results: tuple[Result, ...]
    failed: bool = False

    @property
    def counted(self) -> tuple[Result, ...]:
        """The results that nobody wants ignored."""
        return tuple(result for result in self.results if not result.ignored)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Everything that one check says. unread: of files that could not be read."""

    objects: tuple[Judged, ...]
    unread: tuple[Result, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result, in the order of the files."""
        return (*(one for judged in self.objects for one in judged.results), *self.unread)


def results(subject: str, request: Request, verdict: Verdict) -> Iterator[Result]:
    """Everything that is said of an object: errors, then warnings, then notes of the estimate."""
    refused = _severity_of_a_denial(verdict)
    if verdict.problems:
        for wrong in verdict.problems:
            problem = wording.problem(wrong, verdict.places)
            rule = rule_of(wrong.rule if isinstance(wrong, Finding) else Reason.INVALID_SPEC)
            yield Result(rule, refused, subject, problem.path, str(problem))
    elif verdict.denied:
        yield _misfit(subject, request, verdict, refused)
    elif verdict.decision is Decision.WARN and not _said(verdict):
        yield _misfit(subject, request, verdict, Severity.WARNING)
    for warning in verdict.warnings:
        severity = min(Severity.WARNING, refused, key=_RANK.index)
        yield _told(subject, warning, verdict, severity)
    if verdict.estimate is not None:
        for note in verdict.estimate.notes:
            yield _told(subject, note, verdict, Severity.NOTE)


_RANK: Final = (Severity.NOTE, Severity.WARNING, Severity.ERROR)


def _severity_of_a_denial(verdict: Verdict) -> Severity:
    """An error, if the policy of the namespace does not let the object in all the same."""
    match outcome(verdict):
        case Outcome.WARNED:
            return Severity.WARNING
        case Outcome.AUDITED:
            return Severity.NOTE
    return Severity.ERROR


def _said(verdict: Verdict) -> bool:
    """Whether a warning says already why nobody can be sure."""
    rules = {one.rule for one in verdict.warnings if isinstance(one, Finding)}
    return bool(rules & _SAID_BY.get(verdict.reason, set()))


def _misfit(subject: str, request: Request, verdict: Verdict, severity: Severity) -> Result:
    """What is too large, or may be: with its arithmetic and its ways out."""
    misfit = messages.misfit(request, verdict)
    detail = messages.summary(request, verdict)
    message = messages.fits_message(request, verdict)
    if verdict.denied:
        detail = detail[1:]
        if verdict.limit is None:
            message = f"{misfit.wanted}: {message}"
    elif verdict.alternatives:
        message += f"; would fit with {fix(verdict.alternatives[0], verdict.places)}"
    return Result(
        rule_of(verdict.limit.said.rule if verdict.limit else verdict.reason),
        severity,
        subject,
        misfit.path,
        message,
        "\n".join(line for line in detail if not line.startswith("warning: ")),
        verdict.alternatives,
    )


def _told(subject: str, told: Finding | str, verdict: Verdict, severity: Severity) -> Result:
    """A warning or a note: a sentence."""
    sentence = wording.sentence(told, verdict.places)
    if isinstance(told, Finding):
        path = verdict.places.path(told.field, told.index)
        return Result(rule_of(told.rule), severity, subject, path, sentence)
    path, colon, _ = sentence.partition(": ")
    return Result(
        rule_of(READER_WARNING),
        severity,
        subject,
        path if colon and " " not in path else "",
        sentence,
    )


def unreadable(problem: Problem) -> Result:
    """A file, or a document of it, that was not checked. The problem's path: file and line."""
    file, colon, line = problem.path.rpartition(":")
    if not (colon and line.isdecimal()):
        file, line = problem.path, "1"
    rule = rule_of(UNREADABLE)
    return Result(rule, rule.severity, file, "", str(problem), span=Span(file, int(line)))
