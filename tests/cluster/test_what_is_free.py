"""Claims about free GPUs on a real API server: pods, quotas, other placements, cordoned nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cluster.fixtures_operator import (
    OperatorProcess,
    conditions,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import LLAMA, own_plane
from controlplane.errors import KubectlError
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from controlplane import ControlPlane

SOON = 15.0
GPU = "nvidia.com/gpu"

plane = own_plane("changes nodes", [gpu_node("h0", "h100-80gb"), gpu_node("h1", "h100-80gb")])


@pytest.fixture(scope="module")
def controller(plane: ControlPlane, account: Path) -> Iterator[OperatorProcess]:
    with operator_process(
        "controller", account, plane.folder, {"node_settle_seconds": 0.3}
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_left(plane: ControlPlane, space: str) -> Iterator[None]:
    yield
    plane.kubectl("delete", "pod", "--all", "-n", space, "--force", "--grace-period=0")


def pod(name: str, space: str, node: str, gpus: int, **labels: str) -> dict[str, Any]:
    """A pod that holds GPUs of a node, as the scheduler leaves it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": labels},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {"name": "a", "image": "a", "resources": {"limits": {GPU: str(gpus)}}},
            ],
        },
    }


def capacity(plane: ControlPlane, space: str, reason: str, said: str, name: str = "model") -> str:
    """Wait until CapacityAvailable has that reason and says that; its message."""

    def so() -> str:
        obj = plane.get("llmdeployment", name, "-n", space)
        found = conditions(obj).get("CapacityAvailable", {})
        assert found.get("reason") == reason, found
        assert said in found["message"], found
        return str(found["message"])

    message: str = until(so, SOON, f"{name}: {reason}")
    return message


def wanted(name: str, space: str, gpus: int = 8) -> dict[str, Any]:
    return llm_deployment(
        name,
        space,
        {
            "accelerator": {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": gpus},
            "engine": {"name": "vllm", "maxModelLen": 8192},
        },
        uri=LLAMA,
    )


def gone(plane: ControlPlane, space: str, *names: str) -> None:
    plane.kubectl("delete", "pod", *names, "-n", space, "--force", "--grace-period=0")


def test_pods_come_and_go_and_the_condition_says_who_is_in_the_way(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    plane.apply([wanted("model", space)])
    capacity(plane, space, "NodesMatch", "enough GPUs are free")
    plane.create([pod("train-7", space, "h0", 6), pod("train-8", space, "h1", 1)])
    message = capacity(plane, space, "GPUsTaken", "9 of 16 GPUs are free")
    assert f"6 of 8 GPUs on h0 taken by {space}/train-7" in message
    before = plane.get("llmdeployment", "model", "-n", space)["status"]["placement"]
    gone(plane, space, "train-8")
    capacity(plane, space, "NodesMatch", "enough GPUs are free")
    status = '{"status":{"phase":"Succeeded"}}'
    patch = ("patch", "pod", "train-7", "-n", space, "--subresource=status", "-p", status)
    plane.create([pod("train-9", space, "h1", 8)])
    capacity(plane, space, "GPUsTaken", "train-9")
    plane.kubectl(*patch, "--type=merge")
    capacity(plane, space, "NodesMatch", "enough GPUs are free")
    assert plane.get("llmdeployment", "model", "-n", space)["status"]["placement"] == before


def test_its_own_pods_and_those_of_whoever_was_first_are_told_apart(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    plane.apply([wanted("first", space)])
    capacity(plane, space, "NodesMatch", "enough GPUs are free", "first")
    plane.create([pod("train", space, "h0", 8)])
    plane.apply([wanted("second", space)])
    message = capacity(plane, space, "GPUsTaken", "GPUs are for", "second")
    assert f"8 GPUs are for {space}/first, which was first" in message
    plane.create([pod("x-0", space, "h1", 8, **{"plimsoll.dev/llmdeployment": "first"})])
    capacity(plane, space, "GPUsTaken", f"8 of 8 GPUs on h1 taken by {space}/x-0", "second")
    capacity(plane, space, "NodesMatch", "enough GPUs are free", "first")
    gone(plane, space, "train", "x-0")
    plane.kubectl("delete", "llmdeployment", "first", "-n", space)
    capacity(plane, space, "NodesMatch", "enough GPUs are free", "second")


def test_a_quota_and_a_cordoned_node_are_told_of(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    key = f"requests.{GPU}"
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpus", "namespace": space},
        "spec": {"hard": {key: "4"}},
    }
    plane.apply([wanted("model", space), quota])
    capacity(plane, space, "OverQuota", f"lets namespace {space} have 4 {GPU}, and 0 are used")
    plane.kubectl("delete", "resourcequota", "gpus", "-n", space)
    capacity(plane, space, "NodesMatch", "enough GPUs are free")
    plane.kubectl("cordon", "h0", "h1")
    message = capacity(plane, space, "TooFewNodes", "cordoned or not ready")
    assert "h0, h1" in message
    plane.kubectl("uncordon", "h0", "h1")
    capacity(plane, space, "NodesMatch", "enough GPUs are free")


def test_a_pool_that_sleeps_is_planned_on_with_its_labels(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    sleeping: dict[str, Any] = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": "l40s"},
        "spec": {
            "accelerator": "nvidia-l40s",
            "gpusPerNode": 4,
            "labels": {"example.com/pool": "l40s"},
            "maxNodes": 2,
            "pricePerHour": "7.20",
        },
    }
    spec = {"accelerator": {"allowed": ["nvidia-l40s"]}, "engine": {"maxModelLen": 8192}}
    plane.apply([sleeping, llm_deployment("model", space, spec)])
    capacity(plane, space, "NoNodesMatch", "AcceleratorPool l40s may grow to 2")
    placement = plane.get("llmdeployment", "model", "-n", space)["status"]["placement"]
    assert placement["nodeSelector"] == {"example.com/pool": "l40s"}
    assert placement["pricePerHour"] == "1.80"
    wrong = {**sleeping, "spec": {**sleeping["spec"], "pricePerHour": "cheap"}}
    with pytest.raises(KubectlError, match=r"spec\.pricePerHour"):
        plane.apply([wrong])
    explained = plane.kubectl("explain", "acceleratorpool.spec.labels").stdout
    assert "Labels that new nodes will have" in explained
    plane.kubectl("delete", "acceleratorpool", "l40s")


def test_gpus_that_a_driver_gives_out_count_and_claims_hold_them(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    api = "resource.k8s.io/v1"
    if api not in plane.kubectl("api-versions").stdout.split():
        pytest.skip(f"{api} is not served")
    device = {
        "attributes": {
            "productName": {"string": "NVIDIA A100-SXM4-80GB"},
            "type": {"string": "gpu"},
        },
        "capacity": {"memory": {"value": "81920Mi"}},
    }
    page = {
        "apiVersion": api,
        "kind": "ResourceSlice",
        "metadata": {"name": "d0"},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": "d0",
            "pool": {"name": "d0", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": f"gpu-{n}", **device} for n in range(2)],
        },
    }
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
    claim = {
        "apiVersion": api,
        "kind": "ResourceClaim",
        "metadata": {"name": "train", "namespace": space},
        "spec": {"devices": {"requests": [request]}},
    }
    spec = {
        "accelerator": {"allowed": ["nvidia-a100-80gb"], "gpusPerReplica": 2},
        "engine": {"maxModelLen": 8192},
    }
    bare = gpu_node("d0", "a100-80gb", count=0)
    plane.create([bare, page, claim, llm_deployment("model", space, spec)])
    try:
        capacity(plane, space, "NodesMatch", "enough GPUs are free")
        placed = plane.get("llmdeployment", "model", "-n", space)["status"]["placement"]
        assert placed["resources"] == {"gpu.nvidia.com": "2"}
        result = {"request": "gpu", "driver": "gpu.nvidia.com", "pool": "d0", "device": "gpu-0"}
        status = {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": "train-7", "uid": "u"}],
        }
        patch = ("patch", "resourceclaim", "train", "-n", space, "--subresource=status")
        plane.kubectl(*patch, "--type=merge", "-p", json.dumps({"status": status}))
        message = capacity(plane, space, "GPUsTaken", "1 of 2 GPUs are free")
        assert f"1 of 2 GPUs on d0 taken by {space}/train-7" in message
        plane.kubectl(*patch, "--type=merge", "-p", '{"status":{"reservedFor":null}}')
        plane.kubectl(*patch, "--type=merge", "-p", '{"status":{"allocation":null}}')
        capacity(plane, space, "NodesMatch", "enough GPUs are free")
    finally:
        plane.kubectl("delete", "node", "d0")
        plane.kubectl("delete", "resourceslice", "d0")
