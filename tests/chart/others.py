"""Kinds of other projects that the chart makes objects of, as CustomResourceDefinitions.

They must refuse a field that the real ones do not have: each names the fields that we use, and no
others, with the types of cert-manager v1 and of the Prometheus operator's v1 API
(https://cert-manager.io/docs/reference/api-docs/,
https://prometheus-operator.dev/docs/api-reference/api/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from definitions import definition

if TYPE_CHECKING:
    from chart.objects import Manifest

Schema = dict[str, Any]

_STRING: Final[Schema] = {"type": "string"}
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_INTEGER: Final[Schema] = {"type": "integer"}
_STRINGS: Final[Schema] = {"type": "array", "items": _STRING}
_LABELS: Final[Schema] = {"type": "object", "additionalProperties": _STRING}
_DURATION: Final[Schema] = {
    "type": "string",
    "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$",
}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return made | ({"required": list(required)} if required else {})


def _enum(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_SELECTOR: Final = _object(matchLabels=_LABELS)
_ENDPOINT: Final = _object(port=_STRING, path=_STRING, interval=_DURATION, honorLabels=_BOOLEAN)
_RULE: Final = _object(
    ("expr",),
    **{"alert": _STRING, "expr": _STRING, "for": _DURATION},
    labels=_LABELS,
    annotations=_LABELS,
)

_SPECS: Final[dict[tuple[str, str], Schema]] = {
    ("cert-manager.io", "Issuer"): _object(
        selfSigned=_object(), ca=_object(("secretName",), secretName=_STRING)
    ),
    ("cert-manager.io", "Certificate"): _object(
        ("issuerRef", "secretName"),
        secretName=_STRING,
        commonName=_STRING,
        dnsNames=_STRINGS,
        ipAddresses=_STRINGS,
        duration=_STRING,
        renewBefore=_STRING,
        isCA=_BOOLEAN,
        revisionHistoryLimit=_INTEGER,
        usages=_list(_enum("digital signature", "key encipherment", "server auth")),
        privateKey=_object(
            algorithm=_enum("RSA", "ECDSA", "Ed25519"),
            size=_INTEGER,
            rotationPolicy=_enum("Never", "Always"),
        ),
        issuerRef=_object(("name",), name=_STRING, kind=_STRING, group=_STRING),
    ),
    ("monitoring.coreos.com", "ServiceMonitor"): _object(
        ("endpoints", "selector"),
        selector=_SELECTOR,
        podTargetLabels=_STRINGS,
        endpoints=_list(_ENDPOINT),
    ),
    ("monitoring.coreos.com", "PodMonitor"): _object(
        ("selector",),
        selector=_SELECTOR,
        podTargetLabels=_STRINGS,
        podMetricsEndpoints=_list(_ENDPOINT),
    ),
    ("monitoring.coreos.com", "PrometheusRule"): _object(
        groups=_list(_object(("name",), name=_STRING, rules=_list(_RULE)))
    ),
}


def other_kinds() -> list[Manifest]:
    """A CustomResourceDefinition of each."""
    return [
        definition(group, kind, _object(("spec",), spec=spec))
        for (group, kind), spec in _SPECS.items()
    ]
