"""Claims about Kueue's Topologies: nodes of a replica that are close to one another, and which."""

from __future__ import annotations

from typing import Any

import pytest

from builders import gpu_node
from plimsoll.decision.decide import decide
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.inventory.topologies import read_topologies
from plimsoll.render.rendered import render
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import NoDocuments, request

BLOCK, RACK = "cloud.example.com/block", "cloud.example.com/rack"


def topology(name: str, *labels: str) -> dict[str, Any]:
    """A Topology of these levels, and of the host name."""
    levels = [{"nodeLabel": label} for label in (*labels, "kubernetes.io/hostname")]
    return {"kind": "Topology", "metadata": {"name": name}, "spec": {"levels": levels}}


def node(name: str, block: str, rack: str) -> dict[str, Any]:
    """A node of eight H100 in a rack of a block."""
    found: dict[str, Any] = gpu_node(name, "h100-80gb", labels={BLOCK: block, RACK: rack})
    return found


def taken(name: str, node: str, gpus: int = 8, namespace: str = "b") -> dict[str, Any]:
    """A pod that holds GPUs of a node."""
    container = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": node, "containers": [container]},
    }


OBJECT = {
    "apiVersion": "plimsoll.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "m", "namespace": "a"},
    "spec": {
        "model": {"uri": "hf://deepseek-ai/DeepSeek-V3"},
        "engine": {"name": "vllm", "maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-h100-80gb"]},
        "output": {"mode": "Create"},
    },
}
NODES = [
    node("a", "b1", "r1"),
    node("b", "b1", "r2"),
    node("c", "b1", "r2"),
    node("d", "b2", "r2"),
    node("e", "b2", "r3"),
]
BOTH = topology("network", BLOCK, RACK)


def said(*items: dict[str, Any]) -> tuple[str, str]:
    """The label that a placement over two nodes prefers, and what is said of the nodes."""
    listing = {"kind": "List", "podsRead": True, "items": [*NODES, taken("x", "zzz"), *items]}
    verdict = decide(request(OBJECT, NoDocuments()), from_dict(listing))
    assert verdict.placement is not None
    assert verdict.placement.nodes_per_replica == 2
    return verdict.placement.topology, nodes_message(verdict, steady=True)


def test_without_a_topology_nothing_is_said_of_where_nodes_are() -> None:
    assert said()[0] == ""
    assert "has room for all nodes" not in said()[1]


def test_the_narrowest_level_with_enough_nodes_counts_and_names_the_rack_that_has_room() -> None:
    level, message = said(BOTH)
    assert level == RACK
    assert message.endswith(f"; {RACK}=r2 has room for all nodes of a replica")


def test_a_rack_of_the_same_name_in_another_block_is_another_one() -> None:
    level, message = said(BOTH, taken("t", "b"))
    assert level == RACK
    assert message.endswith(
        f"no single {RACK} has room for all nodes of a replica: it would span several"
    )


def test_a_level_without_enough_nodes_gives_way_to_a_wider_one() -> None:
    listing = [node("a", "b1", "r1"), node("b", "b1", "r2")]
    found = from_dict({"kind": "List", "items": [*listing, taken("x", "zzz"), BOTH]})
    verdict = decide(request(OBJECT, NoDocuments()), found)
    assert verdict.placement is not None
    assert verdict.placement.topology == BLOCK


def test_its_own_pods_keep_the_domain_that_they_are_in() -> None:
    more = [node("f", "b2", "r1"), node("g", "b2", "r1")]
    assert f"{RACK}=r2 has" in said(BOTH, *more)[1]
    mine = [taken("m-0", "f", namespace="a"), taken("m-0-1", "g", namespace="a")]
    assert f"{RACK}=r1 has" in said(BOTH, *more, *mine)[1]


def test_what_is_created_prefers_nodes_of_one_domain_for_each_group() -> None:
    listing = {"kind": "List", "items": [*NODES, taken("x", "zzz"), BOTH]}
    asked = request(OBJECT, NoDocuments())
    workload = render(OBJECT, asked, decide(asked, from_dict(listing))).objects[0]
    for part in ("leaderTemplate", "workerTemplate"):
        pod = workload["spec"]["leaderWorkerTemplate"][part]["spec"]
        (term,) = pod["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert term["podAffinityTerm"]["topologyKey"] == RACK
        assert term["podAffinityTerm"]["matchLabelKeys"] == [
            "leaderworkerset.sigs.k8s.io/group-index"
        ]


def test_topologies_are_saved_with_the_inventory() -> None:
    found = from_dict({"kind": "List", "items": [*NODES, BOTH]})
    assert found.topologies == ((BLOCK, RACK),)
    assert from_dict(to_dict({"kind": "List", "items": [*NODES, BOTH]})).topologies == (
        found.topologies
    )


@pytest.mark.parametrize(
    "spec",
    [None, [], {"levels": 7}, {"levels": [7, {}, {"nodeLabel": 7}, {"nodeLabel": "x" * 400}]}],
)
def test_whatever_stands_in_a_topology_it_is_read_or_passed_over(spec: object) -> None:
    assert read_topologies([{"metadata": None, "spec": spec}]) == ()


def test_no_more_topologies_and_levels_are_read_than_a_decision_can_look_at() -> None:
    many = [topology(f"t{i:02}", *(f"l{i}-{level}" for level in range(40))) for i in range(30)]
    found = read_topologies(many)
    assert len(found) == 8
    assert max(map(len, found)) == 16
