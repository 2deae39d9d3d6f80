"""The rest of a production node, which nobody reads but everybody who lists nodes pays for.

It must hold nothing that a decision could depend on.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CPU_FLAGS = (
    "ADX AESNI AMXBF16 AMXINT8 AMXTILE AVX AVX2 AVX512BF16 AVX512BITALG AVX512BW AVX512CD "
    "AVX512DQ AVX512F AVX512FP16 AVX512IFMA AVX512VBMI AVX512VBMI2 AVX512VL AVX512VNNI "
    "AVX512VPOPCNTDQ AVXVNNI CLDEMOTE CMPXCHG8 FLUSH_L1D FMA3 FSRM FXSR FXSROPT GFNI "
    "HYPERVISOR IA32_ARCH_CAP IBPB IBRS LAHF MD_CLEAR MOVBE MOVDIR64B MOVDIRI OSXSAVE "
    "SERIALIZE SHA SPEC_CTRL_SSBD STIBP SYSCALL SYSEE TSXLDTRK VAES VPCLMULQDQ WAITPKG "
    "WBNOINVD X87 XGETBV1 XSAVE XSAVEC XSAVEOPT XSAVES"
)

_IMAGES = (
    "vllm/vllm-openai lmsys/sglang nvidia/driver nvidia/dcgm-exporter "
    "nvidia/k8s-device-plugin nvidia/gpu-operator-validator nvidia/container-toolkit "
    "nvidia/tritonserver calico/node node-feature-discovery fluent-bit node-exporter "
    "kube-proxy pause coredns csi-driver-nfs"
)

_IMAGE_COUNT = 50  # the kubelet reports no more

_CONDITIONS = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("NetworkUnavailable", "CalicoIsUp", "Calico is running on this node"),
    ("KernelDeadlock", "KernelHasNoDeadlock", "kernel has no deadlock"),
    ("ReadonlyFilesystem", "FilesystemIsNotReadOnly", "Filesystem is not read-only"),
    ("FrequentKubeletRestart", "NoFrequentKubeletRestart", "kubelet is functioning properly"),
    ("FrequentContainerdRestart", "NoFrequentContainerdRestart", "containerd is functioning"),
)


def more_labels() -> dict[str, str]:
    """What Node Feature Discovery and a cloud put on a node."""
    feature = "feature.node.kubernetes.io"
    return {f"{feature}/cpu-cpuid.{flag}": "true" for flag in _CPU_FLAGS.split()} | {
        f"{feature}/cpu-hardware_multithreading": "true",
        f"{feature}/cpu-model.family": "6",
        f"{feature}/cpu-model.id": "143",
        f"{feature}/cpu-model.vendor_id": "Intel",
        f"{feature}/kernel-config.NO_HZ": "true",
        f"{feature}/kernel-config.NO_HZ_FULL": "true",
        f"{feature}/kernel-version.full": "6.8.0-1029-generic",
        f"{feature}/kernel-version.major": "6",
        f"{feature}/kernel-version.minor": "8",
        f"{feature}/kernel-version.revision": "0",
        f"{feature}/memory-numa": "true",
        f"{feature}/pci-10de.present": "true",
        f"{feature}/pci-15b3.present": "true",
        f"{feature}/pci-15b3.sriov.capable": "true",
        f"{feature}/rdma.available": "true",
        f"{feature}/rdma.capable": "true",
        f"{feature}/storage-nonrotationaldisk": "true",
        f"{feature}/system-os_release.ID": "ubuntu",
        f"{feature}/system-os_release.VERSION_ID": "24.04",
        f"{feature}/system-os_release.VERSION_ID.major": "24",
        f"{feature}/system-os_release.VERSION_ID.minor": "04",
        "topology.kubernetes.io/region": "eu-north-1",
        "topology.kubernetes.io/zone": "eu-north-1a",
        "failure-domain.beta.kubernetes.io/region": "eu-north-1",
        "failure-domain.beta.kubernetes.io/zone": "eu-north-1a",
    }


def more_annotations(name: str, address: str, of: Mapping[str, str]) -> dict[str, str]:
    """What its agents write; `of`: the labels of the node, which one of them repeats."""
    prefix = "feature.node.kubernetes.io/"
    features = sorted(key.removeprefix(prefix) for key in of if key.startswith(prefix))
    features += sorted(key for key in of if key.startswith("nvidia.com/"))
    return {
        "csi.volume.kubernetes.io/nodeid": json.dumps({"nfs.csi.k8s.io": name}),
        "nfd.node.kubernetes.io/feature-labels": ",".join(features),
        "node.alpha.kubernetes.io/ttl": "15",
        "nvidia.com/gpu-driver-upgrade-enabled": "true",
        "projectcalico.org/IPv4Address": f"{address}/16",
        "projectcalico.org/IPv4IPIPTunnelAddr": "192.168.0.1",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    }


def more_conditions(since: str) -> list[dict[str, str]]:
    """Everything that the kubelet and the node problem detector say is well."""
    return [
        {
            "type": kind,
            "status": "False",
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": since,
            "lastTransitionTime": since,
        }
        for kind, reason, message in _CONDITIONS
    ]


def more_images() -> list[dict[str, object]]:
    """As many as a kubelet reports, each by digest and by tag."""
    return [_image(index) for index in range(_IMAGE_COUNT)]


def _image(index: int) -> dict[str, object]:
    repositories = _IMAGES.split()
    repository = f"images.example/{repositories[index % len(repositories)]}"
    digest = hashlib.sha256(str(index).encode()).hexdigest()
    return {
        "names": [f"{repository}@sha256:{digest}", f"{repository}:v1.{index}.0"],
        "sizeBytes": 20_000_000_000 // (index + 1),
    }
