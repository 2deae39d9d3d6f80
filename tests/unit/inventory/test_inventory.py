from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    amd_node,
    bare_node,
    gke_node,
    gpu_node,
    mixed_mig_node,
    shared_node,
    single_mig_node,
)
from json_values import JSON
from plimsoll.errors import Invalid
from plimsoll.inventory.facts import NodeFacts
from plimsoll.inventory.nodes import read_node, read_nodes, trimmed
from plimsoll.inventory.pools import NO_INVENTORY, Inventory, SetAside, pools
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.units import MIB

if TYPE_CHECKING:
    from controlplane.kubectl import Manifest

DATA = Path(__file__).parents[2] / "data"
ZONE = "topology.kubernetes.io/zone"
MACHINE = "node.kubernetes.io/instance-type"
AMD_LABELS = amd_node("n")["metadata"]["labels"]


def kinds(inventory: Inventory) -> list[tuple[str, int, int]]:
    """Accelerator, nodes and GPUs per node of each pool."""
    return [(p.accelerator.name, p.nodes, p.gpus_per_node) for p in inventory.pools]


def facts(node: Manifest) -> NodeFacts:
    """What is kept of a node, and it is kept."""
    said = read_node(node)
    assert isinstance(said, NodeFacts), said
    return said


def why(node: Manifest) -> str:
    """Why a node is set aside."""
    said = read_node(node)
    assert isinstance(said, SetAside), said
    assert said.node == node["metadata"]["name"]
    return said.why


def test_nodes_alike_are_one_pool_and_the_largest_gpu_comes_first() -> None:
    found = read_nodes(
        [
            gpu_node("l4-1", "l4"),
            gpu_node("a-2"),
            gpu_node("a-1", realistic=True),
            gpu_node("h-1", "h100-80gb"),
            bare_node("cpu-1"),
        ]
    )
    assert found.known
    assert kinds(found) == [
        ("nvidia-a100-80gb", 2, 8),
        ("nvidia-h100-80gb", 1, 8),
        ("nvidia-l4", 1, 1),
    ]
    pool = found.pools[0]
    assert pool.node_names == ("a-1", "a-2")
    assert pool.selector == (("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),)
    assert found.gpus == {
        "nvidia-a100-80gb": (16, 16),
        "nvidia-h100-80gb": (8, 8),
        "nvidia-l4": (1, 1),
    }


def test_no_nodes_is_a_known_inventory_of_nothing() -> None:
    assert read_nodes([]).known
    assert read_nodes([]).pools == ()
    assert not NO_INVENTORY.known


def test_a_pool_has_the_least_memory_that_one_of_its_nodes_reports() -> None:
    older = gpu_node("t4-1", "t4", labels={"nvidia.com/gpu.memory": "15109"})
    found = read_nodes([gpu_node("t4-2", "t4"), older])
    assert [p.accelerator.memory for p in found.pools] == [15109 * MIB]


def test_a_node_that_is_not_ready_or_cordoned_or_going_is_there_but_not_ready() -> None:
    cordoned = gpu_node("a-2")
    cordoned["spec"]["unschedulable"] = True
    going = gpu_node("a-3")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    drained = gpu_node("a-4", taints=[("karpenter.sh/disrupted", "", "NoSchedule")])
    silent = gpu_node("a-5", taints=[("node.kubernetes.io/unreachable", "", "NoExecute")])
    found = read_nodes([gpu_node("a-1", ready=False), cordoned, going, drained, silent])
    assert [(p.nodes, p.ready, p.taints) for p in found.pools] == [(5, 0, ())]
    assert found.gpus == {"nvidia-a100-80gb": (40, 0)}


def test_taints_that_say_what_a_node_is_for_are_kept_and_part_pools() -> None:
    taint = ("nvidia.com/gpu", "present", "NoSchedule")
    found = read_nodes([gpu_node("a-1", taints=[taint]), gpu_node("a-2")])
    assert sorted(p.taints for p in found.pools) == [(), (taint,)]


def test_an_unhealthy_gpu_is_not_planned_with() -> None:
    node = gpu_node("a-1")
    node["status"]["allocatable"]["nvidia.com/gpu"] = "7"
    assert facts(node).offers[0].count == 7


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (shared_node("n"), "shared by time-slicing"),
        (shared_node("n", strategy="mps"), "shared by mps"),
        (gpu_node("n", labels={"nvidia.com/gpu.count": "4"}), "count=4 contradicts its capacity"),
        (gpu_node("n", labels={"nvidia.com/gpu.count": "many"}), '"many" is not a number'),
        (gpu_node("n", labels={"nvidia.com/gpu.memory": "40960"}), "memory=40960 contradicts"),
        (gpu_node("n", labels={"nvidia.com/gpu.memory": "80Gi"}), "not a number of MiB"),
        (
            gpu_node("n", labels={"nvidia.com/gpu.product": None, MACHINE: "mine.large"}),
            'no label says which GPU it has (node.kubernetes.io/instance-type="mine.large"',
        ),
        (gpu_node("n", count=0), "the device plugin has not started"),
        (bare_node("n", {}, {"nvidia.com/gpu": "8"}), "no label says which GPU"),
        (bare_node("n", {}, {"nvidia.com/gpu": "8"}, {"nvidia.com/gpu": "9"}), "9 nvidia.com/gpu"),
        (bare_node("n", {}, {"nvidia.com/gpu": "lots"}), "not a whole number"),
        (bare_node("n", {}, {"nvidia.com/gpu": "-8"}), "not a whole number"),
        (gke_node("n", "nvidia-l4", 100_000), "no node has more than"),
        (gke_node("n", "nvidia-l4", 8, gke_gpu_sharing_strategy="time-sharing"), "time-sharing"),
        (amd_node("n", compute_memory_partition="cpx_nps4"), "cpx_nps4"),
        (mixed_mig_node("n", labelled=7), "mig-1g.10gb.count=7 contradicts its capacity of 28"),
        (bare_node("n", AMD_LABELS, {"nvidia.com/gpu": "8"}), "labels name AMD Instinct MI300X"),
    ],
)
def test_a_node_that_contradicts_itself_is_set_aside_in_words(node: Manifest, said: str) -> None:
    assert said in why(node)
    found = read_nodes([node, gpu_node("good")])
    assert kinds(found) == [("nvidia-a100-80gb", 1, 8)]
    assert [s.node for s in found.set_aside] == ["n"]


def test_a_node_whose_gpus_are_all_unhealthy_is_set_aside() -> None:
    node = gpu_node("a-1")
    node["status"]["allocatable"]["nvidia.com/gpu"] = "0"
    assert "no GPU of it is allocatable" in why(node)


def test_shared_gpus_under_a_resource_of_their_own_are_called_shared() -> None:
    node = shared_node("n")
    node["metadata"]["labels"]["nvidia.com/gpu.product"] = "NVIDIA-A100-SXM4-80GB"
    for place in ("capacity", "allocatable"):
        node["status"][place]["nvidia.com/gpu.shared"] = node["status"][place].pop("nvidia.com/gpu")
    assert "shared by time-slicing" in why(node)


def test_a_cpu_node_is_nobodys_business() -> None:
    assert read_node(bare_node("cpu")) is None
    assert read_node(bare_node("cpu", {}, {"nvidia.com/gpu": "0"})) is None


def test_slices_of_the_single_strategy_are_counted_as_slices() -> None:
    found = read_nodes([single_mig_node("m-1")])
    assert kinds(found) == [("nvidia-a100-80gb-mig-1g.10gb", 1, 56)]
    accelerator = found.pools[0].accelerator
    assert accelerator.resource == "nvidia.com/gpu"
    assert accelerator.memory == 9728 * MIB


def test_a_mixed_node_offers_its_whole_gpus_and_its_slices() -> None:
    found = read_nodes([mixed_mig_node("m-1")])
    assert kinds(found) == [("nvidia-a100-80gb", 1, 4), ("nvidia-a100-80gb-mig-1g.10gb", 1, 28)]
    assert found.pools[1].accelerator.resource == "nvidia.com/mig-1g.10gb"


def test_a_node_cut_up_wholly_has_no_whole_gpus_whatever_its_labels_say() -> None:
    found = read_nodes([mixed_mig_node("m-1", whole=0, slices=56)])
    assert kinds(found) == [("nvidia-a100-80gb-mig-1g.10gb", 1, 56)]


def test_pools_of_google_and_amd_are_read_in_their_own_labels() -> None:
    found = read_nodes([gke_node("g-1", "nvidia-l4", 2), amd_node("m-1")])
    assert kinds(found) == [("amd-mi300x", 1, 8), ("nvidia-l4", 1, 2)]
    assert found.pools[0].accelerator.resource == "amd.com/gpu"


def test_a_users_selector_cuts_through_a_pool() -> None:
    nodes = [
        gpu_node(f"a-{i}", labels={ZONE: "a" if i < 3 else "b", "team": "x"}) for i in range(5)
    ]
    found = read_nodes(nodes)
    assert kinds(found) == [("nvidia-a100-80gb", 5, 8)]
    assert ("team", "x") in found.pools[0].labels
    assert (ZONE, "a") not in found.pools[0].labels
    part = found.matching({ZONE: "a"})
    assert kinds(part) == [("nvidia-a100-80gb", 3, 8)]
    assert (ZONE, "a") in part.pools[0].labels
    assert kinds(found.matching({ZONE: "b", "team": "x"})) == [("nvidia-a100-80gb", 2, 8)]
    assert found.matching({ZONE: "c"}).pools == ()
    assert found.matching({ZONE: "c"}).known
    assert found.matching({}) is found


def test_one_node_can_be_asked_for_by_its_host_name() -> None:
    found = read_nodes([gpu_node("a-1"), gpu_node("a-2")])
    one = found.matching({"kubernetes.io/hostname": "a-2"})
    assert one.pools[0].node_names == ("a-2",)
    assert ("kubernetes.io/hostname", "a-2") in one.pools[0].labels


def test_labels_of_one_node_alone_are_not_kept_and_the_rest_is_shared() -> None:
    one, two = (
        facts(gpu_node(f"a-{i}", realistic=True, labels={"nvidia.com/gfd.timestamp": str(i)}))
        for i in range(2)
    )
    kept = {key for key, _ in one.labels}
    assert "kubernetes.io/hostname" not in kept
    assert "nvidia.com/gfd.timestamp" not in kept
    assert "feature.node.kubernetes.io/pci-10de.present" in kept
    assert one.labels is two.labels
    assert one.offers is two.offers


def test_what_agents_write_while_they_work_changes_nothing_that_is_kept() -> None:
    before = facts(gpu_node("a-1"))
    after = gpu_node(
        "a-1",
        labels={
            "nvidia.com/gfd.timestamp": "1767300000",
            "nvidia.com/gpu-driver-upgrade-state": "cordon-required",
            "nvidia.com/gpu.deploy.dcgm": "paused-for-driver-upgrade",
        },
    )
    after["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-11-11T00:00:00Z"
    assert facts(after) == before
    assert hash(facts(after)) == hash(before)


def test_the_order_of_nodes_does_not_matter() -> None:
    nodes = [gpu_node(f"n-{i}", gpu) for i, gpu in enumerate(["l4", "a100-80gb", "t4", "l4"])]
    nodes.append(shared_node("s"))
    assert read_nodes(nodes) == read_nodes(list(reversed(nodes)))


def test_a_thousand_realistic_nodes_are_remembered_in_under_a_mebibyte() -> None:
    kept = [facts(gpu_node(f"n-{i}", realistic=True)) for i in range(1000)]
    assert len(pickle.dumps(kept)) < MIB


MIXED_CLUSTER = [
    gpu_node("a-1", labels={ZONE: "a"}, taints=[("gpu", "", "NoSchedule")]),
    gpu_node(
        "x-1", labels={"nvidia.com/gpu.product": "NVIDIA-X900", "nvidia.com/gpu.memory": "99000"}
    ),
    gpu_node(
        "y-1",
        count=7,
        labels={
            "nvidia.com/gpu.product": "NVIDIA-X900-MIG-1g.11gb",
            "nvidia.com/gpu.memory": "11000",
        },
    ),
    gke_node("g-1", "nvidia-tesla-v100", 8),
    single_mig_node("s-1"),
    mixed_mig_node("m-1"),
    amd_node("d-1"),
    shared_node("t-1"),
    gpu_node("l-1", "l4", ready=False),
    bare_node("c-1"),
]
"""A node of every kind."""


def saved(document: object) -> Any:
    """What `plimsoll inventory -o json` prints for a document."""
    return json.loads(json.dumps(to_dict(document)))


def listed(nodes: list[Manifest]) -> dict[str, Any]:
    """Nodes as kubectl lists them."""
    return {"apiVersion": "v1", "kind": "List", "items": json.loads(json.dumps(nodes))}


def test_a_saved_inventory_is_read_back_equal() -> None:
    found = read_nodes(MIXED_CLUSTER)
    assert len(found.pools) == 9
    document = saved(listed(MIXED_CLUSTER))
    assert from_dict(document) == found
    assert kinds(from_dict(document).matching({ZONE: "a"})) == [("nvidia-a100-80gb", 1, 8)]


def test_a_saved_inventory_is_saved_again_as_it_is() -> None:
    document = saved(listed(MIXED_CLUSTER))
    assert saved(document) == document


def test_an_inventory_that_was_saved_before_is_read_as_it_was() -> None:
    before = json.loads((DATA / "inventory_of_labels.json").read_text(encoding="utf-8"))
    silent = copy.deepcopy(MIXED_CLUSTER)  # of what hosts have, which was not saved
    for node in silent:
        for kept in ("memory", "ephemeral-storage", "cpu", "pods"):
            node["status"].get("allocatable", {}).pop(kept, None)
    assert from_dict(before) == read_nodes(silent)
    assert from_dict(saved(before)) == read_nodes(silent)


@pytest.mark.parametrize(
    ("written", "known"), [("1056Gi", 1056 << 30), ("2113460Ki", 2113460 << 10), ("?", 0)]
)
def test_the_memory_of_a_host_is_read_as_kubernetes_writes_it(written: str, known: int) -> None:
    node = gpu_node("n")
    node["status"]["allocatable"]["memory"] = written
    assert read_nodes([node]).pools[0].memory == known
    assert from_dict(saved(listed([node]))).pools[0].memory == known


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ({"ephemeral-storage": "95551679124", "cpu": "63900m"}, (95551679124, 63900)),
        ({"ephemeral-storage": "500Gi", "cpu": "64"}, (500 << 30, 64000)),
        ({"ephemeral-storage": "?", "cpu": []}, (0, 0)),
        ({"ephemeral-storage": None, "cpu": None}, (0, 0)),
    ],
)
def test_disk_and_cpu_of_a_host_are_read_and_saved(
    written: dict[str, object], known: tuple[int, int]
) -> None:
    node = gpu_node("n")
    node["status"]["allocatable"] |= written
    for found in (read_nodes([node]), from_dict(saved(listed([node])))):
        (fact,) = found.facts
        assert (fact.disk, fact.cpu) == known


def test_a_node_is_saved_without_what_nobody_reads() -> None:
    (node,) = saved(listed([gpu_node("n", realistic=True), bare_node("c")]))["items"]
    assert node["metadata"].keys() == {"name", "labels"}
    assert node["status"].keys() == {"capacity", "allocatable", "conditions"}
    assert set(node["status"]["capacity"]) == {"nvidia.com/gpu"}


def test_the_output_of_kubectl_is_an_inventory_too() -> None:
    document = listed(MIXED_CLUSTER)
    assert from_dict(document) == read_nodes(MIXED_CLUSTER)
    assert from_dict(document["items"][0]).pools


def _broken(change: Any) -> dict[str, Any]:
    before: dict[str, Any] = json.loads((DATA / "inventory_of_labels.json").read_text("utf-8"))
    change(before)
    return before


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (None, "inventory: kind"),
        ([], "inventory: kind"),
        ("text", "inventory: kind"),
        ({"kind": "Pod"}, "inventory: kind"),
        ({"kind": ["NodeList"]}, "inventory: kind"),
        ({"kind": "NodeList"}, "inventory: items"),
        ({"kind": "NodeList", "items": {}}, "inventory: items"),
        ({"kind": "List", "items": [{"kind": "Service"}, 3]}, "inventory: items[0]"),
        ({"kind": "PlimsollInventory"}, "inventory: setAside"),
        ({"kind": "PlimsollInventory", "setAside": []}, "inventory: items"),
        ({"kind": "PlimsollInventory", "setAside": [3], "items": []}, "inventory: setAside"),
        ({"kind": "PlimsollInventory", "setAside": [], "items": [3]}, "inventory: items[0]"),
        (_broken(lambda d: d["nodes"][0].update(labels=99)), "inventory: nodes[0]"),
        (_broken(lambda d: d["nodes"][1].pop("ready")), "inventory: nodes[1]"),
        (
            _broken(lambda d: d["nodes"][0]["offers"][0].update(accelerator=99)),
            "inventory: nodes[0]",
        ),
        (_broken(lambda d: d.update(accelerators=None)), "inventory: nodes[0]"),
        (_broken(lambda d: d.update(nodes=3)), "inventory: nodes[0]"),
    ],
)
def test_a_bad_file_says_where_and_what_to_do(data: object, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        from_dict(data)
    assert path in [p.path for p in caught.value.problems]
    assert all(p.wanted for p in caught.value.problems)


PLACES = st.sampled_from(
    [
        ("metadata",),
        ("metadata", "labels"),
        ("metadata", "name"),
        ("spec",),
        ("spec", "taints"),
        ("status",),
        ("status", "capacity"),
        ("status", "allocatable"),
        ("status", "conditions"),
        ("metadata", "labels", "nvidia.com/gpu.product"),
        ("metadata", "deletionTimestamp"),
        ("metadata", "labels", "nvidia.com/gpu.memory"),
        ("metadata", "labels", "nvidia.com/gpu.count"),
        ("status", "capacity", "nvidia.com/gpu"),
        ("status", "allocatable", "nvidia.com/gpu"),
    ]
)


@pytest.mark.sweep
@settings(max_examples=200)
@given(PLACES, JSON)
def test_a_node_with_anything_anywhere_is_read_or_set_aside(
    place: tuple[str, ...], junk: Any
) -> None:
    node = gpu_node("n")
    inner: Any = node
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = junk
    said = read_node(node)
    assert said is None or isinstance(said, NodeFacts | SetAside)
    if isinstance(said, NodeFacts):
        assert all(offer.count > 0 and offer.accelerator.memory > 0 for offer in said.offers)
    assert said is None or read_node(trimmed(node)) == said
    pools([] if said is None else [said])


@pytest.mark.sweep
@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["kind", "nodes", "items", "accelerators", "labelSets", "setAside"]),
        JSON | st.sampled_from(["PlimsollInventory", "NodeList"]),
    )
)
def test_any_document_is_an_inventory_or_says_what_is_wrong(data: dict[str, Any]) -> None:
    try:
        found = from_dict(data)
    except Invalid as error:
        problems = error.problems
    else:
        problems = ()
        assert found.known
    assert all(problem.path.startswith("inventory: ") for problem in problems)
