"""Objects of other people's kinds, complete enough for an API server."""

from __future__ import annotations

from typing import Any


def deployment(
    name: str,
    arguments: list[str],
    gpus: int,
    product: str,
    namespace: str = "default",
    *,
    image: str = "vllm/vllm-openai:v0.11.0",
) -> dict[str, Any]:
    """A Deployment of one container on nodes with GPUs of that product label."""
    labels = {"app": name}
    container = {
        "name": "engine",
        "image": image,
        "args": arguments,
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {},
    }
    spec = {"nodeSelector": {"nvidia.com/gpu.product": product}, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
