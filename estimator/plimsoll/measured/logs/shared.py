"""Lines that both engines' logs may hold: torch out of memory, and the GPU's name.

It must not know an engine.

    CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which
    (GPU 0; 79.15 GiB total capacity; ...                                          torch before 2.1
    Process 7 has 61.00 GiB memory in use                                          another process
    device_name=NVIDIA_H100_80GB_HBM3.json                                         tuned kernels
    GPU 0: NVIDIA H100 80GB HBM3 / |   0  NVIDIA H100 80GB HBM3      On  |         tools' output
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from plimsoll.measured.logs.facts import StartUp

OTHERS_GIB: Final = 1.0
"""Memory of another process on the GPU from which a failure says nothing on fit."""
_MEMORY: Final = re.compile(
    r"(?:CUDA|HIP) out of memory|OutOfMemoryError|CUDA error: out of memory"
)
_TOTAL: Final = re.compile(
    r"GPU \d+ has a total capac\w+ of (?P<new>[\d.]{1,12}) GiB"
    r"|GPU \d+; (?P<old>[\d.]{1,12}) GiB total capacity"
)
_OTHERS: Final = re.compile(r"[Pp]rocess \d+ has (?P<gib>[\d.]{1,12}) GiB memory in use")
_GPU: Final = re.compile(
    r"device_name=(?P<kernel>\w{3,64}?)(?:\.json|,|$|\s)"
    r"|\bGPU \d{1,2}: (?P<listed>(?:NVIDIA|Tesla|AMD|Quadro) [\w .-]{2,60}?)(?: \(UUID|$|\s{2}|\\n)"
    r"|\|\s+\d{1,2}\s+(?P<table>(?:NVIDIA|Tesla) [\w .-]{2,60}?)\s+(?:On|Off)\s+\|"
    r"|Your (?P<your>[\w .-]{2,60}?) GPU (?:has|does not have) compute capability"
)
_NEEDLES: Final = ("out of memory", "OutOfMemory", "device_name=", "GPU ", "| ")


def take(text: str, found: StartUp) -> None:
    """Take what a line says that is no engine's own."""
    if not any(needle in text for needle in _NEEDLES):
        return
    gpu = _GPU.search(text)
    if gpu:
        name = gpu["kernel"].replace("_", " ") if gpu["kernel"] else gpu[gpu.lastgroup or 0]
        found.say("gpu", name.strip())
    if not _MEMORY.search(text):
        return
    total = _TOTAL.search(text)
    if total:
        found.say("gpu_total_gib", total["new"] or total["old"])
    others = [float(match["gib"]) for match in _OTHERS.finditer(text) if _is_number(match["gib"])]
    if any(gib >= OTHERS_GIB for gib in others):
        found.fail("contention", "another process held memory of the GPU")
    else:
        found.fail("oom", "out of memory")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
