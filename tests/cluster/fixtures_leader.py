"""Several controllers at once, as tests start them, with the rights that this needs.

It must not know what they do while they lead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.fixtures_operator import CONTROLLER_ACCOUNT, SYSTEM_NAMESPACE, OperatorProcess, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane import Cluster

LEASE = "plimsoll-controller"
RBAC = "rbac.authorization.k8s.io"
LEASE_RULES = (
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [LEASE],
        "verbs": ["get", "update"],
    },
)
"""What a leader needs in the namespace of its Lease, as deploy/rbac.yaml has it in its own."""


def grant(
    cluster: Cluster, name: str, rules: Sequence[dict[str, Any]], namespace: str = ""
) -> None:
    """Give the controller's account these rights in a namespace, or in the whole cluster."""
    prefix = "" if namespace else "Cluster"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    role = {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{prefix}Role",
        "metadata": metadata,
        "rules": list(rules),
    }
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{prefix}RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": f"{prefix}Role", "name": name},
        "subjects": [
            {"kind": "ServiceAccount", "name": CONTROLLER_ACCOUNT, "namespace": SYSTEM_NAMESPACE}
        ],
    }
    cluster.apply([role, binding])


def leads(process: OperatorProcess) -> bool:
    """Whether a controller says that it leads."""
    return process.metric("plimsoll_leader") == 1


def leader_of(
    processes: Sequence[OperatorProcess], seconds: float = 20.0
) -> tuple[OperatorProcess, list[OperatorProcess]]:
    """The one that leads, once there is one, and the others."""

    def one() -> list[OperatorProcess]:
        return [process for process in processes if leads(process)]

    (leader,) = until(one, seconds, "one of them leads")
    return leader, [process for process in processes if process is not leader]


def lease(cluster: Cluster) -> dict[str, Any]:
    """The spec of the Lease."""
    found: dict[str, Any] = cluster.get("lease", LEASE, "-n", SYSTEM_NAMESPACE)["spec"]
    return found
