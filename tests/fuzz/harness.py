"""Runs a fuzz target: cases by number from a seed, each one watched for faults, time and memory.

A case follows from target, seed and number alone, so that it can be repeated without those before
it. Time is the processor's, so that a busy machine finds nothing that is not there; memory is how
far the process grew above what it held when the case began.
"""

from __future__ import annotations

import gc
import resource
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

MOST_SECONDS: Final = 2.0
"""Seconds of the processor that one case may take: admission gives a decision no more."""
MOST_MIB: Final = 128.0
"""MiB that the process may grow by during one case."""
GIVEN_UP: Final = 20.0
"""Seconds of the processor after which a case is broken off."""
SHOWN: Final = 3
"""Reproducers of one kind of fault that are kept."""
LONGEST_INPUT: Final = 1500
"""Characters of an input that a report repeats."""
TOLD_EVERY: Final = 30.0
"""Seconds of the clock after which a run says how far it is."""


@dataclass(frozen=True, slots=True)
class Target(Generic[T]):
    """One kind of input and what must be true of it.

    draw: makes the input of a case. faults: what is wrong with how it was treated, as
    ``kind: details``; an exception is a fault too. few: cases that a test run takes.
    """

    name: str
    draw: Callable[[Random], T]
    faults: Callable[[T], Iterable[str]]
    few: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was found. kind: without details; given: the input, cut."""

    kind: str
    details: str
    reproducer: str
    given: str


@dataclass(slots=True)
class Report:
    """What a run of one target came to. worst_seconds, worst_mib: of one case, with its number."""

    target: str
    seed: int
    cases: int = 0
    seconds: float = 0.0
    worst_seconds: tuple[float, int] = (0.0, 0)
    worst_mib: tuple[float, int] = (0.0, 0)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def line(self) -> str:
        """The figures in one line."""
        found = ", ".join(f"{kind} x {count}" for kind, count in sorted(self.kinds.items()))
        return (
            f"{self.target:11} {self.cases:9} cases {self.seconds:7.1f} s   worst "
            f"{self.worst_seconds[0]:6.3f} s (case {self.worst_seconds[1]}), "
            f"{self.worst_mib[0]:5.1f} MiB (case {self.worst_mib[1]})   found: {found or 'nothing'}"
        )


class GivenUp(BaseException):
    """A case that does not end; no ``except Exception`` catches it."""


def reproducer(target: str, seed: int, case: int) -> str:
    """The line that repeats one case."""
    return f"make fuzz TARGET={target} SEED={seed} CASE={case}"


def run(
    target: Target[Any],
    seed: int,
    *,
    cases: int | None = None,
    seconds: float | None = None,
    first: int = 0,
    told: Callable[[Report], object] = lambda report: None,
    ended: Callable[[], bool] = lambda: False,
) -> Report:
    """Run a target until it had so many cases, or so many seconds of the clock are over.

    told: is given the report every half minute. ended: ends the run after a case if true.
    """
    report = Report(target.name, seed)
    _quietly(target, seed, first)  # so that no case pays for what is loaded once
    gc.freeze()  # nor for looking through that for garbage
    began = heard = time.monotonic()
    number = first
    while (
        (cases is None or report.cases < cases)
        and (seconds is None or report.seconds < seconds)
        and not ended()
    ):
        _one(target, report, number)
        number += 1
        now = time.monotonic()
        report.seconds = now - began
        if now - heard >= TOLD_EVERY:
            heard = now
            told(report)
    gc.unfreeze()
    return report


def drawn(target: Target[T], seed: int, case: int) -> T:
    """The input of one case."""
    return target.draw(Random(f"{target.name} {seed} {case}"))


def _one(target: Target[Any], report: Report, number: int) -> None:
    given = drawn(target, report.seed, number)
    found, seconds, mib = _watched(target, given)
    report.cases += 1
    report.worst_seconds = max(report.worst_seconds, (seconds, number), key=lambda pair: pair[0])
    report.worst_mib = max(report.worst_mib, (mib, number), key=lambda pair: pair[0])
    if seconds > MOST_SECONDS:
        found.append(f"slow: {seconds:.1f} s of the processor, at most {MOST_SECONDS:.0f}")
    if mib > MOST_MIB:
        found.append(f"memory: {mib:.0f} MiB more, at most {MOST_MIB:.0f}")
    for text in found:
        kind, _, details = text.partition(": ")
        report.kinds[kind] += 1
        if report.kinds[kind] <= SHOWN:
            line = reproducer(target.name, report.seed, number)
            report.faults.append(Fault(kind, details, line, ascii(given)[:LONGEST_INPUT]))


def _watched(target: Target[Any], given: Any) -> tuple[list[str], float, float]:
    """What is wrong, seconds of the processor, and MiB that the process grew by."""
    found: list[str] = []
    before = signal.signal(signal.SIGPROF, _give_up)
    held, began = _start_of_peak(), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, GIVEN_UP)
    try:
        found += target.faults(given)
    except GivenUp:
        found.append(f"never ends: broken off after {GIVEN_UP:.0f} s of the processor")
    except Exception as error:
        found.append(f"{type(error).__name__}: {_where(error)}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return found, time.process_time() - began, max(0.0, _peak() - held)


def _quietly(target: Target[Any], seed: int, case: int) -> None:
    """One case whose faults, time and memory do not count."""
    _watched(target, drawn(target, seed, case))


def _give_up(*_: object) -> None:
    raise GivenUp


def _where(error: Exception) -> str:
    """The last lines of an exception's traceback, in one line."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return f"{ascii(str(error))[:200]} at {places}"


def _start_of_peak() -> float:
    """MiB that are held now; if Linux lets us, the peak is counted from here."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _held("VmRSS")


def _peak() -> float:
    """The most MiB held since counting the peak last began."""
    try:
        return _held("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _held(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {name}")
