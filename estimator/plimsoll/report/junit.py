"""A report as JUnit XML, which pipelines show as tests: one test case for each object."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.report.results import CheckReport, Judged, Result, Span


def junit(report: CheckReport) -> str:
    """The whole report as one suite; a file that could not be read is a case with an error."""
    suite = ElementTree.Element("testsuite", name="plimsoll check")
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for judged in report.objects:
        counts["tests"] += 1
        case = _case(suite, judged.subject, judged.span)
        _fill(case, judged, counts)
    for result in report.unread:
        counts["tests"] += 1
        counts["errors"] += 1
        case = _case(suite, result.subject, result.span)
        error = ElementTree.SubElement(case, "error", type=result.rule.id, message=result.message)
        error.text = result.message
    for name, count in counts.items():
        suite.set(name, str(count))
    whole = ElementTree.Element("testsuites", suite.attrib)
    whole.append(suite)
    ElementTree.indent(whole)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(whole, "unicode")


def _case(suite: ElementTree.Element, name: str, span: Span | None) -> ElementTree.Element:
    file, line = (span.file, span.line) if span else ("", 1)
    return ElementTree.SubElement(
        suite, "testcase", name=name, classname=file, file=file, line=str(line)
    )


def _fill(case: ElementTree.Element, judged: Judged, counts: dict[str, int]) -> None:
    ignored = [one for one in judged.results if one.ignored]
    if judged.failed:
        counts["failures"] += 1
        first = judged.counted[0]
        failure = ElementTree.SubElement(case, "failure", type=first.rule.id, message=first.message)
        failure.text = _lines(judged.counted)
    elif ignored:
        counts["skipped"] += 1
        reason = "; ".join(f"{one.rule.id}: {one.ignored}" for one in ignored)
        ElementTree.SubElement(case, "skipped", message=reason)
    if judged.results and not judged.failed:
        ElementTree.SubElement(case, "system-out").text = _lines(judged.results)


def _lines(results: Iterable[Result]) -> str:
    return "\n".join(
        f"{one.severity} {one.rule.id}: {one.detail or one.message}" for one in results
    )
