"""Claims about credentials that run out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from plimsoll_operator.cluster.client import Credentials

if TYPE_CHECKING:
    import pytest


async def test_they_are_loaded_again_but_not_for_each_of_many_refusals() -> None:
    now, loads = 100.0, 0

    async def load() -> None:
        nonlocal loads
        loads += 1

    credentials = Credentials(load, clock=lambda: now)
    for _ in range(50):
        await credentials.renew()
    assert loads == 1
    now += 1.5
    await credentials.renew()
    assert loads == 2


async def test_a_file_that_is_gone_is_said_and_those_that_were_there_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def load() -> None:
        raise FileNotFoundError("no such file: token")

    with caplog.at_level(logging.WARNING):
        await Credentials(load).renew()
    assert "could not be loaded again: no such file: token" in caplog.text
