"""Processes: nothing that was started outlives who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import controlplane
from controlplane.processes import Process

START_AND_WAIT = """
import sys, time
from pathlib import Path
from controlplane.processes import Process
print(Process("sleep", ["sleep", "60"], Path(sys.argv[1])).pid, flush=True)
time.sleep(60)
"""


def test_process_of_a_killed_parent_dies(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(controlplane.__file__).parents[1])}
    command = [sys.executable, "-c", START_AND_WAIT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_process_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Process] = []
    thread = threading.Thread(
        target=lambda: started.append(Process("sleep", ["sleep", "60"], tmp_path / "log"))
    )
    thread.start()
    thread.join()
    (process,) = started

    assert process.wait(0.2) is None
    process.kill()
    process.kill()
    assert process.returncode == -signal.SIGKILL


def test_kill_takes_what_the_process_started_along(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Process("sh", ["sh", "-c", "sleep 60 & echo $!; wait"], log)
    while not log.read_text().endswith("\n"):
        time.sleep(0.02)
    child = int(log.read_text())

    process.kill()

    deadline = time.monotonic() + 5
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_tail_is_of_this_run_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        process = Process("echo", ["echo", word], log)
        assert process.wait(5) == 0

    assert process.tail() == "second"
    assert log.read_text() == "first\nsecond\n"


def test_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        Process("nothing", [str(tmp_path / "no-such-program")], tmp_path / "log")


def alive(pid: int) -> bool:
    """Whether it runs: an orphan that nobody reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
