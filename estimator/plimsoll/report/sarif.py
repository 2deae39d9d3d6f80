"""A report as SARIF 2.1.0, which code scanners and editors read."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from plimsoll.report.rules import UNREADABLE

if TYPE_CHECKING:
    from plimsoll.report.results import CheckReport, Replacement, Result, Span
    from plimsoll.report.rules import RuleText

SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def sarif(report: CheckReport, version: str) -> str:
    """The whole report as one run of this version of Plimsoll."""
    results = report.results
    rules = sorted({result.rule for result in results}, key=lambda rule: rule.id)
    index = {rule.id: place for place, rule in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "Plimsoll",
                "version": version,
                "semanticVersion": version,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": not report.unread}],
        "results": [_result(result, index[result.rule.id]) for result in results],
    }
    whole = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(whole, indent=2)


def _rule(rule: RuleText) -> dict[str, Any]:
    words = "".join(word[:1].upper() + word[1:] for word in rule.name.split("-"))
    see = f"docs/rules.md#{rule.id.lower()}"
    return {
        "id": rule.id,
        "name": words,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.help},
        "help": {
            "text": f"{rule.title}. {rule.help} See {see}.",
            "markdown": f"**{rule.title}.** {rule.help} See `{see}`.",
        },
        "defaultConfiguration": {"level": str(rule.severity)},
        "properties": {"tags": ["kubernetes", "gpu", "memory"]},
    }


def _result(result: Result, rule_index: int) -> dict[str, Any]:
    text = f"{result.message}\n\n{result.detail}" if result.detail else result.message
    said: dict[str, Any] = {
        "ruleId": result.rule.id,
        "ruleIndex": rule_index,
        "level": str(result.severity),
        "message": {"text": text},
        "locations": [_location(result)],
        "partialFingerprints": {"plimsoll/v1": _fingerprint(result)},
    }
    if result.fixes:
        said["fixes"] = [_fix(one) for one in result.fixes]
    if result.ignored:
        kind = "external" if result.ignored == "in the baseline" else "inSource"
        said["suppressions"] = [{"kind": kind, "justification": result.ignored}]
    return said


def _location(result: Result) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if result.span is not None:
        location["physicalLocation"] = {
            "artifactLocation": _artifact(result.span.file),
            "region": _region(result.span),
        }
    if result.rule.name != UNREADABLE:
        name = f"{result.subject}: {result.path}" if result.path else result.subject
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "object"}]
    return location


def _artifact(file: str) -> dict[str, str]:
    path = PurePath(file)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": "%SRCROOT%"}


def _region(span: Span) -> dict[str, int]:
    region = {"startLine": span.line, "startColumn": span.column}
    if span.end_line:
        region |= {"endLine": span.end_line, "endColumn": span.end_column}
    return region


def _fix(replacement: Replacement) -> dict[str, Any]:
    change = {
        "deletedRegion": _region(replacement.span),
        "insertedContent": {"text": replacement.text},
    }
    artifact = {"artifactLocation": _artifact(replacement.span.file), "replacements": [change]}
    return {"description": {"text": replacement.description}, "artifactChanges": [artifact]}


def _fingerprint(result: Result) -> str:
    """The same for the same result after lines have moved."""
    what = "\n".join((result.rule.id, result.subject, result.path))
    return hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()
