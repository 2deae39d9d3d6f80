"""Claims about when an object is decided: with nodes that come beside it, again, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from cluster.fixtures_operator import llm_deployment
from controlplane.nodes import gpu_node
from plimsoll.decision.verdict import Decision, Reason
from plimsoll_operator.cluster.known import ClusterKnowledge
from plimsoll_operator.controller import reconcile
from plimsoll_operator.controller.cache import ObjectCache
from plimsoll_operator.controller.queue import KeyedQueue
from plimsoll_operator.controller.reconcile import TRIES, Decide, Reconciler
from plimsoll_operator.controller.task import Figures, Job, Planned
from plimsoll_operator.controller.together import Together
from plimsoll_operator.deciding.errors import Cause, NotDecided
from plimsoll_operator.metrics import ControllerMetrics, new_registry

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Name

NAME = ("team", "model")


class Server:
    """Takes statuses, and remembers them."""

    def __init__(self, obj: dict[str, Any]) -> None:
        self.obj, self.written = obj, list[dict[str, Any]]()

    async def patch_status(
        self, resource: object, namespace: str, name: str, patch: dict[str, Any], version: str
    ) -> dict[str, Any]:
        self.written.append(patch)
        self.obj["metadata"]["resourceVersion"] = str(int(version) + 1)
        return {**self.obj, "status": patch}


class Dying:
    """A pool whose processes end so many times while they decide."""

    def __init__(self, deaths: int) -> None:
        self.deaths, self.asked = deaths, 0

    async def __call__(self, inventory: Inventory, job: Job, namespace: str) -> Planned:
        self.asked += 1
        if self.asked <= self.deaths:
            raise NotDecided(Cause.DIED, "the process that was deciding ended")
        return Planned({}, (), Figures(Decision.ALLOW, Reason.ENOUGH_MEMORY, None, None))


class Looking:
    """Says that nodes are missing for as long as it sees none."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def __call__(self, inventory: Inventory, job: Job, namespace: str) -> Planned:
        self.seen.append(len(inventory.facts))
        figures = Figures(Decision.ALLOW, Reason.ENOUGH_MEMORY, None, None)
        return Planned({"nodes": self.seen[-1]}, (), figures, not inventory.facts)


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def reconciler(decide: Decide, together: Together | None = None) -> tuple[Reconciler, Server]:
    obj = llm_deployment(NAME[1], NAME[0])
    obj["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 1}
    server = Server(obj)
    client = cast("Client", server)
    known = ClusterKnowledge(client, only_referred=True)
    cache = ObjectCache(known.documents)
    cache.put(obj)
    queue: KeyedQueue[Name] = KeyedQueue()
    metrics = ControllerMetrics(new_registry())
    return Reconciler(client, cache, known, queue, metrics, decide, together=together), server


@pytest.mark.parametrize("deaths", range(1, TRIES))
async def test_a_process_that_ends_while_it_decides_does_not_set_the_object_aside(
    deaths: int,
) -> None:
    tried, server = reconciler(Dying(deaths))
    outcomes = [await tried._attempt(NAME) for _ in range(deaths + 1)]
    assert outcomes == ["tried"] * deaths + ["unchanged"]
    assert server.written == []


async def test_an_object_that_ends_every_process_is_set_aside_and_not_tried_any_more() -> None:
    dying = Dying(1000)
    tried, server = reconciler(dying)
    outcomes = [await tried._attempt(NAME) for _ in range(TRIES + 3)]
    assert outcomes == ["tried"] * (TRIES - 1) + ["not-decided"] + ["set-aside"] * 3
    assert dying.asked == TRIES
    (status,) = server.written
    assert {c["reason"] for c in status["conditions"]} == {"NotDecided"}


async def test_what_was_set_aside_is_tried_again_after_a_while_though_nothing_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "RETRY_SET_ASIDE", 0.05)
    tried, server = reconciler(Dying(TRIES))
    outcomes = [await tried._attempt(NAME) for _ in range(TRIES + 1)]
    assert outcomes == ["tried"] * (TRIES - 1) + ["not-decided", "set-aside"]
    await asyncio.sleep(0.1)
    assert await tried._attempt(NAME) == "unchanged"
    assert len(server.written) == 1


async def test_nodes_that_came_just_before_an_object_are_waited_for() -> None:
    clock, looking = Clock(), Looking()
    together = Together(clock)
    tried, server = reconciler(looking, together)
    nodes = tried._known.nodes
    nodes.put(gpu_node("a100-0"))
    together.nodes_changed()
    clock.now += 0.9
    together.came(NAME)
    assert await tried._attempt(NAME) == "held"
    nodes.put(gpu_node("a100-1"))  # while the object waits
    clock.now += 1.0
    assert await tried._attempt(NAME) == "written"
    assert looking.seen == [2]
    assert server.written == [{"nodes": 2}]


async def test_missing_nodes_are_told_of_once_they_had_a_second_to_come() -> None:
    clock, looking = Clock(), Looking()
    together = Together(clock)
    tried, server = reconciler(looking, together)
    together.came(NAME)
    assert await tried._attempt(NAME) == "held"
    clock.now += 0.5
    assert await tried._attempt(NAME) == "held"
    assert server.written == []
    clock.now += 0.5
    assert await tried._attempt(NAME) == "written"
    assert server.written == [{"nodes": 0}]


async def test_nodes_that_come_within_a_second_after_an_object_are_decided_on_with_it() -> None:
    clock, looking = Clock(), Looking()
    together = Together(clock)
    tried, server = reconciler(looking, together)
    together.came(NAME)
    assert await tried._attempt(NAME) == "held"
    clock.now += 0.9
    tried._known.nodes.put(gpu_node("a100-0"))
    together.nodes_changed()
    clock.now += 0.1
    assert await tried._attempt(NAME) == "written"
    assert server.written == [{"nodes": 1}]


async def test_an_object_that_comes_when_no_node_does_is_decided_at_once() -> None:
    clock = Clock()
    together = Together(clock)
    tried, _ = reconciler(Dying(0), together)
    together.nodes_changed()
    clock.now += 1.1
    together.came(NAME)
    assert await tried._attempt(NAME) == "unchanged"
