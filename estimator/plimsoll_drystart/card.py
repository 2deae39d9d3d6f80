"""The GPU that is not there: what NVML and CUDA would say of it."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

MIB = 1 << 20


@dataclass
class Card:
    """One kind of GPU. nvml_bytes, cuda_bytes: its memory as NVML and as CUDA show it.

    count: how many of it the machine has. processors: streaming multiprocessors. A process is made
    ready for one capability; in the fork of a case the card becomes the case's own (`become`).
    """

    name: str
    capability: tuple[int, int]
    nvml_bytes: int
    cuda_bytes: int
    processors: int
    count: int = 8

    def become(self, other: Card) -> None:
        """Be that kind of GPU from here on. Raises ValueError for another capability."""
        if other.capability != self.capability:
            raise ValueError(f"ready for {self.capability}, not for {other.capability}")
        vars(self).update(vars(other))

    @property
    def shared_memory(self) -> int:
        """Most shared memory of one thread block, in bytes, asked for expressly.

        Source: CUDA C programming guide, technical specifications per compute capability.
        """
        kib = {
            (7, 0): 96,
            (7, 5): 64,
            (8, 0): 163,
            (8, 7): 163,
            (8, 6): 99,
            (8, 9): 99,
            (12, 0): 99,
            (12, 1): 99,
        }
        return kib.get(self.capability, 227) * 1024

    @property
    def number(self) -> int:
        """The capability as one number: 90 for (9, 0)."""
        return self.capability[0] * 10 + self.capability[1]


def card_of(said: dict[str, Any]) -> Card:
    """Read a card of a case. Raises ValueError with what is lacking or wrong."""
    try:
        major, minor = said["capability"]
        return Card(
            str(said["name"]),
            (int(major), int(minor)),
            int(said["nvml_bytes"]),
            int(said.get("cuda_bytes") or said["nvml_bytes"]),
            int(said.get("processors") or 132),
            int(said.get("count") or 8),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "device: wanted name, capability [major, minor], nvml_bytes, and perhaps cuda_bytes,"
            f" processors, count; {type(error).__name__}: {error}"
        ) from error


def properties(card: Card) -> types.SimpleNamespace:
    """What torch.cuda.get_device_properties says."""
    return types.SimpleNamespace(
        name=card.name,
        major=card.capability[0],
        minor=card.capability[1],
        total_memory=card.cuda_bytes,
        multi_processor_count=card.processors,
        is_integrated=0,
        is_multi_gpu_board=0,
        warp_size=32,
        L2_cache_size=50 * MIB,
        shared_memory_per_block=48 * 1024,
        shared_memory_per_block_optin=card.shared_memory,
        shared_memory_per_multiprocessor=card.shared_memory + 1024,
        regs_per_multiprocessor=65536,
        max_threads_per_multi_processor=2048,
        max_threads_per_block=1024,
        clock_rate=1_980_000,
        memory_clock_rate=2_619_000,
        memory_bus_width=5120,
        gcnArchName="",
        uuid="GPU-0",
        pci_bus_id=0,
        pci_device_id=0,
        pci_domain_id=0,
    )


class NVMLError(Exception):
    """What NVML raises; the class of every question that has no answer here."""


def nvml(card: Card) -> dict[str, Any]:
    """NVML's functions and constants by name, for the modules that an engine asks by."""

    def memory(*_: Any, **__: Any) -> types.SimpleNamespace:
        return types.SimpleNamespace(total=card.nvml_bytes, free=card.nvml_bytes, used=0)

    return {
        "NVMLError": NVMLError,
        "NVMLError_NotSupported": NVMLError,
        "NVML_P2P_CAPS_INDEX_NVLINK": 0,
        "NVML_P2P_STATUS_OK": 0,
        "nvmlInit": lambda *_: None,
        "nvmlInitWithFlags": lambda *_: None,
        "nvmlShutdown": lambda *_: None,
        "nvmlDeviceGetCount": lambda: card.count,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": lambda _: 0,
        "nvmlDeviceGetHandleByPciBusId": lambda _: 0,
        "nvmlDeviceGetIndex": lambda handle: handle,
        "nvmlDeviceGetCudaComputeCapability": lambda _: card.capability,
        "nvmlDeviceGetName": lambda _: card.name,
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetP2PStatus": lambda *_: 0,
        "nvmlSystemGetDriverVersion": lambda: "580.95.05",
        "nvmlSystemGetCudaDriverVersion": lambda: 13000,
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13000,
    }


def nvml_module(card: Card) -> types.ModuleType:
    """A module in place of pynvml: the same answers, and an error for everything else."""
    module = types.ModuleType("pynvml")
    vars(module).update(nvml(card))

    def lacking(name: str) -> Any:
        if name.startswith("nvml"):
            return refuse
        if name.startswith("NVML_"):
            return 0
        raise AttributeError(name)

    def refuse(*_: Any, **__: Any) -> Any:
        raise NVMLError("not known of a GPU that is not there")

    module.__getattr__ = lacking  # type: ignore[method-assign]
    return module
