"""Claims about the lists that repair what the watch missed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from plimsoll_operator.controller import resync
from plimsoll_operator.controller.resync import Resync
from plimsoll_operator.settings import Settings

if TYPE_CHECKING:
    import pytest

AWAY = 20
"""Tries while the API server is away."""


async def test_an_outage_is_one_line_however_often_the_list_is_tried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    tried = asyncio.Event()

    class Known:
        """Of the cluster, while the API server is away."""

        async def first_lists(self) -> None:
            nonlocal tries
            tries += 1
            if tries > AWAY:
                tried.set()
            raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(resync, "backoff", lambda failures: 0.0)
    nothing = cast("Any", None)
    lists = Resync(nothing, Settings(), nothing, cast("Any", Known()), nothing, nothing, nothing)
    with caplog.at_level(logging.INFO):
        task = asyncio.create_task(lists.list_forever())
        await asyncio.wait_for(tried.wait(), 10)
        task.cancel()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("not listed: ")
    assert "Connection refused" in said[0]
