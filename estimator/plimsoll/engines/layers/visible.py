"""How much of a GPU a process sees: less than node labels say, by what the driver keeps.

It must not know an engine.

    known GPU     the smaller of its label and what ``cudaMemGetInfo`` was seen to report
    other NVIDIA  label - (300 MiB + 0.25 %)
    MIG slices    as labelled; other vendors: as labelled

A label is NVML's total (81,559 MiB for an H100 80GB = 79.65 GiB); the share that an engine takes
is of what it sees (79.19 GiB). Sources are in data/visible.json.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator


def visible_memory(accelerator: Accelerator) -> int:
    """Bytes of one GPU or slice that a process on it sees in all."""
    memory = accelerator.memory
    if accelerator.mig_of or not accelerator.resource.startswith("nvidia.com/"):
        return memory
    known, fixed, share = _table()
    seen = known.get(accelerator.name)
    if seen is not None:
        return min(memory, seen)
    return max(0, memory - fixed - int(memory * share))


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, int], int, float]:
    text = Path(__file__).parent.joinpath("data/visible.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    known = {name: round(row["gib"] * GIB) for name, row in data["gib"].items()}
    return known, data["reserve_mib"] * MIB, data["reserve_share"]
