"""Claims about deciding apart: no job stops the others, and no process stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.errors import PlimsollError
from plimsoll_operator.deciding.errors import Cause, NotDecided, TaskFault
from plimsoll_operator.deciding.pool import TRUSTED, PoolSettings, WorkerPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TASK = "deciding_tasks:work"
BUDGET = 0.15


@contextlib.asynccontextmanager
async def pool(**settings: Any) -> AsyncIterator[tuple[WorkerPool, list[str]]]:
    causes: list[str] = []
    given = PoolSettings(**{"size": 2, "budget": BUDGET, "patience": 0.3, **settings})
    running = WorkerPool(TASK, given, observe=causes.append)
    await running.start()
    try:
        yield running, causes
    finally:
        await running.stop()


async def process_of(running: WorkerPool) -> int:
    """The process that does the next job."""
    return int((await running.run(("say", 0)))["process"])


def children(process: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [grandchild for child in map(int, found) for grandchild in (child, *children(child))]


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def gone(processes: list[int]) -> None:
    for _ in range(300):
        if not any(map(alive, processes)):
            return
        await asyncio.sleep(0.01)
    raise AssertionError([process for process in processes if alive(process)])


async def not_decided(running: WorkerPool, *job: object, key: str = "") -> Cause:
    with pytest.raises(NotDecided) as raised:
        await running.run(job, key=key)
    return raised.value.cause


async def test_a_job_is_done_in_a_process_apart_with_what_is_shared() -> None:
    async with pool() as (running, _):
        running.share({"nodes": 3})
        done = await running.run(("say", "hello"))
        assert (done["shared"], done["given"]) == ({"nodes": 3}, "hello")
        assert done["process"] != os.getpid()
        running.share({"nodes": 4})
        assert [(await running.run(("say", 0)))["shared"] for _ in range(4)] == [{"nodes": 4}] * 4


async def test_jobs_that_come_one_after_another_are_done_by_the_process_that_did_the_last() -> None:
    async with pool(size=3) as (running, _):
        assert len({await process_of(running) for _ in range(6)}) == 1


async def test_a_job_that_never_ends_is_ended_at_the_budget_and_the_next_is_answered_at_once() -> (
    None
):
    async with pool() as (running, causes):
        started = time.monotonic()
        assert await not_decided(running, "never end", 0, key="a") is Cause.BUDGET
        assert BUDGET <= time.monotonic() - started < BUDGET + 0.25
        started = time.monotonic()
        assert (await running.run(("say", 1), key="b"))["given"] == 1
        assert time.monotonic() - started < BUDGET
        assert causes == ["budget"]


async def test_a_key_of_quick_jobs_has_every_worker_while_it_is_alone_until_one_is_slow() -> None:
    async with pool(budget=2.0, lends=True) as (running, _):

        async def together() -> bool:
            """Whether two jobs that come at once are worked on at once."""
            started = time.monotonic()
            await asyncio.gather(*(running.run(("sleep", 0.3), key="a") for _ in range(2)))
            return time.monotonic() - started < 0.6

        assert not await together()
        for _ in range(TRUSTED):
            await running.run(("say", 0), key="a")
        assert await together()
        assert not await together()


async def test_who_is_trusted_has_not_every_worker_while_somebody_else_waits() -> None:
    async with pool(budget=2.0, lends=True) as (running, _):
        for _ in range(TRUSTED):
            await running.run(("say", 0), key="a")
        jobs = [running.run(("sleep", 0.1), key="a") for _ in range(4)]
        started = time.monotonic()
        many = asyncio.gather(*jobs)
        await running.run(("say", 0), key="b")
        assert time.monotonic() - started < 0.25
        await many


async def test_one_namespace_full_of_jobs_that_never_end_keeps_nobody_else_waiting() -> None:
    async with pool() as (running, _):
        bad = [
            asyncio.create_task(not_decided(running, "never end", 0, key="bad")) for _ in range(8)
        ]
        await asyncio.sleep(0.02)
        waits = []
        while not all(task.done() for task in bad):
            started = time.monotonic()
            await running.run(("say", 0), key="good")
            waits.append(time.monotonic() - started)
            await asyncio.sleep(0.01)
        assert max(waits) < BUDGET, waits
        assert {task.result() for task in bad} == {Cause.BUDGET, Cause.BUSY}


async def test_what_is_slow_by_nature_leaves_room_for_what_is_not() -> None:
    async with pool(budget=2.0) as (running, _):
        slow = [asyncio.create_task(running.run(("sleep", 0.2), slow=True)) for _ in range(3)]
        await asyncio.sleep(0.02)
        started = time.monotonic()
        await running.run(("say", 0), key="other")
        assert time.monotonic() - started < 0.15
        await asyncio.gather(*slow)


async def test_a_worker_that_dies_costs_its_job_and_is_replaced() -> None:
    async with pool(size=1) as (running, causes):
        before = await process_of(running)
        assert await not_decided(running, "die", 0) is Cause.DIED
        assert await process_of(running) != before
        assert causes == ["died"]


async def test_a_worker_that_dies_idle_costs_nobody_anything() -> None:
    async with pool(size=1) as (running, causes):
        before = await process_of(running)
        os.kill(before, signal.SIGKILL)
        await gone([before])
        await asyncio.sleep(0.05)  # for its end to be noticed
        assert await process_of(running) != before
        assert causes == []


async def test_a_job_that_wants_too_much_memory_is_not_decided() -> None:
    async with pool(memory=32 << 20) as (running, causes):
        assert await not_decided(running, "take memory", 64 << 20) is Cause.MEMORY
        assert (await running.run(("say", 1)))["given"] == 1
        assert causes == ["memory"]


async def test_what_a_task_raises_comes_back_by_name_and_its_worker_goes_on() -> None:
    async with pool(size=1) as (running, _):
        before = await process_of(running)
        with pytest.raises(TaskFault, match="KeyError: 'boom'") as raised:
            await running.run(("raise", "boom"))
        assert raised.value.kind == "KeyError"
        assert await process_of(running) == before


async def test_a_worker_is_replaced_after_enough_jobs_and_when_it_has_grown() -> None:
    async with pool(size=1, budget=10.0, jobs=3, memory=64 << 20) as (running, causes):
        processes = [await process_of(running) for _ in range(7)]
        assert [processes.count(process) for process in dict.fromkeys(processes)] == [3, 3, 1]
        await running.run(("grow", 40 << 20))
        assert await process_of(running) != processes[-1]
        assert causes == []


async def test_a_template_that_dies_is_started_again_while_its_workers_go_on() -> None:
    async with pool(size=1) as (running, _):
        before = await process_of(running)
        os.kill(children(os.getpid())[0], signal.SIGKILL)
        assert await process_of(running) == before
        assert await not_decided(running, "die", 0) is Cause.DIED
        for _ in range(40):  # the next template takes a second
            with contextlib.suppress(NotDecided):
                assert await process_of(running) != before
                return
        raise AssertionError("no worker came back")


async def test_a_template_that_is_killed_while_it_starts_is_started_again() -> None:
    running = WorkerPool("deciding_tasks:work", PoolSettings(size=1))
    starting = asyncio.create_task(running.start())
    while not (started := children(os.getpid())):  # noqa: ASYNC110 (a process, not a task)
        await asyncio.sleep(0.001)
    os.kill(started[0], signal.SIGKILL)
    await starting
    try:
        assert await process_of(running)
    finally:
        await running.stop()


async def test_a_task_that_cannot_be_loaded_is_an_error_at_the_start() -> None:
    with pytest.raises(PlimsollError, match="ended at its start"):
        await WorkerPool("no.such.module:work").start()


async def test_nothing_is_left_behind_at_the_end_though_a_job_never_ends() -> None:
    async with pool(budget=30.0) as (running, _):
        endless = asyncio.create_task(running.run(("never end", 0)))
        await asyncio.sleep(0.05)
        processes = children(os.getpid())
        assert len(processes) >= 3
        await running.stop()
        with pytest.raises(NotDecided):
            await endless
        await gone(processes)


PARENT = """
import asyncio
from plimsoll_operator.deciding.pool import PoolSettings, WorkerPool

async def main():
    pool = WorkerPool("deciding_tasks:work", PoolSettings(size=2, budget=30.0))
    await pool.start()
    print("started", flush=True)
    await pool.run(("never end", 0))

asyncio.run(main())
"""


async def test_nothing_is_left_behind_if_the_parent_is_killed_outright() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    await asyncio.sleep(0.05)
    processes = children(parent.pid)
    assert len(processes) == 3
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await gone(processes)
