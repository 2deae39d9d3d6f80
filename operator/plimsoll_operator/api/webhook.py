"""The registration of admission with the API server, with every field that it would default.

It must not apply itself. Every defaulted field is written out, so that GitOps sees no drift.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from plimsoll.api_group import GROUP, PLURAL, VERSION

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


def at_url(url: str, authority: bytes) -> Json:
    """A client config for a server outside the cluster. authority: its CA, PEM."""
    return {"url": url, "caBundle": base64.b64encode(authority).decode()}
