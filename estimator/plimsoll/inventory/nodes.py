"""From Node objects, as plain dicts, to the facts that an inventory keeps of them.

It must not fetch a node, and it never guesses: a node whose labels contradict its capacity, or
whose GPUs are shared, is set aside with the reason.

    capacity     what the machine has; a label that counts GPUs must agree with it
    allocatable  what pods may have of it; less if a GPU is unhealthy: what is planned with
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators.labels import (
    GPU,
    PRODUCT,
    Found,
    Unclear,
    mig_resource,
    recognise,
    shared_by,
    with_resource,
)
from plimsoll.accelerators.types import MAX_GPUS
from plimsoll.errors import Unreadable, shown
from plimsoll.inventory.pools import Inventory, NodeFacts, Offer, SetAside, pools
from plimsoll.units import parse_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

_MIG: Final = "nvidia.com/mig-"
_AMD: Final = "amd.com/gpu"
_HOSTNAME: Final = "kubernetes.io/hostname"

_DROPPED: Final = (
    "alpha.eksctl.io/instance-id",
    "cloud.google.com/gce-topology-host",
    "nvidia.com/gfd.timestamp",
    "nvidia.com/gpu-driver-upgrade",
    "nvidia.com/gpu.deploy.",
    "nvidia.com/mig.config.state",
    "oci.oraclecloud.com/host.id",
    "topology.k8s.aws/network-node-layer",
)
"""Beginnings of label keys whose values belong to one node, or flip while its agents work."""

_PASSING: Final = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "karpenter.sh/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
)
"""Beginnings of the keys of taints that say how a node is today, not what it is for."""

_NO_PLUGIN: Final = (
    "its labels name GPUs and its capacity has none: the device plugin has not started, or has "
    "failed"
)


def kept_labels(labels: Mapping[str, str], name: str = "") -> frozenset[tuple[str, str]]:
    """The labels that a user's node selector may ask for.

    All but those of one node alone: the host name (`NodeFacts.carries` knows it) and the keys
    that `_DROPPED` lists. What is left is the same for many nodes, so that they share one set.
    """
    return _one(
        frozenset(
            (sys.intern(key), sys.intern(value))
            for key, value in labels.items()
            if not key.startswith(_DROPPED) and not (key == _HOSTNAME and value == name)
        )
    )


@lru_cache(maxsize=2048)
def _one(labels: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """One object for all equal sets."""
    return labels


@lru_cache(maxsize=2048)
def _same(offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """One object for all equal offers."""
    return offers


def read_node(node: Mapping[str, Any]) -> NodeFacts | SetAside | None:
    """What to keep of a Node object; None if it has no GPU to do with us. Total."""
    metadata, status = _mapping(node.get("metadata")), _mapping(node.get("status"))
    spec = _mapping(node.get("spec"))
    name, labels = _name(metadata), _labels(metadata)
    allocatable = _counts(status.get("allocatable"))
    capacity = _counts(status.get("capacity")) or allocatable
    offers = _offers(labels, capacity, allocatable)
    if isinstance(offers, str):
        return SetAside(name, offers)
    if not offers:
        return None
    taints, passing = _taints(spec.get("taints"))
    return NodeFacts(
        name=name,
        offers=_same(offers),
        labels=kept_labels(labels, name),
        taints=taints,
        ready=_is_ready(status)
        and not passing
        and spec.get("unschedulable") is not True
        and metadata.get("deletionTimestamp") is None,
        memory=_memory(status.get("allocatable")),
    )


def trimmed(node: Mapping[str, Any]) -> dict[str, Any]:
    """A Node object with nothing in it but what `read_node` looks at, to be saved."""
    metadata, status = _mapping(node.get("metadata")), _mapping(node.get("status"))
    spec = _mapping(node.get("spec"))
    labels = _labels(metadata)
    name = _name(metadata)
    kept: dict[str, Any] = {"name": name, "labels": dict(sorted(kept_labels(labels, name)))}
    if metadata.get("deletionTimestamp") is not None:
        kept["deletionTimestamp"] = str(metadata["deletionTimestamp"])
    return {
        "kind": "Node",
        "metadata": kept,
        "spec": {
            key: spec[key] for key in ("taints", "unschedulable") if spec.get(key) is not None
        },
        "status": {
            "capacity": _gpus(status.get("capacity")),
            "allocatable": {
                **_gpus(status.get("allocatable")),
                **_said_memory(status.get("allocatable")),
            },
            "conditions": [{"type": "Ready", "status": str(_is_ready(status))}],
        },
    }


def _offers(
    labels: Mapping[str, str], capacity: Mapping[str, int], allocatable: Mapping[str, int]
) -> tuple[Offer, ...] | str:
    """What a node has to give, or why it cannot be said."""
    recognised = recognise(labels)
    if recognised is None and not any(capacity.values()):
        return ()
    if sharing := shared_by(labels):
        return f"its GPUs are {sharing}: no model can count on the memory of one"
    if not capacity:
        return _NO_PLUGIN
    partitioned = any(capacity[r] > 0 for r in capacity if r.startswith(_MIG))
    if partitioned and capacity.get(GPU) == 0:
        capacity = {r: count for r, count in capacity.items() if r != GPU}
    offers: list[Offer] = []
    for resource in sorted(capacity):
        count = allocatable.get(resource, 0)
        if why := _contradiction(labels, resource, capacity[resource], count, partitioned):
            return why
        one = mig_resource(labels, resource) if resource.startswith(_MIG) else recognised
        if one is None:
            return (
                f"no label says which GPU it has: {PRODUCT} (GPU Feature Discovery) or a "
                "cloud's own label is wanted"
            )
        if isinstance(one, Unclear):
            return one.why
        if why := _foreign_resource(one, resource):
            return why
        if count:
            offers.append(_offer(one, resource, count))
    return tuple(offers) or "no GPU of it is allocatable today: all are unhealthy or withdrawn"


def _offer(recognised: Found, resource: str, count: int) -> Offer:
    # the single strategy calls slices nvidia.com/gpu
    accelerator = with_resource(recognised.accelerator, resource)
    return Offer(accelerator, count, recognised.dialect, recognised.selector)


def _foreign_resource(recognised: Found, resource: str) -> str:
    """Why a resource cannot be what the labels name; empty if it can."""
    if (resource == _AMD) == (recognised.accelerator.resource == _AMD):
        return ""
    named = ", ".join(f"{key}={value}" for key, value in recognised.selector)
    return (
        f"its capacity has {resource} and its labels name {recognised.accelerator.title} ({named})"
    )


def _contradiction(
    labels: Mapping[str, str], resource: str, capacity: int, allocatable: int, partitioned: bool
) -> str:
    """Why the count of a resource cannot be believed; empty if it can."""
    if capacity < 0 or allocatable < 0:
        return f"the count of {resource} is not a whole number"
    if max(capacity, allocatable) > MAX_GPUS:
        return f"{resource} is {max(capacity, allocatable)}, and no node has more than {MAX_GPUS}"
    if allocatable > capacity:
        return f"{allocatable} {resource} are allocatable and its capacity is {capacity}"
    if resource == GPU and capacity == 0:
        return _NO_PLUGIN
    if resource.startswith(_MIG) and (sharing := shared_by(labels, resource)):
        return f"its {resource} are {sharing}: no model can count on the memory of one"
    count = labels.get(f"{resource}.count")
    if count is None or resource == _AMD:
        return ""
    if not (count.isascii() and count.isdecimal()) or len(count) > 6:
        return f"label {resource}.count={shown(count)} is not a number"
    # beside slices, the label counts the GPUs that were cut up too
    if int(count) == capacity or (partitioned and resource == GPU and int(count) > capacity):
        return ""
    return f"label {resource}.count={count} contradicts its capacity of {capacity} {resource}"


def _name(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("name") or "unnamed")[:253]


def _labels(metadata: Mapping[str, Any]) -> dict[str, str]:
    pairs = _mapping(metadata.get("labels")).items()
    return {k: v for k, v in pairs if isinstance(k, str) and isinstance(v, str)}


def _gpus(resources: object) -> dict[str, str]:
    """The GPU resources among a node's, and their quantities as written."""
    return {
        key: str(value)
        for key, value in _mapping(resources).items()
        if key in (GPU, _AMD) or (isinstance(key, str) and key.startswith(_MIG))
    }


def _said_memory(resources: object) -> dict[str, str]:
    """A host's memory as written, if it is."""
    memory = _mapping(resources).get("memory")
    return {"memory": str(memory)[:64]} if isinstance(memory, str | int) else {}


def _memory(resources: object) -> int:
    """Bytes of a host that pods may use; 0 if it is not said or not to be read."""
    try:
        return parse_memory(_said_memory(resources).get("memory", "0"))
    except Unreadable:
        return 0


def _counts(resources: object) -> dict[str, int]:
    """GPU resources and how many; -1 if the quantity is no whole number."""
    counts = {
        key: int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
        for key, text in _gpus(resources).items()
    }
    # a node that was partitioned once keeps the old profiles at 0
    return {key: count for key, count in counts.items() if count or key == GPU}


def _taints(taints: object) -> tuple[tuple[tuple[str, str, str], ...], bool]:
    """The taints that say what a node is for, and whether one keeps pods off it today."""
    written = [
        (str(t.get("key", "")), str(t.get("value") or ""), str(t.get("effect", "")))
        for t in (taints if isinstance(taints, list) else [])
        if isinstance(t, Mapping)
    ]
    passing = [t for t in written if t[0].startswith(_PASSING)]
    return (
        tuple(sorted(t for t in written if t not in passing)),
        any(effect in ("NoSchedule", "NoExecute") for _, _, effect in passing),
    )


def _is_ready(status: Mapping[str, Any]) -> bool:
    conditions = status.get("conditions")
    return any(
        isinstance(c, Mapping) and c.get("type") == "Ready" and c.get("status") == "True"
        for c in (conditions if isinstance(conditions, list) else [])
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def read_nodes(nodes: Iterable[Mapping[str, Any]], set_aside: Iterable[SetAside] = ()) -> Inventory:
    """The inventory of these Node objects, beside nodes that were set aside before."""
    read = (read_node(node) for node in nodes)
    return pools([facts for facts in read if facts is not None], set_aside)
