"""From a node's labels to the accelerator that they name, in whichever dialect they are written.

It must not read memory out of a product's name (GH200's says 480GB, which is the CPU's), and it
must not know how many GPUs a node has to give.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.catalogue import MEMORY, PRODUCT
from plimsoll.accelerators.foreign import contradiction, foreign, may_be, readings, same
from plimsoll.accelerators.found import Found, Unclear, checked, mebibytes, unlisted
from plimsoll.accelerators.machines import INSTANCE_TYPE
from plimsoll.accelerators.types import Accelerator, Dialect
from plimsoll.errors import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_INVALID: Final = "-MIG-INVALID"
_SHARED: Final = "-SHARED"
_MIG_PRODUCT: Final = re.compile(r"(?P<parent>.+)-MIG-(?P<profile>[0-9a-z.+]+)")
_WITH: Final = re.compile(r"(?<=gb)[.+-](?:me(?:\.all)?|gfx)$")
"""What a slice has beside memory and cores, at the end of a profile: media engines, graphics."""

AUTOSCALED: Final = (
    Dialect.KARPENTER_AWS,
    Dialect.EKS_AUTO,
    Dialect.GKE,
    Dialect.KARPENTER_AZURE,
)
"""Dialects that a provisioner knows before a node exists: preferred over GPU Feature Discovery's
labels, which a pool that scales from zero cannot promise."""


def plain_profile(profile: str) -> str:
    """A MIG profile without what its slices have beside memory and cores (``1g.10gb.me``)."""
    return _WITH.sub("", profile)


def compute_capability(labels: Mapping[str, str]) -> tuple[int, int]:
    """(major, minor) of GPU Feature Discovery's labels; (0, 0) if they are missing."""
    major = labels.get("nvidia.com/gpu.compute.major", "")
    minor = labels.get("nvidia.com/gpu.compute.minor", "")
    if major.isdecimal() and minor.isdecimal() and len(major) <= 3 and len(minor) <= 3:
        return int(major), int(minor)
    return 0, 0


def recognise(labels: Mapping[str, str]) -> Found | Unclear | None:
    """The accelerator that a node's labels name; None if they name none at all.

    What the driver says of itself stands against a label that the table does not have, and a
    product that the table lacks against the type of the machine.
    """
    product = labels.get(PRODUCT)
    if product is None:
        return foreign(labels)
    ours = _from_product(product, labels)
    if isinstance(ours, Unclear):
        return ours
    others = [one for one in readings(labels) if isinstance(one, Found)]
    listed = catalogue.load().names.get(ours.accelerator.mig_of or ours.accelerator.name)
    for other in others:
        by_machine = other.selector[0][0] in INSTANCE_TYPE
        if not same(other.accelerator, ours.accelerator) and (listed or not by_machine):
            return contradiction(f"{PRODUCT}={product}", other)
    for other in others:
        slices_too = other.accelerator.mig_profile == ours.accelerator.mig_profile
        if other.dialect in AUTOSCALED and slices_too:
            return Found(ours.accelerator, other.dialect, other.selector)
    return ours


def named_by(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the accelerators that labels may mean; empty if they name none for sure."""
    said = recognise(labels)
    if not isinstance(said, Found):
        return ()
    product = labels.get(PRODUCT, "").removesuffix(_SHARED).lower()
    cards = catalogue.load().products.get(product, ()) if MEMORY not in labels else ()
    if cards or said.accelerator.mig_of:
        return tuple(card.name for card in cards) or (said.accelerator.name,)
    return may_be(said.accelerator)


def _from_product(product: str, labels: Mapping[str, str]) -> Found | Unclear:
    if product.endswith(_INVALID):
        return Unclear(
            f"label {PRODUCT}={product}: its GPUs are cut into slices of several profiles, which "
            "mig.strategy=single cannot offer; set mig.strategy=mixed, or cut all of them alike"
        )
    reported = mebibytes(labels, MEMORY)
    if MEMORY in labels and not reported:
        return Unclear(f"label {MEMORY}={shown(labels[MEMORY])} is not a number of MiB")
    plain = product.removesuffix(_SHARED)
    known = catalogue.of_product(plain, reported)
    selector: tuple[tuple[str, str], ...] = ((PRODUCT, product),)
    if len(catalogue.load().products.get(plain.lower(), ())) > 1 and reported:
        selector = ((MEMORY, labels[MEMORY]), *selector)  # its name is another card's too
    known = known or catalogue.find(plain)
    if known is None and (match := _MIG_PRODUCT.fullmatch(plain)):
        known = _slice(match["parent"], match["profile"], reported, labels)
    if known is None and reported is not None:
        return Found(_unknown(product, reported, labels), Dialect.GFD, selector)
    if known is None:
        return Unclear(
            f"{PRODUCT}={product} is not in the accelerator table and the node has no label "
            f"{MEMORY}"
        )
    accelerator = checked(known, reported, labels, MEMORY, f"{PRODUCT}={product}")
    return (
        accelerator
        if isinstance(accelerator, Unclear)
        else Found(accelerator, Dialect.GFD, selector)
    )


@lru_cache(maxsize=1024)
def _new_slice(parent: Accelerator, profile: str, memory: int) -> Accelerator:
    return catalogue.mig_slice(parent, profile, memory, source="the node's memory label")


def _slice(
    product: str, profile: str, reported: int | None, labels: Mapping[str, str]
) -> Accelerator | None:
    """A MIG slice by product and profile: the table's, or a new one of the reported memory."""
    parent = catalogue.find(product)
    profile = plain_profile(profile)
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
    dialect = Dialect.GFD
    selector: tuple[tuple[str, str], ...] = ((PRODUCT, whole),) if whole else ()
    if not parent and isinstance(others := foreign(labels), Found):
        parent = others.accelerator.mig_of or others.accelerator.name
        dialect, selector = others.dialect, others.selector
    known = _slice(parent, profile, reported, labels) if parent else None
    if known is None:
        return Unclear(
            f"{resource} of {parent or 'an unnamed product'} is not in the accelerator table and "
            f"the node has no label {key}"
        )
    accelerator = checked(known, reported, labels, key, f"profile {profile} of {parent}")
    if isinstance(accelerator, Unclear):
        return accelerator
    return Found(accelerator, dialect, selector)


def _unknown(product: str, memory: int, labels: Mapping[str, str]) -> Accelerator:
    """An accelerator of its own for a product that the table does not have."""
    return unlisted(
        product,
        memory,
        source=f"node label {MEMORY}",
        label=(PRODUCT, product),
        family=labels.get("nvidia.com/gpu.family", ""),
        compute=compute_capability(labels),
    )
