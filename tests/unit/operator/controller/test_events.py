"""Claims about Events: the newest of what waits, counted if they repeat, limited per object."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from plimsoll_operator.cluster.client import NotFound
from plimsoll_operator.controller.events import EventQueue
from plimsoll_operator.controller.plan import NORMAL, WARNING, Event
from plimsoll_operator.controller.snapshot import Identity

PLACED = Event(NORMAL, "Placed", "1 x nvidia-l4 per replica")
SHORT = Event(WARNING, "NotEnoughMemory", "short by 2 GiB")


def identity(name: str = "big") -> Identity:
    return Identity(
        namespace="chat",
        name=name,
        uid=f"uid-{name}",
        version="7",
        generation=1,
        api_version="plimsoll.dev/v1alpha1",
        kind="LLMDeployment",
        previous={},
    )


class Server:
    """An API server that keeps Events, and a clock."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.now = 0.0
        self.busy = False
        client = cast("Any", self)
        self.queue = EventQueue(client, lambda: self.busy, lambda: self.now)

    async def create(self, _: object, made: dict[str, Any], *, namespace: str) -> None:
        assert namespace == made["metadata"]["namespace"] == "chat"
        self.events[made["metadata"]["name"]] = made

    async def request(self, method: str, path: str, *, body: Any, content_type: str) -> None:
        assert (method, content_type) == ("PATCH", "application/merge-patch+json")
        name = path.rpartition("/")[2]
        if name not in self.events:
            raise NotFound(404, "NotFound", "")
        self.events[name] |= body

    def seen(self) -> list[tuple[str, int]]:
        """Reason and count of each Event."""
        return [(event["reason"], event["count"]) for event in self.events.values()]


async def test_the_same_again_is_counted() -> None:
    server = Server()
    for event in (PLACED, SHORT, PLACED, SHORT, PLACED):
        await server.queue.post(identity(), event)
    assert server.seen() == [("Placed", 3), ("NotEnoughMemory", 2)]
    assert {event["involvedObject"]["name"] for event in server.events.values()} == {"big"}


async def test_the_same_on_another_object_or_much_later_is_an_event_of_its_own() -> None:
    server = Server()
    await server.queue.post(identity(), PLACED)
    await server.queue.post(identity("small"), PLACED)
    server.now += 3600
    await server.queue.post(identity(), PLACED)
    assert server.seen() == [("Placed", 1)] * 3


async def test_one_that_the_api_server_has_forgotten_is_posted_again() -> None:
    server = Server()
    await server.queue.post(identity(), PLACED)
    server.events.clear()
    await server.queue.post(identity(), PLACED)
    assert server.seen() == [("Placed", 1)]


async def test_an_object_that_changes_all_the_time_posts_a_few_and_leaves_others_theirs() -> None:
    server = Server()
    for index in range(150):
        server.now += 0.08
        await server.queue.post(identity(), Event(WARNING, "NotEnoughMemory", f"short by {index}"))
    assert len(server.events) == 10
    await server.queue.post(identity("small"), PLACED)
    assert len(server.events) == 11
    server.now += 120
    for index in range(5):
        await server.queue.post(identity(), Event(NORMAL, "Placed", f"again {index}"))
    assert len(server.events) == 13


async def test_of_two_that_wait_and_tell_of_the_same_only_the_newer_is_posted() -> None:
    server = Server()
    for index in range(20):
        server.queue.add(identity(), [Event(WARNING, "NotEnoughMemory", f"short by {index}")])
    server.queue.add(identity(), [PLACED])
    server.now += 1
    task = asyncio.create_task(server.queue.post_forever())
    await asyncio.sleep(0.01)
    task.cancel()
    assert server.seen() == [("NotEnoughMemory", 1), ("Placed", 1)]
    assert next(iter(server.events.values()))["message"] == "short by 19"
