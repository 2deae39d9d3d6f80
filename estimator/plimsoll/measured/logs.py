"""A log, line by line, to the start-ups that it holds.

Of a log of any length only the facts stay in memory. The lines that every engine's log may hold are
read here, each engine's own in its module:

    CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which
    (GPU 0; 79.15 GiB total capacity; ...                                          torch before 2.1
    Process 7 has 61.00 GiB memory in use                                          another process
    device_name=NVIDIA_H100_80GB_HBM3.json                                         tuned kernels
    GPU 0: NVIDIA H100 80GB HBM3 / |   0  NVIDIA H100 80GB HBM3      On  |         tools' output
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from plimsoll.measured import log_lines, log_sglang, log_vllm
from plimsoll.measured.log_lines import StartUp

if TYPE_CHECKING:
    from plimsoll.measured.log_lines import Line


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


def take_common(text: str, start_up: StartUp) -> None:
    """Take what a line says that is no engine's own."""
    if not any(needle in text for needle in _NEEDLES):
        return
    gpu = _GPU.search(text)
    if gpu:
        name = gpu["kernel"].replace("_", " ") if gpu["kernel"] else gpu[gpu.lastgroup or 0]
        start_up.say("gpu", name.strip())
    if not _MEMORY.search(text):
        return
    total = _TOTAL.search(text)
    if total:
        start_up.say("gpu_total_gib", total["new"] or total["old"])
    others = [float(match["gib"]) for match in _OTHERS.finditer(text) if _is_number(match["gib"])]
    if any(gib >= OTHERS_GIB for gib in others):
        start_up.fail("contention", "another process held memory of the GPU")
    else:
        start_up.fail("oom", "out of memory")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


ENGINES: Final = {"vllm": log_vllm, "sglang": log_sglang}
LOOKED_FOR: Final = (
    'vLLM: "Model loading took ... GiB", "Loading model weights took ... GB", '
    '"GPU KV cache size: ... tokens", "# GPU blocks: ..."; '
    'SGLang: "Load weight end. ... mem usage=... GB", "KV Cache is allocated. #tokens: ..."'
)
"""What a log of a start-up holds, for a file in which none was found."""
MOST: Final = 64
"""Start-ups that are kept: of a crash loop the last ones."""


@dataclass
class Log:
    """What a log holds. lines: how many it has. start_ups: in order, those that measured or failed.

    earlier: how many were dropped because there were more than `MOST`.
    """

    lines: int = 0
    start_ups: list[StartUp] = field(default_factory=list)
    earlier: int = 0

    @property
    def last(self) -> StartUp | None:
        """The last start-up that measured something, else the last that failed."""
        measured = [one for one in self.start_ups if one.ranks]
        return next(reversed(measured or self.start_ups), None)


def read(stream: BinaryIO) -> Log:
    """Every start-up in a log. Never raises for what the bytes are, but as `log_lines.read` does
    for too many of them."""
    log, current = Log(), StartUp()
    for line in log_lines.read(stream):
        log.lines += 1
        current = _take(line, current, log)
    _keep(current, log)
    return log


def _take(line: Line, current: StartUp, log: Log) -> StartUp:
    engine = ENGINES.get(current.engine)
    if engine is not None and engine.restarts(line, current):
        _keep(current, log)
        current = StartUp()
    take_common(line.text, current)
    for name, one in ENGINES.items():
        if current.engine in ("", name) and one.take(line, current):
            current.engine = name
            break
    return current


def _keep(current: StartUp, log: Log) -> None:
    if not current.engine or not current.told:
        return
    log.start_ups.append(current)
    if len(log.start_ups) > MOST:
        del log.start_ups[0]
        log.earlier += 1
