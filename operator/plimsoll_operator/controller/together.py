"""Nodes and objects that come within a second of each other are decided on together.

It must not decide and must not wait: it says for how many seconds somebody else waits.

    nodes changed in the second before an object came, or since  -> it is decided once it has been
                                                                    there for a second
    what was decided says that nodes are missing                 -> it is written no sooner, and
                                                                    decided once more by then

Whoever makes a cluster and applies to it at once would else be warned of nodes that are there.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll_operator.cluster.objects import Name

TOGETHER: Final = 1.0
"""Seconds between two things that were meant to be there together."""


class Together:
    """When nodes last changed, and when each object came that has no status yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that only grow."""
        self._clock = clock
        self._nodes = -math.inf
        self._came: dict[Name, float] = {}

    def nodes_changed(self) -> None:
        """Something about nodes changed just now."""
        self._nodes = self._clock()

    def came(self, name: Name) -> None:
        """A spec that no status is about came just now, or was known before."""
        self._came.setdefault(name, self._clock())

    def done(self, name: Name) -> None:
        """An object has its status, or is no more."""
        self._came.pop(name, None)

    def before_deciding(self, name: Name) -> float:
        """Seconds until an object is to be decided; 0: now."""
        return self.before_missing_nodes(name) if self.near(name) else 0.0

    def near(self, name: Name) -> bool:
        """Whether nodes changed in the second before an object without a status came, or since."""
        came = self._came.get(name)
        return came is not None and self._nodes >= came - TOGETHER

    def before_missing_nodes(self, name: Name) -> float:
        """Seconds until it may be said of an object that nodes are missing; 0: now."""
        came = self._came.get(name)
        return 0.0 if came is None else max(0.0, came + TOGETHER - self._clock())
