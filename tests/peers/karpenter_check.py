"""Claims about pools that sleep at zero nodes, with Karpenter, its kwok cloud, kwok,
kube-controller-manager and kube-scheduler: what is placed on a NodePool brings its node.

Not collected by `pytest`: `make test-peers` builds them, once, and runs this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chart.helm import render
from chart.objects import one
from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    conditions,
    install,
    llm_deployment,
    operator_process,
    until,
)
from controlplane import ControlPlane
from controlplane.scheduler import Controllers, Scheduler
from peers.karpenter import GPU_LABELS, Karpenter, Kwok, node_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 60.0
SPACE = "default"
GPU = "nvidia.com/gpu"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane without a node, whose NodePools may have L4 and H100."""
    with ControlPlane() as plane:
        install(plane)
        made = render({"workloads": {"create": True}})
        plane.apply([one(made, "ClusterRole", "plimsoll-controller")])
        with Controllers(plane), Scheduler(plane), Kwok(plane), Karpenter(plane):
            plane.create(
                [
                    node_pool("l4", {f"{GPU_LABELS}gpu-name": ["l4"]}, 4),
                    node_pool("h100", {"node.kubernetes.io/instance-type": ["p5.48xlarge"]}, 16),
                ]
            )
            account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
            settings = {"workloads": True, "controller_deciders": 1, "node_settle_seconds": 0.3}
            with operator_process("controller", account, plane.folder, settings):
                yield plane


def running(plane: ControlPlane) -> dict[str, Any]:
    """The one pod of the namespace, once it runs."""

    def there() -> dict[str, Any]:
        found = plane.get("pods", "-n", SPACE)["items"]
        (pod,) = found if len(found) == 1 else (None,)
        assert pod is not None, [one["metadata"]["name"] for one in found]
        assert pod["status"].get("phase") == "Running", (pod["status"], plane.get("llmd", "-A"))
        checked: dict[str, Any] = pod
        return checked

    pod: dict[str, Any] = until(there, SOON, "the pod runs")
    return pod


@pytest.mark.parametrize(
    ("name", "uri", "pool", "machine", "gpus"),
    [
        ("small", "hf://Qwen/Qwen2.5-7B-Instruct", "l4", "g6.2xlarge", 1),
        ("large", "hf://meta-llama/Llama-3.3-70B-Instruct", "h100", "p5.48xlarge", 8),
    ],
)
def test_what_is_placed_on_a_pool_that_sleeps_brings_its_node_and_runs_there(
    plane: ControlPlane, name: str, uri: str, pool: str, machine: str, gpus: int
) -> None:
    spec = {
        "engine": {"name": "vllm", "maxModelLen": 8192},
        # the kwok cloud says that a node's capacity is what the first pods ask for
        "accelerator": {"gpusPerReplica": gpus},
        "output": {"mode": "Create"},
    }
    plane.apply([llm_deployment(name, SPACE, spec, uri=uri)])
    pod = running(plane)
    node = plane.get("node", pod["spec"]["nodeName"])
    labels = node["metadata"]["labels"]
    assert labels["karpenter.sh/nodepool"] == pool
    assert labels["node.kubernetes.io/instance-type"] == machine
    placement = plane.get("llmd", name, "-n", SPACE)["status"]["placement"]
    assert placement["nodeSelector"].items() <= labels.items()
    assert placement["nodeSelector"]["karpenter.sh/nodepool"] == pool
    assert int(pod["spec"]["containers"][0]["resources"]["limits"][GPU]) == gpus

    def told() -> bool:
        said = conditions(plane.get("llmd", name, "-n", SPACE))["CapacityAvailable"]
        return bool(said["reason"] == "NodesMatch")

    until(told, SOON, "the node is known")

    plane.kubectl("delete", "llmd", name, "-n", SPACE)
    until(lambda: not plane.get("nodes")["items"], SOON, "the pool sleeps again")
