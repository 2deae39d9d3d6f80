"""What becomes of a deployment from one verdict to the next: another version, other fields.

effect     the gravest of: no longer starts, takes more GPUs, is in doubt, holds less, is told
           of flags; else it holds more, starts now, or stays as it was
loss       1 - after / before, of the context that is served and of the tokens of KV cache;
           one below `least` is none: estimates of two releases differ by their own error
kept       an unsaid setting whose default moved, written down as it was: only those sets of
           settings are named with which the same decision loses nothing any more
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from plimsoll.decision.decide import decide
from plimsoll.decision.policy import no_worse
from plimsoll.decision.staying import Kept
from plimsoll.decision.verdict import Change, Decision, Reason
from plimsoll.engines.base import TermName
from plimsoll.findings import Finding, path_of
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.policy import Policy
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Estimate
    from plimsoll.errors import Problem
    from plimsoll.inventory.pools import Inventory

LEAST: Final = Fraction(5, 100)
"""The share of context or cache below which a loss is none, where nobody says another."""


class Effect(StrEnum):
    """What becomes of it, the gravest first."""

    STOPS = "stops"
    """It started, and no longer does."""
    REFUSED = "refused"
    """It is new, and does not start."""
    WORSE = "worse"
    """It did not start before, and lacks more now, or something else."""
    MORE_GPUS = "moreGPUs"
    """It starts, on more GPUs or on other ones."""
    DOUBTED = "doubted"
    """It surely started, and nobody can be sure any more."""
    LOSES = "loses"
    """It starts, and holds less context or fewer requests."""
    FLAGS = "flags"
    """It starts, and the engine will have something to say of its flags or fields."""
    STILL_REFUSED = "stillRefused"
    """It did not start before, and does not now."""
    GAINS = "gains"
    """It starts, and holds more."""
    STARTS = "starts"
    """It did not start, or nobody could be sure, and it does now."""
    ADDED = "added"
    REMOVED = "removed"
    SAME = "same"


STOPPING: Final = frozenset({Effect.STOPS, Effect.REFUSED, Effect.WORSE})
"""Effects with which something that should start does not."""
LOSING: Final = frozenset({Effect.MORE_GPUS, Effect.DOUBTED, Effect.LOSES, Effect.FLAGS})
"""Effects with which it starts, and somebody should look first."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What a deployment serves. gpus: of a replica. context: tokens of the longest request.

    tokens: of KV cache over a replica; concurrency: requests of `context` that they hold.
    """

    accelerator: str
    gpus: int
    context: int
    tokens: int
    concurrency: float


@dataclass(frozen=True, slots=True)
class Moved:
    """An unsaid setting of the engine whose value is another now."""

    field: Field
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of one engine of one object.

    before, after: what it holds; None where it does not start or nothing was estimated.
    context_lost, tokens_lost: shares that are lost, negative if more is held.
    grown: terms of memory that take more, each with bytes per GPU before and after.
    moved: unsaid settings that are others now. wrong: problems that it has now and had not before;
    told: the same for warnings.
    keep: settings that, written down as they were, lose nothing; each set by itself.
    """

    effect: Effect
    before: Holds | None = None
    after: Holds | None = None
    context_lost: Fraction = Fraction(0)
    tokens_lost: Fraction = Fraction(0)
    grown: tuple[tuple[TermName, int, int], ...] = ()
    moved: tuple[Moved, ...] = ()
    wrong: tuple[Finding | Problem, ...] = ()
    told: tuple[Finding | str, ...] = ()
    keep: tuple[tuple[Change, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What both sides are decided on, beside their requests."""

    inventory: Inventory = NO_INVENTORY
    policy: Policy | None = None
    knowledge: Knowledge | None = None

    def decide(self, request: Request, kept: Kept | None = None) -> Verdict:
        """The verdict on a request here."""
        if self.policy is None:
            return decide(request, self.inventory, knowledge=self.knowledge, kept=kept)
        return decide(request, self.inventory, self.policy, self.knowledge, kept)


def compare(
    asked_before: Request,
    before: Verdict,
    asked: Request,
    ground: Ground,
    least: Fraction = LEAST,
) -> tuple[Verdict, Comparison]:
    """The verdict on what comes after, and what became of what was before.

    It is judged on the GPUs that the request before was placed on, if both ask for the same GPUs
    and it still fits there.
    """
    kept = _kept(asked_before, before) if asked.wanted == asked_before.wanted else None
    after = ground.decide(asked, kept)
    found = _compared(before, after, least)
    if found.effect in STOPPING | LOSING and found.moved:
        found = replace(found, keep=_keeping(found, asked, before, ground, kept, least))
    return after, found


def added(verdict: Verdict) -> Comparison:
    """Of what was not there before."""
    effect = Effect.REFUSED if verdict.denied else Effect.ADDED
    return Comparison(effect, None, _holds(verdict), wrong=verdict.problems, told=verdict.warnings)


def removed(verdict: Verdict) -> Comparison:
    """Of what is not there any more."""
    return Comparison(Effect.REMOVED, before=_holds(verdict))


def _compared(before: Verdict, after: Verdict, least: Fraction) -> Comparison:
    was, is_now = _holds(before), _holds(after)
    context = tokens = Fraction(0)
    if was is not None and is_now is not None:
        context = _lost(was.context, is_now.context)
        tokens = _lost(was.tokens, is_now.tokens)
    wrong = {_key(one, before) for one in before.problems}
    told = {_key(one, before) for one in before.warnings}
    found = Comparison(
        Effect.SAME,
        was,
        is_now,
        context,
        tokens,
        tuple(_grown(before.estimate, after.estimate)),
        tuple(_moved(before.estimate, after.estimate)),
        tuple(one for one in after.problems if _key(one, after) not in wrong),
        tuple(one for one in after.warnings if _key(one, after) not in told),
    )
    return replace(found, effect=_effect(before, after, found, least))


def _effect(before: Verdict, after: Verdict, found: Comparison, least: Fraction) -> Effect:
    if after.denied:
        if not before.denied:
            return Effect.STOPS
        return Effect.STILL_REFUSED if no_worse(before, after) else Effect.WORSE
    if before.denied:
        return Effect.STARTS
    was, now = found.before, found.after
    more = fewer = False
    if was is not None and now is not None:
        more = now.gpus > was.gpus or now.accelerator != was.accelerator
        fewer = now.gpus < was.gpus
    if more:
        return Effect.MORE_GPUS
    less = found.context_lost >= least or found.tokens_lost >= least
    doubted = before.decision is Decision.ALLOW and after.decision is Decision.WARN
    if doubted and not (less and after.reason is Reason.SHORTER_CONTEXT):
        return Effect.DOUBTED
    if less:
        return Effect.LOSES
    if any(isinstance(one, Finding) for one in found.told):
        return Effect.FLAGS
    if before.decision is Decision.WARN and after.decision is Decision.ALLOW:
        return Effect.STARTS
    gained = -found.context_lost >= least or -found.tokens_lost >= least
    return Effect.GAINS if gained or fewer else Effect.SAME


def _holds(verdict: Verdict) -> Holds | None:
    """What is served, where it starts or may start."""
    estimate = verdict.estimate
    if estimate is None or verdict.denied:
        return None
    context = estimate.max_model_len
    if verdict.reason is Reason.SHORTER_CONTEXT:
        context = estimate.largest_max_model_len
    gpus = verdict.placement.gpus_per_replica if verdict.placement else estimate.parallelism.gpus
    return Holds(
        verdict.accelerator,
        gpus,
        context,
        max(0, estimate.kv_tokens),
        max(0.0, estimate.max_concurrency),
    )


def _lost(before: int, after: int) -> Fraction:
    return 1 - Fraction(after, before) if before > 0 else Fraction(0)


def _key(told: Finding | Problem | str, verdict: Verdict) -> object:
    """By which the same thing is known again: its rule and place, whatever its figures are."""
    if isinstance(told, str):
        return told
    path = path_of(told, verdict.places)
    return (told.rule, path) if isinstance(told, Finding) else (told.wanted, path)


def _grown(before: Estimate | None, after: Estimate | None) -> Iterator[tuple[TermName, int, int]]:
    """Terms that take more of a GPU; the cache is what is left for it, not what it takes."""
    if before is None or after is None or before.parallelism != after.parallelism:
        return
    for term in after.terms:
        was = before.terms[term.name].bytes if term.name in before.terms else 0
        if term.bytes > was and term.name is not TermName.KV_CACHE:
            yield term.name, was, term.bytes


_SETTINGS: Final = (
    (Field.UTILIZATION, "utilization"),
    (Field.MAX_MODEL_LEN, "max_model_len"),
    (Field.MAX_NUM_SEQS, "max_num_seqs"),
    (Field.MAX_NUM_BATCHED_TOKENS, "max_num_batched_tokens"),
    (Field.KV_CACHE_DTYPE, "kv_cache_dtype"),
)
"""Settings that an engine has a default of, by their names in `EngineSettings` and `Estimate`."""


def _moved(before: Estimate | None, after: Estimate | None) -> Iterator[Moved]:
    if before is None or after is None:
        return
    for field, name in _SETTINGS:
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            yield Moved(field, str(was), str(now))


def _keeping(
    found: Comparison,
    asked: Request,
    before: Verdict,
    ground: Ground,
    kept: Kept | None,
    least: Fraction,
) -> tuple[tuple[Change, ...], ...]:
    """Each setting as it was, by itself; all of them if none does; only what helps."""
    settings = [
        (field, name)
        for field, name in _SETTINGS
        if any(one.field is field for one in found.moved) and not getattr(asked.engine, name)
    ]
    ways = [[one] for one in settings] + ([settings] if len(settings) > 1 else [])
    helping: list[tuple[Change, ...]] = []
    for way in ways:
        if helping and len(way) > 1:
            break
        values = {name: getattr(before.estimate, name) for _, name in way}
        written = replace(asked, engine=replace(asked.engine, **values))
        effect = _compared(before, ground.decide(written, kept), least).effect
        if effect not in STOPPING | LOSING:
            changes = tuple(Change(field, str(values[name])) for field, name in way)
            helping.append(changes)
    return tuple(helping)


def _kept(asked: Request, verdict: Verdict) -> Kept | None:
    """Where a request was placed, so that its successor is tried there first."""
    placement = verdict.placement
    if placement is None:
        return None
    labels = {**dict(asked.wanted.node_selector), **dict(placement.node_selector)}
    return Kept(
        placement.accelerator,
        placement.parallelism,
        placement.gpus_per_node,
        tuple(sorted(labels.items())),
        tuple((key, value, effect) for key, _, value, effect in placement.tolerations),
        placement.resource,
    )
