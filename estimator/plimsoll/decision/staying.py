"""Whether a placement stays where it was, and what would be better.

It stays as long as its spec says the same and it still fits, whatever nodes come and go:

    nodes there      those that carry its labels: it keeps these and its tolerations, so that its
                     pods stay when a pool wakes up; else those of its pool, by labels of today
    pool asleep      as it is remembered: accelerator, labels, taints, GPUs of a node; no node of it
    moves            only if it no longer fits, or was planned before any node was seen

    better           fits, error included, on nodes that are ready today, and costs less by what
                     the request prefers; or has nodes while those of the placement are gone

What is better is advice: nothing moves by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.accelerators.labels import with_resource
from plimsoll.accelerators.types import Dialect
from plimsoll.decision.candidates import as_asked, candidate_on, from_pools, unfit
from plimsoll.decision.request import Prefer
from plimsoll.decision.stated import stated
from plimsoll.decision.verdict import Better, Gain
from plimsoll.engines.base import State
from plimsoll.inventory.declared import offered
from plimsoll.inventory.pools import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.trial import Case, Trial
    from plimsoll.engines.base import Parallelism
    from plimsoll.inventory.facts import Pairs
    from plimsoll.inventory.pools import Inventory


@dataclass(frozen=True, slots=True)
class Kept:
    """A placement that was decided on for the same spec, on nodes that were there.

    per_node: GPUs of each of its nodes that it uses. selector: the labels of its nodes, the user's
    own among them. taints: those that it tolerates, as (key, value, effect). resource: as in
    `Accelerator`.
    """

    accelerator: str
    parallelism: Parallelism
    per_node: int
    selector: Pairs
    taints: tuple[tuple[str, str, str], ...] = ()
    resource: str = ""


def held(case: Case, kept: Kept, nodes: Inventory, knowledge: Knowledge) -> Trial | None:
    """The placement that was there, tried again on its own nodes; None if it may not stay."""
    seen = _seen(case, kept, nodes) or _remembered(case, kept, knowledge)
    if seen is None or case.refusals(seen, None):
        return None
    (candidate,) = as_asked((seen,), nodes, case.request.replicas)
    trial = case.trial(candidate, kept.parallelism)
    if trial.fit.state is State.DOES_NOT_FIT or case.refusals(candidate, kept.parallelism):
        return None
    return trial


def where_it_was(kept: Kept, stays: Trial, nodes: Inventory) -> Inventory | None:
    """The nodes with the labels of a placement that stays; None if there are none."""
    pool = stays.candidate.pool
    if pool is None or not pool.nodes:
        return None
    labels, card = set(kept.selector), kept.accelerator
    alike = [
        one for one in nodes.pools if one.accelerator.name == card and one.selector == pool.selector
    ]
    if all(labels <= one.labels.union(one.selector) for one in alike):
        return nodes
    part = nodes.matching(dict(kept.selector))
    return part if any(one.accelerator.name == kept.accelerator for one in part.pools) else None


def _seen(case: Case, kept: Kept, nodes: Inventory) -> Candidate | None:
    """The pool of today whose nodes it runs on; if several have its labels, the largest."""
    labels = set(kept.selector)

    def largest(pools: Iterable[Pool]) -> Candidate | None:
        own = [
            candidate
            for candidate in from_pools(case.request.wanted, pools)
            if candidate.accelerator.name == kept.accelerator
            and candidate.per_node >= kept.per_node
        ]
        return max(own, key=lambda one: one.pool is not None and one.pool.ready, default=None)

    pools = offered(nodes.pools, nodes.declared)
    carrying = [one for one in pools if one.nodes and labels <= one.labels.union(one.selector)]
    if not carrying and labels:
        carrying = list(offered(nodes.matching(dict(kept.selector)).pools, nodes.declared))
        carrying = [one for one in carrying if one.nodes]
    by_labels = largest(carrying)
    return by_labels or largest(one for one in pools if labels.issuperset(one.selector))


def _remembered(case: Case, kept: Kept, knowledge: Knowledge) -> Candidate | None:
    """Its pool without a node; None if the table does not know what GPUs it had."""
    known = stated(case.request.wanted, knowledge) or knowledge.find(kept.accelerator)
    if known is None or known.name != kept.accelerator or kept.per_node < 1:
        return None
    accelerator: Accelerator = with_resource(known, kept.resource or known.resource)
    dialect = next((entry.dialect for entry in known.labels), Dialect.GFD)
    pool = Pool(
        accelerator=accelerator,
        gpus_per_node=kept.per_node,
        nodes=0,
        node_names=(),
        selector=kept.selector,
        dialect=dialect,
        taints=kept.taints,
    )
    if unfit(pool, case.request.wanted) is not None:
        return None
    return candidate_on(case.request.wanted, accelerator, kept.per_node, pool)


def better(fresh: Trial | None, stays: Trial) -> Better | None:
    """What a fresh plan has over the placement that stays; None if that is as good."""
    pool = fresh.candidate.pool if fresh is not None else None
    if fresh is None or pool is None or not fresh.fit.fits or pool.ready < fresh.nodes:
        return None
    gpus = stays.gpus - fresh.gpus
    memory = _memory(stays) - _memory(fresh)
    price = _price(stays) - _price(fresh)
    if fresh.candidate.measure(fresh.gpus) < stays.candidate.measure(stays.gpus):
        if fresh.candidate.prefer is Prefer.CHEAPEST and price > 0:
            name = fresh.candidate.accelerator.name
            return Better(Gain.CHEAPER, name, fresh.gpus, gpus, memory, price)
        saves = Gain.LESS_MEMORY if memory > 0 else Gain.PREFERRED
        gain = Gain.FEWER_GPUS if gpus > 0 else saves
    elif stays.candidate.pool is not None and stays.candidate.pool.nodes < stays.nodes:
        gain = Gain.NODES_TODAY
    else:
        return None
    return Better(gain, fresh.candidate.accelerator.name, fresh.gpus, gpus, memory)


def _price(trial: Trial) -> int:
    """Of a replica an hour, in millionths; 0 if nobody said it."""
    return trial.gpus * (trial.candidate.price or 0)


def _memory(trial: Trial) -> int:
    """Bytes of all GPUs of a replica."""
    return trial.gpus * trial.candidate.accelerator.memory
