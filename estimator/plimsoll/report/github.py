"""A report as commands of GitHub Actions, which puts each beside its line in a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.report.rules import Severity

if TYPE_CHECKING:
    from plimsoll.report.results import CheckReport, Result

_COMMANDS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github(report: CheckReport) -> str:
    """A line for each result that counts; empty if there is none."""
    return "\n".join(_annotation(one) for one in report.results if not one.ignored)


def _annotation(result: Result) -> str:
    span = result.span
    properties = {"title": f"{result.rule.id}: {result.rule.title}"}
    if span is not None:
        place = {"file": span.file, "line": str(span.line), "col": str(span.column)}
        if span.end_line:
            place |= {"endLine": str(span.end_line), "endColumn": str(span.end_column)}
        properties = place | properties
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    text = f"{result.subject}: {result.message}"
    if result.detail:
        text += f"\n{result.detail}"
    return f"::{_COMMANDS[result.severity]} {said}::{_message(text)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
