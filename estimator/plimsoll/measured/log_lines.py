"""Lines of a log without containers' wrappers, colours and ranks; and what they say of a start-up.

It must not know what an engine's line means, and no bytes but too many make it fail.

    {"log": "...\\n", "stream": "stderr"}     docker and structured logs: the text inside
    \\x1b[1;36m(EngineCore_DP0 pid=7)\\x1b[0m    colours are dropped; the process is the rank
    \\r 50%|#####     | 1/2                    what a progress bar overwrote is a line of its own

A time stamp or a container's name in front needs no care: patterns are searched, not anchored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from plimsoll.measured.rows import Bounded

if TYPE_CHECKING:
    from collections.abc import Iterator


MOST_BYTES: Final = 1 << 18
"""Bytes of a line that are looked at; the rest of a longer one is skipped."""
MOST_LOG: Final = 2 << 30
"""Bytes of a log that are read at most."""
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
    """One line. text: without colours. rank: the process that wrote it; empty if unsaid."""

    text: str
    rank: str = ""


def read(stream: BinaryIO) -> Iterator[Line]:
    """The lines of a log, one at a time; of a line at most `MOST_BYTES`.

    Raises `OSError` beyond `MOST_LOG` bytes, which a device or a pipe may give without end.
    """
    bounded = Bounded(stream, MOST_LOG)
    while raw := bounded.line(MOST_BYTES):
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
    """The text in a line of a container's JSON log; the line itself if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        for key in _WRAPPED:
            if isinstance(value.get(key), str):
                return str(value[key])
    return text


def _rank(text: str) -> str:
    head = text[:256]
    tags = _SGLANG.search(head)
    if tags:
        return tags["tags"].strip()
    process = ""
    for match in _PROCESS.finditer(head):
        who, rank = match["who"], match["rank"] or ""
        if not rank and (who == "Worker" or who.startswith(_BY_PID)):
            rank = " ".join(part for part in (match["pid"], match["ip"]) if part)
        process = f"{who} {rank}".strip()
    return process


@dataclass
class StartUp:
    """One start-up of an engine.

    engine: ``vllm`` or ``sglang``, empty until a line tells. said: inputs by the name that a row
    has for them, as written; the first that says one counts. args: settings as the engine printed
    them. whole: what `args` lacks is at its default. ranks: for each process that wrote any, the
    figures that it measured. started: requests could be served. failure: an outcome and the words
    of the log; empty if none was met before it started. notes: what else is worth keeping.
    """

    engine: str = ""
    said: dict[str, object] = field(default_factory=dict)
    args: dict[str, object] = field(default_factory=dict)
    whole: bool = False
    ranks: dict[str, dict[str, float]] = field(default_factory=dict)
    started: bool = False
    failure: tuple[str, str] = ("", "")
    notes: list[str] = field(default_factory=list)

    def say(self, name: str, value: object) -> None:
        """Take an input; what an earlier line said stays."""
        if value is not None and value != "":
            self.said.setdefault(name, value)

    def measure(
        self, rank: str, name: str, value: float, *, again: bool = False, least: bool = False
    ) -> None:
        """Take a figure of a rank; the first counts.

        again: a later line is better informed. least: the least counts.
        """
        figures = self.ranks.setdefault(rank, {})
        if again or name not in figures:
            figures[name] = value
        elif least:
            figures[name] = min(figures[name], value)

    def fail(self, outcome: str, words: str) -> None:
        """Take the first failure, unless it had already started."""
        if not self.started and not self.failure[0]:
            self.failure = (outcome, words)

    def note(self, text: str) -> None:
        """Keep a remark once."""
        if text not in self.notes and len(self.notes) < _MOST_NOTES:
            self.notes.append(text)

    @property
    def told(self) -> bool:
        """Whether anything was measured or went wrong."""
        return bool(self.ranks) or bool(self.failure[0])


_MOST_NOTES = 12
