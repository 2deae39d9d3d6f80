"""A pool of processes that decide: warm, bounded, replaced when lost, and never waited for in vain.

    a job beyond the budget   -> `NotDecided`; its worker is gone, another one takes the next job
    a worker that dies        -> `NotDecided` for its job, and another worker
    no worker for a long time -> `NotDecided` too
    jobs have keys (namespaces), which take turns; no key ever has every worker, so that whoever
        keeps one busy to the end of its budget keeps nobody else waiting
    a key whose job was not decided is set aside for a minute: one worker at most works on what is
        set aside and on what is slow by nature, one after another
    a key whose last jobs were quick may have every worker while nobody else waits, where the pool
        lends: a change of the nodes has all objects decided again

It knows nothing of what is decided: see `plimsoll_operator.deciding.process` for the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import PlimsollError
from plimsoll_operator.deciding.errors import Cause, NotDecided, TaskFault
from plimsoll_operator.deciding.process import (
    FAULT,
    HEADER,
    HELLO,
    JOB,
    LAST,
    MEMORY,
    RESULT,
    SHARED,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

STARTING: Final = 60.0
"""Seconds that the first workers may take to be there."""
AGAIN: Final = 1.0
"""Seconds before a worker or a template that did not come up is started again."""
GRACE: Final = 0.25
"""Seconds beyond the budget after which a worker is given up although it seems to live."""
QUICK: Final = 0.1
"""Seconds up to which a job is a quick one."""
TRUSTED: Final = 50
"""Quick jobs of a key, one after another, from which on it may have every worker."""
KEYS: Final = 10_000
"""Keys whose quick jobs are counted; beyond it, all are counted anew."""
SET_ASIDE: Final = 60.0
"""Seconds for which a key whose job was not decided is set aside."""
ENDING: Final = 3.0
"""Seconds that the template may take to end what it started."""


_SAID: Final = {
    Cause.BUDGET: "deciding took more than {budget:g} s",
    Cause.MEMORY: "deciding needed more than {memory} MiB of memory",
    Cause.DIED: "the process that was deciding ended",
    Cause.BUSY: "no process was free to decide",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How much at once, and how much of it.

    size: workers. budget: seconds for one job. memory: bytes that a worker may need beyond what
    all share. jobs: after which a worker is replaced. patience: seconds beyond the budget that a
    job may wait for a worker. aside_waits: whether what is set aside may wait for its turn at all.
    lends: whether a key may have every worker, once `TRUSTED` of its jobs were quick.
    """

    size: int = 3
    budget: float = 2.0
    memory: int = 96 << 20
    jobs: int = 5000
    patience: float = 0.5
    aside_waits: bool = True
    lends: bool = False


@dataclass(slots=True, eq=False)
class _Job:
    """One job. content: its frame, empty once a worker has it. since: when it came, or was given.

    timer: of what happens if it waits, or is worked on, for too long.
    """

    content: bytes
    key: str
    aside: bool
    since: float
    result: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class _Worker(asyncio.Protocol):
    """One worker: its connection, what it works on, and what it has been told.

    greeted: it has come up. shared: number of the shared value that it has.
    """

    pool: WorkerPool
    transport: asyncio.Transport | None = None
    job: _Job | None = None
    greeted: bool = False
    shared: int = 0
    received: bytearray = field(default_factory=bytearray)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while len(self.received) >= HEADER.size:
            kind, size = HEADER.unpack_from(self.received)
            if len(self.received) < HEADER.size + size:
                return
            content = bytes(self.received[HEADER.size : HEADER.size + size])
            del self.received[: HEADER.size + size]
            self.pool.heard(self, kind, content)

    def connection_lost(self, error: Exception | None) -> None:
        self.pool.lost(self)


class WorkerPool:
    """Runs jobs in processes of their own. Everything here happens in the event loop's thread."""

    def __init__(
        self,
        task: str,
        settings: PoolSettings | None = None,
        *,
        observe: Callable[[str], None] = lambda cause: None,
    ) -> None:
        """task: ``module:function`` of what is shared and a job. observe: told each `Cause`."""
        self._task, self.settings, self._observe = task, settings or PoolSettings(), observe
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._waiting: dict[str, deque[_Job]] = {}
        self._aside: deque[_Job] = deque()
        self._set_aside: dict[str, float] = {}
        self._quick: dict[str, int] = {}
        self._shared: tuple[int, object, bytes] = (0, None, b"")
        self._hiring: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._first: asyncio.Future[None] | None = None
        self._stopping = False

    @property
    def working(self) -> bool:
        """Whether any worker is there, busy or not."""
        return any(worker.greeted for worker in self._workers)

    async def start(self) -> None:
        """Start the workers and wait until all are there. Raises `PlimsollError` if none comes."""
        self._first = asyncio.get_running_loop().create_future()
        self._start_template()
        try:
            async with asyncio.timeout(STARTING):
                await self._first
        except TimeoutError:
            await self.stop()
            raise PlimsollError(f"no process to decide in came up within {STARTING:g} s") from None
        except PlimsollError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every process that was started; jobs under way are not decided."""
        self._stopping = True
        for timer in self._timers:
            timer.cancel()
        for task in self._hiring:
            task.cancel()
        self._forget_control()
        for worker in tuple(self._workers):
            if worker.transport is not None:
                worker.transport.abort()
        for queue in (*self._waiting.values(), self._aside):
            for job in queue:
                self._fail(job, Cause.BUSY)
        template, self._template = self._template, None
        if template is not None:
            for _ in range(int(ENDING / 0.01)):
                if template.poll() is not None:
                    return
                await asyncio.sleep(0.01)
            template.kill()
            template.wait()

    def share(self, value: object) -> None:
        """Give jobs from now on this value beside their own; cheap if it is the same object."""
        number, shared, _ = self._shared
        if value is not shared or number == 0:
            content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
            self._shared = (number + 1, value, frame(SHARED, content))

    async def run(self, job: object, *, key: str = "", slow: bool = False) -> Any:
        """What the task makes of a job. key: whose it is. slow: it may well take long.

        Raises `NotDecided`, or `TaskFault` if the task raised.
        """
        loop = asyncio.get_running_loop()
        content = frame(JOB, pickle.dumps(job, pickle.HIGHEST_PROTOCOL))
        waiting = _Job(content, key, slow, loop.time(), loop.create_future())
        self._enqueue(waiting)
        self._dispatch()
        if waiting.content and waiting.aside and not self.settings.aside_waits:
            self._fail(waiting, Cause.BUSY)
        elif waiting.content:
            patience = self.settings.budget + self.settings.patience
            waiting.timer = loop.call_later(patience, self._tired, waiting)
        return await waiting.result

    def _enqueue(self, job: _Job) -> None:
        until = self._set_aside.get(job.key, 0.0)
        if until and until < job.since:
            del self._set_aside[job.key]
        job.aside = job.aside or until >= job.since
        if job.aside:
            self._aside.append(job)
        else:
            self._waiting.setdefault(job.key, deque()).append(job)

    def _dispatch(self) -> None:
        """Give idle workers what may run now."""
        while self._idle and not self._stopping:
            job = self._next()
            if job is None:
                return
            self._give(self._idle.pop(), job)  # the last one's memory is still at hand

    def _next(self) -> _Job | None:
        """The job whose turn it is; of what is set aside, one at a time."""
        running = [worker.job for worker in self._workers if worker.job is not None]
        while self._aside and self._aside[0].result.done():
            self._aside.popleft()
        aside = bool(self._aside) and not any(job.aside for job in running)
        if aside and self.settings.size > 1:  # the other workers are for all else
            return self._aside.popleft()
        job = self._next_waiting(running)
        return self._aside.popleft() if job is None and aside else job

    def _next_waiting(self, running: list[_Job]) -> _Job | None:
        """The next job that is not set aside: keys take turns, and none has every worker, unless
        it is trusted and alone."""
        alone = self.settings.lends and len(self._waiting) == 1
        for key, queue in list(self._waiting.items()):
            while queue and queue[0].result.done():
                queue.popleft()
            lent = alone and self._quick.get(key, 0) >= TRUSTED
            most = self.settings.size if lent else max(1, self.settings.size - 1)
            if queue and sum(job.key == key for job in running) >= most:
                continue
            del self._waiting[key]
            if queue:
                job = queue.popleft()
                if queue:
                    self._waiting[key] = queue  # at the end: the others come first now
                return job
        return None

    def _give(self, worker: _Worker, job: _Job) -> None:
        assert worker.transport is not None
        if job.timer is not None:
            job.timer.cancel()
        loop = asyncio.get_running_loop()
        job.since = loop.time()
        job.timer = loop.call_later(self.settings.budget + GRACE, self._give_up, worker)
        worker.job = job
        number, _, shared = self._shared
        if worker.shared != number:
            worker.shared = number
            worker.transport.write(shared)
        worker.transport.write(job.content)
        job.content = b""

    def _tired(self, job: _Job) -> None:
        """A job has waited for a worker long enough."""
        if not job.result.done():
            self._fail(job, Cause.BUSY)

    def _give_up(self, worker: _Worker) -> None:
        """A worker should have been ended by its own alarm."""
        if worker.transport is not None:
            worker.transport.abort()

    def heard(self, worker: _Worker, kind: bytes, content: bytes) -> None:
        """A frame came from a worker."""
        job, worker.job = worker.job, None
        if kind == HELLO:
            worker.greeted = True
            there = sum(other.greeted for other in self._workers)
            if self._first and not self._first.done() and there >= self.settings.size:
                self._first.set_result(None)
        elif job is not None:
            if job.timer is not None:
                job.timer.cancel()
            self._count(job)
            if kind in (RESULT, LAST):
                if not job.result.done():
                    job.result.set_result(pickle.loads(content))
            elif kind == FAULT:
                if not job.result.done():
                    job.result.set_exception(TaskFault(*pickle.loads(content)))
            elif kind == MEMORY:
                self._fail(job, Cause.MEMORY)
        if kind not in (LAST, MEMORY):
            self._idle.append(worker)
            self._dispatch()

    def _count(self, job: _Job) -> None:
        """Count the quick jobs of a key since its last slow one."""
        took = asyncio.get_running_loop().time() - job.since
        if took > QUICK:
            self._quick.pop(job.key, None)
            return
        if len(self._quick) >= KEYS and job.key not in self._quick:
            self._quick.clear()
        self._quick[job.key] = self._quick.get(job.key, 0) + 1

    def lost(self, worker: _Worker) -> None:
        """A worker's connection has ended: fail its job, and have another worker."""
        job, worker.job = worker.job, None
        self._workers.discard(worker)
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)
        if job is not None:
            if job.timer is not None:
                job.timer.cancel()
            took = asyncio.get_running_loop().time() - job.since
            self._fail(job, Cause.BUDGET if took >= 0.95 * self.settings.budget else Cause.DIED)
        if worker.greeted:
            self._fill()
        else:
            self._later(self._fill)
        self._dispatch()

    def _fail(self, job: _Job, cause: Cause) -> None:
        """End a job without a result, and set its key aside unless it only found nobody free."""
        if cause is not Cause.BUSY:
            self._quick.pop(job.key, None)
            now = asyncio.get_running_loop().time()
            self._set_aside = {key: end for key, end in self._set_aside.items() if end >= now}
            self._set_aside[job.key] = now + SET_ASIDE
            for other in self._waiting.pop(job.key, ()):
                other.aside = True
                self._aside.append(other)
                if not self.settings.aside_waits:
                    self._fail(other, Cause.BUSY)
        if not self._stopping:
            self._observe(cause)
        if not job.result.done():
            said = _SAID[cause].format(
                budget=self.settings.budget, memory=self.settings.memory >> 20
            )
            job.result.set_exception(NotDecided(cause, said))

    def _later(self, call: Callable[[], None]) -> None:
        if not self._stopping:

            def due() -> None:
                self._timers.discard(timer)
                call()

            timer = asyncio.get_running_loop().call_later(AGAIN, due)
            self._timers.add(timer)

    def _start_template(self) -> None:
        """Start the process that forks workers, and ask it for them."""
        if self._stopping:
            return
        ours, its = socket.socketpair()
        with its:
            bounds = self.settings
            self._template = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "plimsoll_operator.deciding.process",
                    str(its.fileno()),
                    self._task,
                    str(bounds.budget),
                    str(bounds.memory),
                    str(bounds.jobs),
                ],
                pass_fds=[its.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        ours.setblocking(False)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours, self._template_ended)
        self._fill()

    def _template_ended(self) -> None:
        """The template says nothing but that it is gone. Its workers go on until they are lost.

        One that ends by itself at its start would do so again; one that a signal ended may not.
        """
        self._forget_control()
        template, self._template = self._template, None
        code = template.wait() if template is not None else None
        killed = code is not None and code < 0
        if self._first is not None and not self._first.done() and not killed:
            said = f"the process to decide in ended at its start ({code}); its reason stands above"
            self._first.set_exception(PlimsollError(said))
            return
        log.warning("the process that starts those that decide ended (%s) and starts again", code)
        self._later(self._start_template)

    def _forget_control(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            asyncio.get_running_loop().remove_reader(control)
            control.close()

    def _fill(self) -> None:
        """Ask for as many workers as are missing."""
        while not self._stopping and len(self._workers) < self.settings.size:
            if self._control is None:
                return  # the next template asks
            ours, its = socket.socketpair()
            with its:
                try:
                    socket.send_fds(self._control, [b"w"], [its.fileno()])
                except OSError:
                    ours.close()
                    return  # its end is noticed, and the next template asks
            worker = _Worker(self)
            self._workers.add(worker)
            task = asyncio.get_running_loop().create_task(self._connect(worker, ours))
            self._hiring.add(task)
            task.add_done_callback(self._hiring.discard)

    async def _connect(self, worker: _Worker, channel: socket.socket) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=channel)
