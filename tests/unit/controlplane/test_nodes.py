"""Node manifests: what GPU Feature Discovery would say, and what may be changed about it."""

from __future__ import annotations

import json

import pytest

from controlplane.nodes import GPUS, gpu_node


def test_node_says_what_gpus_it_has() -> None:
    node = gpu_node("a", "h100-80gb")

    labels = node["metadata"]["labels"]
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert labels["nvidia.com/gpu.memory"] == "81559"
    assert labels["nvidia.com/gpu.count"] == "8"
    assert labels["kubernetes.io/hostname"] == "a"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert node["status"]["conditions"][0]["status"] == "True"


def test_labels_can_be_added_changed_and_taken_away() -> None:
    change = {"nvidia.com/gpu.memory": "81000", "zone": "a", "nvidia.com/gpu.product": None}
    labels = gpu_node("a", labels=change)["metadata"]["labels"]

    assert labels["nvidia.com/gpu.memory"] == "81000"
    assert labels["zone"] == "a"
    assert "nvidia.com/gpu.product" not in labels


def test_node_whose_device_plugin_is_away_has_labels_but_no_gpus() -> None:
    node = gpu_node("a", count=0, ready=False, taints=[("gpu", "broken", "NoSchedule")])

    assert "nvidia.com/gpu" not in node["status"]["allocatable"]
    assert node["metadata"]["labels"]["nvidia.com/gpu.count"] == "8"
    assert node["status"]["conditions"][0]["status"] == "False"
    assert node["spec"]["taints"] == [{"key": "gpu", "value": "broken", "effect": "NoSchedule"}]


@pytest.mark.parametrize("gpu", GPUS)
def test_realistic_node_is_large_and_its_labels_are_valid(gpu: str) -> None:
    node = gpu_node("a", gpu, realistic=True)

    assert len(json.dumps(node)) > 20_000
    assert len(node["status"]["images"]) == 50
    assert all(len(value) <= 63 for value in node["metadata"]["labels"].values())
    assert len({condition["type"] for condition in node["status"]["conditions"]}) == 9
