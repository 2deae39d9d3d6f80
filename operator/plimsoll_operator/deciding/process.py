"""What runs apart: a template that has loaded everything once, and the workers that it forks.

    python -m plimsoll_operator.deciding.process CONTROL TASK BUDGET MEMORY JOBS

The template imports TASK (``module:function``), calls the module's ``warm`` if it has one, and
forks a worker for each socket that comes over CONTROL, an inherited socket. They share its pages.

    a job takes more than BUDGET seconds -> the kernel ends the worker: nobody handles its alarm
    a job needs more than MEMORY bytes   -> it fails, and says so
    a worker has done JOBS jobs, or has grown by half of MEMORY -> it says so and ends
    whoever asks is gone                 -> the sockets end, and with them template and workers

A frame is a byte for its kind, four bytes for its length, and its content. Nothing here logs,
starts a thread or opens a connection.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Task = Callable[[Any, Any], object]

HEADER: Final = struct.Struct("!cI")

NICENESS: Final = 5
"""How much less of a processor is given to these than to whoever asks, if there is not enough."""

SHARED: Final = b"S"
"""To a worker: what the jobs after it have in common, pickled."""
JOB: Final = b"J"
"""To a worker: one job, pickled."""
HELLO: Final = b"H"
"""From a worker: it waits for its first job."""
RESULT: Final = b"R"
"""From a worker: what its task gave, pickled."""
LAST: Final = b"L"
"""From a worker: the same, and it ends."""
FAULT: Final = b"F"
"""From a worker: name and traceback of what its task raised, pickled."""
MEMORY: Final = b"M"
"""From a worker: the job needed more memory than there is for one. It ends."""


@dataclass(frozen=True, slots=True)
class WorkerBounds:
    """Of one worker. budget: seconds for a job. memory: bytes beyond the template's.

    jobs: after which it ends.
    """

    budget: float
    memory: int
    jobs: int


def frame(kind: bytes, content: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(content)) + content


def _received(channel: socket.socket, size: int) -> bytearray:
    """So many bytes. Raises EOFError if the other side is gone."""
    content = bytearray(size)
    view = memoryview(content)
    while view:
        count = channel.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return content


def _peak() -> int:
    """The most bytes that this process has had in memory."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _limit_memory(allowance: int) -> None:
    """Refuse this process what goes beyond what it has now and an allowance; only on Linux."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm", "rb") as statm:
        most = int(statm.read().split()[5]) * resource.getpagesize() + allowance
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def work(channel: socket.socket, task: Task, bounds: WorkerBounds) -> None:
    """A worker's life: job after job, until the other side is gone or it has done enough."""
    _limit_memory(bounds.memory)
    enough = _peak() + bounds.memory // 2
    shared: Any = None
    done = 0
    channel.sendall(frame(HELLO, b""))
    while True:
        kind, size = HEADER.unpack(_received(channel, HEADER.size))
        signal.setitimer(signal.ITIMER_REAL, bounds.budget)
        answer, content = RESULT, b""
        try:
            given = pickle.loads(_received(channel, size))
            if kind == SHARED:
                shared = given
                signal.setitimer(signal.ITIMER_REAL, 0)
                continue
            done += 1
            content = pickle.dumps(task(shared, given), pickle.HIGHEST_PROTOCOL)
            if done >= bounds.jobs or _peak() > enough:
                answer = LAST
        except MemoryError:
            answer = MEMORY
        except EOFError:
            return
        except Exception as error:
            answer = FAULT
            content = pickle.dumps((type(error).__name__, traceback.format_exc()))
        given = None
        channel.sendall(frame(answer, content))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if answer in (LAST, MEMORY):
            return


def _end_worker(channel: socket.socket, task: Task, bounds: WorkerBounds) -> None:
    """Be a worker, then end without what a template does at its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    code = 0
    try:
        work(channel, task, bounds)
    except (EOFError, OSError):
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


class Template:
    """Forks workers that are as warm as itself, and lets none of them outlive it."""

    def __init__(self, control: socket.socket, task: Task, bounds: WorkerBounds) -> None:
        self._control, self._task, self._bounds = control, task, bounds
        self._workers: set[int] = set()

    def run(self) -> None:
        """Until whoever asks is gone."""
        signal.signal(signal.SIGCHLD, lambda number, stack: self._reap())
        gc.collect()
        gc.freeze()  # a collection in a worker would copy every page that it shares
        try:
            while True:
                _, handles, _, _ = socket.recv_fds(self._control, 1, 1)
                if not handles:
                    return
                with socket.socket(fileno=handles[0]) as channel:
                    self._fork(channel)
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for worker in self._workers:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(worker, signal.SIGKILL)
                    os.waitpid(worker, 0)

    def _fork(self, channel: socket.socket) -> None:
        signals = {signal.SIGCHLD}  # none may be reaped before it is known
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            worker = os.fork()
            if worker:
                self._workers.add(worker)
        except OSError:
            return  # the channel ends, and whoever asks tries again
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        if not worker:
            self._control.close()
            _end_worker(channel, self._task, self._bounds)

    def _reap(self) -> None:
        for worker in tuple(self._workers):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(worker, os.WNOHANG)[0] == 0:
                    continue
            self._workers.discard(worker)


def main(arguments: list[str]) -> None:
    """Load the task and be its template."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the end comes over the socket
    os.nice(NICENESS)
    handle, name, budget, memory, jobs = arguments
    control = socket.socket(fileno=int(handle))
    control.set_inheritable(False)
    module_name, _, function = name.partition(":")
    module = importlib.import_module(module_name)
    warm = getattr(module, "warm", None)
    if warm is not None:
        warm()
    bounds = WorkerBounds(float(budget), int(memory), int(jobs))
    Template(control, getattr(module, function), bounds).run()


if __name__ == "__main__":
    main(sys.argv[1:])
