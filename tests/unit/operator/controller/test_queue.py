"""Claims about the queue: nothing is lost, nothing is done twice at once, users go first."""

from __future__ import annotations

import asyncio

import pytest

from plimsoll_operator.controller.queue import LONGEST_DELAY, KeyedQueue


@pytest.fixture
def queue() -> KeyedQueue[str]:
    return KeyedQueue()


async def taken(queue: KeyedQueue[str], within: float = 0.2) -> str | None:
    try:
        return await asyncio.wait_for(queue.get(), within)
    except TimeoutError:
        return None


async def test_a_name_that_is_added_often_is_worked_on_once(queue: KeyedQueue[str]) -> None:
    for _ in range(5):
        queue.add("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert queue.idle


async def test_a_name_is_never_worked_on_by_two_workers(queue: KeyedQueue[str]) -> None:
    queue.add("a")
    assert await taken(queue) == "a"
    queue.add("a")
    assert await taken(queue, 0.02) is None


async def test_what_arrives_during_the_work_is_looked_at_afterwards(queue: KeyedQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.done("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert await taken(queue, 0.02) is None


async def test_a_users_change_goes_before_a_re_decision_of_everything(
    queue: KeyedQueue[str],
) -> None:
    for name in ("a", "b", "c"):
        queue.add(name)
    queue.add("c", urgent=True)
    queue.add("new", urgent=True)
    assert [await taken(queue) for _ in range(4)] == ["c", "new", "a", "b"]


async def test_a_waiting_worker_is_woken(queue: KeyedQueue[str]) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(waiting, 1) == "a"


async def test_a_failure_is_tried_again_later_and_each_time_later_still(
    queue: KeyedQueue[str],
) -> None:
    delays = [queue.failed("a") for _ in range(12)]
    assert 0.3 < delays[0] < 0.7
    assert delays[3] > delays[0]
    assert max(delays) <= LONGEST_DELAY * 1.25
    queue.succeeded("a")
    queue.forget("a")
    assert queue.failed("a") < 0.7


async def test_a_servers_wish_to_wait_is_respected(queue: KeyedQueue[str]) -> None:
    assert queue.failed("a", at_least=30) >= 30


async def test_a_delayed_name_comes_when_its_time_has_come(queue: KeyedQueue[str]) -> None:
    queue.add_later("a", 0.05)
    queue.add_later("a", 10)
    assert await taken(queue, 0.01) is None
    assert await taken(queue, 1) == "a"


async def test_a_change_does_not_wait_for_the_delay_of_an_earlier_failure(
    queue: KeyedQueue[str],
) -> None:
    queue.add_later("a", 60)
    queue.add("a", urgent=True)
    assert await taken(queue) == "a"
    queue.done("a")
    assert queue.idle


async def test_when_the_api_server_is_back_nobody_waits_any_longer(queue: KeyedQueue[str]) -> None:
    queue.add_later("a", 60)
    queue.add_later("b", 60)
    queue.hurry()
    assert {await taken(queue), await taken(queue)} == {"a", "b"}


async def test_a_forgotten_name_does_not_come_back(queue: KeyedQueue[str]) -> None:
    queue.add("a")
    queue.add_later("b", 0.01)
    queue.forget("a")
    queue.forget("b")
    assert await taken(queue, 0.05) is None


async def test_many_workers_share_everything_that_was_added(queue: KeyedQueue[str]) -> None:
    seen: list[str] = []
    at_work: set[str] = set()

    async def work() -> None:
        while True:
            name = await queue.get()
            assert name not in at_work
            at_work.add(name)
            await asyncio.sleep(0)
            at_work.discard(name)
            seen.append(name)
            queue.done(name)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for _ in range(3):
        for index in range(200):
            queue.add(str(index))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while not queue.idle:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for worker in workers:
        worker.cancel()
    assert set(seen) == {str(index) for index in range(200)}
