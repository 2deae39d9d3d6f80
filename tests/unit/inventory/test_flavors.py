"""ResourceFlavors of Kueue: which pools they stand for, and what a placement on one asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.nodes import gpu_node
from plimsoll.decision.decide import decide
from plimsoll.inventory.flavors import read_flavors
from plimsoll.inventory.pools import Pool, SetAside
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll_operator.cluster.gpus import GpuNodes

H100 = {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}


def flavor(name: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    given = {"nodeLabels": labels} if labels else {}
    return {"kind": "ResourceFlavor", "metadata": {"name": name}, "spec": {**given, **spec}}


def queue(name: str, quotas: dict[str, str], **spec: Any) -> dict[str, Any]:
    shares = [
        {"name": of, "resources": [{"name": "nvidia.com/gpu", "nominalQuota": quota}]}
        for of, quota in quotas.items()
    ]
    groups = [{"coveredResources": ["nvidia.com/gpu"], "flavors": shares}]
    return {
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {"resourceGroups": groups, **spec},
    }


def one(*objects: dict[str, Any]) -> Pool:
    flavors = [obj for obj in objects if obj["kind"] == "ResourceFlavor"]
    queues = [obj for obj in objects if obj["kind"] == "ClusterQueue"]
    (pool,) = read_flavors(flavors, queues)
    assert isinstance(pool, Pool)
    return pool


def test_a_flavor_whose_labels_name_a_gpu_is_a_pool_that_may_have_nodes_within_the_quotas() -> None:
    both = queue("a", {"h100": "8"}), queue("b", {"h100": "16", "cpu": "0"})
    pool = one(flavor("h100", H100), *both)
    assert (pool.accelerator.name, pool.gpus_per_node) == ("nvidia-h100-80gb", 8)
    assert (pool.nodes, pool.most, pool.declared) == (0, 3, "ResourceFlavor h100")
    assert pool.selector == tuple(H100.items())


def test_labels_that_count_gpus_count_those_of_one_node() -> None:
    assert one(flavor("h", {**H100, "cloud.google.com/gke-accelerator-count": "2"})).most is None
    counted = one(
        flavor("h", {**H100, "cloud.google.com/gke-accelerator-count": "2"}), queue("a", {"h": "8"})
    )
    assert (counted.gpus_per_node, counted.most) == (2, 4)
    assert (
        one(flavor("aws", {"node.kubernetes.io/instance-type": "g6e.12xlarge"})).gpus_per_node == 4
    )


def test_a_quota_that_may_be_borrowed_beyond_is_no_bound() -> None:
    assert one(flavor("h100", H100), queue("a", {"h100": "8"}, cohortName="all")).most is None


def test_taints_that_kueue_tolerates_by_itself_are_nobodys_business() -> None:
    taints = [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
        {"key": "spot", "value": "true", "effect": "NoSchedule"},
    ]
    tolerations = [{"key": "spot", "operator": "Exists"}]
    pool = one(flavor("h100", H100, nodeTaints=taints, tolerations=tolerations))
    assert pool.taints == (("nvidia.com/gpu", "present", "NoSchedule"),)


def test_a_flavor_of_no_gpu_is_no_pool_and_one_that_cannot_be_read_is_said() -> None:
    assert read_flavors([flavor("cpu", {"team": "a"}), flavor("default")], []) == []
    invalid = flavor("odd", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-INVALID"})
    (aside,) = read_flavors([invalid], [])
    assert isinstance(aside, SetAside)
    assert aside.node == "ResourceFlavor odd"


def test_a_flavor_of_nodes_that_are_there_adds_nothing() -> None:
    product = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    listed = {"kind": "List", "items": [gpu_node("n"), flavor("a100", product), flavor("h", H100)]}
    assert [pool.declared for pool in from_dict(listed).declared] == ["ResourceFlavor h"]


def test_a_placement_on_a_flavor_carries_its_labels_and_is_read_back() -> None:
    listed = {"kind": "List", "items": [flavor("h100", H100), queue("a", {"h100": "8"})]}
    spec = {
        "model": {"uri": "hf://meta-llama/Llama-3.1-8B-Instruct"},
        "engine": {"maxModelLen": 8192},
    }
    asked = request({"metadata": {"name": "m"}, "spec": spec}, NoDocuments())
    found = decide(asked, from_dict(listed))
    assert found.placement is not None
    assert dict(found.placement.node_selector) == H100
    assert "ResourceFlavor h100 may grow to 1" in nodes_message(found)
    assert from_dict(json.loads(json.dumps(to_dict(listed)))) == from_dict(listed)


def test_the_processes_see_what_the_command_line_sees() -> None:
    known = GpuNodes()
    objects = flavor("h100", H100), queue("a", {"h100": "8"}, cohortName="x")
    for obj in objects:
        assert known.of_kueue(obj["kind"], obj["metadata"]["name"], obj)
        assert not known.of_kueue(obj["kind"], obj["metadata"]["name"], obj)
    assert known.settle()
    assert known.inventory.declared == from_dict({"kind": "List", "items": [*objects]}).declared
    assert known.of_kueue("ResourceFlavor", "h100", None)
    assert known.settle()
    assert known.inventory.declared == ()


@pytest.mark.parametrize(
    "spec", [None, 7, {"nodeLabels": 3}, {"nodeTaints": [1], "resourceGroups": [3]}]
)
def test_anything_at_all_is_read(spec: Any) -> None:
    assert read_flavors([{"spec": spec, "metadata": spec}], [{"spec": spec}]) == []
