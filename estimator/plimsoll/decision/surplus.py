"""What of its GPUs a deployment could give back: idle ones, fewer of the same kind, smaller ones.

    idle       GPUs of its pods that no rank of its engine uses, times replicas
    load       what must still be held: what the workload says; else the least of `requests`, of
               max_num_seqs if it is said, and of what is held now, each of the whole context
    fewer      decided anew without the split and the count that are written, on the same kind
    smaller    the same on every kind that the cluster has with less memory
    saved      GPUs and bytes of GPU memory, of all replicas

Only what surely fits, error included, is said to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.decision.decide import decide
from plimsoll.decision.request import Prefer
from plimsoll.decision.verdict import Decision
from plimsoll.engines.base import AskedSplit
from plimsoll.findings import Finding, Rule, finding
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.paths import Field

if TYPE_CHECKING:
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Parallelism
    from plimsoll.inventory.pools import Inventory

REQUESTS: Final = 8
"""Requests of the whole context at once that must still be held where nothing says how many: the
load of the samples in deploy/samples."""
IDLE: Final = (Rule.IDLE_GPUS, Rule.MORE_GPUS_THAN_RANKS)
"""Rules of warnings that speak of idle GPUs."""


@dataclass(frozen=True, slots=True)
class Saving:
    """GPUs that would do. gpus: of a replica; concurrency: requests of `context` that they hold.

    gpus_saved, memory_saved: of all replicas, the memory in bytes; fewer GPUs than now may be more.
    """

    accelerator: str
    gpus: int
    parallelism: Parallelism
    context: int
    concurrency: float
    gpus_saved: int
    memory_saved: int


@dataclass(frozen=True, slots=True)
class Surplus:
    """What could be given back. gpus: that all replicas have; memory: bytes of them, 0 if unknown.

    idle: of them. load: requests of the whole context at once that were to be held.
    fewer, smaller: None if nothing of the sort would do.
    """

    gpus: int
    memory: int
    idle: int
    load: int
    fewer: Saving | None = None
    smaller: Saving | None = None

    @property
    def best(self) -> Saving | None:
        """The one with which most memory comes back."""
        found = [one for one in (self.fewer, self.smaller) if one is not None]
        return max(found, key=lambda one: one.memory_saved, default=None)

    def findings(self, asked: int) -> tuple[Finding, ...]:
        """What would do, as facts. asked: GPUs of a replica now."""
        pairs = ((Rule.FEWER_GPUS_WOULD_DO, self.fewer), (Rule.SMALLER_GPUS_WOULD_DO, self.smaller))
        return tuple(
            finding(
                rule,
                Field.GPUS,
                gpus=one.gpus,
                accelerator=one.accelerator,
                asked=asked,
                held=f"{one.concurrency:.1f}",
                context=one.context,
            )
            for rule, one in pairs
            if one is not None
        )


def surplus(
    request: Request,
    verdict: Verdict,
    inventory: Inventory = NO_INVENTORY,
    knowledge: Knowledge | None = None,
    requests: int = REQUESTS,
) -> Surplus:
    """What a deployment that was decided on could give back. Pure and total."""
    idle = sum(_idle(one) for one in verdict.warnings)
    estimate, placement, wanted = verdict.estimate, verdict.placement, request.wanted
    per_replica = wanted.gpus_per_replica or (placement.gpus_per_replica if placement else 0)
    idle_in_ranks = any(_is(one, Rule.MORE_GPUS_THAN_RANKS) for one in verdict.warnings)
    gpus = (per_replica + (idle if idle_in_ranks else 0)) * request.replicas
    memory = _memory(verdict.accelerator, inventory, knowledge)
    found = Surplus(gpus, gpus * memory, idle * request.replicas, 0)
    pinned = wanted.gpus_per_replica is not None or wanted.split.tensor is not None
    if verdict.denied or estimate is None or placement is None or not pinned or not memory:
        return found
    if estimate.required_high > estimate.usable or len(wanted.allowed) != 1:
        return found
    freed, load = _freed(request, verdict, requests)
    found = replace(found, load=load)
    same = replace(freed, wanted=replace(freed.wanted, allowed=(verdict.accelerator,)))
    fewer = _saving(same, request, per_replica, memory, inventory, knowledge)
    others = {
        pool.accelerator.name for pool in inventory.pools if pool.accelerator.memory < memory
    } - {verdict.accelerator}
    smaller = None
    if others:
        elsewhere = replace(
            freed.wanted, allowed=tuple(sorted(others)), prefer=Prefer.SMALLEST, memory=None
        )
        other = replace(freed, wanted=elsewhere)
        smaller = _saving(other, request, per_replica, memory, inventory, knowledge)
    return replace(found, fewer=fewer, smaller=smaller)


def _idle(told: Finding | str) -> int:
    """Idle GPUs of a replica that a warning speaks of."""
    if not isinstance(told, Finding) or told.rule not in IDLE:
        return 0
    return int(str(dict(told.facts)["idle"]))


def _is(told: Finding | str, rule: Rule) -> bool:
    return isinstance(told, Finding) and told.rule is rule


def _freed(request: Request, verdict: Verdict, requests: int) -> tuple[Request, int]:
    """The request with its count and tensor split left open, and the load that it must hold."""
    estimate, workload, split = verdict.estimate, request.workload, request.wanted.split
    assert estimate is not None
    load = workload.concurrent
    if load is None:
        said = request.engine.max_num_seqs or requests
        load = max(1, min(requests, said, int(estimate.max_concurrency)))
        workload = replace(workload, concurrent=load)
    wanted = replace(
        request.wanted,
        gpus_per_replica=None,
        split=AskedSplit(None, None, split.data, split.expert),
    )
    freed = replace(request, workload=workload, wanted=wanted, warnings=(), unread=(), open=())
    return freed, load


def _saving(
    freed: Request,
    request: Request,
    gpus: int,
    memory: int,
    inventory: Inventory,
    knowledge: Knowledge | None,
) -> Saving | None:
    """What it is placed on if nothing but its load says how much; None if that is no less."""
    verdict = decide(freed, inventory, knowledge=knowledge)
    placement, estimate = verdict.placement, verdict.estimate
    if verdict.decision is not Decision.ALLOW or placement is None or estimate is None:
        return None
    each = _memory(placement.accelerator, inventory, knowledge)
    saved = gpus * memory - placement.gpus_per_replica * each
    if saved <= 0 or not each:
        return None
    return Saving(
        placement.accelerator,
        placement.gpus_per_replica,
        placement.parallelism,
        estimate.max_model_len,
        estimate.max_concurrency,
        (gpus - placement.gpus_per_replica) * request.replicas,
        saved * request.replicas,
    )


def _memory(accelerator: str, inventory: Inventory, knowledge: Knowledge | None) -> int:
    """Bytes of one GPU of a kind; 0 if nobody knows it."""
    from plimsoll.decision.knowledge import shipped

    known = (knowledge or shipped()).adding(inventory.own).find(accelerator)
    if known is not None:
        return known.memory
    there = (p.accelerator.memory for p in inventory.pools if p.accelerator.name == accelerator)
    return next(there, 0)
