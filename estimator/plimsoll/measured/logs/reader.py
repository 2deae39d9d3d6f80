"""A log, line by line, to the start-ups that it holds.

It must not print, and it must not keep the log: of a log of any length only the facts stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from plimsoll.measured.logs import lines, sglang, shared, vllm
from plimsoll.measured.logs.facts import StartUp

if TYPE_CHECKING:
    from plimsoll.measured.logs.lines import Line

ENGINES: Final = {"vllm": vllm, "sglang": sglang}
LOOKED_FOR: Final = (
    "vLLM: \"Model loading took ... GiB\", \"Loading model weights took ... GB\", "
    "\"GPU KV cache size: ... tokens\", \"# GPU blocks: ...\"; "
    "SGLang: \"Load weight end. ... mem usage=... GB\", \"KV Cache is allocated. #tokens: ...\""
)  # fmt: skip
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
    """Every start-up in a log. Never raises for what the bytes are."""
    log, current = Log(), StartUp()
    for line in lines.read(stream):
        log.lines += 1
        current = _take(line, current, log)
    _keep(current, log)
    return log


def _take(line: Line, current: StartUp, log: Log) -> StartUp:
    engine = ENGINES.get(current.engine)
    if engine is not None and engine.restarts(line, current):
        _keep(current, log)
        current = StartUp()
    shared.take(line.text, current)
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
