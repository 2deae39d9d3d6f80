"""Ours and each peer on the same rows, term by term.

It must not choose rows by how anybody does on them: a row counts for a peer if ours is scored,
the model, its storage and the split are known, and the peer's formula speaks of the case. The
peers fill in a default for what a row does not state, so here ours does too (the engine's own, of
the newest version that the row may mean): one value against one value, and no range. Of tokens in
a cache of known size, what follows from the log's rounding of that size (0.01 GiB) is nobody's
error, neither ours nor theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from accuracy.answers import ASKED
from accuracy.data import configs, scored
from accuracy.peers import PEERS, Case, Peer, Start
from plimsoll.engines.base import Workload
from plimsoll.measured.inputs import facts
from plimsoll.measured.predict import Prediction, predict
from plimsoll.measured.rows import TermId
from plimsoll.measured.score import Point, Summary, summary

if TYPE_CHECKING:
    from plimsoll.measured.inputs import Facts
    from plimsoll.measured.rows import Row


ROUNDED_GIB: Final = 0.01
"""Logs give the cache's size in steps of so much."""
CLOSE_PCT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Duel:
    """One peer on one term. ours, theirs: the same rows, in the same order."""

    peer: Peer
    term: TermId
    ours: tuple[Point, ...]
    theirs: tuple[Point, ...]

    @property
    def summaries(self) -> tuple[Summary, Summary]:
        """Ours and theirs."""
        return summary(self.ours), summary(self.theirs)

    @property
    def close(self) -> tuple[int, int]:
        """Rows that ours and theirs come within `CLOSE_PCT` of."""
        return _close(self.ours), _close(self.theirs)


@lru_cache(maxsize=1)
def duels() -> tuple[Duel, ...]:
    """Every term that a peer speaks of, by term and then peer."""
    peers = (*PEERS, ASKED)
    return tuple(_duel(peer, term) for term in TermId for peer in peers if term in peer.formulas)


def _close(points: tuple[Point, ...]) -> int:
    return sum(point.pct is not None and point.pct <= CLOSE_PCT for point in points)


def _duel(peer: Peer, term: TermId) -> Duel:
    ours: list[Point] = []
    theirs: list[Point] = []
    for one in scored():
        told = cases().get((one.row.id, term))
        value = peer.formulas[term](told.case) if told is not None else None
        if told is not None and value is not None:
            point = one.points[term]
            ours.append(replace(point, prediction=_given(told.case, told.ours)))
            said = Prediction(value, value, value, value)
            theirs.append(replace(point, prediction=_given(told.case, said)))
    return Duel(peer, term, tuple(ours), tuple(theirs))


def _given(case: Case, said: Prediction) -> Prediction:
    """What a formula says for any size of the cache that the log may have rounded."""
    if case.given is None:
        return said
    off = ROUNDED_GIB / 2 / case.given
    return replace(said, low=said.low * (1 - off), high=said.high * (1 + off))


@dataclass(frozen=True, slots=True)
class Told:
    """What a row tells a formula of one term, and ours of it."""

    case: Case
    ours: Prediction


@lru_cache(maxsize=1)
def cases() -> dict[tuple[str, TermId], Told]:
    """What each row tells a formula of each term that is scored; only if all of it is known."""
    found: dict[tuple[str, TermId], Told] = {}
    for one in scored():
        known = facts(one.row, configs())
        if isinstance(known, str) or known.engine.name != "vllm":
            continue
        one_way = len(known.architectures) == len(known.splits) == 1
        for term in one.points if one_way else ():
            ours = predict(one.row, _by_default(known), term)
            if isinstance(ours, Prediction):
                found[one.row.id, term] = Told(_case(one.row, known, term), ours)
    return found


def _by_default(known: Facts) -> Facts:
    """The same with the default for everything that is not stated."""
    return replace(
        known,
        unknown=frozenset(),
        versions=known.versions[-1:],
        accelerators=known.accelerators[:1],
    )


def _case(row: Row, known: Facts, term: TermId) -> Case:
    own, split, accelerator = known.architectures[0], known.splits[0], known.accelerators[0]
    settings = replace(known.settings, version=known.versions[-1])
    estimate = known.engine.estimate(own, settings, Workload(), split, accelerator)
    share = not {"physical", "gpu_memory_utilization"} & known.unknown
    return Case(
        own,
        split,
        settings.kv_cache_dtype,
        estimate.max_model_len,
        float(accelerator.memory * estimate.utilization) if share else 0.0,
        row.measured.get(TermId.KV_GIB) if term is TermId.TOKENS_GIVEN_GIB else None,
        Start(
            row.id,
            row.config_id,
            accelerator,
            estimate.max_num_batched_tokens,
            estimate.max_num_seqs,
        ),
    )
