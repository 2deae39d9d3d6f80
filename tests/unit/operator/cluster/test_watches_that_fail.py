"""Claims about a watch that is refused: said once, tried again for ever, at once if told to."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from plimsoll_operator.cluster.client import ApiError, Page
from plimsoll_operator.cluster.objects import NODES
from plimsoll_operator.cluster.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


class Refusing:
    """A client that is refused until it is not, and whose watches then wait for ever."""

    def __init__(self) -> None:
        self.asked = 0
        self.refuses = True

    async def pages(self, *_: object, **__: object) -> AsyncIterator[Page]:
        self.asked += 1
        if self.refuses:
            raise ApiError(403, "Forbidden", f"nodes is forbidden, request {self.asked}")
        yield Page([{"metadata": {"name": "a"}}], "7")

    async def watch(self, *_: object, **__: object) -> AsyncIterator[tuple[str, Any]]:
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


async def test_a_refused_list_is_said_once_and_tried_again_as_soon_as_it_is_told_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, seen = Refusing(), list[str]()
    reflector = Reflector(
        cast("Any", client),
        NODES,
        changed=lambda obj: seen.append(obj["metadata"]["name"]),
        deleted=lambda name: None,
    )
    with caplog.at_level(logging.INFO):
        task = asyncio.create_task(reflector.run())
        async with asyncio.timeout(2):
            while client.asked < 9:  # without being told to, it would wait for 30 s in all
                await asyncio.sleep(0.001)
                reflector.hurry()
        client.refuses = False
        reflector.hurry()
        async with asyncio.timeout(2):
            await reflector.synced.wait()
        task.cancel()
    assert seen == ["a"]
    assert reflector.has(("", "a"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "nodes: listing again: 403 Forbidden" in caplog.text


async def test_a_kind_that_may_be_done_without_keeps_nobody_waiting_and_is_asked_again() -> None:
    client, told, gone = Refusing(), list[bool](), list[str]()
    reflector = Reflector(
        cast("Any", client),
        NODES,
        changed=lambda obj: None,
        deleted=lambda name: gone.append(name[1]),
        without=told.append,
    )
    task = asyncio.create_task(reflector.run())
    async with asyncio.timeout(2):
        while not reflector.synced.is_set():
            await asyncio.sleep(0.001)
            reflector.hurry()
    assert told == [False]
    assert client.asked >= 4  # not at the first refusal
    client.refuses = False
    async with asyncio.timeout(2):
        while True not in told:
            await asyncio.sleep(0.001)
            reflector.hurry()
    assert reflector.has(("", "a"))
    assert gone == []
    task.cancel()


async def test_objects_that_do_not_matter_are_not_even_kept_by_name() -> None:
    client, seen = Refusing(), list[str]()
    client.refuses = False
    reflector = Reflector(
        cast("Any", client),
        NODES,
        changed=lambda obj: seen.append(obj["metadata"]["name"]),
        deleted=lambda name: None,
        keeps=lambda obj: False,
    )
    task = asyncio.create_task(reflector.run())
    async with asyncio.timeout(2):
        await reflector.synced.wait()
    task.cancel()
    assert seen == []
    assert not reflector.has(("", "a"))
