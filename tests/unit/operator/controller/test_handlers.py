"""Claims about events that come from kopf's thread into ours."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from plimsoll_operator.controller.handlers import Handlers

NOBODY = cast("Any", None)
"""Parts that an event which is not taken in does not reach."""


def test_an_event_after_our_loop_has_ended_is_dropped_without_a_word() -> None:
    handlers = Handlers(NOBODY, NOBODY, NOBODY, NOBODY)
    ours = asyncio.new_event_loop()
    on_event = handlers._adapted(lambda obj, gone: None, ours)
    ours.close()
    event = {"type": "MODIFIED", "object": {"metadata": {"name": "model"}}}
    asyncio.run(on_event(event=event))
