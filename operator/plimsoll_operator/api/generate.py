"""The YAML files that are made from code, for deploy/ and for the chart, and how they are written.

It must not hold anything that belongs in the types. The chart's templates are the same objects
between `if` and `end`, with names and labels of the release; nothing in them is computed there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from plimsoll_operator.api.crd import crd, policy_crd, pool_crd
from plimsoll_operator.api.policy import floor_binding, floor_policy
from plimsoll_operator.api.webhook import workloads_configuration
from plimsoll_operator.api.workloads_floor import floor_bindings
from plimsoll_operator.api.workloads_floor import floor_policy as others_floor

if TYPE_CHECKING:
    from pathlib import Path

HEAD: Final = "# Made by `make generate` from {source}; a test holds the two equal.\n"
CRD_SOURCE: Final = "operator/plimsoll_operator/api/crd.py and the types of spec and status"
FLOOR_SOURCE: Final = (
    "operator/plimsoll_operator/api/policy.py, the accelerator table and the catalogue"
)

OTHERS_FLOOR_SOURCE: Final = (
    "operator/plimsoll_operator/api/workloads_floor.py, the accelerator table and the catalogue"
)
WORKLOADS_SOURCE: Final = "operator/plimsoll_operator/api/webhook.py and the table of kinds"

_LABELS: Final = '  labels:\n    {{- include "plimsoll.labels" . | nindent 4 }}\n'
_KEEP: Final = (
    "  {{- if .Values.crds.keep }}\n"
    "  annotations:\n"
    "    helm.sh/resource-policy: keep\n"
    "  {{- end }}\n"
)
_WEBHOOK_LABELS: Final = (
    '  labels:\n    {{- include "plimsoll.componentLabels" (list . "webhook") | nindent 4 }}\n'
)
_INJECTED: Final = (
    '  {{- if eq .Values.tls.mode "cert-manager" }}\n'
    "  annotations:\n"
    "    cert-manager.io/inject-ca-from: "
    '{{ .Release.Namespace }}/{{ include "plimsoll.fullname" . }}-webhook\n'
    "  {{- end }}\n"
)
_MARKS: Final = {
    "{{": '{{ "{{" }}',  # first: what is text here must stay text there
    "MARK_FLOOR_NAME": '{{ include "plimsoll.fullname" . }}-floor',
    "MARK_FLOOR_ACTIONS": "{{ toJson .Values.floor.validationActions }}",
    "MARK_OTHERS_FLOOR": '{{ include "plimsoll.fullname" . }}-workloads-floor',
    "MARK_WORKLOADS_NAME": '{{ include "plimsoll.fullname" . }}-workloads',
    "MARK_CLIENT": '{{- include "plimsoll.clientConfig" . | nindent 4 }}',
    "MARK_SELECTOR": '{{- include "plimsoll.workloadsSelector" . | nindent 4 }}',
    "MARK_TIMEOUT": "{{ .Values.guard.timeoutSeconds }}",
}
"""What stands for a template until the YAML is written, which would quote it."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(*documents: dict[str, Any]) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _marked(text: str) -> str:
    for mark, template in _MARKS.items():
        text = text.replace(mark, template)
    return text


def _template(*documents: dict[str, Any], value: str, source: str, more: str = "") -> str:
    """A Helm template of the documents, made if a value is true. more: of their metadata."""
    parts = []
    for document in documents:
        top = _dump({key: document[key] for key in ("apiVersion", "kind")})
        name = _marked(f"  name: {document['metadata']['name']}\n")
        spec = _marked(_dump({"spec": document["spec"]}))
        parts.append(f"{top}metadata:\n{name}{_LABELS}{more}{spec}")
    body = "---\n".join(parts)
    return f"{{{{- if {value} }}}}\n{HEAD.format(source=source)}{body}{{{{- end }}}}\n"


def _workloads_template() -> str:
    """The Helm template of the registration for other people's kinds."""
    made = workloads_configuration("MARK_WORKLOADS_NAME", {})
    for hook in made["webhooks"]:
        hook |= {"clientConfig": "MARK_CLIENT", "namespaceSelector": "MARK_SELECTOR"}
        hook["timeoutSeconds"] = "MARK_TIMEOUT"
    top = _dump({key: made[key] for key in ("apiVersion", "kind")})
    hooks = _marked(_dump({"webhooks": made["webhooks"]}))
    return (
        "{{- if and .Values.webhook.enabled .Values.guard.enabled }}\n"
        f"{HEAD.format(source=WORKLOADS_SOURCE)}{top}metadata:\n"
        f"{_marked('  name: MARK_WORKLOADS_NAME')}\n{_WEBHOOK_LABELS}{_INJECTED}{hooks}"
        "{{- end }}\n"
    )


def files() -> dict[str, str]:
    """Name and text of each file under deploy/."""
    return {
        "crd.yaml": HEAD.format(source=CRD_SOURCE) + _dump(crd(), pool_crd(), policy_crd()),
        "floor.yaml": HEAD.format(source=FLOOR_SOURCE) + _dump(floor_policy(), floor_binding()),
    }


def chart_files() -> dict[str, str]:
    """Name and text of each file of the chart."""
    policy, binding = floor_policy(), floor_binding()
    for document in (policy, binding):
        document["metadata"] = {"name": "MARK_FLOOR_NAME"}
    binding["spec"] |= {
        "policyName": "MARK_FLOOR_NAME",
        "validationActions": "MARK_FLOOR_ACTIONS",
    }
    return {
        "templates/crd.yaml": _template(
            crd(),
            pool_crd(),
            policy_crd(),
            value=".Values.crds.enabled",
            source=CRD_SOURCE,
            more=_KEEP,
        ),
        "templates/floor.yaml": _template(
            policy, binding, value=".Values.floor.enabled", source=FLOOR_SOURCE
        ),
        "templates/workloads-configuration.yaml": _workloads_template(),
        "templates/workloads-floor.yaml": _template(
            others_floor("MARK_OTHERS_FLOOR"),
            *floor_bindings("MARK_OTHERS_FLOOR"),
            value="and .Values.guard.enabled .Values.guard.floor",
            source=OTHERS_FLOOR_SOURCE,
        ),
    }


def write(deploy: Path, chart: Path | None = None) -> list[Path]:
    """Write them below deploy/ and below the chart's folder; those that changed."""
    wanted = {deploy / name: text for name, text in files().items()}
    if chart is not None:
        wanted |= {chart / name: text for name, text in chart_files().items()}
    changed = []
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed
