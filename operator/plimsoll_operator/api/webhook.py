"""The registrations of admission with the API server, with every field that it would default.

One for LLMDeployments, which fails closed, and one for other people's kinds, which is never in the
way. They must not apply themselves. Every defaulted field is written out, so that GitOps sees no
drift.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import GROUP, PLURAL, VERSION, WORKLOADS_LABEL
from plimsoll.workloads.gpus import MIG, WHOLE
from plimsoll.workloads.kinds import KINDS, OTHERS
from plimsoll.workloads.pods import PODS

if TYPE_CHECKING:
    from plimsoll.workloads.kinds import Kind

Json = dict[str, Any]

WEBHOOK: Final = f"fit.{PLURAL}.{GROUP}"
PATH: Final = "/fit"
SYSTEM_NAMESPACES: Final = ("kube-system", "plimsoll-system")


def webhook_configuration(name: str, client_config: Json) -> Json:
    """A ValidatingWebhookConfiguration. client_config: where the server is and whom to trust.

    Whether an UPDATE may be let through is the server's to say: a condition on the spec alone
    would let anybody set the override annotation unseen.
    """
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": WEBHOOK,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "matchPolicy": "Equivalent",
                "clientConfig": client_config,
                "rules": [
                    {
                        "apiGroups": [GROUP],
                        "apiVersions": [VERSION],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": [PLURAL],
                        "scope": "Namespaced",
                    }
                ],
                "namespaceSelector": {
                    "matchExpressions": [
                        {
                            "key": "kubernetes.io/metadata.name",
                            "operator": "NotIn",
                            "values": list(SYSTEM_NAMESPACES),
                        }
                    ]
                },
                "objectSelector": {},
                "matchConditions": [
                    {
                        "name": "not-deleting",
                        "expression": "!has(object.metadata.deletionTimestamp)",
                    }
                ],
            }
        ],
    }


OPTED_IN: Final[Json] = {"key": WORKLOADS_LABEL, "operator": "Exists"}
"""Namespaces of which reviews of other people's kinds are sent."""


def workloads_configuration(name: str, client_config: Json) -> Json:
    """The ValidatingWebhookConfiguration for other people's kinds.

    What cannot be an LLM is not sent: objects of namespaces without the label, pods that ask for no
    accelerator, what a controller made for a kind that has the verdict, and updates that leave the
    spec alone and take no annotation away. Rules for kinds that are not installed do no harm.
    """
    pods = [kind for kind in OTHERS if kind.name in PODS]
    groups = [kind for kind in OTHERS if kind.name not in PODS]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            _workloads("pods", pods, client_config, {"asks-for-an-accelerator": _asks()}),
            _workloads("groups", groups, client_config, {}),
        ],
    }


def _workloads(
    what: str, kinds: list[Kind], client_config: Json, conditions: dict[str, str]
) -> Json:
    """One webhook of the kinds that have their conditions in common."""
    plurals: dict[str, list[str]] = {}
    for kind in kinds:
        plurals.setdefault(kind.group, []).append(kind.plural)
    names = {"key": "kubernetes.io/metadata.name", "operator": "NotIn"}
    conditions = {
        "not-deleting": "!has(object.metadata.deletionTimestamp)",
        "not-made-for-another": NOT_MADE_FOR_ANOTHER,
        "changed": _CHANGED,
        **conditions,
    }
    return {
        "name": f"{what}.workloads.{GROUP}",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 5,
        "matchPolicy": "Equivalent",
        "clientConfig": client_config,
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": names_of_group,
                "scope": "Namespaced",
            }
            for group, names_of_group in plurals.items()
        ],
        "namespaceSelector": {
            "matchExpressions": [OPTED_IN, {**names, "values": list(SYSTEM_NAMESPACES)}]
        },
        "objectSelector": {},
        "matchConditions": [
            {"name": name, "expression": expression} for name, expression in conditions.items()
        ],
    }


NOT_MADE_FOR_ANOTHER: Final = (
    "!object.metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false) && "
    "(o.apiVersion.contains('/') ? o.apiVersion.split('/')[0] : '') + '/' + o.kind in "
    f"{[f'{kind.group}/{kind.name}' for kind in KINDS]})"
)
"""Whether no controller made an object for one of a kind that is read, which has the verdict."""
_ANNOTATIONS: Final = "metadata.?annotations.orValue({})"


def _kept(one: str, other: str) -> str:
    """Whether each of our annotations on one state of the object is on another."""
    has = f"{other}.{_ANNOTATIONS}[?k].orValue('') == {one}.{_ANNOTATIONS}[k]"
    return f"{one}.{_ANNOTATIONS}.all(k, !k.startsWith('{GROUP}/') || {has})"


_STATED: Final = ("spec", "resource", "inference")
"""Where objects state what they want: in their spec, but for KAITO's Workspace."""
_CHANGED: Final = " || ".join(
    (
        "request.operation != 'UPDATE'",
        *(f"object.?{part} != oldObject.?{part}" for part in _STATED),
        f"!({_kept('object', 'oldObject')} && {_kept('oldObject', 'object')})",
        f"!oldObject.{_ANNOTATIONS}.all(k, k in object.{_ANNOTATIONS})",
    )
)


def _asks() -> str:
    """Whether a pod asks for an accelerator: a resource that is counted as one, or a claim."""
    templates = [(name, path) for name, path in PODS.items() if path != "spec.template.spec"]
    pod = "".join(f"object.kind == '{name}' ? object.{path} : " for name, path in templates)
    pod = f"({pod}object.spec.template.spec)"
    resource = f"k.lowerAscii() in {list(WHOLE)} || k.startsWith('{MIG}')"
    parts = " || ".join(
        f"c.?resources.?{part}.orValue({{}}).exists(k, {resource})"
        for part in ("limits", "requests")
    )
    claims = "c.?resources.?claims.orValue([]).size() > 0"
    return f"{pod}.containers.exists(c, {parts} || {claims})"


def at_url(url: str, authority: bytes) -> Json:
    """A client config for a server outside the cluster. authority: its CA, PEM."""
    return {"url": url, "caBundle": base64.b64encode(authority).decode()}
