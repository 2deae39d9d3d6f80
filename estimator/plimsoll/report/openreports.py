"""What an audit says of one object as the results of a report of OpenReports.

The fields are those of Report in openreports.io/v1alpha1 (openreports/reports-api,
apis/openreports.io/v1alpha1/report_types.go); PolicyReport in wgpolicyk8s.io/v1alpha2 has the same,
but for `source` beside the results.

    fail    it certainly does not start          warn   it may not, or GPUs could come back
    pass    nothing is said against it           error  it was not decided
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import clean
from plimsoll.report.audit import back
from plimsoll.report.messages import fits_message
from plimsoll.report.results import results
from plimsoll.report.rules import Severity, rule_of
from plimsoll.report.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from plimsoll.report.audit import Audited

SOURCE: Final = "plimsoll"
"""Who says so, in every result."""
POLICY: Final = "fits"
"""What was looked at, in every result."""
OUTCOMES: Final = ("pass", "fail", "warn", "error", "skip")
MOST: Final = 50
"""Results of one report."""
LONGEST: Final = 2000
"""Characters of one message."""


def results_of(audited: Iterable[Audited]) -> list[dict[str, Any]]:
    """The results of every engine of an object, at most `MOST`."""
    return [one for each in audited for one in _results(each)][:MOST]


def not_decided(why: str) -> list[dict[str, Any]]:
    """The one result of an object that was not decided."""
    return [_result("error", "medium", "NotDecided", "", why)]


def summary_of(found: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many results there are of each outcome."""
    outcomes = [one["result"] for one in found]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES}


def _results(one: Audited) -> Iterator[dict[str, Any]]:
    verdict = one.verdict
    about = {"engine": one.request.name, "requestHash": verdict.request_hash}
    silent = True
    could_come_back = back(one)
    for result in results(one.subject, one.request, verdict):
        if result.rule.severity is Severity.NOTE or any(
            result.rule is rule_of(finding.rule) for finding in could_come_back
        ):
            continue
        silent = False
        fails = verdict.denied and result.rule.severity is Severity.ERROR
        message = "\n".join((result.message, *result.detail.splitlines()[:10]))
        yield _result(
            "fail" if fails else "warn",
            "high" if fails else "medium",
            result.rule.id,
            result.rule.group,
            message,
            about | {"path": result.path},
        )
    for finding in could_come_back:
        silent = False
        rule, said = rule_of(finding.rule), sentence(finding, verdict.places)
        yield _result("warn", "low", rule.id, "GPUs that could come back", said, about)
    if silent:
        said = fits_message(one.request, verdict)
        yield _result("pass", "info", str(verdict.reason), "", said, about)


def _result(
    outcome: str,
    severity: str,
    rule: str,
    category: str,
    message: str,
    properties: dict[str, str] | None = None,
) -> dict[str, Any]:
    lines = (clean(line, LONGEST) for line in message[:LONGEST].splitlines())
    made: dict[str, Any] = {
        "source": SOURCE,
        "policy": POLICY,
        "rule": rule,
        "result": outcome,
        "severity": severity,
        "scored": outcome == "fail",
        "message": "\n".join(lines),
    }
    if category:
        made["category"] = category
    if properties:
        made["properties"] = {key: clean(value) for key, value in properties.items() if value}
    return made
