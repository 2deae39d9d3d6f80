"""GPUs that a DRA driver gives out: counted from ResourceSlices beside the nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plimsoll.accelerators.types import Dialect
from plimsoll.decision.decide import decide
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.inventory.devices import given_out
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.units import MIB
from plimsoll.workloads.llmdeployment import NoDocuments, request

H100 = "NVIDIA H100 80GB HBM3"


def device(product: str, memory: str, kind: str = "gpu", **more: Any) -> dict[str, Any]:
    """A device as resource.k8s.io/v1 has it."""
    said = {"productName": product, "type": kind, **more.pop("attributes", {})}
    attributes = {key: {"string": value} for key, value in said.items()}
    return {
        "name": "d",
        "attributes": attributes,
        "capacity": {"memory": {"value": memory}},
        **more,
    }


def page(*devices: dict[str, Any], node: str = "n", generation: int = 1) -> dict[str, Any]:
    """A ResourceSlice of NVIDIA's driver."""
    return {
        "kind": "ResourceSlice",
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": node,
            "pool": {"name": node, "generation": generation, "resourceSliceCount": 1},
            "devices": list(devices),
        },
    }


def node(labels: dict[str, str]) -> dict[str, Any]:
    """A ready node without a device plugin."""
    counts = {"cpu": "64"}
    return {
        "kind": "Node",
        "metadata": {"name": "n", "labels": labels},
        "status": {
            "capacity": counts,
            "allocatable": counts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def test_gpus_of_a_dra_driver_are_counted_with_the_memory_that_it_says() -> None:
    items = [node({}), page(*[device(H100, "81559Mi")] * 8)]
    found = from_dict({"kind": "List", "items": items}).pools[0]
    assert (found.accelerator.name, found.gpus_per_node) == ("nvidia-h100-80gb", 8)
    assert found.accelerator.memory == 81559 * MIB
    assert (found.dialect, found.accelerator.resource) == (Dialect.DRA, "gpu.nvidia.com")
    assert visible_memory(found.accelerator) < found.accelerator.memory


def test_nodes_that_need_no_label_are_spoken_of_without_one() -> None:
    inventory = from_dict(
        {"kind": "List", "items": [node({}), page(*[device(H100, "81559Mi")] * 8)]}
    )
    spec = {"model": {"uri": "hf://Qwen/Qwen3-8B"}, "accelerator": {"allocation": "DRA"}}
    verdict = decide(request({"metadata": {"name": "it"}, "spec": spec}, NoDocuments()), inventory)
    assert nodes_message(verdict) == "1 node matches (8 GPUs each); 1 needed"


def test_a_saved_inventory_keeps_what_dra_gives_out() -> None:
    items = [node({}), page(*[device(H100, "81559Mi")] * 2)]
    document = to_dict({"kind": "List", "items": items})
    again = json.loads(json.dumps(document))
    assert from_dict(again) == from_dict({"kind": "List", "items": items})
    assert to_dict(again) == document


def test_devices_of_the_older_api_are_one_level_deeper() -> None:
    slices = [page({"name": "d", "basic": device("NVIDIA L4", "23034Mi")})]
    (offer,) = given_out(slices)["n"]
    assert offer.accelerator.name == "nvidia-l4"


def test_the_newest_generation_of_a_pool_holds() -> None:
    old, new = page(*[device(H100, "81559Mi")] * 8), page(device(H100, "81559Mi"), generation=2)
    assert [offer.count for offer in given_out([old, new])["n"]] == [1]


def test_slices_count_unless_they_are_only_what_a_gpu_could_be_cut_into() -> None:
    cut = device("NVIDIA A100-SXM4-80GB", "9728Mi", "mig", attributes={"profile": "1g.10gb"})
    (offer,) = given_out([page(cut, cut)])["n"]
    assert (offer.accelerator.mig_profile, offer.count) == ("1g.10gb", 2)
    possible = {**cut, "consumesCounters": [{"counterSet": "gpu-0"}]}
    whole = device("NVIDIA A100-SXM4-80GB", "80Gi")
    offers = given_out([page(whole, possible, possible)])["n"]
    assert [(o.accelerator.name, o.count) for o in offers] == [("nvidia-a100-80gb", 1)]


def test_a_device_that_the_table_lacks_counts_with_the_memory_it_says() -> None:
    (offer,) = given_out([page(device("NVIDIA X900", "200Gi"))])["n"]
    assert offer.accelerator.memory == 200 * 1024 * MIB


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"spec": None},
        {"spec": {"driver": "other.example.com", "nodeName": "n"}},
        {"spec": {"driver": "gpu.nvidia.com", "nodeName": 3, "devices": [1]}},
        page(device("", "1Gi")),
        page(device(H100, "much")),
        page({"attributes": [], "capacity": {"memory": 7}}),
    ],
)
def test_what_is_no_gpu_of_a_node_is_left_out(broken: dict[str, Any]) -> None:
    assert given_out([broken]) == {}


def test_a_device_plugin_that_counts_too_is_the_one_that_is_read() -> None:
    both = node({"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"})
    both["status"]["capacity"] = both["status"]["allocatable"] = {"nvidia.com/gpu": "4"}
    items = [both, page(*[device("NVIDIA L4", "23034Mi")] * 4)]
    found = from_dict({"kind": "List", "items": items}).pools
    assert [(p.dialect, p.gpus_per_node) for p in found] == [(Dialect.GFD, 4)]


def claim(name: str, *names: str, pool: str = "n", **more: Any) -> dict[str, Any]:
    """A ResourceClaim to which devices are allocated, reserved for a pod."""
    results = [{"driver": "gpu.nvidia.com", "pool": pool, "device": n, **more} for n in names]
    return {
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "a"},
        "status": {
            "reservedFor": [{"resource": "pods", "name": f"{name}-pod"}],
            "allocation": {"devices": {"results": results}},
        },
    }


def named(*devices: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**one, "name": f"gpu-{n}"} for n, one in enumerate(devices)]


def test_devices_that_claims_hold_are_not_free() -> None:
    items = [
        node({}),
        page(*named(*[device(H100, "81559Mi")] * 8)),
        {"kind": "Pod", "metadata": {"name": "cpu"}, "spec": {}},
        claim("train", "gpu-0", "gpu-1", "gpu-2"),
        claim("watches", "gpu-3", adminAccess=True),
        claim("elsewhere", "gpu-4", pool="other"),
    ]
    listed = {"kind": "List", "items": items}
    found = from_dict(listed)
    assert found.pools[0].free == ((5, 1),)
    assert [(t.pod, t.count) for t in found.facts[0].taken] == [("a/train-pod", 3)]
    assert from_dict(json.loads(json.dumps(to_dict(listed)))) == found


def test_slices_that_are_cut_out_of_one_gpu_take_it_once() -> None:
    cut = {"consumesCounters": [{"counterSet": "gpu-0-counters", "counters": {}}]}
    devices = named(
        device(H100, "81559Mi"),
        device(H100, "81559Mi"),
        *[device(H100, "9856Mi", "mig", attributes={"profile": "1g.10gb"}, **cut)] * 2,
    )
    pods = {"kind": "Pod", "metadata": {"name": "cpu"}, "spec": {}}
    items = [node({}), page(*devices), pods, claim("x", "gpu-2"), claim("y", "gpu-3")]
    assert from_dict({"kind": "List", "items": items}).pools[0].free == ((1, 1),)
