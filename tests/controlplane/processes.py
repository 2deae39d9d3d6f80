"""Start a program so that it cannot outlive us, and end it by its own process id.

It must never signal a process that it did not start, and never search for one by name.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Linux sends the "parent died" signal when the *thread* that started the child ends. This thread
# lives as long as Python does, so that a cluster may be started from a short-lived one.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="process-starter")

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Process:
    """A program with a log file, in a process group of its own (Ctrl-C is not for it)."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        parent = os.getpid()

        def die_with_parent() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != parent:  # it died before we asked
                    os._exit(1)

        def start() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )

        self._popen = _STARTER.submit(start).result()

    @property
    def pid(self) -> int:
        """The process id, which is its process group's too."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout: float) -> int | None:
        """The exit code once it ends, or None if it still runs after so many seconds."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it and what it started, at once: nothing here has data worth a clean shutdown."""
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def tail(self, lines: int = 20) -> str:
        """The end of what it wrote to its log, which may hold an earlier run's lines too."""
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])
