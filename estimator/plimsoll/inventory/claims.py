"""Which claims hold which devices that Dynamic Resource Allocation gives out.

    counted   ResourceClaims that are allocated (status.allocation), device by device
    device    a GPU, or a slice that is listed beside it; a slice that is cut out of a GPU takes
              that GPU, once for all slices of it
    whose     the pod for which the claim is reserved, else the claim itself

It must not fetch anything, and it never raises: what cannot be read holds nothing. Devices that
are watched alone (adminAccess) are not held. Source: resource.k8s.io v1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import WORKLOAD_LABEL
from plimsoll.inventory.devices import DRIVER, Device
from plimsoll.inventory.held import Taken
from plimsoll.inventory.plain import mapping, mappings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KIND: Final = "ResourceClaim"
Place = tuple[str, str]
"""A device's pool and its name."""


def claimed(
    claims: Iterable[Mapping[str, Any]], devices: Mapping[Place, Device]
) -> dict[str, list[Taken]]:
    """What claims hold on each node, by the node's name. devices: `devices.by_place`."""
    found: dict[str, list[Taken]] = {}
    cut: set[tuple[str, str]] = set()
    for claim in claims:
        counts: dict[tuple[str, str], int] = {}
        for place in places(claim):
            device = devices.get(place)
            if device is None or (device.cut_of and (device.node, device.cut_of) in cut):
                continue
            if device.cut_of:
                cut.add((device.node, device.cut_of))
            key = (device.node, device.resource)
            counts[key] = counts.get(key, 0) + 1
        who, owner = _who(claim)
        for (node, resource), count in counts.items():
            found.setdefault(node, []).append(Taken(resource, count, who, owner))
    return found


def places(claim: Mapping[str, Any]) -> tuple[Place, ...]:
    """The devices of NVIDIA's driver that are allocated to a claim."""
    allocation = mapping(mapping(claim.get("status")).get("allocation"))
    results = mapping(allocation.get("devices")).get("results")
    return tuple(
        (str(one.get("pool", ""))[:253], str(one.get("device", ""))[:253])
        for one in mappings(results)
        if one.get("driver") == DRIVER and one.get("adminAccess") is not True
    )


def trimmed(claim: Mapping[str, Any]) -> dict[str, Any] | None:
    """A ResourceClaim with nothing in it but what is read; None if it holds nothing."""
    held = places(claim)
    if not held:
        return None
    metadata = mapping(claim.get("metadata"))
    said: dict[str, Any] = {key: str(metadata.get(key, ""))[:253] for key in ("namespace", "name")}
    who, owner = _who(claim)
    if owner:
        said["labels"] = {WORKLOAD_LABEL: owner.partition("/")[2]}
    return {
        "kind": KIND,
        "metadata": said,
        "status": {
            "reservedFor": [{"resource": "pods", "name": who.partition("/")[2]}],
            "allocation": {
                "devices": {
                    "results": [
                        {"driver": DRIVER, "pool": pool, "device": device} for pool, device in held
                    ]
                }
            },
        },
    }


def _who(claim: Mapping[str, Any]) -> tuple[str, str]:
    """Who holds a claim's devices, and the LLMDeployment that its label names, or empty."""
    metadata = mapping(claim.get("metadata"))
    namespace = str(metadata.get("namespace") or "default")[:253]
    reserved = mapping(claim.get("status")).get("reservedFor")
    pods = [str(one.get("name")) for one in mappings(reserved) if one.get("resource") == "pods"]
    name = (pods[0] if pods else str(metadata.get("name") or "unnamed"))[:253]
    label = mapping(metadata.get("labels")).get(WORKLOAD_LABEL)
    owner = f"{namespace}/{label[:253]}" if isinstance(label, str) and label else ""
    return f"{namespace}/{name}", owner
