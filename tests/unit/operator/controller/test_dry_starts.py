"""Claims about which dry starts are run, how many at once, and when again.

What a Job does is shown on a real API server (tests/cluster/test_dry_start_verified.py); here a
Job is a future.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest

from plimsoll.measured.dry_facts import read
from plimsoll.measured.dry_job import nothing_learned
from plimsoll_operator.controller import dry_starts
from plimsoll_operator.controller.dry_starts import DryStarts, Wanted, wait_after
from plimsoll_operator.controller.snapshot import Identity
from plimsoll_operator.controller.verifying import Wish, fields_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from plimsoll.measured.dry_facts import Answer
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Name

STARTED = read('PLIMSOLL-FACTS {"version": "0.33.0", "reached": "end"}')
REFUSED_BY_QUOTA = nothing_learned("exceeded quota")
MET = read('PLIMSOLL-FACTS {"version": "0.33.0", "reached": "model", "unknown": {"message": "no"}}')


class Futures(DryStarts):
    """Dry starts whose Jobs end when a test says so. ran: of whom, in order."""

    def __init__(self, at_once: int = 2) -> None:
        super().__init__(cast("Client", None), self._heard, enabled=True, at_once=at_once)
        self.ran: list[Name] = []
        self.told: list[Name] = []
        self.jobs: dict[Name, asyncio.Future[Answer]] = {}

    def _heard(self, name: Name) -> None:
        self.told.append(name)

    async def _run(self, name: Name, wanted: Wanted) -> tuple[Answer | None, str]:
        self.ran.append(name)
        self.jobs[name] = asyncio.get_running_loop().create_future()
        try:
            return await self.jobs[name], "sha256:1"
        finally:
            del self.jobs[name]


def identity(name: str, namespace: str = "chat") -> Identity:
    return Identity(namespace, name, f"uid-{name}", "1", 1, "plimsoll.dev/v1alpha1", "x", {})


def wish(key: str) -> Wish:
    return Wish(key, "{}", "my/vllm:1")


@contextlib.asynccontextmanager
async def running(found: Futures) -> AsyncIterator[Futures]:
    task = asyncio.create_task(found.run_forever())
    try:
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_at_most_so_many_jobs_run_at_once_and_all_are_run() -> None:
    async def told() -> None:
        async with running(Futures(at_once=2)) as found:
            for name in "abcde":
                await found.follow(identity(name), wish(name), {})
            seen = 0
            while len(found.told) < 5:
                await settled()
                assert len(found.jobs) <= 2
                seen = max(seen, len(found.jobs))
                next(iter(found.jobs.values())).set_result(STARTED)
                await settled()
            assert seen == 2
            assert [name for _, name in found.ran] == list("abcde")

    asyncio.run(told())


def test_of_two_alike_in_a_namespace_one_is_run_and_both_are_told() -> None:
    async def told() -> None:
        async with running(Futures()) as found:
            for name in ("a", "b"):
                await found.follow(identity(name), wish("same"), {})
            await found.follow(identity("a", "other"), wish("same"), {})
            await settled()
            assert set(found.jobs) == {("chat", "a"), ("other", "a")}
            for job in list(found.jobs.values()):
                job.set_result(STARTED)
            await settled()
            assert sorted(found.told) == [("chat", "a"), ("chat", "b"), ("other", "a")]
            assert found.said(("chat", "a")) == found.said(("chat", "b"))
            assert not found.jobs

    asyncio.run(told())


def test_what_a_status_says_is_an_answer_after_the_controller_began_anew() -> None:
    async def told() -> None:
        async with running(Futures()) as found:
            status = fields_of(wish("same"), STARTED, "sha256:1", 0)
            await found.follow(identity("old"), None, status)
            await found.follow(identity("new"), wish("same"), {})
            await found.follow(identity("new", "other"), wish("same"), {})
            await settled()
            assert found.said(("chat", "new")) == status
            assert found.ran == [("other", "new")]

    asyncio.run(told())


def test_what_the_cluster_refuses_is_tried_ever_later_and_six_hours_at_most() -> None:
    waits = [wait_after(tries) for tries in (1, 2, 3, 4, 5, 6, 7, 100)]
    assert waits == [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]


def test_what_the_cluster_refused_is_not_tried_at_once_but_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dry_starts, "AGAIN_AFTER", 0.05)

    async def told() -> None:
        async with running(Futures()) as found:
            status = fields_of(wish("a"), REFUSED_BY_QUOTA, "", 0)
            await found.follow(identity("a"), wish("a"), status)
            await settled()
            assert found.ran == []
            await asyncio.sleep(0.1)
            assert found.ran == [("chat", "a")]
            found.jobs["chat", "a"].set_result(REFUSED_BY_QUOTA)
            await settled()
            said = found.said(("chat", "a"))
            assert said is not None
            assert said["tries"] == 2

    asyncio.run(told())


@pytest.mark.parametrize("change", [None, "another"])
def test_what_the_harness_met_stays_as_it_is_until_something_changes(change: str | None) -> None:
    async def told() -> None:
        async with running(Futures()) as found:
            status = fields_of(wish("a"), MET, "", 0)
            wanted: Any = wish(change or "a")
            await found.follow(identity("a"), wanted, status)
            await settled()
            assert found.ran == ([("chat", "a")] if change else [])

    asyncio.run(told())


def test_nobody_is_told_of_a_job_whose_object_went_or_wishes_otherwise() -> None:
    async def told() -> None:
        async with running(Futures(at_once=1)) as found:
            await found.follow(identity("a"), wish("one"), {})
            await settled()
            await found.follow(identity("a"), wish("two"), {})
            found.jobs["chat", "a"].set_result(STARTED)
            await settled()
            assert found.told == []
            assert found.ran == [("chat", "a"), ("chat", "a")]
            found.forget(("chat", "a"))
            found.jobs["chat", "a"].set_result(STARTED)
            await settled()
            assert found.told == []

    asyncio.run(told())
