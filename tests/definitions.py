"""CustomResourceDefinitions of other projects' kinds, as far as tests need them."""

from __future__ import annotations

from typing import Any


def definition(
    group: str,
    kind: str,
    schema: dict[str, Any],
    *,
    version: str = "v1",
    plural: str = "",
    scope: str = "Namespaced",
    **served: Any,
) -> dict[str, Any]:
    """One of one version. schema: of the object; served: of the version, such as subresources."""
    plural = plural or f"{kind.lower()}s"
    one = {"name": version, "served": True, "storage": True, **served}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{**one, "schema": {"openAPIV3Schema": schema}}],
        },
    }
