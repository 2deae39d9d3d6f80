"""GPUs by Dynamic Resource Allocation: the claim of a pod, which asks for memory, not for a name.

    memory    the least that a GPU must have to hold the plan for certain, found on GPUs like the
              planned one with less memory and on those of the table; at most what that one has
    compute   at least the planned GPU's capability, for kernels and data types of the plan
    products  where `accelerator.allowed` names GPUs: those, and no others

A driver publishes what NVML reports: an "80GB" H100 has 81559 MiB, less than quantity("80Gi"), so
that a selector of that size would match none. A claim template cannot be changed: its name has a
hash of what it says. Source: attributes and capacity of gpu.nvidia.com, the driver of NVIDIA.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.fit import fit
from plimsoll.engines.registry import estimate as estimate_on
from plimsoll.errors import Problem, Unreadable, shown
from plimsoll.findings import Refused
from plimsoll.inventory.devices import CLASSES
from plimsoll.render import images
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Placement, Verdict

Json = dict[str, Any]

API: Final = "resource.k8s.io/v1"
CLAIM: Final = "gpus"
"""The claim's name in a pod, and the request's in a claim."""
ALLOCATION_PATH: Final = "spec.accelerator.allocation"
_DRIVER: Final = "gpu.nvidia.com"


def is_by_claims(allocation: str | None, placement: Placement) -> bool:
    """Whether pods claim their GPUs: they are asked to, or nodes give them out no other way."""
    return allocation == "DRA" or placement.resource in CLASSES.values()


def least_memory(
    request: Request, verdict: Verdict, accelerator: Accelerator, knowledge: Knowledge
) -> int:
    """Bytes, in whole MiB, from which on a GPU certainly holds the plan.

    The planned one's own where the plan itself is within the error. An engine's defaults follow the
    size of the GPU, so that one with more memory may hold less: every GPU of the table that the
    figure would let in is tried, and those that do not hold the plan are left out by it.
    """
    assert verdict.placement is not None
    split, most = verdict.placement.parallelism, accelerator.memory // MIB

    def fits(card: Accelerator) -> bool:
        try:
            made = estimate_on(request.model, request.engine, request.workload, split, card)
        except (Refused, Unreadable):
            return False
        return fit(made).fits

    if not fits(accelerator):
        return most * MIB
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if fits(replace(accelerator, memory=middle * MIB)):
            high = middle
        else:
            low = middle
    between = sorted({c.memory // MIB: c for c in _like(accelerator, knowledge)}.items())
    for memory, card in between:
        if high <= memory < most and not fits(card):
            high = memory + 1
    return high * MIB


def _like(accelerator: Accelerator, knowledge: Knowledge) -> list[Accelerator]:
    """The GPUs that a claim for this one lets in whatever their memory is: those whose memory the
    driver publishes, which it cannot where the CPU has the same."""
    return [
        one
        for one in knowledge.accelerators
        if one.compute >= accelerator.compute
        and not one.shares_memory
        and bool(one.mig_of) == bool(accelerator.mig_of)
        and images.vendor_of(one.resource) == "nvidia"
    ]


def claim_template(
    name: str,
    request: Request,
    verdict: Verdict,
    accelerator: Accelerator | None,
    knowledge: Knowledge,
) -> Json | Problem:
    """The ResourceClaimTemplate of each pod, without labels, or why there is none.

    name: of the workload; the template's has a hash of what it says beside it.
    """
    placement = verdict.placement
    assert placement is not None
    if accelerator is None or images.vendor_of(placement.resource) != "nvidia":
        wanted = "DevicePlugin: only the attributes of NVIDIA's driver are known"
        return Problem(ALLOCATION_PATH, shown(placement.accelerator), wanted)
    memory = least_memory(request, verdict, accelerator, knowledge)
    named = tuple(filter(None, map(knowledge.find, request.wanted.allowed)))
    expressions = _expressions(memory, accelerator, named)
    asked: Json = {
        "deviceClassName": CLASSES["mig" if accelerator.mig_of else "gpu"],
        "allocationMode": "ExactCount",
        "count": placement.gpus_per_node,
        "selectors": [{"cel": {"expression": one}} for one in expressions],
    }
    devices: Json = {"requests": [{"name": CLAIM, "exactly": asked}]}
    if placement.gpus_per_node > 1:
        alike = {"requests": [CLAIM], "matchAttribute": f"{_DRIVER}/productName"}
        devices["constraints"] = [alike]
    spec = {"spec": {"devices": devices}}
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    return {
        "apiVersion": API,
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": f"{name}-{digest}"},
        "spec": spec,
    }


def _expressions(
    memory: int, accelerator: Accelerator, allowed: Sequence[Accelerator]
) -> list[str]:
    """What a device must be. One that lacks what is asked about is passed over, and no error."""
    capacity, attributes = f'device.capacity["{_DRIVER}"]', f'device.attributes["{_DRIVER}"]'
    size = f'{capacity}.memory.compareTo(quantity("{memory // MIB}Mi")) >= 0'
    found = [f'"memory" in {capacity} && {size}']
    major, minor = accelerator.compute
    if major:
        able = f'{attributes}.cudaComputeCapability.compareTo(semver("{major}.{minor}.0")) >= 0'
        found.append(f'"cudaComputeCapability" in {attributes} && {able}')
    products = sorted({product for one in allowed for product in one.products if not one.mig_of})
    if products:
        listed = ", ".join(f'"{product}"' for product in products)
        named = f'{attributes}.productName.replace(" ", "-") in [{listed}]'
        found.append(f'"productName" in {attributes} && {named}')
    return found
