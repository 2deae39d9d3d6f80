"""A queue of names to look at: each at most once, never two workers on one, retries spaced out.

It must not know what a name stands for, nor keep anything but names.

    add while waiting     -> nothing more: it will be looked at anyway
    add while worked on   -> looked at once more afterwards
    urgent                -> before everything that is not: a user's change does not wait for a
                             re-decision of the whole cluster
    a failure             -> again after min(0.5 x 2^n, 60 s), jittered by a quarter
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Hashable
from functools import partial
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 60.0


class KeyedQueue(Generic[Key]):
    """The names that wait for a worker. Everything but `get` is immediate."""

    def __init__(self) -> None:
        self._urgent: dict[Key, None] = {}
        self._waiting: dict[Key, None] = {}
        self._active: set[Key] = set()
        self._again: dict[Key, bool] = {}
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._arrived = asyncio.Event()

    @property
    def depth(self) -> int:
        """Names that wait for a worker now; those that wait for their time do not count."""
        return len(self._urgent) + len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is worked on."""
        return not (self._urgent or self._waiting or self._active)

    def add(self, key: Key, *, urgent: bool = False) -> None:
        """Have a name looked at as soon as a worker is free."""
        self._cancel(key)
        if key in self._active:
            self._again[key] = self._again.get(key, False) or urgent
        elif urgent:
            self._waiting.pop(key, None)
            self._urgent[key] = None
        elif key not in self._urgent:
            self._waiting[key] = None
        self._arrived.set()

    def add_later(self, key: Key, seconds: float, *, urgent: bool = False) -> None:
        """Have a name looked at after so many seconds, or earlier if that was asked before."""
        loop = asyncio.get_running_loop()
        planned = self._later.get(key)
        if planned is not None and planned.when() <= loop.time() + seconds:
            return
        self._cancel(key)
        self._later[key] = loop.call_later(seconds, partial(self.add, key, urgent=urgent))

    async def get(self) -> Key:
        """The next name. The caller works on it alone until it calls `done`."""
        while not (self._urgent or self._waiting):
            self._arrived.clear()
            await self._arrived.wait()
        queue = self._urgent or self._waiting
        key = next(iter(queue))
        del queue[key]
        self._active.add(key)
        return key

    def done(self, key: Key) -> None:
        """The work on a name that `get` gave has ended, well or not."""
        self._active.discard(key)
        if key in self._again:
            self.add(key, urgent=self._again.pop(key))

    def failed(self, key: Key, at_least: float = 0.0) -> float:
        """Have a name looked at again after a while; the seconds until then.

        at_least: seconds that somebody else (a server's Retry-After) asks for.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(FIRST_DELAY * 2.0 ** min(failures, 16), LONGEST_DELAY)
        delay = max(delay * random.uniform(0.75, 1.25), at_least)
        self.add_later(key, delay)
        return delay

    def succeeded(self, key: Key) -> None:
        """Forget that a name ever failed."""
        self._failures.pop(key, None)

    def hurry(self) -> None:
        """Have every name that waits for its time looked at now (what it failed on is back)."""
        for key in list(self._later):
            self._failures.pop(key, None)
            self.add(key)

    def forget(self, key: Key) -> None:
        """A name that nobody needs to look at any more."""
        self._cancel(key)
        for names in (self._urgent, self._waiting, self._again, self._failures):
            names.pop(key, None)

    def _cancel(self, key: Key) -> None:
        planned = self._later.pop(key, None)
        if planned is not None:
            planned.cancel()
