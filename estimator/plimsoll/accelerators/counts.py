"""How many GPUs a machine has by its labels, how many slices one is cut into, who shares them.

    whole GPUs    the least that a label counts, or the type of the machine
    slices        min(compute slices of a GPU / g, memory slices / m) of one profile to a GPU
    in use        max(sum g / compute slices, sum m / memory slices), rounded up, over all profiles

A GPU has 7 compute and 8 memory slices (A30, RTX PRO 6000: 4 and 4); a profile ``3g.40gb`` takes 3
of the one and round(8 x 40 / 80) of the other. Source: NVIDIA's MIG user guide, "supported
profiles". More than that in a node's capacity means that GPUs are shared or counted twice.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.machines import instance_type, machine_of
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.accelerators.types import Accelerator

GPU: Final = "nvidia.com/gpu"
_COUNTS: Final = (
    "karpenter.k8s.aws/instance-gpu-count",
    "eks.amazonaws.com/instance-gpu-count",
    "karpenter.azure.com/sku-gpu-count",
    "karpenter.k8s.gcp/instance-gpu-count",
    "cloud.google.com/gke-accelerator-count",
    "gpu.nvidia.com/count",
    "aliyun.accelerator/nvidia_count",
)
"""Labels of clouds and provisioners that count a machine's GPUs."""
_NEBIUS: Final = "nebius.com/resource-preset"
_PRESET: Final = re.compile(r"([1-9][0-9]?)gpu-[a-z0-9-]{1,40}")
"""Nebius counts in the name of a preset: ``8gpu-128vcpu-1600gb``."""
_SHARING: Final = "cloud.google.com/gke-gpu-sharing-strategy"
_CLIENTS: Final = "cloud.google.com/gke-max-shared-clients-per-gpu"
_NONE: Final = ("", "none")
_SIZES: Final = re.compile(r"(?P<compute>[1-7])g\.(?P<gb>[0-9]{1,3})gb")
_CUT_IN_FOUR: Final = ("nvidia-a30", "nvidia-rtx-pro-6000")
_NOMINAL: Final = re.compile(r"7g\.(?P<gb>[0-9]{1,3})gb|4g\.(?P<four>24|96)gb")


def shared_by(labels: Mapping[str, str], resource: str = GPU) -> str:
    """How the GPUs of a resource are shared among pods; empty if each pod has its own.

    A shared product's label ends in -SHARED, unless the device plugin gives shared GPUs a
    resource of another name; GKE has labels of its own.
    """
    strategies = [labels.get(f"{resource}.sharing-strategy", "")]
    strategies += [labels.get(_SHARING, "")] if resource == GPU else []
    for strategy in strategies:
        if strategy.lower() not in _NONE:
            return f"shared by {strategy[:63]}"
    keys = (f"{resource}.replicas", _CLIENTS) if resource == GPU else (f"{resource}.replicas",)
    for key in keys:
        clients = labels.get(key, "1")
        if clients.isdecimal() and int(clients[:9]) > 1:
            return f"shared, {clients[:9]} pods to one"
    return "shared" if labels.get(f"{resource}.product", "").endswith("-SHARED") else ""


def machine_gpus(labels: Mapping[str, str]) -> tuple[int, str]:
    """The least that labels say of how many GPUs the machine has, and the label; (0, "") if none.

    A count of 0, as Karpenter's of sizes with a share of a GPU, says nothing.
    """
    said: list[tuple[int, str]] = []
    for key in _COUNTS:
        text = labels.get(key, "")
        if text.isascii() and text.isdecimal() and 0 < len(text) <= 4 and int(text):
            said.append((int(text), f"{key}={text}"))
    named = instance_type(labels)
    machine = machine_of(labels)
    if named and machine and machine.gpus:
        said.append((machine.gpus, f"{named[0]}={named[1]}"))
    if preset := _PRESET.match(labels.get(_NEBIUS, "")):
        said.append((int(preset[1]), f"{_NEBIUS}={preset.string}"))
    return min(said, default=(0, ""))


@lru_cache(maxsize=512)
def _shares(parent: str, profile: str) -> tuple[int, int, int] | None:
    """Compute slices and memory slices that a profile takes, and into how many a GPU is cut."""
    sizes = _SIZES.match(profile)
    if sizes is None:
        return None
    cut = 4 if parent in _CUT_IN_FOUR else 7
    whole = _whole_gb(parent) or 0
    memory_slices = 8 if cut == 7 else 4
    memory = max(1, round(memory_slices * int(sizes["gb"]) / whole)) if whole else 1
    return int(sizes["compute"]), min(memory, memory_slices), cut


@lru_cache(maxsize=128)
def _whole_gb(parent: str) -> int | None:
    """Gigabytes in the name of the profile that takes a whole GPU, of a GPU in the table."""
    for piece in catalogue.load().slices:
        match = _NOMINAL.fullmatch(piece.mig_profile) if piece.mig_of == parent else None
        if match:
            return int(match["gb"] or match["four"])
    return None


def slices_of_one(accelerator: Accelerator) -> int:
    """Into how many of such slices one GPU can be cut; 1 for a whole GPU."""
    if not accelerator.mig_of:
        return 1
    shares = _shares(accelerator.mig_of, accelerator.mig_profile)
    if shares is None:
        return 7
    compute, memory, cut = shares
    return max(1, min(cut // compute, (8 if cut == 7 else 4) // memory))


def gpus_cut_up(parent: str, slices: Mapping[str, int]) -> int:
    """The fewest GPUs that hold those slices. slices: how many of each profile (``1g.10gb``)."""
    compute, memory, cut = 0, 0, 7
    for profile, count in slices.items():
        shares = _shares(parent, profile)
        if shares is not None and count > 0:
            compute += count * shares[0]
            memory += count * shares[1]
            cut = shares[2]
    return max(ceil_div(compute, cut), ceil_div(memory, 8 if cut == 7 else 4))
