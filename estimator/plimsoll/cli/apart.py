"""Work on many things at once in as many processes as there are processors.

It must not change what comes of the work: the same list, whatever the machine has. Processes are
forked, so that they start with what was read; where that cannot be, one does it all.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

WORTH_IT: Final = 150
"""Things from which on starting processes takes less time than they save."""
MOST: Final = 8
"""Processes, however many processors there are: each holds memory of its own."""
_PARTS: Final = 4
"""Parts for each process, as some take longer than others."""

T = TypeVar("T")

_work: Callable[[int], Any]


def each(work: Callable[[int], T], count: int, processes: int | None = None) -> list[T]:
    """What `work` makes of 0, 1 ... count - 1, in that order. processes: unset: by processors."""
    size = processes or min(MOST, _processors())
    if count < WORTH_IT or size < 2 or sys.platform != "linux":
        return [work(index) for index in range(count)]
    import multiprocessing  # not worth it for one file
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    global _work
    _work = work
    step = -(-count // (size * _PARTS))
    parts = [range(start, min(count, start + step)) for start in range(0, count, step)]
    try:
        with ProcessPoolExecutor(size, multiprocessing.get_context("fork")) as pool:
            return [one for made in pool.map(_part, parts) for one in made]
    except BrokenProcessPool:  # ended from outside, for its memory perhaps
        return [work(index) for index in range(count)]


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _part(part: range) -> list[Any]:
    return [_work(index) for index in part]
