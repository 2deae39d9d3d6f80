"""One line per program while it is built: ticking in a terminal, every 30 s anywhere else.

It must not decide anything: it prints, and reads the clock.
"""

from __future__ import annotations

import sys
import time

PLAIN_INTERVAL = 30.0


class Progress:
    """Tells how long one step has been going on.

    what: "kube-apiserver 1.37.2"; about: seconds that it takes the first time on two cores.
    """

    def __init__(self, what: str, about: int) -> None:
        self._what = what
        self._about = about
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._said = self._started
        self._show(f"building {what} ... (about {about} s the first time on 2 cores)")

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._started

    def tick(self) -> None:
        """Call this about once a second."""
        if not self._terminal and time.monotonic() - self._said < PLAIN_INTERVAL:
            return
        self._said = time.monotonic()
        self._show(
            f"building {self._what} ... {self.elapsed:.0f} s "
            f"(about {self._about} s the first time on 2 cores)"
        )

    def done(self) -> None:
        """The step is over and went well."""
        self._show(f"built {self._what} in {self.elapsed:.0f} s")
        self.leave()

    def leave(self) -> None:
        """Whatever is printed next starts on a line of its own."""
        if self._terminal:
            print(file=sys.stderr, flush=True)

    def _show(self, line: str) -> None:
        if self._terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            say(line)


def say(line: str) -> None:
    """A line of its own, on standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)
