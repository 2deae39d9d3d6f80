"""Gatekeeper itself, as a plain process, with a policy that counts GPUs: what peers can ask for.

It knows no model: it denies one GPU a replica, as ours denies the same objects for their memory.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from cluster.fixtures_operator import free_port, until
from controlplane.build import GATEKEEPER, ensure_built
from controlplane.certificates import LOOPBACK
from controlplane.processes import Process
from definitions import definition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controlplane import ControlPlane

NAMESPACE: Final = "gatekeeper-system"
KINDS: Final = (
    ("templates.gatekeeper.sh", "v1beta1", "ConstraintTemplate", "constrainttemplates", "Cluster"),
    ("config.gatekeeper.sh", "v1alpha1", "Config", "configs", "Namespaced"),
    ("syncset.gatekeeper.sh", "v1alpha1", "SyncSet", "syncsets", "Cluster"),
    ("expansion.gatekeeper.sh", "v1beta1", "ExpansionTemplate", "expansiontemplate", "Cluster"),
    ("externaldata.gatekeeper.sh", "v1beta1", "Provider", "providers", "Cluster"),
    ("connection.gatekeeper.sh", "v1alpha1", "Connection", "connections", "Namespaced"),
    *(
        ("status.gatekeeper.sh", version, kind, f"{kind.lower()}es", "Namespaced")
        for version, kind in (
            ("v1beta1", "ConfigPodStatus"),
            ("v1beta1", "ConstraintPodStatus"),
            ("v1beta1", "ConstraintTemplatePodStatus"),
            ("v1beta1", "ExpansionTemplatePodStatus"),
            ("v1beta1", "ProviderPodStatus"),
            ("v1alpha1", "ConnectionPodStatus"),
        )
    ),
)
"""Group, version, kind, plural and scope of what it watches (its chart's folder crds/)."""
TEMPLATE: Final = {
    "apiVersion": "templates.gatekeeper.sh/v1beta1",
    "kind": "ConstraintTemplate",
    "metadata": {"name": "fewestgpus"},
    "spec": {
        "crd": {
            "spec": {
                "names": {"kind": "FewestGPUs"},
                "validation": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"least": {"type": "integer"}},
                    }
                },
            }
        },
        "targets": [
            {
                "target": "admission.k8s.gatekeeper.sh",
                "rego": """package fewestgpus
violation[{"msg": msg}] {
  gpus := input.review.object.spec.accelerator.gpusPerReplica
  gpus < input.parameters.least
  msg := sprintf("%v GPUs a replica, at least %v are wanted", [gpus, input.parameters.least])
}
""",
            }
        ],
    },
}
CONSTRAINT: Final = {
    "apiVersion": "constraints.gatekeeper.sh/v1beta1",
    "kind": "FewestGPUs",
    "metadata": {"name": "two"},
    "spec": {
        "match": {"kinds": [{"apiGroups": ["plimsoll.dev"], "kinds": ["LLMDeployment"]}]},
        "parameters": {"least": 2},
    },
}


ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""Its kinds take whatever it writes."""


@contextlib.contextmanager
def gatekeeper(plane: ControlPlane) -> Iterator[str]:
    """Its webhook's process on one core, as ours and the baseline have; the URL that it answers."""
    program = ensure_built(GATEKEEPER)[GATEKEEPER]
    certificates = plane.folder / GATEKEEPER
    certificates.mkdir()
    certificate, _ = plane.authority.issue(GATEKEEPER, sans=LOOPBACK).write(certificates, "tls")
    port, health = free_port(), free_port()
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.create(
        [
            definition(
                group,
                kind,
                ANYTHING,
                version=version,
                plural=plural,
                scope=scope,
                subresources={"status": {}},
            )
            for group, version, kind, plural, scope in KINDS
        ]
    )
    process = Process(
        GATEKEEPER,
        [
            str(program),
            f"--kubeconfig={plane.kubeconfig}",
            "--operation=webhook",
            "--operation=generate",  # of the kinds of constraints
            "--debug-use-fake-pod",
            "--disable-cert-rotation",
            f"--cert-dir={certificate.parent}",
            "--host=127.0.0.1",
            f"--port={port}",
            f"--health-addr=127.0.0.1:{health}",
            "--metrics-backend=stackdriver",  # the one that opens no port
            "--stackdriver-only-when-available",
            "--log-level=ERROR",
        ],
        plane.folder / "gatekeeper.log",
        environment=os.environ | {"POD_NAME": "race", "POD_NAMESPACE": NAMESPACE},
    )
    os.sched_setaffinity(process.pid, {0})

    def known() -> bool:
        if process.returncode is not None:
            raise AssertionError(f"gatekeeper ended:\n{process.tail()}")
        crd = "fewestgpus.constraints.gatekeeper.sh"
        return (
            "True"
            in plane.kubectl(
                "get", "crd", crd, "-o", "jsonpath={.status.conditions[*].status}", check=False
            ).stdout
        )

    try:
        plane.create([TEMPLATE])
        until(known, 60, "gatekeeper makes its constraint's kind")
        plane.create([CONSTRAINT])
        yield f"https://127.0.0.1:{port}/v1/admit"
    finally:
        process.kill()
