"""Claims about events that come from kopf's thread into ours."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from plimsoll_operator.controller.watches import in_loop, quieten_kopf

if TYPE_CHECKING:
    import pytest

MODEL = {"metadata": {"name": "model"}}


def test_an_event_after_our_loop_has_ended_is_dropped_without_a_word() -> None:
    ours = asyncio.new_event_loop()
    on_event = in_loop(lambda obj, gone, listed_again: None, ours)
    ours.close()
    asyncio.run(on_event(event={"type": "MODIFIED", "object": MODEL}))


async def test_it_is_told_that_kopf_lists_again_once_for_each_time_that_it_does() -> None:
    told: list[tuple[bool, bool]] = []

    def take(obj: dict[str, Any], gone: bool, listed_again: bool) -> None:
        told.append((gone, listed_again))

    on_event = in_loop(take, asyncio.get_running_loop())
    for kind in (None, None, "ADDED", "DELETED", None, None, "MODIFIED"):
        await on_event(event={"type": kind, "object": MODEL})
    await asyncio.sleep(0)
    assert [listed_again for _, listed_again in told] == [False] * 4 + [True] + [False] * 2
    assert [gone for gone, _ in told].index(True) == 3


def test_kopf_tells_of_a_cause_once_and_not_at_each_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quieten_kopf()
    logger = logging.getLogger("kopf._cogs.clients.watching")
    with caplog.at_level(logging.INFO):
        for attempt in range(5):
            logger.error("Request attempt %d failed; will retry: GET /x -> refused", attempt)
        logger.error("Request attempt 6 failed; will retry: GET /x -> reset")
        logger.error("something else")
    said = [record.getMessage().rpartition(" -> ")[2] for record in caplog.records]
    assert said == ["refused", "reset", "something else"]
