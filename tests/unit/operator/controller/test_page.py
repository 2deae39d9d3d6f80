"""Claims about the page that the controller serves: to whom, how often it is made, and of what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from page_tree import deployment, overridden, unknown
from plimsoll.decision.policy import Policy
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll_operator.cluster.documents import ModelDocuments
from plimsoll_operator.controller import page
from plimsoll_operator.controller.cache import ObjectCache
from plimsoll_operator.controller.page import PageMaker, PageServer
from plimsoll_operator.controller.page_task import PageJob, rows
from plimsoll_operator.deciding.errors import Cause, NotDecided, TaskFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from plimsoll.report.page.objects import Row
    from plimsoll_operator.deciding.beside import Missed


def served(
    ask: Callable[[str, aiohttp.ClientSession], Awaitable[Any]],
    make: Callable[[], Awaitable[bytes]],
    seconds: float = 60.0,
) -> Any:
    """What somebody gets who asks a server of that page, told its address."""

    async def scene() -> Any:
        server = PageServer(make, seconds)
        await server.start(0)
        try:
            async with aiohttp.ClientSession() as session:
                return await ask(f"http://127.0.0.1:{server.port}/", session)
        finally:
            await server.stop()

    return asyncio.run(scene())


async def nothing() -> bytes:
    """A page of nothing."""
    return b"<p>page"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8081", 200),
        ("127.0.0.1:49152", 200),
        ("[::1]:8081", 200),
        ("localhost", 200),
        ("rebound.example.com:8081", 421),
        ("localhost.example.com", 421),
        ("plimsoll-controller.plimsoll-system.svc", 421),
    ],
)
def test_only_who_asks_for_localhost_is_answered(host: str, status: int) -> None:
    async def ask(url: str, session: aiohttp.ClientSession) -> tuple[int, str]:
        async with session.get(url, headers={"Host": host}) as answer:
            return answer.status, await answer.text()

    found, text = served(ask, nothing)
    assert found == status
    assert ("<p>page" in text) is (status == 200)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(method: str) -> None:
    async def ask(url: str, session: aiohttp.ClientSession) -> int:
        async with session.request(method, url, data=b"x") as answer:
            return answer.status

    assert served(ask, nothing) == 405


def test_a_browser_is_told_to_run_nothing_else_and_to_show_it_nowhere_else() -> None:
    async def ask(url: str, session: aiohttp.ClientSession) -> Any:
        async with session.get(url) as answer:
            return answer.headers

    headers = served(ask, nothing)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(("seconds", "most"), [(60.0, 1), (0.0, 8)])
def test_one_page_at_a_time_is_made_and_kept_for_its_seconds(seconds: float, most: int) -> None:
    made = under_way = at_once = 0

    async def make() -> bytes:
        nonlocal made, under_way, at_once
        under_way += 1
        at_once = max(at_once, under_way)
        await asyncio.sleep(0.01)
        made, under_way = made + 1, under_way - 1
        return f"<p>{made}".encode()

    async def ask(url: str, session: aiohttp.ClientSession) -> set[str]:
        async def once() -> str:
            async with session.get(url) as answer:
                return await answer.text()

        return set(await asyncio.gather(*(once() for _ in range(8))))

    assert len(served(ask, make, seconds)) == most
    assert (made, at_once) == (most, 1)


class Known:
    """What is known of a cluster of no nodes, whose namespaces say nothing."""

    def __init__(self) -> None:
        self.nodes = self
        self.inventory = NO_INVENTORY

    def policy(self, namespace: str) -> Policy:
        """The default."""
        return Policy()

    def beside(self, wanted: object) -> None:
        """Nothing is there."""
        return


async def decided(inventory: Any, job: PageJob, namespace: str) -> tuple[Row, ...] | Missed:
    """A row as the processes that decide make it."""
    return rows(inventory, job)


def made(
    objects: list[dict[str, Any]],
    decide: Callable[[Any, PageJob, str], Awaitable[tuple[Row, ...] | Missed]] = decided,
) -> str:
    """The page of these LLMDeployments."""
    cache = ObjectCache(ModelDocuments(lambda name: False))
    for number, obj in enumerate(objects, 1):
        cache.put({**obj, "metadata": {**obj["metadata"], "resourceVersion": str(number)}})
    maker = PageMaker(cast("Any", None), cache, cast("Any", Known()), decide, others=False)
    return asyncio.run(maker.make()).decode()


def test_a_page_shows_every_object_with_its_verdict() -> None:
    text = made([deployment(0), deployment(9), unknown()])
    assert text.count("<li class=fits data-k") == 1
    assert text.count("<li class=over data-k") == 1
    assert text.count("<li class=doubt data-k") == 1
    assert "Not read" not in text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotDecided(Cause.BUDGET, "deciding took longer than 2 s"), "took longer than 2 s"),
        (TaskFault("KeyError", "Traceback"), "a fault of Plimsoll (KeyError)"),
    ],
)
def test_an_object_that_nobody_decided_is_named_and_the_others_are_there(
    error: Exception, said: str
) -> None:
    async def decide(inventory: Any, job: PageJob, namespace: str) -> tuple[Row, ...] | Missed:
        if job.obj["metadata"]["name"] == "in-house":
            raise error
        return rows(inventory, job)

    text = made([deployment(0), unknown()], decide)
    assert text.count("<li class=fits data-k") == 1
    assert "LLMDeployment labs/in-house" in text
    assert said in text
    assert "Traceback" not in text


def test_what_is_too_much_for_one_page_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "MOST_OBJECTS", 2)
    text = made([deployment(n) for n in range(4)])
    assert text.count("<li class=fits data-k") == 2
    assert "objects beyond the first 2 are left out" in text


def test_what_takes_too_long_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def decide(inventory: Any, job: PageJob, namespace: str) -> tuple[Row, ...] | Missed:
        if job.obj["metadata"]["name"] == "in-house":
            await asyncio.sleep(60)
        return rows(inventory, job)

    monkeypatch.setattr(page, "MOST_SECONDS", 0.5)
    text = made([deployment(0), unknown()], decide)
    assert text.count("<li class=fits data-k") == 1
    assert "what was not decided within 0.5 s is left out" in text


def test_rules_that_an_object_wants_ignored_are_shown_as_ignored() -> None:
    refused = deployment(9)
    refused["metadata"]["annotations"] = {"plimsoll.dev/ignore": "PL001: sized by hand"}
    text = made([refused])
    assert "(ignored: sized by hand)" in text


def test_an_override_that_the_status_has_on_record_is_shown_as_such() -> None:
    text = made([overridden(9, recorded=True)])
    assert "on record in its status since 2026-11-02T08:00:00Z" in text
    assert "Reason: sized by hand" in text
