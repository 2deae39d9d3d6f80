"""Which taints of nodes a placement tolerates: those that keep pods without a GPU off, and those
that the request names.

A taint for one team, for spot nodes or for anything else is there so that only pods which ask for
it run on the node: it is never tolerated unasked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Pool

Taint = tuple[str, str, str]
Toleration = tuple[str, str, str, str]
HARD: Final = ("NoSchedule", "NoExecute")
"""Effects that keep pods off; PreferNoSchedule only expresses a preference."""
_KEY: Final = re.compile(r"(^|[./_-])(gpus?|accelerators?)$")
_VALUE: Final = re.compile(r"(nvidia|amd)?[-_]?gpus?|nvidia|present-gpu")
_TROUBLE: Final = "node.kubernetes.io/"
"""Beginning of the keys of taints that Kubernetes puts on nodes in trouble."""
_SPOT: Final = frozenset(
    {
        ("karpenter.sh/capacity-type", "spot"),
        ("eks.amazonaws.com/capacitytype", "spot"),
        ("cloud.google.com/gke-spot", "true"),
        ("cloud.google.com/gke-preemptible", "true"),
        ("cloud.google.com/gke-provisioning", "spot"),
        ("cloud.google.com/gke-provisioning", "preemptible"),
        ("kubernetes.azure.com/scalesetpriority", "spot"),
        ("node.kubernetes.io/lifecycle", "spot"),
        ("oci.oraclecloud.com/oke-is-preemptible", "true"),
        ("nebius.com/preemptible", "true"),
        ("machine.openshift.io/interruptible-instance", ""),
    }
)
"""Labels of nodes that may be taken away at any time, in small letters."""


def is_for_accelerators(taint: Taint, resource: str) -> bool:
    """Whether a taint only keeps pods off that ask for no GPU (``nvidia.com/gpu``, ``sku=gpu``)."""
    key, value, _ = taint
    return bool(key == resource or _KEY.search(key.lower()) or _VALUE.fullmatch(value.lower()))


def tolerated(taint: Taint, tolerations: tuple[Toleration, ...]) -> bool:
    """Whether one of these tolerations is of this taint, as Kubernetes matches them."""
    key, value, effect = taint
    return any(
        (not to or to == key)
        and (not for_effect or for_effect == effect)
        and ((operator == "Exists") or (bool(to) and wanted == value))
        for to, operator, wanted, for_effect in tolerations
    )


def kept_off(pool: Pool, tolerations: tuple[Toleration, ...]) -> tuple[Taint, ...]:
    """The taints of a pool that a placement does not tolerate."""
    resource = pool.accelerator.resource
    return tuple(
        taint
        for taint in sorted(pool.taints)
        if taint[2] in HARD
        and not taint[0].startswith(_TROUBLE)
        and not is_for_accelerators(taint, resource)
        and not tolerated(taint, tolerations)
    )


def tolerations(pool: Pool, asked: tuple[Toleration, ...]) -> tuple[Toleration, ...]:
    """What a pod must tolerate to run on the pool, as (key, operator, value, effect).

    A taint that names the GPU resource is tolerated whatever its value. Taints that Kubernetes
    puts on nodes in trouble, and those that only express a preference, are left alone.
    """
    off = kept_off(pool, asked)
    return tuple(
        (key, "Exists", "", effect)
        if key == pool.accelerator.resource or not value
        else (key, "Equal", value, effect)
        for key, value, effect in sorted(pool.taints)
        if effect in HARD and (key, value, effect) not in off and not key.startswith(_TROUBLE)
    )


def may_be_taken_away(pool: Pool) -> bool:
    """Whether all nodes of a pool are spot or preemptible ones."""
    return pool.spot or any((key.lower(), value.lower()) in _SPOT for key, value in pool.labels)
