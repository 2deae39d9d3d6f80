"""How much of a GPU a process sees, and how much of that torch spends on a tensor.

A process sees less than node labels say, by what the driver keeps:

    known GPU     the smaller of its label and what ``cudaMemGetInfo`` was seen to report, if they
                  lie within 5 %: else it is a card of other memory under that name
    other NVIDIA  label - (450 MiB + 0.2 %)
    MIG slices    as labelled; other vendors: as labelled

A label is NVML's total (81,559 MiB for an H100 80GB = 79.65 GiB); the share that an engine takes
is of what it sees (79.19 GiB). Sources are in data/visible.json.

Torch's caching allocator spends on a tensor of a given size:

    up to 1 MiB       rounded up to 512 bytes
    up to 10 MiB      cut from segments of 20 MiB; a rest of at most 1 MiB goes to the last piece
    from 10 MiB       a segment rounded up to 2 MiB; a rest of at most 1 MiB is not split off,
                      nor from 20 MiB on any rest, where `max_split_size_mb:20` is set

Source: c10/cuda/CUDACachingAllocator.cpp of PyTorch (kSmallSize, kLargeBuffer, kMinLargeAlloc,
kRoundLarge). This explains what measured weights have over the sum of their tensors: 57 MiB for
Qwen2.5-7B, whose projections are odd numbers of half MiB, and nothing for Qwen3-8B.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator


def visible_memory(accelerator: Accelerator) -> int:
    """Bytes of one GPU or slice that a process on it sees in all."""
    memory = accelerator.memory
    if accelerator.mig_of or not accelerator.resource.startswith(_NVIDIA):
        return memory
    known, fixed, share = _table()
    seen = known.get(accelerator.name)
    if seen is not None and memory <= seen * _SAME_CARD:
        return min(memory, seen)
    return max(0, memory - fixed - int(memory * share))


def free_memory(accelerator: Accelerator) -> int:
    """Bytes of it that nobody else holds, by what the request says."""
    return max(0, visible_memory(accelerator) - accelerator.reserved)


_SAME_CARD: Final = 1.05
_NVIDIA: Final = ("nvidia.com/", "gpu.nvidia.com")
"""Beginnings of resources and DeviceClasses of NVIDIA's GPUs."""


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, int], int, float]:
    text = Path(__file__).parent.joinpath("data/visible.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    known = {name: round(row["gib"] * GIB) for name, row in data["gib"].items()}
    return known, data["reserve_mib"] * MIB, data["reserve_share"]


_SMALL: Final = MIB
_SEGMENT: Final = 20 * MIB
_LARGE: Final = 10 * MIB


def allocated(size: int, *, whole: bool = False) -> int:
    """Bytes that one tensor of `size` bytes takes, as torch reports them.

    whole: blocks from 20 MiB on are not split.
    """
    size = -(-size // 512) * 512
    if size <= _SMALL:
        return size
    if size < _LARGE:
        pieces = _SEGMENT // size
        rest = _SEGMENT - pieces * size
        return size + rest // pieces if rest <= _SMALL else size
    rest = -size % (2 * MIB)
    return size + rest if rest <= _SMALL or (whole and size >= _SEGMENT) else size
