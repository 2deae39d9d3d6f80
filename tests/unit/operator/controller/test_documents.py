"""Claims about the ConfigMaps that are kept: the latest, whole, and never more than a bound."""

from __future__ import annotations

import random
from typing import Any, cast

from plimsoll_operator.controller import documents
from plimsoll_operator.controller.documents import ABSENT, Documents

NOBODY = cast("Any", None)
"""A client that is not asked."""


def config_map(version: int, text: str = "{}", name: str = "private") -> dict[str, Any]:
    metadata = {"namespace": "chat", "name": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "data": {"config.json": text}}


async def test_the_later_of_two_states_stays() -> None:
    kept = Documents(NOBODY)
    kept.put(config_map(5, "new"))
    kept.put(config_map(4, "old"))
    assert (await kept.get(("chat", "private"))).text("config.json") == "new"
    assert (await kept.get(("chat", "private"))).text("other.json") is None


async def test_a_deleted_one_is_known_to_be_absent() -> None:
    kept = Documents(NOBODY)
    kept.put(config_map(5))
    kept.gone(("chat", "private"))
    assert await kept.get(("chat", "private")) is ABSENT
    kept.put(config_map(6, "again"))
    assert (await kept.get(("chat", "private"))).exists


def test_what_is_kept_is_bounded() -> None:
    kept = Documents(NOBODY)
    noise = random.Random(7)
    for index in range(60):
        text = noise.randbytes(300_000).hex()
        kept.put(config_map(index + 1, text, f"private-{index}"))
    names = [name for _, name in kept.names()]
    assert 2 <= len(names) < 60
    assert names[-1] == "private-59"
    assert len(names) * 300_000 <= documents.MAX_BYTES
