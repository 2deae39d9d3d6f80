"""What the demo says and how it checks: headings, commands with their output, claims, times.

It must not know what the demo is about.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Found = TypeVar("Found")

_BOLD, _DIM, _GREEN, _RED, _OFF = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


class DemoError(Exception):
    """Something that the demo promises did not happen."""


def _colour(text: str, code: str) -> str:
    return f"{code}{text}{_OFF}" if sys.stdout.isatty() else text


def say(text: str = "") -> None:
    """A line for the reader."""
    print(text, flush=True)


def command(text: str) -> None:
    """A command as a user would type it."""
    say(_colour(f"$ {text}", _BOLD))


def output(text: str, most: int = 60) -> None:
    """What a command printed."""
    lines = text.rstrip().splitlines()
    for line in lines[:most]:
        say(f"  {line}")
    if len(lines) > most:
        say(_colour(f"  ... {len(lines) - most} more lines", _DIM))


@dataclass
class Parts:
    """The parts of the demo and how long each took, in seconds."""

    taken: list[tuple[str, float]] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def start(self, title: str) -> None:
        """Begin a part with a heading."""
        self._since = time.monotonic()
        say()
        say(_colour(f"== {title}", _BOLD))

    def end(self, name: str) -> None:
        """The part is over."""
        self.taken.append((name, time.monotonic() - self._since))

    def table(self) -> None:
        """How long each part took."""
        say()
        for name, seconds in self.taken:
            say(f"  {name:<42}{seconds:6.1f} s")
        say(f"  {'in all':<42}{sum(s for _, s in self.taken):6.1f} s")


def claim(holds: bool, text: str, evidence: str = "") -> None:
    """Say that something holds, or stop. Raises `DemoError` if it does not."""
    if not holds:
        raise DemoError(f"{text}: this did not happen" + (f"\n{evidence}" if evidence else ""))
    say(_colour(f"  ok: {text}", _GREEN))


def failure(text: str) -> None:
    """Say what went wrong."""
    print(_colour(f"demo: {text}", _RED), file=sys.stderr, flush=True)


def until(look: Callable[[], Found | None], what: str, limit: float = 30.0) -> Found:
    """Look until something is there. Raises `DemoError` after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > end:
            raise DemoError(f"{what}: not within {limit:.0f} s")
        time.sleep(0.2)


def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program and show nothing."""
    return subprocess.run(list(arguments), capture_output=True, text=True, check=False, timeout=120)
