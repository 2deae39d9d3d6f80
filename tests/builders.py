"""Nodes with GPUs in every dialect, as an API server returns them, for tests that need no cluster.

It must not read Plimsoll's accelerator table: labels and figures are those of real nodes. What a
node of GPU Feature Discovery looks like is told once, in `controlplane.nodes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controlplane.kubectl import Manifest

__all__ = [
    "amd_node",
    "bare_node",
    "gke_node",
    "gpu_node",
    "mixed_mig_node",
    "shared_node",
    "single_mig_node",
]


def bare_node(
    name: str,
    labels: Mapping[str, str] | None = None,
    resources: Mapping[str, str] | None = None,
    allocatable: Mapping[str, str] | None = None,
) -> Manifest:
    """A Ready node with these labels and extended resources; all allocatable if nothing is said."""
    base = {"cpu": "96", "memory": "1152Gi", "pods": "110"}
    capacity = base | dict(resources or {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
            | dict(labels or {}),
        },
        "spec": {},
        "status": {
            "capacity": capacity,
            "allocatable": base | dict(allocatable or resources or {}),
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def gke_node(name: str, accelerator: str, count: int, **labels: str) -> Manifest:
    """A node of Google's, without the GPU Operator: no label of NVIDIA's. labels: gke_... ones,
    underscores for dashes (``gke_gpu_partition_size="1g.5gb"``)."""
    more = {
        f"cloud.google.com/{key.replace('_', '-')}": value
        for key, value in {"gke_accelerator": accelerator, **labels}.items()
    }
    return bare_node(name, more, {"nvidia.com/gpu": str(count)})


def amd_node(name: str, count: int = 8, **labels: str) -> Manifest:
    """A node of eight MI300X as AMD's labeller has it. labels: more of amd.com/gpu.*, underscores
    for dashes."""
    found = {
        "product-name": "AMD_Instinct_MI300X_OAM",
        "device-id": "74a1",
        "vram": "192G",
        "family": "AI",
    } | {key.replace("_", "-"): value for key, value in labels.items()}
    return bare_node(
        name, {f"amd.com/gpu.{k}": v for k, v in found.items()}, {"amd.com/gpu": str(count)}
    )


def shared_node(name: str, *, replicas: int = 4, strategy: str = "time-slicing") -> Manifest:
    """An A100 80GB node whose eight GPUs are given out several times."""
    node = gpu_node(
        name,
        labels={
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-SHARED",
            "nvidia.com/gpu.replicas": str(replicas),
            "nvidia.com/gpu.sharing-strategy": strategy,
        },
    )
    for place in ("capacity", "allocatable"):
        node["status"][place]["nvidia.com/gpu"] = str(8 * replicas)
    return node


def single_mig_node(name: str, profile: str = "1g.10gb", memory: int = 9728) -> Manifest:
    """An A100 80GB node cut into slices, strategy single: they are called nvidia.com/gpu."""
    return gpu_node(
        name,
        count=56,
        labels={
            "nvidia.com/gpu.product": f"NVIDIA-A100-SXM4-80GB-MIG-{profile}",
            "nvidia.com/gpu.memory": str(memory),
            "nvidia.com/mig.config": f"all-{profile}",
        },
    )


def mixed_mig_node(
    name: str, *, whole: int = 4, slices: int = 28, labelled: int | None = None
) -> Manifest:
    """Eight A100 80GB, some of them cut into 1g.10gb, strategy mixed. The labels of whole GPUs
    stay as they were. labelled: slices as the label counts them, if not as there are."""
    key = "nvidia.com/mig-1g.10gb"
    node = gpu_node(
        name,
        labels={
            f"{key}.count": str(slices if labelled is None else labelled),
            f"{key}.memory": "9728",
            f"{key}.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
            f"{key}.replicas": "1",
            "nvidia.com/gpu.replicas": "0" if not whole else "1",
            "nvidia.com/mig.strategy": "mixed",
        },
    )
    for place in ("capacity", "allocatable"):
        node["status"][place] |= {"nvidia.com/gpu": str(whole), key: str(slices)}
    return node
