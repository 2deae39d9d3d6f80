"""GPUs that a container claims by Dynamic Resource Allocation: how many, and of which kind.

    claim      of the pod, by the name that the container gives; its template or the claim itself
               lies beside the object
    count      of the requests that the container names, or of all, for the classes of GPU drivers
    kinds      products that a CEL expression lists (``productName in [...]``, ``== "..."``), else
               every GPU of the table with at least the memory that one asks for

What lets in more than that (another class, all devices, several alternatives) is said to be unread.
Source: resource.k8s.io/v1, ResourceClaimSpec; attributes of gpu.nvidia.com (NVIDIA's driver).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.inventory.devices import CLASSES
from plimsoll.units import parse_memory
from plimsoll.workloads.gpus import Count, Kinds, product, slices
from plimsoll.workloads.roles import at, elements, mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.workloads.roles import Beside

_OTHERS: Final = frozenset({"gpu.amd.com", "gpu.intel.com", "gaudi.intel.com"})
"""Device classes of other vendors' drivers, whose devices are counted and not told apart."""
_LISTED: Final = re.compile(r"productName[^&|]*?(?:\bin\s*\[([^\]]*)\]|==\s*\"([^\"]*)\")")
_PROFILE: Final = re.compile(r"\.profile\s*==\s*\"([0-9a-z.+]{1,32})\"")
_MEMORY: Final = re.compile(r"quantity\(\"([0-9]{1,9}(?:Mi|Gi))\"\)\)\s*>=\s*0")
_QUOTED: Final = re.compile(r"\"([^\"]*)\"")


def claimed(
    container: Mapping[str, Any], template: Mapping[str, Any], namespace: str, beside: Beside
) -> tuple[Count, Kinds, str]:
    """The GPUs that a container claims, and their kinds; why they are not known, if they are not.

    template: the pod's spec. All are empty for a container that claims nothing.
    """
    total, kinds, key = 0, Kinds(), ""
    for claim in map(mapping, elements(at(container, "resources.claims"))):
        name = str(claim.get("name"))
        devices, why = _devices(name, template, namespace, beside)
        if devices is None:
            return Count(), Kinds(), why
        wanted = claim.get("request")
        for request in map(mapping, elements(devices.get("requests"))):
            if wanted is not None and request.get("name") != wanted:
                continue
            number, accepted, why = _request(request)
            if why:
                return Count(), Kinds(), f"claim {name}: {why}"
            total, kinds, key = total + number, accepted, name
    return (Count(total, key), kinds, "") if total else (Count(), Kinds(), "")


def _devices(
    name: str, template: Mapping[str, Any], namespace: str, beside: Beside
) -> tuple[Mapping[str, Any] | None, str]:
    """What a claim of a pod asks for; None with the reason if that is not at hand."""
    claims = map(mapping, elements(template.get("resourceClaims")))
    found = next((one for one in claims if one.get("name") == name), {})
    for key, kind, path in (
        ("resourceClaimTemplateName", "ResourceClaimTemplate", "spec.spec.devices"),
        ("resourceClaimName", "ResourceClaim", "spec.devices"),
    ):
        other = found.get(key)
        if isinstance(other, str):
            obj = beside.other(kind, namespace, other)
            if obj is None:
                return None, f"claim {name}: {kind} {other[:253]} is not at hand"
            return mapping(at(obj, path)), ""
    return None, f"claim {name}: the pod has no such claim"


def _request(request: Mapping[str, Any]) -> tuple[int, Kinds, str]:
    """Devices of one request, the kinds that it accepts, and why that is not known."""
    asked = mapping(request.get("exactly")) or request
    kind = str(asked.get("deviceClassName", ""))
    if kind not in CLASSES.values() and kind not in _OTHERS:
        return 0, Kinds(), f"device class {kind[:253] or 'of several alternatives'}"
    number = asked.get("count", 1)
    if asked.get("allocationMode") == "All" or not isinstance(number, int) or not 0 < number < 1000:
        return 0, Kinds(), "how many devices it is for"
    selectors = elements(asked.get("selectors"))
    if kind in _OTHERS:
        return number, Kinds(), ""
    said = " && ".join(str(at(mapping(one), "cel.expression"))[:4000] for one in selectors)
    return number, Kinds(tuple(_names(said, kind == CLASSES["mig"])), "resourceClaims"), ""


def _names(said: str, cut: bool) -> Iterable[str]:
    """The kinds of GPU that expressions let in. cut: slices are asked for."""
    if cut and (profile := _PROFILE.search(said)):
        return slices(profile[1])
    if not cut and (listed := _LISTED.search(said)):
        texts = _QUOTED.findall(listed[1]) if listed[1] is not None else [listed[2]]
        return dict.fromkeys(product(text.replace(" ", "-")) for text in texts)
    sizes = [parse_memory(size) for size in _MEMORY.findall(said)]
    if not sizes:
        return ()
    table = catalogue.load()
    every = table.slices if cut else table.full
    enough = [
        one for one in every if one.memory >= max(sizes) and one.resource.startswith("nvidia")
    ]
    return [one.name for one in sorted(enough, key=lambda one: (one.memory, one.name))]
