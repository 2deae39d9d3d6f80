"""Where a replica fits: on which accelerator, on how many GPUs, split how, on which nodes.

    per candidate   the smallest split whose need, error included, fits, in the order of `splits`
    lower bound     GPUs >= (weights + KV cache of the whole model) / usable, so smaller splits
                    are not tried: a rank's share is never below the mean
    nearest miss    if nothing holds it: a whole node, if the cache has some room there, so that
                    ways out are for what people have; else the least short, the longest included
    among them      pools with nodes enough for a replica before pools with too few, ready ones
                    before others, those that stay before spot, those with enough GPUs free before
                    those without; of those what the request prefers:
                    fewest GPUs and then least total memory (unsaid), the reverse, or the first
                    that it names; then by name
    in which order  what costs least a GPU first, so that what can only cost more is not tried
    what is surer   costs at most `SURER` times the GPUs of what fits only within the error: nobody
                    builds 32 GPUs where two very likely do, and the verdict says that it is unsure
    no pool holds   the table's accelerators in the same order, without labels to select by

The numbers that a request gives are checked as they stand; it may then be that a placement fits
only within the error of the estimate. Then `Choice.within` has it and `Choice.best` has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from plimsoll.decision.splits import on_its_nodes, pinned, splits
from plimsoll.engines.base import Parallelism, State, TermName
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.splits import Splits
    from plimsoll.decision.trial import Case, Trial
    from plimsoll.engines.base import Estimate
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding

SURER: Final = 4
"""Times as many GPUs as a split that fits within the error, for one that certainly fits."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was found among candidates. best: certainly fits; within: only within the error.

    miss: the nearest that does not fit, if there is neither. smaller: the count below the
    best one's on the same accelerator, tried and found too small; None if the request gave
    the count or if there is none below.
    misses: the nearest miss of every candidate that cannot hold it.
    refused: what the engine said of the candidates or splits that it would not start on.
    idle: GPUs asked for that the placement does not use.
    """

    best: Trial | None = None
    within: Trial | None = None
    miss: Trial | None = None
    smaller: Trial | None = None
    misses: tuple[Trial, ...] = ()
    refused: tuple[tuple[Candidate, Finding | Problem], ...] = ()
    idle: int = 0

    @property
    def chosen(self) -> Trial | None:
        """Where it runs, surely or perhaps."""
        return self.best or self.within


@dataclass(slots=True)
class Attempt:
    """What was found on one candidate; see `Choice` for the words."""

    fits: Trial | None = None
    within: Trial | None = None
    miss: Trial | None = None
    refused: list[Finding | Problem] = field(default_factory=list)
    idle: int = 0


def choose(case: Case, candidates: Sequence[Candidate]) -> Choice:
    """The best placement among the candidates, or the nearest misses."""
    best: Trial | None = None
    idle = 0
    attempts: dict[int, Attempt] = {}
    for index in sorted(range(len(candidates)), key=lambda i: candidates[i].measure(1)):
        attempt = attempts[index] = search(case, candidates[index], best)
        fits = attempt.fits
        if fits is not None and (best is None or fits.preference < best.preference):
            best, idle = fits, attempt.idle
    withins: list[tuple[Trial, int]] = []
    misses: list[Trial] = []
    refused: list[tuple[Candidate, Finding | Problem]] = []
    for index, candidate in enumerate(candidates):
        attempt = attempts[index]
        refused.extend((candidate, problem) for problem in attempt.refused)
        if attempt.fits is not None:
            continue
        if attempt.within is not None:
            withins.append((attempt.within, attempt.idle))
        elif attempt.miss is not None:
            misses.append(attempt.miss)
    misses.sort(key=lambda trial: trial.nearness)
    within: Trial | None = None
    if best is None and withins:
        within, idle = min(withins, key=lambda pair: pair[0].preference)
    return Choice(
        best=best,
        within=within,
        miss=misses[0] if misses and best is within is None else None,
        smaller=smaller_than(case, best) if best else None,
        misses=tuple(misses),
        refused=tuple(refused),
        idle=idle,
    )


def search(case: Case, candidate: Candidate, beat: Trial | None = None, above: int = 0) -> Attempt:
    """The smallest split on one candidate that holds the model.

    beat: a placement found before; splits that could not be preferred to it are not tried.
    above: only splits of more GPUs than this.
    """
    attempt = _search(case, candidate, beat, above)
    fits, within = attempt.fits, attempt.within
    if fits is not None and within is not None and fits.gpus > SURER * within.gpus:
        attempt.fits = None
    return attempt


def _search(case: Case, candidate: Candidate, beat: Trial | None, above: int) -> Attempt:
    candidate = on_its_nodes(case.request.wanted, candidate, case.engine)
    choice = splits(case.request, candidate, case.architecture, case.engine)
    if beat is not None and not _may_be_preferred(candidate, choice, beat):
        return Attempt()
    attempt = Attempt(refused=list(case.refusals(candidate, None)), idle=choice.idle)
    if attempt.refused:
        return attempt
    planned = not pinned(case.request.wanted)
    least = case.fewest_ranks(candidate) if planned or choice.tail else 1
    beaten = beat is not None and candidate.standing(1, 1) >= beat.standing
    most = candidate.most_gpus(beat.candidate, beat.gpus) if beat is not None and beaten else None
    untried: Parallelism | None = None
    for split in choice.ladder:
        if split.gpus <= above or (most is not None and split.gpus > most):
            continue
        if planned and split.tensor * split.pipeline < least:
            untried = split
        elif _try(case, candidate, split, attempt):
            return attempt
    if choice.tail is not None:
        low = max(2, ceil_div(least, choice.tail.tensor), above // choice.tail.tensor + 1)
        high = choice.longest
        if most is not None:
            high = min(high, most // (choice.tail.tensor * choice.tail.data))
        if low <= high and _lengthen(case, candidate, choice.tail, low, high, attempt):
            return attempt
        if low > high and most is None and choice.longest > 1:
            longest = replace(choice.tail, pipeline=choice.longest)
            if longest.gpus > above and _try(case, candidate, longest, attempt):
                return attempt
    if untried is not None and most is None and attempt.within is None:
        _on_a_node(case, candidate, untried, attempt)
    return attempt


def _may_be_preferred(candidate: Candidate, choice: Splits, beat: Trial) -> bool:
    """Whether the least of its splits could be preferred to a placement that was found."""
    if candidate.standing(1, 1) < beat.standing:
        return True
    least = min((split.gpus for split in choice.ladder), default=1)
    return candidate.measure(least) <= beat.candidate.measure(beat.gpus)


def _on_a_node(case: Case, candidate: Candidate, split: Parallelism, attempt: Attempt) -> None:
    """Report the miss on a whole node, where nothing holds it and the cache has some room there."""
    whole = Attempt()
    _try(case, candidate, split, whole)
    miss = whole.miss
    if attempt.miss is None or (miss is not None and miss.estimate.kv_capacity > 0):
        attempt.miss = miss or attempt.miss
    attempt.fits, attempt.within = whole.fits, whole.within
    attempt.refused += whole.refused


def _try(case: Case, candidate: Candidate, split: Parallelism, attempt: Attempt) -> bool:
    """Try one split and note the outcome; True if it fits and the engine would start."""
    trial = case.trial(candidate, split)
    if trial.fit.state is State.DOES_NOT_FIT:
        if attempt.miss is None or trial.nearness < attempt.miss.nearness:
            attempt.miss = trial
        return False
    refusals = case.refusals(candidate, split)
    if refusals:
        attempt.refused.extend(refusals)
    elif trial.fit.fits:
        attempt.fits = trial
        return True
    elif attempt.within is None:
        attempt.within = trial
    return False


def _lengthen(
    case: Case, candidate: Candidate, tail: Parallelism, low: int, high: int, attempt: Attempt
) -> bool:
    """Find the fewest pipeline stages that hold it, from `low`, a lower bound, to `high`.

    Weights and KV cache fall with the stages, the rest hardly: that gives the next guess. Once
    one is found, the range below it is halved until one stage less is known to be too few.
    """

    def holds(stages: int) -> bool:
        split = Parallelism(tail.tensor, stages, tail.data, tail.expert)
        return _try(case, candidate, split, attempt)

    refusals = case.refusals(candidate, Parallelism(tail.tensor, low, tail.data, tail.expert))
    if refusals:
        attempt.refused.extend(refusals)
        return False
    short, stages = low - 1, low
    while not holds(stages):
        if stages >= high:
            return False
        split = Parallelism(tail.tensor, stages, tail.data, tail.expert)
        short, stages = stages, _guess(case.trial(candidate, split).estimate, stages, high)
    while stages - short > 1:
        middle = (short + stages) // 2
        short, stages = (short, middle) if holds(middle) else (middle, stages)
    return holds(stages)


def _guess(estimate: Estimate, stages: int, high: int) -> int:
    """More stages than were too few, as many as the part that falls with them asks for."""
    falls = estimate.terms[TermName.WEIGHTS].high + estimate.terms[TermName.KV_CACHE].high
    room = estimate.usable - (estimate.required_high - falls)
    wanted = ceil_div(falls * stages, room) if room > 0 else high
    return min(high, max(stages + 1, wanted))


def smaller_than(case: Case, best: Trial) -> Trial | None:
    """The next smaller count on the best placement's accelerator, if it was planned."""
    wanted = case.request.wanted
    split = best.estimate.parallelism
    if pinned(wanted) and split.pipeline == 1:
        return None
    choice = splits(case.request, best.candidate, case.architecture, case.engine)
    below = [s for s in choice.ladder if s.gpus < split.gpus]
    if choice.tail is not None and split.pipeline > 2:
        below.append(Parallelism(split.tensor, split.pipeline - 1, split.data, split.expert))
    return case.trial(best.candidate, max(below, key=lambda s: s.gpus)) if below else None
