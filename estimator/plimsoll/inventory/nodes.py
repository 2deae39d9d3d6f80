"""From Node objects, as plain dicts, to the facts that an inventory keeps of them.

It must not fetch a node, and it never guesses: a node whose labels contradict its capacity, or
whose GPUs are shared, is set aside with the reason.

    capacity     what the machine has; no label that counts GPUs may say less
    allocatable  what pods may have of it; less if a GPU is unhealthy: what is planned with
    slices       with the whole GPUs beside them no more than the machine has
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators.counts import (
    GPU,
    gpus_cut_up,
    machine_gpus,
    shared_by,
    slices_of_one,
)
from plimsoll.accelerators.found import Found, Unclear, pairs
from plimsoll.accelerators.labels import mig_resource, recognise, with_resource
from plimsoll.accelerators.types import MAX_GPUS
from plimsoll.errors import Unreadable, shown
from plimsoll.inventory import others
from plimsoll.inventory.dialects import spoken
from plimsoll.inventory.facts import Asked, NodeFacts, Offer
from plimsoll.inventory.plain import mapping, mappings
from plimsoll.inventory.pools import Inventory, SetAside, pools
from plimsoll.units import parse_cpu, parse_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from plimsoll.accelerators.types import Dialect
    from plimsoll.inventory.held import Taken

_MIG: Final = "nvidia.com/mig-"
_AMD: Final = "amd.com/gpu"
_SIZES: Final = ("memory", "ephemeral-storage", "cpu", "pods")
ASKED: Final = "podsAsk"
"""Where a saved node keeps what all its pods ask of it beside accelerators."""
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
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "cloud.google.com/impending-node-termination",
    "aws-node-termination-handler/",
    "medik8s.io/remediation",
    "remediation.medik8s.io/",
)
"""Beginnings of the keys of taints that say how a node is today, not what it is for."""
_NOT_YET: Final = ("not-ready", "notready", "unhealthy", "uninitialized", "unregistered")
"""Ends of such keys: agents of networks and disks keep pods off a node until they run."""

_NO_PLUGIN: Final = (
    "its labels name GPUs and its capacity has none: the device plugin has not started, or has "
    "failed, or its GPUs are given out by DRA (its ResourceSlices are read where they are listed "
    "beside the nodes)"
)
_ALONE: Final = "no model can count on the memory of one"

_MOST_SETS: Final = 2048
_SETS: Final[dict[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]] = {}
"""One object for all equal sets of labels, of the last so many."""


def kept_labels(labels: Mapping[str, str], name: str = "") -> frozenset[tuple[str, str]]:
    """The labels that a user's node selector may ask for.

    All but those of one node alone: the host name (`NodeFacts.carries` knows it) and the keys
    that `_DROPPED` lists. What is left is the same for many nodes, so that they share one set.
    """
    kept = frozenset(
        [pair for pair in labels.items() if not _is_dropped(pair[0]) and pair != (_HOSTNAME, name)]
    )
    one = _SETS.get(kept)
    if one is None:
        one = frozenset((sys.intern(key), sys.intern(value)) for key, value in kept)
        while len(_SETS) >= _MOST_SETS:
            _SETS.pop(next(iter(_SETS)), None)
        _SETS[one] = one
    return one


@lru_cache(maxsize=4096)
def _is_dropped(key: str) -> bool:
    return key.startswith(_DROPPED)


@lru_cache(maxsize=2048)
def _same(offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """One object for all equal offers."""
    return offers


def read_node(
    node: Mapping[str, Any], given_out: tuple[Offer, ...] = ()
) -> NodeFacts | SetAside | None:
    """What to keep of a Node object; None if it has no accelerator to do with us. Total.

    given_out: its devices in ResourceSlices, for a node whose device plugin has none.
    """
    metadata, status = mapping(node.get("metadata")), mapping(node.get("status"))
    name, labels = _name(metadata), _labels(metadata)
    offers, asides = _offers(labels, _annotations(metadata), status)
    if given_out and not offers:
        offers, asides = given_out, ()
    if not offers:
        return SetAside(name, "; ".join(asides)) if asides else None
    return _facts(node, labels, offers, asides)


def without_offers(node: Mapping[str, Any]) -> NodeFacts:
    """What would be kept of a node if a DRA driver gave its GPUs out, without these. Total."""
    return _facts(node, _labels(mapping(node.get("metadata"))), (), ())


def _facts(
    node: Mapping[str, Any],
    labels: Mapping[str, str],
    offers: tuple[Offer, ...],
    asides: tuple[str, ...],
) -> NodeFacts:
    metadata, status = mapping(node.get("metadata")), mapping(node.get("status"))
    spec, name = mapping(node.get("spec")), _name(metadata)
    taints, passing = _taints(spec.get("taints"))
    said = _said_sizes(status.get("allocatable"))
    return NodeFacts(
        name=name,
        offers=_same(offers),
        labels=kept_labels(labels, name),
        taints=taints,
        ready=_is_ready(status)
        and not passing
        and spec.get("unschedulable") is not True
        and metadata.get("deletionTimestamp") is None,
        memory=_size(said.get("memory", "0")),
        disk=_size(said.get("ephemeral-storage", "0")),
        cpu=_cpu(said.get("cpu", "0")),
        pods=_whole(said.get("pods")),
        asides=asides,
        speaks=spoken(labels),
        asked=_asked(node.get(ASKED)),
    )


def trimmed(node: Mapping[str, Any], asked: Asked | None = None) -> dict[str, Any]:
    """A Node object with nothing in it but what `read_node` looks at, to be saved.

    asked: what all its pods ask of it, if that is known.
    """
    asked = asked or _asked(node.get(ASKED))
    metadata, status = mapping(node.get("metadata")), mapping(node.get("status"))
    spec = mapping(node.get("spec"))
    labels = _labels(metadata)
    name = _name(metadata)
    kept: dict[str, Any] = {"name": name, "labels": dict(sorted(kept_labels(labels, name)))}
    if annotations := _annotations(metadata):
        kept["annotations"] = annotations
    if metadata.get("deletionTimestamp") is not None:
        kept["deletionTimestamp"] = str(metadata["deletionTimestamp"])
    return {
        "kind": "Node",
        "metadata": kept,
        "spec": {
            key: spec[key] for key in ("taints", "unschedulable") if spec.get(key) is not None
        },
        "status": {
            "capacity": {
                **_gpus(status.get("capacity")),
                **_gpus(status.get("capacity"), others.is_accelerator),
            },
            "allocatable": {
                **_gpus(status.get("allocatable")),
                **_said_sizes(status.get("allocatable")),
            },
            "conditions": [{"type": "Ready", "status": str(_is_ready(status))}],
        },
        **({ASKED: asdict(asked)} if asked is not None else {}),
    }


def _offers(
    labels: Mapping[str, str], annotations: Mapping[str, str], status: Mapping[str, Any]
) -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """What a node has to give, and why something of it is set aside."""
    allocatable = _counts(status.get("allocatable"))
    capacity = _counts(status.get("capacity")) or allocatable
    asides = others.set_aside(_counts(status.get("capacity"), others.is_accelerator))
    counted = any(capacity.values())
    recognised = recognise(labels)
    if not counted and (asides or recognised is None):
        told = others.told_of(labels)
        return (), asides or ((told,) if told else ())
    offers = _counted(labels, annotations, capacity, allocatable, recognised)
    if isinstance(offers, str):
        return (), (offers, *asides)
    whole = [offer for offer in offers if offer.accelerator.resource == GPU]
    if whole and (why := _cut_up(labels, capacity, offers)):
        offers = tuple(offer for offer in offers if offer not in whole)
        asides = (why, *asides)
    return offers, asides


def _counted(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    capacity: Mapping[str, int],
    allocatable: Mapping[str, int],
    recognised: Found | Unclear | None,
) -> tuple[Offer, ...] | str:
    """The GPUs and slices of a node, or why they cannot be said."""
    if isinstance(recognised, Unclear) and not any(capacity.values()):
        return recognised.why
    if sharing := shared_by(labels) or others.shared_by_hami(annotations):
        return f"its GPUs are {sharing}: {_ALONE}"
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
            return others.unnamed(labels, resource)
        if isinstance(one, Unclear):
            return one.why
        if why := _foreign_resource(one, resource) or _too_many(
            labels, one, resource, capacity[resource]
        ):
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
    named = pairs(recognised.selector)
    return (
        f"its capacity has {resource} and its labels name {recognised.accelerator.title} ({named})"
    )


def _too_many(labels: Mapping[str, str], one: Found, resource: str, capacity: int) -> str:
    """Why there are more of a resource than the machine can have; empty if there are not."""
    machine, label = machine_gpus(labels)
    if not machine or capacity <= machine * slices_of_one(one.accelerator):
        return ""
    gpus = f"{machine} GPU{'s' if machine > 1 else ''}"
    how = "partitioned or shared" if resource == _AMD else "shared (time-slicing or MPS)"
    return (
        f"its capacity of {capacity} {resource} is more than a machine of {gpus} has ({label}): "
        f"they are {how}, and {_ALONE}"
    )


def _cut_up(
    labels: Mapping[str, str], capacity: Mapping[str, int], offers: tuple[Offer, ...]
) -> str:
    """Why the whole GPUs beside slices are not counted: the machine has not so many; or empty."""
    slices = {r.removeprefix(_MIG): count for r, count in capacity.items() if r.startswith(_MIG)}
    physical, label = machine_gpus(labels)
    count = labels.get(f"{GPU}.count", "")
    if count.isascii() and count.isdecimal() and len(count) < 5:
        physical, label = int(count), f"{GPU}.count={count}"
    parent = next((o.accelerator.mig_of for o in offers if o.accelerator.mig_of), "")
    if not slices or not physical or not parent:
        return ""
    used = gpus_cut_up(parent, slices)
    if capacity.get(GPU, 0) + used <= physical:
        return ""
    told = ", ".join(f"{count} x {profile}" for profile, count in sorted(slices.items()))
    return (
        f"its {capacity.get(GPU, 0)} whole GPUs are not counted: the slices ({told}) take "
        f"{used} of {physical} ({label})"
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
        return f"its {resource} are {sharing}: {_ALONE}"
    count = labels.get(f"{resource}.count")
    if count is None or resource == _AMD:
        return ""
    if not (count.isascii() and count.isdecimal()) or len(count) > 6:
        return f"label {resource}.count={shown(count)} is not a number"
    # beside slices, the label counts the GPUs that were cut up too
    if int(count) == capacity or (partitioned and resource == GPU and int(count) > capacity):
        return ""
    why = f"label {resource}.count={count} contradicts its capacity of {capacity} {resource}"
    if resource == GPU and int(count) < capacity:
        why += f": they are shared (time-slicing or MPS) or of several kinds, and {_ALONE}"
    return why


def _name(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("name") or "unnamed")[:253]


def _labels(metadata: Mapping[str, Any]) -> dict[str, str]:
    pairs = mapping(metadata.get("labels")).items()
    return {k: v for k, v in pairs if isinstance(k, str) and isinstance(v, str)}


def _annotations(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The annotations that are read."""
    written = mapping(metadata.get("annotations"))
    return {key: str(written[key])[: others.LONGEST] for key in others.REGISTERED if key in written}


def is_counted(resource: str) -> bool:
    """Whether a resource is one that is planned on."""
    return resource in (GPU, _AMD) or (
        resource.startswith(_MIG) and not resource.endswith(".shared")
    )


def _gpus(resources: object, of_kind: Callable[[str], bool] = is_counted) -> dict[str, str]:
    """The GPU resources among a node's, and their quantities as written."""
    return {
        key: str(value)
        for key, value in mapping(resources).items()
        if isinstance(key, str) and of_kind(key)
    }


def _said_sizes(resources: object) -> dict[str, str]:
    """What a host has beside accelerators, as written, if it is."""
    said = {key: mapping(resources).get(key) for key in _SIZES}
    return {key: str(size)[:64] for key, size in said.items() if isinstance(size, str | int)}


@lru_cache(maxsize=2048)
def _size(text: str) -> int:
    """Bytes that pods may use, one object for all nodes alike; 0 if it is not to be read."""
    try:
        return parse_memory(text)
    except Unreadable:
        return 0


@lru_cache(maxsize=2048)
def _cpu(text: str) -> int:
    """Thousandths of a CPU that pods may use; 0 if it is not to be read."""
    try:
        return parse_cpu(text)
    except Unreadable:
        return 0


def _whole(value: object) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _asked(saved: object) -> Asked | None:
    """What all pods ask of a saved node; None if that is not known."""
    if not isinstance(saved, Mapping):
        return None
    return Asked(*(_whole(saved.get(one.name)) for one in fields(Asked)))


def _counts(resources: object, of_kind: Callable[[str], bool] = is_counted) -> dict[str, int]:
    """GPU resources and how many; -1 if the quantity is no whole number."""
    counts = {
        key: int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
        for key, text in _gpus(resources, of_kind).items()
    }
    # a node that was partitioned once keeps the old profiles at 0
    return {key: count for key, count in counts.items() if count or key == GPU}


def _taints(taints: object) -> tuple[tuple[tuple[str, str, str], ...], bool]:
    """The taints that say what a node is for, and whether one keeps pods off it today."""
    written = [
        (str(t.get("key", "")), str(t.get("value") or ""), str(t.get("effect", "")))
        for t in mappings(taints)
    ]
    passing = [t for t in written if t[0].startswith(_PASSING) or t[0].lower().endswith(_NOT_YET)]
    return (
        tuple(sorted(t for t in written if t not in passing)),
        any(effect in ("NoSchedule", "NoExecute") for _, _, effect in passing),
    )


def _is_ready(status: Mapping[str, Any]) -> bool:
    conditions = mappings(status.get("conditions"))
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def read_nodes(
    nodes: Iterable[Mapping[str, Any]],
    set_aside: Iterable[SetAside] = (),
    given_out: Mapping[str, tuple[Offer, ...]] = MappingProxyType({}),
    taken: Mapping[str, tuple[Taken, ...]] | None = None,
    asked: Mapping[str, Asked] | None = None,
) -> Inventory:
    """The inventory of these Node objects, beside nodes that were set aside before.

    given_out: devices in ResourceSlices, by node (see `plimsoll.inventory.devices`).
    taken: what pods hold, by node (see `plimsoll.inventory.pods`); None if no pods were read.
    asked: what they ask of it beside; None if not all pods were read.
    """
    facts: list[NodeFacts | SetAside] = []
    speak: set[Dialect] = set()
    for node in nodes:
        metadata = mapping(node.get("metadata"))
        read = read_node(node, given_out.get(_name(metadata), ()))
        said = spoken(_labels(metadata))
        if isinstance(read, NodeFacts) and taken:
            read = replace(read, taken=taken.get(read.name, ()))
        if isinstance(read, NodeFacts) and asked is not None:
            read = replace(read, asked=asked.get(read.name, Asked()))
        if read is not None:
            facts.append(read)
        elif said is not None:
            speak.add(said)
    return pools(facts, set_aside, speak=speak, pods_read=taken is not None)
