"""The least that a kopf operator with the same watches can be: the baseline for memory.

It must not keep or do anything. Run as a program: bare_kopf.py PORT
"""

from __future__ import annotations

import sys
from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """The settings that any operator in production has."""
    settings.posting.enabled = False
    settings.scanning.disabled = True


@kopf.on.event("plimsoll.dev", "v1alpha1", "llmdeployments")
@kopf.on.event("plimsoll.dev", "v1alpha1", "acceleratorpools")
@kopf.on.event("", "v1", "nodes")
@kopf.on.event("", "v1", "namespaces")
@kopf.on.event("", "v1", "configmaps")
@kopf.on.event("", "v1", "pods")
@kopf.on.event("", "v1", "resourcequotas")
@kopf.on.event("resource.k8s.io", "v1", "resourceslices")
@kopf.on.event("resource.k8s.io", "v1", "resourceclaims")
def seen(**_: Any) -> None:
    """An event came."""


if __name__ == "__main__":
    kopf.run(
        standalone=True,
        clusterwide=True,
        liveness_endpoint=f"http://127.0.0.1:{sys.argv[1]}/healthz",
    )
