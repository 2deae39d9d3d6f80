"""The types for accelerators: a kind of GPU (or MIG slice) and the label dialects that select it.

It must not hold data: the table is in accelerators.json, read by `plimsoll.accelerators.catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_GPUS: Final = 1024
"""No node is believed to have more GPUs than this."""
_SHARED: Final = frozenset({(8, 7), (11, 0), (12, 1)})
"""Compute capabilities of Jetson Orin and Thor, and of GB10."""


class Dialect(StrEnum):
    """Who wrote the labels of a node, and so which labels a node selector may use."""

    GFD = "gpu-feature-discovery"
    GKE = "gke"
    KARPENTER_AWS = "karpenter-aws"
    EKS_AUTO = "eks-auto-mode"
    KARPENTER_AZURE = "karpenter-azure"
    AKS = "aks"
    AMD = "amd"
    COREWEAVE = "coreweave"
    ALIBABA = "alibaba"
    INSTANCE_TYPE = "instance-type"
    NODE_LABEL = "node-label"
    DRA = "dynamic-resource-allocation"
    POOL = "accelerator-pool"


@dataclass(frozen=True, slots=True)
class Labels:
    """One set of node labels that select an accelerator in one dialect.

    dialect: whose labels they are. selector: label key to value, all of which must match.
    """

    dialect: Dialect
    selector: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A kind of GPU, or a MIG slice of one.

    name: Plimsoll's name (``nvidia-a100-80gb``, ``nvidia-a100-80gb-mig-1g.10gb``).
    title: what people call it (``NVIDIA A100 80GB``).
    memory: bytes of one GPU or slice as the driver reports them; never the nominal size.
    resource: extended resource that a pod asks for (``nvidia.com/gpu``).
    family: ``ampere``, ``hopper`` ...; compute: (major, minor) compute capability, (0, 0) if
        the vendor has none.
    gpus_per_node: the usual largest count in one node, for planning without nodes; 1 for a slice.
    labels: how nodes that carry it are labelled, in each dialect that knows it.
    products: the product names of GPU Feature Discovery (or the vendor's labeller).
    mig_of: name of the parent for a MIG slice, else empty; mig_profile: ``1g.10gb``, else empty.
    source: where `memory` was seen. certain: False if the figure is nominal or assumed.
    reserved: bytes of one GPU that others hold, by what a request says.
    usual: whether clouds offer it, so that a request which names none is planned on it.
    """

    name: str
    title: str
    memory: int
    resource: str
    family: str
    compute: tuple[int, int]
    gpus_per_node: int
    labels: tuple[Labels, ...] = ()
    products: tuple[str, ...] = ()
    mig_of: str = ""
    mig_profile: str = ""
    source: str = field(default="", compare=False)
    certain: bool = True
    reserved: int = 0
    usual: bool = True

    @property
    def shares_memory(self) -> bool:
        """Whether GPU and CPU have one memory; NVML tells nothing of its size then."""
        return self.compute in _SHARED
