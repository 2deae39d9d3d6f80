"""Lines of a log as the engine wrote them: containers' wrappers, colours and ranks taken off.

It must not know what a line means, and it must not fail on any bytes.

    {"log": "...\\n", "stream": "stderr"}     docker and structured logs: the text inside
    \\x1b[1;36m(EngineCore_DP0 pid=7)\\x1b[0m    colours are dropped; the process is the rank
    \\r 50%|#####     | 1/2                    what a progress bar overwrote is a line of its own

A time stamp or a container's name in front needs no care: patterns are searched, not anchored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES: Final = 1 << 18
"""Bytes of a line that are looked at; the rest of a longer one is skipped."""
_COLOUR: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_PROCESS: Final = re.compile(
    r"\((?P<who>VllmWorkerProcess|VllmWorker|RayWorker\w*|RayWorkerWrapper|RayWorkerVllm|Worker\w*"
    r"|EngineCore\w*|APIServer|ApiServer\w*|ServeReplica[\w:]*)"
    r"(?: (?:rank=)?(?P<rank>TP\d+|\d+))?"
    r"(?:,? ?(?:pid=(?P<pid>\d+)))?(?:, ip=(?P<ip>[\d.a-f:]+))?\)"
)
_SGLANG: Final = re.compile(
    r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?P<tags>(?: [A-Z_]{2,12}\d{1,5})+)\]"
)
_WRAPPED: Final = ("log", "message", "msg")
_BY_PID: Final = ("VllmWorkerProcess", "RayWorker", "ServeReplica")
"""Processes whose name is the same for every rank."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. text: without colours. rank: the process that wrote it; empty where unsaid."""

    text: str
    rank: str = ""


def read(stream: BinaryIO) -> Iterator[Line]:
    """The lines of a log, one at a time; of a line at most `MOST_BYTES`."""
    while True:
        raw = stream.readline(MOST_BYTES)
        if not raw:
            return
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(MOST_BYTES)
        yield from lines_of(raw)


def lines_of(raw: bytes) -> Iterator[Line]:
    """What one physical line holds: itself, or the parts that a progress bar overwrote."""
    text = raw.decode("utf-8", errors="replace").removeprefix("\ufeff")
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.lstrip().startswith("{"):
        text = _unwrapped(text)
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    for part in re.split(r"[\r\n]+", text):
        if part.strip():
            yield Line(part, _rank(part))


def _unwrapped(text: str) -> str:
    """The text in a line of a container's JSON log; the line itself where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        for key in _WRAPPED:
            if isinstance(value.get(key), str):
                found: str = value[key]
                return found
    return text


def _rank(text: str) -> str:
    head = text[:256]
    tags = _SGLANG.search(head)
    if tags:
        return tags["tags"].strip()
    found = ""
    for match in _PROCESS.finditer(head):
        who, rank = match["who"], match["rank"] or ""
        if not rank and (who == "Worker" or who.startswith(_BY_PID)):
            rank = " ".join(part for part in (match["pid"], match["ip"]) if part)
        found = f"{who} {rank}".strip()
    return found
