"""Whether a row's start-up would have been allowed: the verdict of `decide`.

It must not have rules of its own on what fits, and it must not look at what was measured.

    allow, deny   every candidate of the row gives that
    warn          decide() says so, or what is unknown beside the needed inputs decides
    no verdict    a needed input is unknown and decides

Need grows with sequences, batch, length, cache dtype and graphs, and falls with them; so of what is
unknown only the value that needs least, the one that needs most and the default are decided on.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from plimsoll.decision.decide import decide
from plimsoll.decision.knowledge import Knowledge
from plimsoll.decision.request import Request, Wanted
from plimsoll.decision.verdict import Decision
from plimsoll.engines.base import AskedSplit
from plimsoll.measured.candidates import OUTCOME_AXES, Candidate, candidates, missing, touched
from plimsoll.measured.rows import FAILED, STARTED
from plimsoll.models.model import Model, ModelSource

if TYPE_CHECKING:
    from plimsoll.measured.inputs import Facts
    from plimsoll.measured.rows import Row

_NAME: Final = "measured"


def verdict(row: Row, known: Facts) -> Decision | str:
    """The verdict on a row's start-up, or why there is none."""
    if row.outcome != STARTED and row.outcome not in FAILED:
        return "outcome unknown"
    lacking = missing(known, OUTCOME_AXES)
    if not known.splits or known.physical is None:
        return lacking
    why = touched(known, None)
    if why:
        return why
    found = candidates(known, OUTCOME_AXES)
    if isinstance(found, str):
        return f"{lacking or found}"
    decided = set()
    for candidate in _corners(_startable(known, found)):
        decided.add(judged(known, candidate))
        if len(decided) > 1 and lacking:
            return lacking
    if len(decided) == 1:
        return decided.pop()
    return Decision.WARN


def judged(known: Facts, candidate: Candidate) -> Decision:
    """What decide() says to one start-up on that GPU alone."""
    own, split = candidate.architecture, candidate.parallelism
    accelerator = replace(
        candidate.accelerator,
        name=_NAME
        if candidate.accelerator.resource != "nvidia.com/gpu"
        else candidate.accelerator.name,
        gpus_per_node=max(split.tensor, candidate.accelerator.gpus_per_node),
    )
    knowledge = Knowledge({candidate.settings.name: known.engine}, (accelerator,))
    request = Request(
        Model("the row's model", ModelSource.CONFIG, own, own.parameters),
        candidate.settings,
        wanted=Wanted(
            allowed=(accelerator.name,),
            gpus_per_replica=split.gpus,
            split=AskedSplit(split.tensor, split.pipeline, split.data, split.expert),
        ),
    )
    return decide(request, knowledge=knowledge).decision


def _startable(known: Facts, found: list[Candidate]) -> list[Candidate]:
    """Without what the engine refuses, memory aside; all where it refuses all.

    A value that is only tried, and that the engine would not start with, says nothing of the row.
    """
    kept = [
        one
        for one in found
        if not known.engine.problems(
            one.architecture, one.settings, one.parallelism, one.accelerator
        )
    ]
    return kept or found


def _corners(found: list[Candidate]) -> list[Candidate]:
    """The candidates that need most and least, and those between that the default gives."""
    if len(found) <= _FEW:
        return found
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for one in found:
        key = (id(one.architecture), one.settings.version, one.parallelism, one.accelerator.name)
        groups.setdefault(key, []).append(one)
    chosen: list[Candidate] = []
    for group in groups.values():
        ordered = sorted(group, key=_size)
        chosen += [ordered[0], ordered[-1]]
    return chosen


def _size(one: Candidate) -> tuple[object, ...]:
    """Sorts by how much a start-up may hold, what weighs most first."""
    s, own = one.settings, one.architecture
    share = s.utilization if s.utilization is not None else DEFAULT_SHARE
    return (
        -share,
        s.max_model_len or own.max_model_len,
        s.kv_cache_dtype != "fp8",
        s.max_num_seqs or LARGE,
        s.max_num_batched_tokens or LARGE,
        not s.enforce_eager,
    )


_FEW: Final = 12
DEFAULT_SHARE: Final = Decimal("0.9")
LARGE: Final = 10**9
