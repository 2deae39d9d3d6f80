"""What would make it fit: changes to a request, each tried and found to fit, cheapest first.

The order, from what costs least. Nothing that needs more GPUs comes before what needs none:

    1  kvCacheMemory          taken out: the engine makes the cache as large as its share allows
    2  gpuMemoryUtilization   raised, to at most 0.95 and what is free: nothing lost but headroom;
                              lowered, where what comes after the cache lacks memory
    3  maxNumSeqs             lowered, never below concurrentSequences: smaller batches at peak
    4  maxNumBatchedTokens    lowered: prompts are read in smaller pieces
    5  speculative            none: tokens one at a time
    6  maxLoras               lowered to as many as fit: others are swapped in
    7  kvCacheDtype           a little accuracy; fp8 if the GPU computes in it
    8  maxModelLen            lowered to the longest that fits, not below input + output tokens
    9  enforceEager           no CUDA graphs: each step takes longer
    10 concurrentSequences    lowered to as many as fit
    11 videosPerPrompt        none, if nothing is said of videos
    12 imagesPerPrompt        none, if nothing is said of images: for text alone
    13 another checkpoint     fp8, then 4-bit: the catalogue's; after 16 one that has to be made
    14 pairs of 2 to 13       only if fewer than `ENOUGH` of the single ones fit
    15 several of 2 to 13     as few as hold it, only if no single one and no pair does
    16 maxModelLen            to less than a 16th, only if nothing before fits
    17 more GPUs              the smallest count that fits, with one of 2 to 13 if only so
    18 another accelerator    as many of another kind, if the request names its kinds

At most `MOST` are given, and one of 17 and one of 18 among them if there is one. Where 1 means
something it is part of all up to 16; so is what mends a refusal of the engine, where a value does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, islice
from typing import TYPE_CHECKING

from plimsoll.decision.changes import apply
from plimsoll.decision.options import (
    CHECKPOINTS,
    KINDS,
    LAST_RESORT,
    LOWERED,
    Option,
    cache_by_share,
    unchanged,
)
from plimsoll.decision.search import choose, search
from plimsoll.decision.splits import layout, pinned, tensor_counts
from plimsoll.decision.verdict import Alternative, Change, Note
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.options import Kind
    from plimsoll.decision.trial import Case, Trial

MOST = 5
"""Alternatives of one verdict."""
ENOUGH = 2
"""Single changes that fit, that make pairs needless."""
ONE_MORE = 5
"""Changed requests that are tried for pairs if a single change fits already."""
HOPE = (9, 10)
"""Share of the excess that two changes save alone, for it to be worth trying them together."""


def advise(
    case: Case, base: Trial, others: Sequence[Candidate], here: Sequence[Candidate]
) -> tuple[Alternative, ...]:
    """The alternatives to a request whose nearest miss is `base`.

    others: accelerators that the request does not allow but might. here: the pools of the
    inventory, to say which alternative could run today.
    """
    fitting = _on_the_same(unchanged(case, base))
    more = [*_more_gpus(case, base), *_other_accelerator(case, base, others)]
    kept = fitting[: MOST - len(more)] + more
    return tuple(_alternative(option, here) for option in kept)


def _on_the_same(start: Option) -> list[Option]:
    """What makes it fit on the GPUs that were asked for."""
    start = cache_by_share(start) or start
    if start.changes and start.fits:
        return [start]
    if start.weights_exceed:
        return _with_other_weights(start)
    tried = [(kind, option) for kind in KINDS if (option := kind(start)) is not None]
    there = [option for _, option in tried if option.fits and Note.TO_BE_MADE not in option.notes]
    made = [option for _, option in tried if option.fits and Note.TO_BE_MADE in option.notes]
    if len(there) >= ENOUGH:
        return there + made
    partly = {
        kind: option
        for kind, option in tried
        if not option.fits and option.excess < start.excess and Note.TO_BE_MADE not in option.notes
    }
    if there:
        start.purse.left = min(start.purse.left, ONE_MORE)
    there += islice(_pairs(start, partly), MOST - 1 - len(made))
    if not there:
        there += filter(None, (_several(start, partly),))
    if not there:
        there += (option for option in (LAST_RESORT(start),) if option and option.fits)
    return there + made or _with_other_weights(start)


def _with_other_weights(start: Option) -> list[Option]:
    """What makes it fit where only less of the weights can: another checkpoint, with one change on
    top of it if need be."""
    fitting: list[Option] = []
    for checkpoint in CHECKPOINTS:
        option = checkpoint(start)
        if option is None or option.fits:
            fitting += [option] if option else []
        elif not option.weights_exceed:
            on_top = (kind(option) for kind in KINDS if kind not in CHECKPOINTS)
            fitting += islice((more for more in on_top if more and more.fits), ENOUGH)
    return sorted(fitting, key=lambda option: len(option.changes))


def _pairs(start: Option, partly: dict[Kind, Option]) -> Iterator[Option]:
    """Pairs that fit, of two changes that do not fit alone, where both together may be enough.

    partly: what each change that saves something comes to alone.
    """
    for pair in combinations(partly, 2):
        saved = sum(start.excess - partly[kind].excess for kind in pair)
        if saved * HOPE[1] >= start.excess * HOPE[0]:
            option = _together(pair, partly)
            if option is not None and option.fits:
                yield option


def _several(start: Option, partly: dict[Kind, Option]) -> Option | None:
    """As few changes as hold it together: from the cheapest on, then without any that can go."""
    kinds: list[Kind] = []
    found: Option | None = None
    saved = 0
    for kind, option in partly.items():
        kinds.append(kind)
        saved += start.excess - option.excess
        if saved >= start.excess and len(kinds) > 2:
            found = _together(kinds, partly)
            if found is not None and found.fits:
                break
    if found is None or not found.fits:
        return None
    for kind in kinds[:-1]:
        fewer = [one for one in kinds if one is not kind]
        without = _together(fewer, partly)
        if without is not None and without.fits:
            kinds, found = fewer, without
    return found


def _together(kinds: Sequence[Kind], alone: dict[Kind, Option]) -> Option | None:
    """The changes made one after another, those that can be lowered last."""
    first, *others = sorted(kinds, key=lambda kind: kind in LOWERED)
    option: Option | None = alone[first]
    for kind in others:
        option = kind(option) if option is not None else None
    return option


def _more_gpus(case: Case, base: Trial) -> Iterator[Option]:
    """The smallest count above the one asked for that fits on the same accelerator.

    Where it fits only within the error, the first change from above that makes it sure is part.
    """
    wanted = case.request.wanted
    if wanted.gpus_per_replica is wanted.split.tensor is wanted.split.pipeline is None:
        return
    free = replace(
        wanted,
        gpus_per_replica=None,
        split=replace(wanted.split, tensor=None, pipeline=None),
    )
    relaxed = replace(case, request=replace(case.request, wanted=free))
    attempt = search(relaxed, base.candidate, above=base.gpus)
    found = attempt.fits or attempt.within
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
    if changed and attempt.fits is not None:
        yield from _on_others(case, changed, (base.candidate,))
    elif changed:
        after = replace(case, request=apply(case.request, changed))
        start = Option(after, changed, after.trial(base.candidate, split))
        tried = (kind(start) for kind in KINDS if kind not in CHECKPOINTS)
        yield from islice((option for option in tried if option and option.fits), 1)


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
