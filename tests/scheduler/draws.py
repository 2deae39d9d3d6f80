"""Fleets, pods and LLMDeployments, drawn by seed.

A fleet has ten kinds of nodes: GPUs of several sizes, machines with fewer of them, taints that keep
off pods without a GPU, taints of a team, spot nodes, zones; some nodes are cordoned or not ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from random import Random

GPU: Final = "nvidia.com/gpu"
SPACE: Final = "proof"
ZONE: Final = "topology.kubernetes.io/zone"
NODES: Final = 60
KINDS: Final = (
    ("t4", 1, ()),
    ("a10g", 4, ()),
    ("l4", 1, ((GPU, "present", "NoSchedule"),)),
    ("l4", 2, (("sku", "gpu", "NoSchedule"),)),
    ("l40s", 4, ()),
    ("l40s", 8, (("team", "a", "NoSchedule"),)),
    ("a100-40gb", 8, ()),
    ("a100-80gb", 8, ((GPU, "", "NoSchedule"),)),
    ("h100-80gb", 8, ()),
    ("h200-141gb", 8, (("reserved", "", "PreferNoSchedule"),)),
)
"""GPU, GPUs of a node, taints."""
MODELS: Final = (
    "Qwen/Qwen2.5-0.5B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2.5-14B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "meta-llama/Llama-3.1-405B-Instruct",
)
ALLOWED: Final = (
    "nvidia-t4",
    "nvidia-a10g",
    "nvidia-l4",
    "nvidia-l40s",
    "nvidia-a100-40gb",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h200-141gb",
)


def fleet(random: Random) -> list[dict[str, Any]]:
    """Nodes, as they are created."""
    nodes = []
    for number in range(NODES):
        gpu, count, taints = random.choice(KINDS)
        labels: dict[str, str | None] = {ZONE: random.choice("abc")}
        if random.random() < 0.2:
            labels["cloud.google.com/gke-spot"] = "true"
        state = random.random()
        if state < 0.08:  # what the node lifecycle controller does
            taints = (*taints, ("node.kubernetes.io/not-ready", "", "NoSchedule"))
        node = gpu_node(
            f"n{number}-{gpu}", gpu, count=count, labels=labels, taints=taints, ready=state >= 0.08
        )
        if 0.08 <= state < 0.16:
            node["spec"]["unschedulable"] = True
        nodes.append(node)
    return nodes


def tenants(random: Random, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pods of others, on nodes already, that hold up to all GPUs of a node."""
    pods = []
    for node in nodes:
        name, left = node["metadata"]["name"], int(node["status"]["allocatable"][GPU])
        while left and random.random() < 0.6:
            gpus = random.randint(1, left)
            left -= gpus
            bound = pod(f"tenant-{name}-{left}", gpus, {}, [])
            bound["spec"]["nodeName"] = name
            pods.append(bound)
    return pods


def pod(
    name: str,
    gpus: int,
    selector: dict[str, str],
    tolerations: list[dict[str, str]],
    resource: str = GPU,
) -> dict[str, Any]:
    """A pod that asks for GPUs."""
    container = {"name": "engine", "image": "x", "resources": {"limits": {resource: str(gpus)}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": selector,
            "tolerations": tolerations,
            "containers": [container],
        },
    }


def ask(random: Random, number: int) -> dict[str, Any]:
    """An LLMDeployment."""
    accelerator: dict[str, Any] = {}
    if random.random() < 0.5:
        accelerator["allowed"] = random.sample(ALLOWED, random.randint(1, 3))
    if random.random() < 0.3:
        accelerator["gpusPerReplica"] = random.choice((1, 2, 4, 8, 16))
    if random.random() < 0.3:
        accelerator["prefer"] = random.choice(("Smallest", "FirstAvailable", "FewestGPUs"))
    if random.random() < 0.2:
        accelerator["nodeSelector"] = {ZONE: random.choice("abc")}
    if random.random() < 0.2:
        accelerator["tolerations"] = [{"key": "team", "value": "a", "effect": "NoSchedule"}]
    spec = {
        "replicas": random.choice((1, 1, 1, 2, 3)),
        "model": {"uri": f"hf://{random.choice(MODELS)}"},
        "engine": {"name": "vllm", "maxModelLen": random.choice((2048, 8192, 16384))},
        "accelerator": accelerator,
    }
    return {"metadata": {"name": f"ask-{number}", "namespace": SPACE}, "spec": spec}
