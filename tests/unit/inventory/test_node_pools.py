"""NodePools of Karpenter: which machines they may make, and what a placement on one selects by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plimsoll.decision.decide import decide
from plimsoll.inventory.node_pools import read_node_pool
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import NoDocuments, request

AWS = "karpenter.k8s.aws/instance-"


def node_pool(*requirements: tuple[str, str, list[str]], **spec: Any) -> dict[str, Any]:
    asked = [{"key": key, "operator": how, "values": values} for key, how, values in requirements]
    taints = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    return {
        "kind": "NodePool",
        "metadata": {"name": "gpu"},
        "spec": {
            "template": {
                "metadata": {"labels": {"team": "ml"}},
                "spec": {"requirements": asked, "taints": taints},
            },
            **spec,
        },
    }


def kinds(*requirements: tuple[str, str, list[str]]) -> set[tuple[str, int]]:
    read = read_node_pool(node_pool(*requirements))
    return {(pool.accelerator.name, pool.gpus_per_node) for pool in read}


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ((f"{AWS}family", "In", ["p5"]), {("nvidia-h100-80gb", 8), ("nvidia-h100-80gb", 1)}),
        (("node.kubernetes.io/instance-type", "In", ["g6e.12xlarge"]), {("nvidia-l40s", 4)}),
        (("node.kubernetes.io/instance-type", "In", ["m7i.large"]), set()),
        ((f"{AWS}category", "In", ["c", "m", "r"]), set()),
    ],
)
def test_machines_that_the_requirements_let_in_are_pools(
    requirement: tuple[str, str, list[str]], expected: set[tuple[str, int]]
) -> None:
    assert kinds(requirement) == expected


def test_every_requirement_counts() -> None:
    name = (f"{AWS}gpu-name", "In", ["l40s"])
    assert kinds(name) == {("nvidia-l40s", 1), ("nvidia-l40s", 4), ("nvidia-l40s", 8)}
    assert kinds(name, (f"{AWS}gpu-count", "Gt", ["4"])) == {("nvidia-l40s", 8)}
    assert kinds(name, (f"{AWS}family", "NotIn", ["g6e"])) == set()
    assert kinds(name, (f"{AWS}gpu-count", "Near", ["4"])) == set()


def test_a_node_pool_for_any_machine_is_none_for_gpus() -> None:
    assert kinds(("kubernetes.io/arch", "In", ["amd64"])) == set()


def test_a_placement_on_a_node_pool_brings_a_node_and_stays_within_its_limit() -> None:
    pool = node_pool((f"{AWS}family", "In", ["g6e"]), limits={"nvidia.com/gpu": "8"})
    listed = {"kind": "List", "items": [pool]}
    spec = {
        "model": {"uri": "hf://meta-llama/Llama-3.1-8B-Instruct"},
        "engine": {"maxModelLen": 8192},
        "accelerator": {"nodeSelector": {"team": "ml"}},
    }
    asked = request({"metadata": {"name": "m"}, "spec": spec}, NoDocuments())
    found = decide(asked, from_dict(listed))
    assert found.placement is not None
    selector = dict(found.placement.node_selector)
    assert selector["karpenter.sh/nodepool"] == "gpu"
    assert selector[f"{AWS}gpu-name"] == "l40s"
    assert found.placement.tolerations[0][0] == "nvidia.com/gpu"
    assert "NodePool gpu may grow to" in nodes_message(found)
    assert from_dict(json.loads(json.dumps(to_dict(listed)))) == from_dict(listed)


def test_spot_is_where_there_is_nothing_else() -> None:
    family, key = (f"{AWS}family", "In", ["g6e"]), "karpenter.sh/capacity-type"
    assert all(p.spot for p in read_node_pool(node_pool(family, (key, "In", ["spot"]))))
    both = node_pool(family, (key, "In", ["spot", "on-demand"]))
    assert not any(p.spot for p in read_node_pool(both))


@pytest.mark.parametrize("spec", [None, 7, {"template": 3}, {"template": {"spec": {"x": 1}}}])
def test_anything_at_all_is_read(spec: Any) -> None:
    assert read_node_pool({"spec": spec, "metadata": spec}) == ()
