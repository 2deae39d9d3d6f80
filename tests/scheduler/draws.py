"""Fleets, pods and LLMDeployments, drawn by seed.

A fleet has ten kinds of nodes: GPUs of several sizes, machines with fewer of them, taints that keep
off pods without a GPU, taints of a team, spot nodes, zones, racks; some nodes are cordoned or not
ready; some hosts are small beside their GPUs, and pods without GPUs fill others.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from controlplane.nodes import gpu_node
from plimsoll.decision.verdict import Beside

if TYPE_CHECKING:
    from collections.abc import Mapping
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
        _sized(random, node)
        nodes.append(node)
    return nodes


def _sized(random: Random, node: dict[str, Any]) -> None:
    """A host that is large enough for its GPUs, or small beside them, in one thing or another."""
    sizes = {
        "cpu": random.choice(("16", "48", "96", "192")),
        "memory": f"{random.choice((64, 192, 512, 2048))}Gi",
        "ephemeral-storage": f"{random.choice((100, 400, 1000, 4000))}Gi",
        "pods": random.choice(("4", "8", "29", "110")),
    }
    for part in ("capacity", "allocatable"):
        node["status"][part] |= sizes


def tenants(random: Random, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pods of others, on nodes already: they hold up to all GPUs of a node, or none and so much of
    the rest."""
    pods = []
    for node in nodes:
        name, left = node["metadata"]["name"], int(node["status"]["allocatable"][GPU])
        while left and random.random() < 0.6:
            gpus = random.randint(1, left)
            left -= gpus
            bound = pod(f"tenant-{name}-{left}", gpus, {}, [])
            bound["spec"]["nodeName"] = name
            pods.append(bound)
        while random.random() < 0.3:
            beside = pod(f"batch-{name}-{len(pods)}", 0, {}, [], beside=needs(random))
            beside["spec"]["nodeName"] = name
            pods.append(beside)
    return pods


def needs(random: Random) -> dict[Beside, int]:
    """What one pod asks for beside GPUs: thousandths of a CPU, bytes; some of it, or nothing."""
    drawn = {
        Beside.CPU: random.choice((500, 4_000, 12_000)),
        Beside.MEMORY: random.choice((2, 16, 60, 100)) << 30,
        Beside.DISK: random.choice((5, 50, 90, 300)) << 30,
    }
    return {what: size for what, size in drawn.items() if random.random() < 0.6}


def pod(
    name: str,
    gpus: int,
    selector: dict[str, str],
    tolerations: list[dict[str, str]],
    resource: str = GPU,
    beside: Mapping[Beside, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """A pod that asks for GPUs. beside: what else it asks for."""
    requests = {
        what.value: f"{size}m" if what is Beside.CPU else str(size) for what, size in beside.items()
    }
    limits = {resource: str(gpus)} if gpus else {}
    resources = {"limits": limits, "requests": {**requests, **limits}}
    container = {"name": "engine", "image": "x", "resources": resources}
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
