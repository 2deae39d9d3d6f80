"""GPUs that pods hold: what is free of a placement's nodes now, and who is in the way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from builders import gpu_node
from plimsoll.api_group import WORKLOAD_LABEL
from plimsoll.decision.capacity import for_pods
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Beside, Capacity, Verdict
from plimsoll.inventory.facts import Asked
from plimsoll.inventory.held import Claim, read_quota
from plimsoll.inventory.pods import asking, taken, trimmed
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import NoDocuments, request

GPU = "nvidia.com/gpu"
LARGE = "meta-llama/Llama-3.3-70B-Instruct"


def pod(name: str, node: str, gpus: int, *, phase: str = "Running", **more: Any) -> dict[str, Any]:
    """A pod of team a with so many GPUs."""
    container = {"resources": {"limits": {GPU: str(gpus)}}}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "a"},
        "spec": {"nodeName": node, "containers": [container], **more},
        "status": {"phase": phase},
    }


def decided(
    items: list[dict[str, Any]], gpus: int | None = 8, replicas: int = 1, **seen: Any
) -> Verdict:
    """What is decided on a model that is asked for on so many GPUs. seen: more of the inventory."""
    spec = {
        "replicas": replicas,
        "model": {"uri": "hf://meta-llama/Llama-3.3-70B-Instruct"},
        "engine": {"maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": gpus},
    }
    if gpus is None:
        del spec["accelerator"]
    asked = request({"metadata": {"name": "m", "namespace": "a"}, "spec": spec}, NoDocuments())
    return decide(asked, replace(from_dict({"kind": "List", "items": items}), **seen))


def claim(name: str, since: str, gpus: int, pods: int = 1, **more: Any) -> Claim:
    """What a placement on H100 asks for."""
    labels = (("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),)
    return Claim(name, since, "nvidia-h100-80gb", GPU, pods, gpus, labels, **more)


NODES = [gpu_node("h0", "h100-80gb"), gpu_node("h1", "h100-80gb")]


def test_gpus_that_pods_hold_are_not_free_and_the_pods_are_named() -> None:
    found = decided([*NODES, pod("train-7", "h0", 8), pod("x", "h1", 6), pod("y", "h1", 1)])
    assert found.capacity is Capacity.TAKEN
    told = nodes_message(found)
    assert told.startswith("1 of 16 GPUs are free")
    assert "enough for 0 of 1 replicas" in told
    assert "8 of 8 GPUs on h0 taken by a/train-7" in told
    assert "7 of 8 GPUs on h1 taken by a/x and 1 more" in told


def host(name: str, **has: str | None) -> dict[str, Any]:
    """A node of 8 H100 that has so much of its own."""
    node = gpu_node(name, "h100-80gb")
    said = {
        "ephemeral-storage": has.get("disk"),
        "memory": has.get("memory"),
        "cpu": has.get("cpu"),
    }
    kept = node["status"]["allocatable"] | said | {"pods": has.get("pods", "110")}
    node["status"]["allocatable"] = {k: v for k, v in kept.items() if v is not None}
    return node


def held_to(
    items: list[dict[str, Any]], asked: dict[Beside, int], replicas: int = 1, gpus: int = 8
) -> tuple[Verdict, str]:
    """The verdict where each pod asks for so much, and what is said of nodes."""
    inventory = from_dict({"kind": "List", "items": items})
    spec = {
        "replicas": replicas,
        "model": {"uri": f"hf://{'Qwen/Qwen2.5-7B-Instruct' if gpus < 4 else LARGE}"},
        "engine": {"maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": gpus},
    }
    of = request({"metadata": {"name": "m", "namespace": "a"}, "spec": spec}, NoDocuments())
    found = for_pods(of, inventory, decide(of, inventory), asked)
    return found, nodes_message(found, steady=True)


def test_nodes_with_less_disk_than_a_pod_asks_for_are_no_room_and_the_way_out_is_told() -> None:
    nodes = [host("h0", disk="465Gi"), host("h1", disk="400Gi")]
    found, told = held_to(nodes, {Beside.DISK: 760 << 30})
    assert found.capacity is Capacity.TOO_SMALL
    assert not found.denied
    assert "asks for 760.0 GiB of ephemeral-storage, and no node has more than 465.0 GiB" in told
    assert "output.cacheClaim: NAME" in told
    assert held_to(nodes, {Beside.DISK: 465 << 30})[0].capacity is Capacity.AVAILABLE


@pytest.mark.parametrize(
    ("what", "asked", "told"),
    [
        (Beside.MEMORY, 300 << 30, "300.0 GiB of memory, and no node has more than 200.0 GiB"),
        (Beside.CPU, 12_500, "12.5 of cpu, and no node has more than 7.9"),
    ],
)
def test_memory_and_cpu_are_held_against_nodes_alike(what: Beside, asked: int, told: str) -> None:
    found, said = held_to([host("h0", memory="200Gi", cpu="7900m")], {what: asked})
    assert found.capacity is Capacity.TOO_SMALL
    assert told in said
    assert "lower that request in output.template" in said


def test_only_nodes_that_are_large_enough_count_and_a_silent_one_is() -> None:
    asked = {Beside.DISK: 760 << 30}
    mixed = [host("h0", disk="465Gi"), host("h1", disk="3Ti")]
    assert held_to(mixed, asked)[0].capacity is Capacity.AVAILABLE
    assert "ephemeral-storage" not in held_to(mixed, asked)[1]
    found, told = held_to(mixed, asked, replicas=2)
    assert found.capacity is Capacity.TOO_SMALL
    assert "1 of 2 nodes has less" in told
    assert held_to([host("h0", disk=None)], asked)[0].capacity is Capacity.AVAILABLE


def test_free_gpus_of_nodes_that_are_too_small_are_not_free() -> None:
    mixed = [host("h0", disk="465Gi"), host("h1", disk="3Ti"), pod("train-7", "h1", 8)]
    assert held_to(mixed, {})[0].capacity is Capacity.AVAILABLE
    found, told = held_to(mixed, {Beside.DISK: 760 << 30})
    assert found.capacity is Capacity.TAKEN
    assert told.startswith("0 of 8 GPUs are free")
    assert "1 of 2 nodes has less: say output.cacheClaim: NAME" in told


def test_several_pods_of_one_node_share_what_it_has_beside_gpus() -> None:
    node, asked = [host("h0", memory="512Gi")], {Beside.MEMORY: 100 << 30}
    assert held_to(node, asked, replicas=5, gpus=1)[0].capacity is Capacity.AVAILABLE
    found, told = held_to(node, asked, replicas=6, gpus=1)
    assert found.capacity is Capacity.TOO_SMALL
    assert told.startswith("1 node (8 GPUs each")
    assert "room for 5 replicas" in told
    assert "asks for 100.0 GiB of memory" in told


def other(name: str, node: str, **asks: str) -> dict[str, Any]:
    """A pod of team a without a GPU."""
    made = pod(name, node, 0)
    requests = {key.replace("_", "-"): value for key, value in asks.items()}
    made["spec"]["containers"] = [{"resources": {"requests": requests}}]
    return made


@pytest.mark.parametrize(
    ("what", "asked", "taken_by", "told"),
    [
        (
            Beside.MEMORY,
            100 << 30,
            {"memory": "450Gi"},
            "of memory, and no node with GPUs",
        ),
        (
            Beside.CPU,
            32_000,
            {"cpu": "80"},
            "32 of cpu, and no node with GPUs",
        ),
        (Beside.DISK, 300 << 30, {"ephemeral_storage": "800Gi"}, "of ephemeral-storage, and no"),
    ],
)
def test_what_other_pods_ask_for_is_not_there_for_ours(
    what: Beside, asked: int, taken_by: dict[str, str], told: str
) -> None:
    node = host("h0", memory="512Gi", disk="1Ti", cpu="96")
    assert held_to([node, other("small", "h0")], {what: asked}, gpus=1)[0].capacity is (
        Capacity.AVAILABLE
    )
    found, said = held_to([node, other("batch", "h0", **taken_by)], {what: asked}, gpus=1)
    assert found.capacity is Capacity.TOO_SMALL
    assert said.startswith("8 of 8 GPUs are free")
    assert told in said
    finished = other("batch", "h0", **taken_by) | {"status": {"phase": "Succeeded"}}
    assert held_to([node, finished], {what: asked}, gpus=1)[0].capacity is Capacity.AVAILABLE


def test_a_node_takes_no_more_pods_than_its_kubelet_says() -> None:
    node = host("h0", memory="512Gi", pods="3")
    tenants = [other("a", "h0"), other("b", "h0")]
    asked = {Beside.MEMORY: 1 << 30}
    assert held_to([node, *tenants], asked, gpus=1)[0].capacity is Capacity.AVAILABLE
    found, told = held_to([node, *tenants], asked, replicas=2, gpus=1)
    assert found.capacity is Capacity.TOO_SMALL
    assert "no node takes more than 1 further pod: raise maxPods" in told


def test_what_its_own_pods_ask_for_is_there_for_it() -> None:
    mine = pod("m-0", "h0", 1)
    mine["spec"]["containers"][0]["resources"]["requests"] = {"memory": "400Gi"}
    asked = {Beside.MEMORY: 400 << 30}
    node = host("h0", memory="512Gi")
    assert held_to([node, mine], asked, gpus=1)[0].capacity is Capacity.AVAILABLE
    mine["metadata"]["name"] = "another-0"
    assert held_to([node, mine], asked, gpus=1)[0].capacity is Capacity.TOO_SMALL


def test_what_a_pod_asks_for_counts_its_first_containers_and_its_overhead() -> None:
    made = other("batch", "h0", memory="10Gi")
    made["spec"]["initContainers"] = [
        {"restartPolicy": "Always", "resources": {"requests": {"memory": "2Gi"}}},
        {"resources": {"requests": {"memory": "30Gi"}}},
    ]
    made["spec"]["overhead"] = {"memory": "1Gi"}
    assert asking(made) == ("h0", Asked(memory=33 << 30, pods=1))
    made["spec"]["initContainers"][1] = {}
    assert asking(made)[1].memory == 13 << 30
    made["spec"]["resources"] = {"requests": {"memory": "20Gi"}}
    assert asking(made)[1].memory == 21 << 30


def test_what_all_pods_ask_for_is_saved_with_the_node() -> None:
    items = [host("h0", memory="512Gi"), other("batch", "h0", memory="450Gi", cpu="1500m")]
    document = to_dict({"kind": "List", "items": items})
    (node,) = [one for one in document["items"] if one["kind"] == "Node"]
    assert node["podsAsk"] == {"cpu": 1500, "memory": 450 << 30, "disk": 0, "pods": 1}
    assert from_dict(document) == from_dict({"kind": "List", "items": items})
    assert to_dict(document) == document


def test_what_pods_ask_for_changes_neither_the_hash_nor_the_placement() -> None:
    nodes = [host("h0", disk="465Gi")]
    found, plain = held_to(nodes, {Beside.DISK: 760 << 30})[0], held_to(nodes, {})[0]
    assert (found.request_hash, found.placement) == (plain.request_hash, plain.placement)


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
    two = decided([NODES[0], cordoned], replicas=2)
    assert nodes_message(two).endswith("; cordoned or not ready: h1")


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


def test_its_own_pods_are_not_in_the_way_by_label_or_by_name() -> None:
    labelled = pod("x-0", "h0", 8)
    labelled["metadata"]["labels"] = {WORKLOAD_LABEL: "m"}
    for own in (labelled, pod("m-7d9f-x2v", "h0", 8)):
        found = decided([*NODES, own, pod("train", "h1", 8)])
        assert found.capacity is Capacity.AVAILABLE
        told = nodes_message(found)
        assert told.startswith("8 of 16 GPUs are free")
        assert told.endswith("its own pods' 8 among them")
    labelled["metadata"]["labels"] = {WORKLOAD_LABEL: "another"}
    labelled["metadata"]["name"] = "m-0"
    assert decided([*NODES, labelled, pod("t", "h1", 8)]).capacity is Capacity.TAKEN


def test_a_saved_inventory_keeps_whose_pods_they_are() -> None:
    labelled = pod("x-0", "h0", 8)
    labelled["metadata"]["labels"] = {WORKLOAD_LABEL: "m", "other": "label"}
    listed = {"kind": "List", "items": [*NODES, labelled]}
    again = json.loads(json.dumps(to_dict(listed)))
    assert from_dict(again) == from_dict(listed)


def test_gpus_are_for_whoever_was_placed_first() -> None:
    items = [*NODES, pod("cpu", "h0", 0)]
    first, mine = claim("a/first", "2026-01-01", 8, pods=2), claim("a/m", "2026-01-02", 8)
    found = decided(items, claims=(first, mine), pods_read=True)
    assert found.capacity is Capacity.TAKEN
    assert "16 GPUs are for a/first, which was first" in nodes_message(found)
    later = claim("a/later", "2026-01-03", 8, pods=2)
    assert decided(items, claims=(mine, later), pods_read=True).capacity is Capacity.AVAILABLE


def test_a_placement_whose_pods_are_there_takes_nothing_twice() -> None:
    first, mine = claim("a/first", "2026-01-01", 8), claim("a/m", "2026-01-02", 8)
    running = [*NODES, pod("first-abc", "h0", 8)]
    assert decided(running, claims=(first, mine)).capacity is Capacity.AVAILABLE
    both = [*NODES, pod("first-abc", "h0", 8), pod("second", "h1", 8)]
    assert decided(both, claims=(first, mine)).capacity is Capacity.TAKEN


def test_a_placement_elsewhere_takes_nothing_here() -> None:
    first = replace(claim("a/first", "2026-01-01", 8, pods=2), selector=(("zone", "b"),))
    mine = claim("a/m", "2026-01-02", 8)
    assert decided(NODES, claims=(first, mine), pods_read=True).capacity is Capacity.AVAILABLE


def test_a_quota_leaves_room_for_so_many_replicas() -> None:
    def quota(hard: int, used: int, **spec: Any) -> dict[str, Any]:
        key = "requests.nvidia.com/gpu"
        return {
            "kind": "ResourceQuota",
            "metadata": {"name": "gpus", "namespace": "a"},
            "spec": {"hard": {key: str(hard), "pods": "10"}, **spec},
            "status": {"used": {key: str(used)}},
        }

    cpu = pod("cpu", "h0", 0)
    found = decided([*NODES, cpu, quota(12, 8)])
    assert found.capacity is Capacity.OVER_QUOTA
    assert nodes_message(found).endswith(
        "ResourceQuota gpus lets namespace a have 12 nvidia.com/gpu, and 8 are used"
    )
    assert decided([*NODES, cpu, quota(16, 8)]).capacity is Capacity.AVAILABLE
    own = pod("m-0", "h0", 8)
    assert decided([*NODES, own, quota(8, 8)]).capacity is Capacity.AVAILABLE
    assert read_quota(quota(12, 8, scopes=["BestEffort"])) == ()
    elsewhere = quota(0, 0)
    elsewhere["metadata"]["namespace"] = "b"
    assert decided([*NODES, cpu, elsewhere]).capacity is Capacity.AVAILABLE
    listed = {"kind": "List", "items": [*NODES, cpu, quota(12, 8)]}
    assert from_dict(json.loads(json.dumps(to_dict(listed)))) == from_dict(listed)


def test_all_replicas_find_room_where_that_is_to_be_had() -> None:
    kinds = [gpu_node("h0", "h100-80gb"), gpu_node("h1", "h200-141gb")]
    one = [*kinds, pod("t", "h1", 6)]
    single = decided(one, None, 1).placement
    assert single is not None
    assert (single.accelerator, single.gpus_per_replica) == ("nvidia-h200-141gb", 2)
    several = decided(one, None, 2)
    assert several.placement is not None
    assert several.placement.accelerator == "nvidia-h100-80gb"
    assert several.capacity is Capacity.AVAILABLE


def test_a_placement_is_planned_where_gpus_are_free() -> None:
    kinds = [gpu_node("h0", "h100-80gb"), gpu_node("h1", "h200-141gb")]
    empty = decided([*kinds, pod("cpu", "h0", 0)], None).placement
    assert empty is not None
    assert empty.accelerator == "nvidia-h200-141gb"
    full = decided([*kinds, pod("t", "h1", 8)], None)
    assert full.placement is not None
    assert full.placement.accelerator == "nvidia-h100-80gb"
    assert full.capacity is Capacity.AVAILABLE
    own = decided([*kinds, pod("m-0", "h1", 8)], None).placement
    assert own is not None
    assert own.accelerator == "nvidia-h200-141gb"
