"""What would make it fit: changes to a request, each tried and found to fit, cheapest first.

The order, from what costs least. Nothing that needs more GPUs comes before what needs none:

    1  gpuMemoryUtilization   raised, to at most 0.95: nothing lost but headroom
    2  maxNumSeqs             lowered, never below concurrentSequences: smaller batches at peak
    3  speculative            none: tokens one at a time
    4  maxLoras               lowered to as many as fit: others are swapped in
    5  kvCacheDtype           a little accuracy; fp8 if the GPU computes in it
    6  maxModelLen            lowered to the longest that fits, not below input + output tokens
    7  concurrentSequences    lowered to as many as fit
    8  videosPerPrompt        none, if nothing is said of videos
    9  imagesPerPrompt        none, if nothing is said of images: for text alone
    10 another checkpoint     fp8, then 4-bit: needs one to exist
    11 pairs of 2 to 10       only if fewer than `ENOUGH` of the single ones fit
    12 more GPUs              the smallest count that fits
    13 another accelerator    as many of another kind, if the request names its kinds

At most `MOST` are given, and one of 12 and one of 13 among them if there is one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from plimsoll.decision.changes import KINDS, ON_TOP, Option, apply
from plimsoll.decision.search import choose, search
from plimsoll.decision.splits import layout, pinned, tensor_counts
from plimsoll.decision.verdict import Alternative, Change
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.trial import Case, Trial

MOST = 5
"""Alternatives of one verdict."""
ENOUGH = 2
"""Single changes that fit, that make pairs needless."""


def advise(
    case: Case, base: Trial, others: Sequence[Candidate], here: Sequence[Candidate]
) -> tuple[Alternative, ...]:
    """The alternatives to a request whose nearest miss is `base`.

    others: accelerators that the request does not allow but might. here: the pools of the
    inventory, to say which alternative could run today.
    """
    start = Option(case, (), base)
    tried = [(index, kind(start)) for index, kind in enumerate(KINDS)]
    singles = [(index, option) for index, option in tried if option is not None]
    fitting = [option for _, option in singles if option.trial.fit.fits]
    if len(fitting) < ENOUGH:
        fitting += islice(_pairs(singles), MOST)
    more = [*_more_gpus(case, base), *_other_accelerator(case, base, others)]
    kept = fitting[: MOST - len(more)] + more
    return tuple(_alternative(option, here) for option in kept)


def _pairs(singles: Sequence[tuple[int, Option]]) -> Iterator[Option]:
    """Pairs that fit, of two changes that do not fit alone, each pair once."""
    alone = {index for index, option in singles if option.trial.fit.fits}
    tried: set[frozenset[int]] = set()
    for index, first in singles:
        for later, kind in enumerate(KINDS):
            pair = frozenset((index, later))
            if len(pair) < 2 or pair & alone or pair in tried:
                continue
            if later < index and kind not in ON_TOP:
                continue
            tried.add(pair)
            second = kind(first)
            if second is not None and second.trial.fit.fits:
                yield second
                break


def _more_gpus(case: Case, base: Trial) -> Iterator[Option]:
    """The smallest count above the one asked for that fits on the same accelerator."""
    wanted = case.request.wanted
    if wanted.gpus_per_replica is wanted.split.tensor is wanted.split.pipeline is None:
        return
    free = replace(
        wanted,
        gpus_per_replica=None,
        split=replace(wanted.split, tensor=None, pipeline=None),
    )
    relaxed = replace(case, request=replace(case.request, wanted=free))
    found = search(relaxed, base.candidate, above=base.gpus).fits
    if found is None:
        return
    split = found.estimate.parallelism
    stages_said = wanted.split.pipeline is not None or (
        wanted.gpus_per_replica is None and split.pipeline > 1
    )
    written, own = split.tensor * tensor_counts(case.request), wanted.split.tensor
    fields = (
        (Field.TENSOR, own is not None, (own or 1) * tensor_counts(case.request), written),
        (Field.PIPELINE, stages_said, wanted.split.pipeline, split.pipeline),
        (Field.GPUS, wanted.gpus_per_replica is not None, wanted.gpus_per_replica, split.gpus),
    )
    changed = tuple(
        Change(field, str(new)) for field, said, old, new in fields if said and old != new
    )
    if changed:
        yield from _on_others(case, changed, (base.candidate,))


def _other_accelerator(case: Case, base: Trial, others: Sequence[Candidate]) -> Iterator[Option]:
    """The smallest other accelerator that holds it, one that is there before any other.

    As many of it as asked for or, if the count was planned, the fewest.
    """
    if not pinned(case.request.wanted):
        best = choose(case, others).best
        others = [best.candidate] if best else []
    need, share = base.estimate.required_high, base.estimate.utilization
    able = [c for c in others if int(c.accelerator.memory * share) >= need]
    able.sort(key=lambda c: (c.pool is None, c.accelerator.memory, c.accelerator.name))
    for candidate in (able or list(others))[:3]:
        changed = (Change(Field.ALLOWED, f"[{candidate.accelerator.name}]"),)
        for option in _on_others(case, changed, (candidate,)):
            yield option
            return


def _on_others(
    case: Case, changed: tuple[Change, ...], candidates: Sequence[Candidate]
) -> Iterator[Option]:
    """The changed request planned on those candidates, if it fits there."""
    request = apply(case.request, changed)
    after = replace(case, request=request)
    best = choose(after, candidates).best
    if best is not None:
        yield Option(after, changed, best)


def _alternative(option: Option, here: Sequence[Candidate]) -> Alternative:
    """An option that fits as the verdict carries it."""
    trial = option.trial
    split, name = trial.estimate.parallelism, trial.candidate.accelerator.name
    return Alternative(
        changes=option.changes,
        accelerator=name,
        gpus_per_replica=trial.gpus,
        required=trial.estimate.required,
        usable=trial.estimate.usable,
        available=any(
            c.accelerator.name == name
            and c.pool is not None
            and layout(split, c.per_node)[1] <= c.pool.nodes
            for c in here
        ),
        notes=option.notes,
    )
