"""The folder outside the tree that keeps built programs, and who may write to it.

It must not know what is built, or how.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cache_folder() -> Path:
    """$PLIMSOLL_CACHE, else plimsoll in the user's cache folder."""
    if chosen := os.environ.get("PLIMSOLL_CACHE"):
        return Path(chosen).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "plimsoll"


@contextmanager
def exclusive(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder against other builders; the kernel lets go when this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is building in {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
