"""The claim that kill -9 at any point loses nothing; `make soak KILLS=1000` makes it a thousand."""

from __future__ import annotations

import asyncio
import os

import pytest

from soak import kills

KILLS = int(os.environ.get("PLIMSOLL_KILLS", "20"))
SEED = int(os.environ.get("PLIMSOLL_SEED", "11"))


@pytest.mark.timeout(60 + 30 * KILLS)
def test_whatever_is_killed_under_churn_every_object_is_there_and_has_the_right_status() -> None:
    outcome = asyncio.run(kills.run(KILLS, SEED))
    print(outcome)
    assert outcome.clean
    assert outcome.kills.total() == KILLS
    assert outcome.answers["allowed"] > 10
