"""What AIConfigurator itself answered about the measured start-ups, as one more peer.

The answers lie in tests/data/peers.jsonl, a line a start-up with the release that gave it, so that
scoring needs no AIConfigurator; `make peers` asks again. GiB a GPU of weights, activation and
cache, and the tokens in that cache; or the words in which it refused.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import ROOT
from accuracy.peers import Case, Peer
from plimsoll.measured.rows import TermId

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERS: Final = ROOT / "tests" / "data" / "peers.jsonl"


@lru_cache(maxsize=1)
def answers() -> dict[str, dict[str, Any]]:
    """Every answer by the id of its row."""
    lines = ANSWERS.read_text("utf-8").splitlines()
    return {answer["row"]: answer for answer in map(json.loads, lines)}


def _answered(key: str) -> Callable[[Case], float | None]:
    def answer(case: Case) -> float | None:
        found = answers().get(case.start.row, {}).get(key) if case.start is not None else None
        return None if found is None else float(found)

    return answer


ASKED: Final = Peer(
    "AIConfigurator, run",
    "https://github.com/ai-dynamo/aiconfigurator",
    "0.12.0",
    "its own estimate for vLLM, by its newest tables, told the row's memory, share and batch",
    {
        TermId.WEIGHTS: _answered("weights"),
        TermId.ACTIVATION: _answered("activation"),
        TermId.KV_GIB: _answered("cache"),
        TermId.KV_TOKENS: _answered("tokens"),
    },
)
