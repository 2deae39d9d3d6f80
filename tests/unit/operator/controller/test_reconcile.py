"""What the reconciler does with an object that could not be decided within its budget."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from plimsoll.decision.policy import DEFAULT_POLICY
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll_operator.cluster.documents import ModelDocuments
from plimsoll_operator.controller import reconcile
from plimsoll_operator.controller.cache import ObjectCache
from plimsoll_operator.controller.queue import KeyedQueue
from plimsoll_operator.controller.reconcile import Reconciler
from plimsoll_operator.deciding.errors import Cause, NotDecided

if TYPE_CHECKING:
    import pytest

    from plimsoll_operator.cluster.objects import Name

NAME = ("chat", "slow")
OBJECT = {
    "metadata": {
        "namespace": "chat",
        "name": "slow",
        "uid": "u",
        "generation": 1,
        "resourceVersion": "1",
    },
    "spec": {"model": {"uri": "hf://Qwen/Qwen3-0.6B"}},
}


async def attempts(seconds: float) -> int:
    """How often an object that is never decided is tried within so many seconds."""
    queue, tried = cast("KeyedQueue[Name]", KeyedQueue()), 0
    cache = ObjectCache(ModelDocuments(lambda _: False))
    cache.put(OBJECT)

    async def decide(*_: Any) -> Any:
        nonlocal tried
        tried += 1
        raise NotDecided(Cause.BUDGET, "deciding took more than 2 s")

    async def patch_status(
        _kind: Any, _namespace: str, _name: str, patch: Any, _version: Any
    ) -> Any:
        return {**OBJECT, "status": patch}

    nodes = SimpleNamespace(version=1, inventory=NO_INVENTORY)
    known = SimpleNamespace(nodes=nodes, labels={}, policy=lambda _: DEFAULT_POLICY)
    nothing = SimpleNamespace(
        undecided=lambda *_: None, reconciled=lambda *_: None, patch_status=patch_status
    )
    reconciler = Reconciler(
        cast("Any", nothing), cache, cast("Any", known), queue, cast("Any", nothing), decide
    )
    queue.add(NAME)
    working = asyncio.create_task(reconciler.work())
    for _ in range(4):
        await asyncio.sleep(seconds / 4)
        queue.add(NAME)  # as after a change of nodes
    working.cancel()
    return tried


def test_what_was_set_aside_is_tried_again_after_a_while_though_nothing_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asyncio.run(attempts(0.8)) == reconcile.TRIES
    monkeypatch.setattr(reconcile, "RETRY_SET_ASIDE", 0.1)
    assert reconcile.TRIES < asyncio.run(attempts(1.6)) <= reconcile.TRIES + 5
