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
_TYPE = "node.kubernetes.io/instance-type"


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


AZURE = "karpenter.azure.com/sku-"


def of_azure(*requirements: tuple[str, str, list[str]]) -> dict[tuple[str, int], dict[str, str]]:
    pool = node_pool(*requirements)
    reference = {"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "default"}
    pool["spec"]["template"]["spec"]["nodeClassRef"] = reference
    read = from_dict({"kind": "List", "items": [pool]}).declared
    assert from_dict(to_dict({"kind": "List", "items": [pool]})).declared == read
    return {(p.accelerator.name, p.gpus_per_node): dict(p.selector) for p in read}


def test_azures_machines_are_chosen_by_gpu_count_family_and_name() -> None:
    by_gpu = of_azure((f"{AZURE}gpu-name", "In", ["T4"]))
    assert {count for _, count in by_gpu} == {1, 4}
    assert by_gpu[("nvidia-t4", 1)] == {
        f"{AZURE}gpu-name": "T4",
        f"{AZURE}gpu-count": "1",
        "karpenter.sh/nodepool": "gpu",
    }
    named = of_azure((f"{AZURE}name", "In", ["Standard_NC24ads_A100_v4"]))
    assert set(named) == {("nvidia-a100-80gb", 1)}
    assert set(of_azure((_TYPE, "In", ["Standard_ND96isr_H100_v5"]))) == {("nvidia-h100-80gb", 8)}
    assert of_azure((f"{AZURE}family", "In", ["D", "E"])) == {}
    several = of_azure((f"{AZURE}family", "In", ["N"]), (f"{AZURE}gpu-count", "Gt", ["7"]))
    assert {count for _, count in several} == {8}
    assert several.keys() >= {("nvidia-h100-80gb", 8), ("nvidia-a100-80gb", 8)}


def test_where_a_gpus_name_leaves_open_which_it_is_one_machine_is_asked_for() -> None:
    eight = of_azure((f"{AZURE}family", "In", ["N"]), (f"{AZURE}gpu-count", "In", ["8"]))
    old = eight[("nvidia-a100-40gb", 8)]  # its machine's name does not say A100
    assert old[f"{AZURE}name"] == "Standard_ND96asr_v4"
    one = of_azure((f"{AZURE}gpu-name", "In", ["H100"]))
    assert {name for name, _ in one} >= {"nvidia-h100-80gb", "nvidia-h100-nvl"}
    for selector in one.values():
        assert f"{AZURE}gpu-count" in selector or f"{AZURE}name" in selector


def test_a_series_is_what_azures_provider_makes_of_the_name() -> None:
    series = of_azure((f"{AZURE}series", "In", ["NCads_v4"]))
    assert {name for name, _ in series} == {"nvidia-a100-80gb", "nvidia-a10"}
    version = of_azure((f"{AZURE}version", "In", ["3"]), (f"{AZURE}gpu-name", "Exists", []))
    assert {name for name, _ in version} == {"nvidia-t4"}


def test_eks_auto_mode_has_labels_of_its_own() -> None:
    auto = "eks.amazonaws.com/instance-"
    pool = node_pool((f"{auto}gpu-name", "In", ["l40s"]), (f"{auto}gpu-count", "In", ["4"]))
    (read,) = read_node_pool(pool)
    assert (read.accelerator.name, read.gpus_per_node) == ("nvidia-l40s", 4)
    selector = dict(read.selector)
    assert (selector[f"{auto}gpu-name"], selector[f"{auto}gpu-count"]) == ("l40s", "4")
    assert selector["karpenter.sh/nodepool"] == "gpu"


def test_another_clouds_node_class_is_not_read() -> None:
    pool = node_pool((_TYPE, "In", ["g6e.12xlarge"]))
    pool["spec"]["template"]["spec"]["nodeClassRef"] = {"group": "karpenter.k8s.gcp"}
    assert read_node_pool(pool) == ()


def test_spot_is_where_there_is_nothing_else() -> None:
    family, key = (f"{AWS}family", "In", ["g6e"]), "karpenter.sh/capacity-type"
    assert all(p.spot for p in read_node_pool(node_pool(family, (key, "In", ["spot"]))))
    both = node_pool(family, (key, "In", ["spot", "on-demand"]))
    assert not any(p.spot for p in read_node_pool(both))


@pytest.mark.parametrize("spec", [None, 7, {"template": 3}, {"template": {"spec": {"x": 1}}}])
def test_anything_at_all_is_read(spec: Any) -> None:
    assert read_node_pool({"spec": spec, "metadata": spec}) == ()


GOOGLE = "karpenter.k8s.gcp/instance-"
GKE = "cloud.google.com/gke-accelerator"


def test_google_machines_are_asked_for_by_the_label_that_its_provider_writes() -> None:
    (pool,) = read_node_pool(node_pool((f"{GOOGLE}family", "In", ["a4"])))
    assert dict(pool.selector) == {
        GKE: "nvidia-b200",
        f"{GOOGLE}gpu-count": "8",
        "karpenter.sh/nodepool": "gpu",
    }
    (mega,) = read_node_pool(node_pool((_TYPE, "In", ["a3-megagpu-8g"])))
    assert dict(mega.selector)[GKE] == "nvidia-h100-mega-80gb"
    assert kinds((GKE, "In", ["nvidia-l4"])) == {("nvidia-l4", n) for n in (1, 2, 4, 8)}


def test_a_node_class_of_nobody_is_read_by_the_labels_that_its_pool_speaks_of() -> None:
    pool = node_pool((f"{AWS}gpu-name", "In", ["l4"]), (f"{AWS}gpu-count", "In", ["4"]))
    pool["spec"]["template"]["spec"]["nodeClassRef"] = {"group": "karpenter.kwok.sh"}
    assert [one.accelerator.name for one in read_node_pool(pool)] == ["nvidia-l4"]
    inside = pool["spec"]["template"]["spec"]
    inside["requirements"] = [{"key": _TYPE, "operator": "In", "values": ["p5.48xlarge"]}]
    assert [one.accelerator.name for one in read_node_pool(pool)] == ["nvidia-h100-80gb"]
    inside["requirements"] = [{"key": _TYPE, "operator": "In", "values": ["large"]}]
    assert read_node_pool(pool) == ()


def test_machines_of_other_clouds_are_not_amazons() -> None:
    facts = read_node_pool(node_pool((f"{AWS}gpu-name", "In", ["l40s"])))
    assert {pool.gpus_per_node for pool in facts} == {1, 4, 8}  # Crusoe's have 2 and 10 as well
