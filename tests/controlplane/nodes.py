"""GPU nodes as manifests, with the labels and capacity that GPU Feature Discovery gives them.

It must not read Plimsoll's own accelerator table: these values were copied from real nodes, so
that a mistake in the table fails a test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controlplane.nodes_realistic import more_annotations, more_conditions, more_images, more_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controlplane.kubectl import Manifest

SINCE = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the labels of a node say of its GPUs.

    memory: MiB of one GPU as the driver reports it; count: GPUs in the usual machine;
    machine: that machine; cpu, memory_gib: its size.
    """

    product: str
    memory: int
    family: str
    compute: tuple[int, int]
    mig: bool
    count: int
    machine: str
    cpu: int
    memory_gib: int


GPUS = {
    "t4": Gpu("Tesla-T4", 15360, "turing", (7, 5), False, 1, "g4dn.xlarge", 4, 16),
    "a10g": Gpu("NVIDIA-A10G", 23028, "ampere", (8, 6), False, 1, "g5.xlarge", 4, 16),
    "l4": Gpu("NVIDIA-L4", 23034, "ada-lovelace", (8, 9), False, 1, "g6.2xlarge", 8, 32),
    "l40s": Gpu("NVIDIA-L40S", 46068, "ada-lovelace", (8, 9), False, 4, "g6e.24xlarge", 96, 768),
    "a100-40gb": Gpu(
        "NVIDIA-A100-SXM4-40GB", 40960, "ampere", (8, 0), True, 8, "p4d.24xlarge", 96, 1152
    ),
    "a100-80gb": Gpu(
        "NVIDIA-A100-SXM4-80GB", 81920, "ampere", (8, 0), True, 8, "p4de.24xlarge", 96, 1152
    ),
    "h100-80gb": Gpu(
        "NVIDIA-H100-80GB-HBM3", 81559, "hopper", (9, 0), True, 8, "p5.48xlarge", 192, 2048
    ),
    "h200-141gb": Gpu("NVIDIA-H200", 143771, "hopper", (9, 0), True, 8, "p5en.48xlarge", 192, 2048),
    "b200-180gb": Gpu(
        "NVIDIA-B200", 183359, "blackwell", (10, 0), True, 8, "p6-b200.48xlarge", 192, 2048
    ),
}
"""The kinds of GPU that gpu_node() knows."""


def gpu_node(
    name: str,
    gpu: str = "a100-80gb",
    *,
    count: int | None = None,
    labels: Mapping[str, str | None] | None = None,
    taints: Sequence[tuple[str, str, str]] = (),
    ready: bool = True,
    realistic: bool = False,
) -> Manifest:
    """One Node, for Cluster.create() (`apply` would double its size, server-side apply drops its
    status).

    count: GPUs in it, 0 for a node whose device plugin has not started (its labels stay);
    labels: on top of the usual ones, None takes one away; taints: (key, value, effect);
    realistic: as large as a node of a production cluster is: the labels of Node Feature
    Discovery, annotations, 50 images, all conditions; 28 KB as listed, instead of 4.
    """
    kind = GPUS[gpu]
    count = kind.count if count is None else count
    given = _labels(name, kind, count) | (more_labels() if realistic else {})
    given |= {key: value for key, value in (labels or {}).items() if value is not None}
    for key, value in (labels or {}).items():
        if value is None:
            given.pop(key, None)
    address = _address(name)
    metadata: Manifest = {"name": name, "labels": given}
    status: Manifest = {
        **_resources(kind, count),
        "conditions": [_ready_condition(ready)],
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": name},
        ],
        "nodeInfo": _NODE_INFO,
    }
    if realistic:
        metadata["annotations"] = more_annotations(name, address, given)
        status["conditions"] += more_conditions(SINCE)
        status["images"] = more_images()
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {
            "providerID": f"plimsoll://{name}",
            "taints": [{"key": k, "value": v, "effect": effect} for k, v, effect in taints],
        },
        "status": status,
    }


def _labels(name: str, gpu: Gpu, count: int) -> dict[str, str]:
    major, minor = gpu.compute
    return {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": gpu.machine,
        "nvidia.com/cuda.driver-version.full": "580.95.05",
        "nvidia.com/cuda.driver-version.major": "580",
        "nvidia.com/cuda.driver-version.minor": "95",
        "nvidia.com/cuda.driver-version.revision": "05",
        "nvidia.com/cuda.driver.major": "580",
        "nvidia.com/cuda.driver.minor": "95",
        "nvidia.com/cuda.driver.rev": "05",
        "nvidia.com/cuda.runtime-version.full": "13.0",
        "nvidia.com/cuda.runtime-version.major": "13",
        "nvidia.com/cuda.runtime-version.minor": "0",
        "nvidia.com/cuda.runtime.major": "13",
        "nvidia.com/cuda.runtime.minor": "0",
        "nvidia.com/gfd.timestamp": "1767225600",
        "nvidia.com/gpu-driver-upgrade-state": "upgrade-done",
        "nvidia.com/gpu.compute.major": str(major),
        "nvidia.com/gpu.compute.minor": str(minor),
        "nvidia.com/gpu.count": str(count or gpu.count),
        "nvidia.com/gpu.deploy.container-toolkit": "true",
        "nvidia.com/gpu.deploy.dcgm": "true",
        "nvidia.com/gpu.deploy.dcgm-exporter": "true",
        "nvidia.com/gpu.deploy.device-plugin": "true",
        "nvidia.com/gpu.deploy.driver": "true",
        "nvidia.com/gpu.deploy.gpu-feature-discovery": "true",
        "nvidia.com/gpu.deploy.node-status-exporter": "true",
        "nvidia.com/gpu.deploy.operator-validator": "true",
        "nvidia.com/gpu.family": gpu.family,
        "nvidia.com/gpu.machine": gpu.machine,
        "nvidia.com/gpu.memory": str(gpu.memory),
        "nvidia.com/gpu.mode": "compute",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": gpu.product,
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/mig.capable": str(gpu.mig).lower(),
        "nvidia.com/mig.strategy": "single",
        "nvidia.com/mps.capable": "false",
        "nvidia.com/vgpu.present": "false",
    } | ({"nvidia.com/mig.config": "all-disabled"} if gpu.mig else {})


def _resources(gpu: Gpu, count: int) -> Manifest:
    def of(cpu: str, memory_gib: int) -> dict[str, str]:
        return {
            "cpu": cpu,
            "memory": f"{memory_gib}Gi",
            "ephemeral-storage": "500Gi",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "pods": "110",
        } | ({"nvidia.com/gpu": str(count)} if count else {})

    kept_back = max(1, gpu.memory_gib // 64)
    return {
        "capacity": of(str(gpu.cpu), gpu.memory_gib),
        "allocatable": of(f"{gpu.cpu * 1000 - 100}m", gpu.memory_gib - kept_back),
    }


def _ready_condition(ready: bool) -> dict[str, str]:
    return {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "KubeletReady" if ready else "KubeletNotReady",
        "message": "kubelet is posting ready status" if ready else "container runtime is down",
        "lastHeartbeatTime": SINCE,
        "lastTransitionTime": SINCE,
    }


def _address(name: str) -> str:
    first, second, third = hashlib.sha256(name.encode()).digest()[:3]
    return f"10.{first}.{second}.{third}"


_NODE_INFO = {
    "architecture": "amd64",
    "bootID": "6f4dc1a5-7b0d-4d3a-9f52-0c9a3b1f2e11",
    "containerRuntimeVersion": "containerd://2.1.4",
    "kernelVersion": "6.8.0-1029-generic",
    "kubeProxyVersion": "",
    "kubeletVersion": "v1.37.2",
    "machineID": "ec2a3d0c5f0e4be1a0f7a7a2d9a1b6c3",
    "operatingSystem": "linux",
    "osImage": "Ubuntu 24.04.3 LTS",
    "systemUUID": "ec2a3d0c-5f0e-4be1-a0f7-a7a2d9a1b6c3",
}
