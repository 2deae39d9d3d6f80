"""A cluster as people have it, for the page of `plimsoll report`: objects, nodes and pods.

Drawn by an index alone, so that the same number always makes the same objects.
"""

from __future__ import annotations

from typing import Any, Final

from builders import gpu_node

MODELS: Final = (
    ("Qwen/Qwen2.5-7B-Instruct", "nvidia-l4", 1, 8192, 4),
    ("meta-llama/Llama-3.1-8B-Instruct", "nvidia-l40s", 1, 16384, 8),
    ("Qwen/Qwen3-32B", "nvidia-a100-80gb", 2, 32768, 8),
    ("meta-llama/Llama-3.3-70B-Instruct", "nvidia-h100-80gb", 4, 16384, 16),
    ("Qwen/Qwen3-30B-A3B", "nvidia-h100-80gb", 1, 16384, 4),
    ("mistralai/Mistral-7B-Instruct-v0.3", "nvidia-a10g", 1, 8192, 2),
    ("openai/gpt-oss-20b", "nvidia-l40s", 1, 32768, 8),
    ("google/gemma-3-27b-it", "nvidia-a100-80gb", 1, 8192, 2),
    ("Qwen/Qwen2.5-14B-Instruct", "nvidia-l40s", 1, 8192, 2),
    ("meta-llama/Llama-3.3-70B-Instruct", "nvidia-a100-80gb", 2, 32768, 8),
)
"""Model, GPU, GPUs of a replica, context, requests at once; the last does not fit."""
TEAMS: Final = ("chat", "search", "code", "support", "batch", "labs")


def deployment(index: int) -> dict[str, Any]:
    """The LLMDeployment of that index."""
    model, gpu, gpus, context, requests = MODELS[index % len(MODELS)]
    context += 64 * (index // len(MODELS))  # no two of them are alike
    short = model.partition("/")[2].lower().replace(".", "-")
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {
            "name": f"{short[:40]}-{index // len(MODELS)}",
            "namespace": TEAMS[(index // 3) % len(TEAMS)],
        },
        "spec": {
            "model": {"uri": f"hf://{model}"},
            "engine": {"maxModelLen": context},
            "accelerator": {"allowed": [gpu], "gpusPerReplica": gpus},
            "workload": {
                "concurrentSequences": requests,
                "inputTokens": context - context // 8,
                "outputTokens": context // 8,
            },
            "replicas": 1 + index % 3,
        },
    }


def unknown(name: str = "in-house") -> dict[str, Any]:
    """An LLMDeployment of a model that nobody knows."""
    one = deployment(0)
    one["metadata"] = {"name": name, "namespace": "labs"}
    one["spec"]["model"] = {"uri": "hf://ourselves/in-house-13b"}
    return one


def overridden(index: int, *, recorded: bool = False) -> dict[str, Any]:
    """The LLMDeployment of that index with an override. recorded: as a cluster shows it later."""
    one = deployment(index)
    one["metadata"]["annotations"] = {"plimsoll.dev/override": "sized by hand"}
    if recorded:
        since = "2026-11-02T08:00:00Z"
        one["status"] = {
            "conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": since},
                {"type": "Overridden", "status": "True", "lastTransitionTime": since},
            ]
        }
        one["metadata"]["managedFields"] = [
            {
                "manager": "kubectl-annotate",
                "time": "2026-11-02T07:59:58Z",
                "fieldsV1": {"f:metadata": {"f:annotations": {"f:plimsoll.dev/override": {}}}},
            }
        ]
    return one


def nodes() -> list[dict[str, Any]]:
    """Nodes of two pools, one of them not ready, and pods that hold some of their GPUs."""
    h100 = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.memory": "81559",
        "node.kubernetes.io/instance-type": "p5.48xlarge",
    }
    found = [gpu_node(f"a100-{index}") for index in range(4)]
    found += [gpu_node(f"h100-{index}", labels=h100) for index in range(3)]
    found[1]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    return [*found, pod("chat", "llama-0", "a100-0", 2), pod("labs", "tuning", "h100-0", 8)]


def pod(namespace: str, name: str, node: str, gpus: int) -> dict[str, Any]:
    """A running pod that holds GPUs of a node."""
    resources = {"requests": {"nvidia.com/gpu": str(gpus)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": resources}]},
        "status": {"phase": "Running"},
    }


def listing(objects: int) -> dict[str, Any]:
    """What kubectl would print of so many objects and the nodes."""
    items = [deployment(index) for index in range(objects)]
    return {"apiVersion": "v1", "kind": "List", "items": [*items, unknown(), *nodes()]}
