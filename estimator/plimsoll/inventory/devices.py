"""Devices that Dynamic Resource Allocation gives out, from ResourceSlice objects as plain dicts.

    drivers    gpu.nvidia.com: attributes productName, type (gpu, mig), profile; capacity memory
    counted    devices alike in product and memory, of one node; slices that may be cut out of a
               GPU which is listed too (they consume counters) are not counted beside it

A slice is one page of a node's pool; the newest generation of a pool holds. It must not fetch
anything, and it never raises: what cannot be read is left out. A placement on such devices names
their DeviceClass in place of an extended resource. Source: resource.k8s.io v1, v1beta1 (whose
devices are one level deeper, under ``basic``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.found import TOLERANCE, reported, unlisted
from plimsoll.accelerators.labels import with_resource
from plimsoll.accelerators.types import MAX_GPUS, Accelerator, Dialect
from plimsoll.errors import Unreadable
from plimsoll.inventory.facts import Offer
from plimsoll.inventory.plain import mapping, mappings
from plimsoll.units import parse_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

KIND: Final = "ResourceSlice"
CLASSES: Final = {"gpu": "gpu.nvidia.com", "mig": "mig.nvidia.com"}
"""The DeviceClass of each type of device of NVIDIA's driver."""
DRIVER: Final = "gpu.nvidia.com"
_KEPT: Final = ("productName", "type", "profile")


def given_out(slices: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Offer, ...]]:
    """What each node has to give by DRA, by the node's name."""
    newest: dict[tuple[str, str], int] = {}
    pages = [page for one in slices if (page := _page(one)) is not None]
    for node, pool, generation, _ in pages:
        newest[node, pool] = max(generation, newest.get((node, pool), 0))
    counts: dict[str, Counter[Accelerator]] = {}
    for node, pool, generation, devices in pages:
        if generation == newest[node, pool]:
            cards = (_card(device) for device in devices)
            counts.setdefault(node, Counter()).update(card for card in cards if card is not None)
    return {
        node: tuple(
            Offer(card, count, Dialect.DRA, ())
            for card, count in sorted(cards.items(), key=lambda pair: pair[0].name)
            if count <= MAX_GPUS
        )
        for node, cards in counts.items()
        if cards
    }


@dataclass(frozen=True, slots=True)
class Device:
    """Where a device is. resource: the DeviceClass that counts it. cut_of: the counters of the GPU
    that it is cut out of, for a slice which is not counted beside that.
    """

    node: str
    resource: str
    cut_of: str = ""


def by_place(slices: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Device]:
    """The devices that claims may hold, by their pool and name."""
    found = {}
    for one in slices:
        page = _page(one)
        node, pool, _, devices = page or ("", "", 0, [])
        for device in devices:
            kind = _attribute(device, "type") or "gpu"
            if kind not in CLASSES:
                continue
            counters = mappings(device.get("consumesCounters"))
            sets = [str(one.get("counterSet", ""))[:253] for one in counters]
            cut = kind == "mig" and bool(sets)
            found[pool, str(device.get("name", ""))[:253]] = Device(
                node, CLASSES["gpu" if cut else kind], sets[0] if cut else ""
            )
    return found


def trimmed(one: Mapping[str, Any]) -> dict[str, Any] | None:
    """A ResourceSlice with nothing in it but what is read, to be saved; None if nothing is."""
    page = _page(one)
    if page is None:
        return None
    node, pool, generation, devices = page
    return {
        "kind": KIND,
        "spec": {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": pool, "generation": generation},
            "devices": [
                {
                    "name": str(device.get("name", ""))[:253],
                    "attributes": {
                        key: {"string": text} for key in _KEPT if (text := _attribute(device, key))
                    },
                    "capacity": {"memory": {"value": _memory_text(device)}},
                    **_counters(device),
                }
                for device in devices
            ],
        },
    }


def _counters(device: Mapping[str, Any]) -> dict[str, Any]:
    """What a device consumes of its GPU, trimmed; nothing if it does not."""
    counters = mappings(device.get("consumesCounters"))[:8]
    sets = [{"counterSet": str(one.get("counterSet", ""))[:253]} for one in counters]
    return {"consumesCounters": sets} if sets else {}


def _page(
    one: Mapping[str, Any],
) -> tuple[str, str, int, list[Mapping[str, Any]]] | None:
    """Node, pool, generation and devices of a slice of NVIDIA's driver; None for any other."""
    spec = mapping(one.get("spec"))
    node, pool = spec.get("nodeName"), mapping(spec.get("pool"))
    if spec.get("driver") != DRIVER or not isinstance(node, str) or not node:
        return None
    generation, devices = pool.get("generation"), spec.get("devices")
    read = [
        {**mapping(device.get("basic")), "name": device.get("name", "")}
        if device.get("basic")
        else device
        for device in mappings(devices)
    ]
    number = generation if isinstance(generation, int) else 0
    return node[:253], str(pool.get("name", ""))[:253], number, read


def _card(device: Mapping[str, Any]) -> Accelerator | None:
    """What one device is; None if it is no GPU that is counted."""
    kind, product = _attribute(device, "type") or "gpu", _attribute(device, "productName")
    try:
        memory = parse_memory(_memory_text(device))
    except Unreadable:
        return None
    if not product or kind not in CLASSES or memory <= 0:
        return None
    if kind == "mig" and device.get("consumesCounters"):
        return None
    label = "-".join(product.split())
    known = catalogue.of_product(label, memory) or catalogue.find(label)
    source = "ResourceSlice of its driver"
    card = known or unlisted(label, memory, source=source, dialect=Dialect.DRA)
    if kind == "mig":
        card = catalogue.mig_slice(card, _attribute(device, "profile"), memory, source=source)
    elif abs(card.memory - memory) > TOLERANCE * card.memory:
        card = unlisted(label, memory, source=source, dialect=Dialect.DRA)
    else:
        card = reported(card, memory, "of a ResourceSlice")
    return with_resource(card, CLASSES[kind])


def _attribute(device: Mapping[str, Any], key: str) -> str:
    value = mapping(mapping(device.get("attributes")).get(key)).get("string")
    return value[:128] if isinstance(value, str) else ""


def _memory_text(device: Mapping[str, Any]) -> str:
    value = mapping(device.get("capacity")).get("memory")
    value = value.get("value") if isinstance(value, Mapping) else value
    return str(value)[:64] if isinstance(value, str | int) else ""
