"""GPUs that pods hold: what is free of a placement's nodes now, and who is in the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import gpu_node
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Capacity, Verdict
from plimsoll.inventory.pods import taken, trimmed
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import NoDocuments, request

GPU = "nvidia.com/gpu"


def pod(name: str, node: str, gpus: int, *, phase: str = "Running", **more: Any) -> dict[str, Any]:
    """A pod of team a with so many GPUs."""
    container = {"resources": {"limits": {GPU: str(gpus)}}}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "a"},
        "spec": {"nodeName": node, "containers": [container], **more},
        "status": {"phase": phase},
    }


def decided(items: list[dict[str, Any]], gpus: int = 8, replicas: int = 1) -> Verdict:
    """What is decided on a model that is asked for on so many GPUs."""
    spec = {
        "replicas": replicas,
        "model": {"uri": "hf://meta-llama/Llama-3.3-70B-Instruct"},
        "engine": {"maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": gpus},
    }
    asked = request({"metadata": {"name": "m"}, "spec": spec}, NoDocuments())
    return decide(asked, from_dict({"kind": "List", "items": items}))


NODES = [gpu_node("h0", "h100-80gb"), gpu_node("h1", "h100-80gb")]


def test_gpus_that_pods_hold_are_not_free_and_the_pods_are_named() -> None:
    found = decided([*NODES, pod("train-7", "h0", 8), pod("x", "h1", 6), pod("y", "h1", 1)])
    assert found.capacity is Capacity.TAKEN
    told = nodes_message(found)
    assert told.startswith("1 of 16 GPUs are free")
    assert "enough for 0 of 1 replicas" in told
    assert "8 of 8 on h0 taken by a/train-7" in told
    assert "7 of 8 on h1 taken by a/x and 1 more" in told


def test_a_placement_is_kept_though_its_gpus_are_taken_and_nothing_is_refused() -> None:
    full = decided([*NODES, pod("a", "h0", 8), pod("b", "h1", 8)])
    assert full.placement == decided(NODES).placement
    assert not full.denied


@pytest.mark.parametrize(
    ("gpus", "replicas", "held", "enough"),
    [
        (8, 1, (8, 0), True),
        (8, 2, (8, 0), False),
        (4, 2, (4, 4), True),
        (4, 2, (5, 4), False),
        (4, 3, (4, 0), True),
        (4, 4, (1, 0), False),
        (4, 4, (0, 0), True),
    ],
)
def test_replicas_are_counted_node_by_node(
    gpus: int, replicas: int, held: tuple[int, int], enough: bool
) -> None:
    pods = [pod(f"p{n}", f"h{n}", count) for n, count in enumerate(held) if count]
    idle = [pod("idle", "other", 1)]
    found = decided([*NODES, *pods, *idle], gpus, replicas)
    assert found.capacity is (Capacity.AVAILABLE if enough else Capacity.TAKEN)


def test_gpus_of_a_node_that_is_cordoned_are_not_free() -> None:
    cordoned = gpu_node("h1", "h100-80gb")
    cordoned["spec"]["unschedulable"] = True
    found = decided([NODES[0], cordoned, pod("a", "h0", 4)])
    assert found.capacity is Capacity.TAKEN
    assert nodes_message(found).startswith("4 of 8 GPUs are free")


def test_nobody_says_what_is_free_where_no_pods_were_read() -> None:
    assert decided(NODES).capacity is Capacity.AVAILABLE
    assert "free" not in nodes_message(decided(NODES))


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_finished_holds_nothing(phase: str) -> None:
    assert taken([pod("p", "h0", 8, phase=phase)]) == {}
    assert taken([pod("p", "", 8)]) == {}


def test_init_containers_hold_what_they_need_at_their_time() -> None:
    def init(gpus: int, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {GPU: gpus}}, **more}

    (first,) = taken([pod("p", "h0", 2, initContainers=[init(4), init(3)])])["h0"]
    assert first.count == 4
    (stays,) = taken([pod("p", "h0", 2, initContainers=[init(1, restartPolicy="Always")])])["h0"]
    assert stays.count == 3


@pytest.mark.parametrize("spec", [None, 3, {"nodeName": "n"}, {"nodeName": "n", "containers": 7}])
def test_a_pod_with_anything_anywhere_is_read(spec: Any) -> None:
    assert taken([{"kind": "Pod", "spec": spec}]) == {}
    assert trimmed({"kind": "Pod", "spec": spec}) is None


def test_a_saved_inventory_keeps_which_gpus_are_taken() -> None:
    items = [*NODES, pod("a", "h0", 8), pod("cpu", "h1", 0)]
    listed = json.loads(json.dumps({"kind": "List", "items": items}))
    again = json.loads(json.dumps(to_dict(listed)))
    assert from_dict(again) == from_dict(listed)
    assert [item["kind"] for item in again["items"]] == ["Node", "Node", "Pod"]
    free = {"kind": "List", "items": [*NODES, pod("cpu", "h1", 0)]}
    assert from_dict(to_dict(free)).pods_read


def test_what_is_free_is_no_part_of_the_hash() -> None:
    full = decided([*NODES, pod("a", "h0", 8), pod("b", "h1", 8)])
    assert full.request_hash == decided(NODES).request_hash
