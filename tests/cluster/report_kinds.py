"""CRDs of reports as tests install them: the fields that are written, held to what they may hold.

Facts from openreports/reports-api, apis/openreports.io/v1alpha1/report_types.go (commit 74aae7df),
and kubernetes-sigs/wg-policy-prototypes, policy-report/pkg/api/wgpolicyk8s.io/v1alpha2: names of
fields, enums of result and severity, a timestamp of seconds and nanos. PolicyReport has no source
beside its results, and a strict server refuses what it does not have.
"""

from __future__ import annotations

from typing import Any

from definitions import definition

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
REFERENCE = {
    "type": "object",
    "properties": dict.fromkeys(("apiVersion", "kind", "name", "namespace", "uid"), TEXT),
}
RESULT = {
    "type": "object",
    "required": ["policy"],
    "properties": {
        **dict.fromkeys(("source", "policy", "rule", "category", "message"), TEXT),
        "result": {"type": "string", "enum": ["pass", "fail", "warn", "error", "skip"]},
        "severity": {"type": "string", "enum": ["critical", "high", "low", "medium", "info"]},
        "scored": {"type": "boolean"},
        "properties": {"type": "object", "additionalProperties": TEXT},
        "timestamp": {
            "type": "object",
            "required": ["nanos", "seconds"],
            "properties": {
                "nanos": {"type": "integer", "format": "int32"},
                "seconds": {"type": "integer", "format": "int64"},
            },
        },
    },
}
SUMMARY = {
    "type": "object",
    "properties": dict.fromkeys(("pass", "fail", "warn", "error", "skip"), WHOLE),
}


def _crd(group: str, version: str, kind: str, **more: Any) -> dict[str, Any]:
    properties = {
        "scope": REFERENCE,
        "summary": SUMMARY,
        "results": {"type": "array", "items": RESULT},
    }
    schema = {"type": "object", "properties": properties | more}
    return definition(group, kind, schema, version=version)


OPEN_REPORTS = _crd("openreports.io", "v1alpha1", "Report", source=TEXT)
POLICY_REPORTS = _crd("wgpolicyk8s.io", "v1alpha2", "PolicyReport")
