"""From a node's labels to the accelerator that they name, in whichever dialect they are written.

It must not read memory out of a product's name (GH200's says 480GB, which is the CPU's), and it
must not know how many GPUs a node has to give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.types import Accelerator, Dialect, Labels
from plimsoll.errors import shown
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

PRODUCT: Final = "nvidia.com/gpu.product"
MEMORY: Final = "nvidia.com/gpu.memory"
TOLERANCE: Final = 0.03
"""How far a node's memory label may lie from the table's; drivers and ECC move it that much."""

GPU: Final = "nvidia.com/gpu"
_GKE: Final = "cloud.google.com/gke-accelerator"
_GKE_PARTITION: Final = "cloud.google.com/gke-gpu-partition-size"
_GKE_SHARING: Final = "cloud.google.com/gke-gpu-sharing-strategy"
_AMD_PARTITION: Final = (
    "amd.com/gpu.compute-memory-partition",
    "amd.com/compute-memory-partition",
)
_NONE: Final = ("", "none")

_MIG_PRODUCT: Final = re.compile(r"(?P<parent>.+)-MIG-(?P<profile>[0-9a-z.+]+)")
_NAME: Final = re.compile(r"[^a-z0-9.]+")

_FOREIGN: Final[tuple[tuple[Dialect, tuple[str, ...]], ...]] = (
    (
        Dialect.KARPENTER_AWS,
        ("karpenter.k8s.aws/instance-gpu-memory", "karpenter.k8s.aws/instance-gpu-name"),
    ),
    (Dialect.GKE, (_GKE,)),
    (Dialect.KARPENTER_AZURE, ("karpenter.azure.com/sku-name",)),
    (Dialect.AKS, ("node.kubernetes.io/instance-type",)),
    (Dialect.AMD, ("amd.com/gpu.product-name",)),
    (Dialect.AMD, ("amd.com/gpu.device-id",)),
)
"""Dialects whose labels name an accelerator, in the order in which they are asked."""

AUTOSCALED: Final = (Dialect.KARPENTER_AWS, Dialect.GKE, Dialect.KARPENTER_AZURE)
"""Dialects that a provisioner knows before a node exists: preferred over GPU Feature Discovery's
labels, which a pool that scales from zero cannot promise."""


@dataclass(frozen=True, slots=True)
class Found:
    """What labels say. accelerator: with the memory that the node reports, if it does.

    selector: the labels that select such nodes, in `dialect`.
    """

    accelerator: Accelerator
    dialect: Dialect
    selector: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Unclear:
    """Labels that name no accelerator for sure; why: in words that the node's owner can act on."""

    why: str


def mebibytes(labels: Mapping[str, str], key: str = MEMORY) -> int | None:
    """Bytes in a label that counts MiB; None if it is missing or no number."""
    text = labels.get(key, "")
    return int(text) * MIB if text.isascii() and text.isdecimal() and len(text) <= 9 else None


def compute_capability(labels: Mapping[str, str]) -> tuple[int, int]:
    """(major, minor) of GPU Feature Discovery's labels; (0, 0) if they are missing."""
    major = labels.get("nvidia.com/gpu.compute.major", "")
    minor = labels.get("nvidia.com/gpu.compute.minor", "")
    if major.isdecimal() and minor.isdecimal() and len(major) <= 3 and len(minor) <= 3:
        return int(major), int(minor)
    return 0, 0


def shared_by(labels: Mapping[str, str], resource: str = GPU) -> str:
    """How the GPUs of a resource are shared among pods; empty if each pod has its own.

    A shared product's label ends in -SHARED, unless the device plugin gives shared GPUs a
    resource of another name; GKE has a label of its own.
    """
    strategies = [labels.get(f"{resource}.sharing-strategy", "")]
    strategies += [labels.get(_GKE_SHARING, "")] if resource == GPU else []
    for strategy in strategies:
        if strategy.lower() not in _NONE:
            return f"shared by {strategy[:63]}"
    replicas = labels.get(f"{resource}.replicas", "1")
    if replicas.isdecimal() and int(replicas[:9]) > 1:
        return f"shared, {replicas[:9]} pods to one"
    return "shared" if labels.get(f"{resource}.product", "").endswith("-SHARED") else ""


def recognise(labels: Mapping[str, str]) -> Found | Unclear | None:
    """The accelerator that a node's labels name; None if they name none at all."""
    foreign = _foreign(labels)
    product = labels.get(PRODUCT)
    if product is None or isinstance(foreign, Unclear):
        return foreign
    found = _from_product(product, labels)
    if foreign is None or isinstance(found, Unclear):
        return found
    theirs, ours = foreign.accelerator, found.accelerator
    if (theirs.mig_of or theirs.name) != (ours.mig_of or ours.name):
        named = ", ".join(f"{key}={value}" for key, value in foreign.selector)
        return Unclear(f"label {PRODUCT}={product} contradicts {named}, which is {theirs.title}")
    if foreign.dialect in AUTOSCALED and theirs.mig_profile == ours.mig_profile:
        return Found(ours, foreign.dialect, foreign.selector)
    return found


def _from_product(product: str, labels: Mapping[str, str]) -> Found | Unclear:
    reported = mebibytes(labels)
    if MEMORY in labels and not reported:
        return Unclear(f"label {MEMORY}={shown(labels[MEMORY])} is not a number of MiB")
    selector = ((PRODUCT, product),)
    known = catalogue.find(product)
    if known is None and (match := _MIG_PRODUCT.fullmatch(product)):
        known = _slice(match["parent"], match["profile"], reported, labels)
    if known is None and reported is not None:
        return Found(_unknown(product, reported, labels), Dialect.GFD, selector)
    if known is None:
        return Unclear(
            f"{PRODUCT}={product} is not in the accelerator table and the node has no label "
            f"{MEMORY}"
        )
    checked = _checked(known, reported, labels, MEMORY, f"{PRODUCT}={product}")
    return checked if isinstance(checked, Unclear) else Found(checked, Dialect.GFD, selector)


def _checked(
    known: Accelerator, reported: int | None, labels: Mapping[str, str], key: str, product: str
) -> Accelerator | Unclear:
    """The accelerator with the memory that its node reports, if that can be the same product."""
    if reported is None:
        return known
    if known.certain and abs(reported - known.memory) > TOLERANCE * known.memory:
        return Unclear(
            f"label {key}={labels[key]} contradicts {product}, which has {known.memory // MIB} MiB"
        )
    return _reported(known, reported, key)


@lru_cache(maxsize=1024)
def _reported(known: Accelerator, memory: int, key: str) -> Accelerator:
    """The accelerator with the memory that nodes report: one object for all that agree."""
    return replace(known, memory=memory, certain=True, source=f"node label {key}")


@lru_cache(maxsize=1024)
def _new_slice(parent: Accelerator, profile: str, memory: int) -> Accelerator:
    return catalogue.mig_slice(parent, profile, memory, source="the node's memory label")


def _slice(
    product: str, profile: str, reported: int | None, labels: Mapping[str, str]
) -> Accelerator | None:
    """A MIG slice by product and profile: the table's, or a new one of the reported memory."""
    parent = catalogue.find(product)
    known = catalogue.find(f"{parent.name}-mig-{profile}") if parent else None
    if known is not None or reported is None:
        return known
    return _new_slice(parent or _unknown(product, reported, labels), profile, reported)


@lru_cache(maxsize=1024)
def with_resource(accelerator: Accelerator, resource: str) -> Accelerator:
    """The accelerator under the resource that its nodes give it."""
    if accelerator.resource == resource:
        return accelerator
    return replace(accelerator, resource=resource)


def mig_resource(labels: Mapping[str, str], resource: str) -> Found | Unclear:
    """The slice behind a resource ``nvidia.com/mig-<profile>`` of the mixed strategy."""
    profile = resource.removeprefix("nvidia.com/mig-")
    whole = labels.get(PRODUCT, "")
    product = labels.get(f"{resource}.product") or whole
    match = _MIG_PRODUCT.fullmatch(product)
    parent = match["parent"] if match else product
    key = f"{resource}.memory"
    reported = mebibytes(labels, key)
    if key in labels and not reported:
        return Unclear(f"label {key}={shown(labels[key])} is not a number of MiB")
    known = _slice(parent, profile, reported, labels) if parent else None
    if known is None:
        return Unclear(
            f"{resource} of {parent or 'an unnamed product'} is not in the accelerator table and "
            f"the node has no label {key}"
        )
    checked = _checked(known, reported, labels, key, f"profile {profile} of {parent}")
    if isinstance(checked, Unclear):
        return checked
    return Found(checked, Dialect.GFD, ((PRODUCT, whole),) if whole else ())


def _unknown(product: str, memory: int, labels: Mapping[str, str]) -> Accelerator:
    """An accelerator of its own for a product that the table does not have."""
    return Accelerator(
        name=_NAME.sub("-", product.lower()).strip("-.")[:63] or "unnamed",
        title=product,
        memory=memory,
        resource="nvidia.com/gpu",
        family=labels.get("nvidia.com/gpu.family", ""),
        compute=compute_capability(labels),
        gpus_per_node=8,
        labels=(Labels(Dialect.GFD, ((PRODUCT, product),)),),
        products=(product,),
        source=f"node label {MEMORY}",
    )


@cache
def _index() -> dict[tuple[Dialect, tuple[tuple[str, str], ...]], Accelerator]:
    """The table by dialect and selector."""
    return {
        (entry.dialect, entry.selector): accelerator
        for accelerator in reversed(catalogue.full_gpus())
        for entry in accelerator.labels
    }


def _foreign(labels: Mapping[str, str]) -> Found | Unclear | None:
    """What a cloud's, a provisioner's or AMD's labels name."""
    for dialect, keys in _FOREIGN:
        if keys[0] not in labels:
            continue
        selector = tuple((key, labels[key]) for key in keys if key in labels)
        accelerator = _index().get((dialect, selector))
        if accelerator is None:
            continue
        if accelerator.resource == "amd.com/gpu":
            return _amd(accelerator, dialect, selector, labels)
        profile = labels.get(_GKE_PARTITION) if dialect is Dialect.GKE else None
        if profile is None:
            return Found(accelerator, dialect, selector)
        known = catalogue.find(f"{accelerator.name}-mig-{profile}")
        if known is None:
            return Unclear(
                f"label {_GKE_PARTITION}={shown(profile)} names no MIG profile of "
                f"{accelerator.title} that is in the accelerator table"
            )
        return Found(known, dialect, (*selector, (_GKE_PARTITION, profile)))
    return None


def _amd(
    accelerator: Accelerator,
    dialect: Dialect,
    selector: tuple[tuple[str, str], ...],
    labels: Mapping[str, str],
) -> Found | Unclear:
    """An AMD GPU with the memory of its label, which is rounded to GiB: half a GiB less is sure."""
    for key in _AMD_PARTITION:
        if not labels.get(key, "spx").lower().startswith("spx"):
            return Unclear(
                f"its GPUs are partitioned ({key}={shown(labels[key])}): how much memory one "
                "partition has is not known"
            )
    vram = labels.get("amd.com/gpu.vram")
    if vram is None:
        return Found(accelerator, dialect, selector)
    gib = vram.removesuffix("G")
    if not (gib.isascii() and gib.isdecimal() and 0 < len(gib) <= 5 and int(gib)):
        return Unclear(f"label amd.com/gpu.vram={shown(vram)} is not a number of GiB")
    memory = int(gib) * GIB - GIB // 2
    named = ", ".join(f"{key}={value}" for key, value in selector)
    checked = _checked(accelerator, memory, labels, "amd.com/gpu.vram", named)
    return checked if isinstance(checked, Unclear) else Found(checked, dialect, selector)
