"""Whether a cluster has nodes today for a placement, and if not, what was looked for and found.

Nothing is refused for want of nodes: they may come when a pod asks for them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from plimsoll.decision.candidates import Candidate, missing_labels, nodes_for, unfit
from plimsoll.decision.free import free
from plimsoll.decision.taints import kept_off, tolerations
from plimsoll.decision.trial import Seat
from plimsoll.decision.verdict import Beside, Lacking, NearPool, Nodes, TooSmall, Unfit, Unseen
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.decision.request import Request
    from plimsoll.decision.search import Choice
    from plimsoll.decision.verdict import Verdict
    from plimsoll.inventory.facts import NodeFacts
    from plimsoll.inventory.pools import Inventory, Pool, SetAside

_KEPT = {
    Beside.DISK: "disk",
    Beside.MEMORY: "memory",
    Beside.CPU: "cpu",
    Beside.PODS: "pods",
}
"""In which field a node keeps what it has, and what is asked of it."""
Room = tuple[Beside, int, int]
"""Of one thing what a pod asks for and what a node has left."""
NEAREST = 3
"""Pools, nodes set aside, and sets of labels that are told of."""


def nodes_today(
    request: Request,
    inventory: Inventory,
    nodes: Inventory,
    seat: Seat | None,
    on_pools: Choice | None,
) -> Nodes | Lacking | Unseen:
    """What the inventory has for a placement.

    nodes: the part of it that carries the request's labels. on_pools: the plan that was tried
    on the pools of that part.
    """
    if not inventory.known:
        return Unseen.NOT_READ
    if seat is None:
        return Unseen.NOTHING_TO_PLACE
    if seat.candidate.pool is None:
        return _lacking(request, inventory, nodes, seat, on_pools)
    pool = seat.candidate.pool
    pools = _alike(request, nodes, pool, set(tolerations(pool, request.wanted.tolerations)))
    return Nodes(
        needed=_nodes_needed(seat, request.replicas),
        there=sum(p.nodes for p in pools),
        ready=sum(p.ready for p in pools),
        gpus=seat.candidate.per_node,
        labels=seat.candidate.pool.selector,
        pool=seat.candidate.pool.declared,
        most=seat.candidate.pool.most,
        away=_away(nodes, pools) if any(p.ready < p.nodes for p in pools) else (),
        free=free(request, inventory, nodes, pools, seat) if nodes.pods_read else None,
    )


def _away(nodes: Inventory, pools: Sequence[Pool]) -> tuple[str, ...]:
    """Nodes of these pools that are cordoned, being taken away or not ready; the first few."""
    kinds = {(p.accelerator.name, p.accelerator.resource, p.selector, p.taints) for p in pools}
    away = (
        fact.name
        for fact in nodes.facts
        if not fact.ready
        and any(
            (o.accelerator.name, o.accelerator.resource, o.selector, fact.taints) in kinds
            for o in fact.offers
        )
    )
    return tuple(islice(away, NEAREST))


def _nodes_needed(seat: Seat, replicas: int) -> int:
    """Nodes for all replicas: several share one node if they are small enough."""
    groups = max(1, replicas) * seat.nodes
    return ceil_div(groups, max(1, seat.candidate.per_node // seat.per_node))


def for_pods(
    request: Request, inventory: Inventory, verdict: Verdict, asked: Mapping[Beside, int]
) -> Verdict:
    """The verdict on a request whose pods are known: of the ready nodes only those that are large
    enough for one of them count as having room, and each for no more of them than what other pods
    leave of it is enough for.

    asked: of one pod; bytes, or thousandths of a CPU; nothing if none is known. A node that does
    not say what it has is large enough.
    """
    today, placement = verdict.nodes, verdict.placement
    wanted = {what: size for what, size in asked.items() if size}
    if not asked or placement is None or not isinstance(today, Nodes) or not today.there:
        return verdict
    nodes = nodes_for(request.wanted, inventory)
    if today.labels and not set(placement.node_selector) <= set(today.labels):
        nodes = nodes.matching(dict(placement.node_selector))
    card = (placement.accelerator, placement.resource)
    chosen = (*card, today.gpus, today.labels)
    alike = (
        pool
        for pool in nodes.pools
        if chosen
        == (pool.accelerator.name, pool.accelerator.resource, pool.gpus_per_node, pool.selector)
    )
    pool = next(alike, None)
    if pool is None:
        return verdict
    pools = _alike(request, nodes, pool, set(placement.tolerations))
    stocks = nodes.stocks_of(card, frozenset((p.selector, p.taints) for p in pools))
    facts = stocks.facts.values()
    small: list[TooSmall] = []
    without: set[str] = set()
    for what, size in wanted.items():
        has = {fact.name: getattr(fact, _KEPT[what]) for fact in facts}
        less = {name for name, there in has.items() if 0 < there < size}
        if less:
            small.append(TooSmall(what, size, max(has.values()), len(less)))
            without |= less
    if small:
        large = len(facts) - len(without)
        today = replace(today, small=tuple(small), large=large)
    seat = Seat(Candidate(pool.accelerator, pool.gpus_per_node, pool), placement.parallelism)
    mine = inventory.held_of(request.name, placement.resource)
    rooms = {
        fact.name: _rooms(fact, wanted, mine.get(fact.name, 0) // seat.per_node)
        for fact in facts
        if fact.name not in without
    }
    room = {name: min(left // asks for _, asks, left in has) for name, has in rooms.items() if has}
    if not nodes.pods_read:
        each = seat.candidate.per_node // seat.per_node
        by_gpus = each * len(rooms) // seat.nodes
        now = sum(min(each, room.get(name, each)) for name in rooms) // seat.nodes
        return replace(verdict, nodes=_cramped(request, today, rooms, each, now, by_gpus))
    by_gpus = free(request, inventory, nodes, pools, seat, without).replicas
    left = free(request, inventory, nodes, pools, seat, without, room)
    each = max((stock.left // seat.per_node for stock in stocks.each), default=0)
    today = replace(today, free=left)
    return replace(verdict, nodes=_cramped(request, today, rooms, each, left.replicas, by_gpus))


def _rooms(fact: NodeFacts, wanted: Mapping[Beside, int], own: int) -> list[Room]:
    """What others leave of a node, of everything that its pods ask for and it says it has. own: of
    the request's own pods that are on it.
    """
    found = []
    for what, asks in {**wanted, Beside.PODS: 1}.items():
        has, taken = getattr(fact, _KEPT[what]), 0
        if fact.asked is not None:
            taken = max(0, getattr(fact.asked, _KEPT[what]) - own * asks)
        if has:
            found.append((what, asks, max(0, has - taken)))
    return found


def _cramped(
    request: Request,
    today: Nodes,
    rooms: Mapping[str, list[Room]],
    each: int,
    now: int,
    by_gpus: int,
) -> Nodes:
    """The nodes, with what leaves room for fewer replicas (now) than their GPUs do (by_gpus), where
    that is fewer than are wanted. each: pods of the node with most GPUs for them.
    """
    if now >= min(by_gpus, max(1, request.replicas)):
        return today
    less: list[TooSmall] = []
    for what in Beside:
        of = [(asks, left) for has in rooms.values() for one, asks, left in has if one is what]
        few = [left for asks, left in of if left // asks < each]
        if few:
            less.append(TooSmall(what, of[0][0], max(few), len(few), left=True))
    return replace(today, small=(*today.small, *less), room=now)


def _alike(
    request: Request, nodes: Inventory, chosen: Pool, tolerated: set[tuple[str, str, str, str]]
) -> list[Pool]:
    """The pools on whose nodes the placement's pods could be scheduled."""
    asked = request.wanted.tolerations
    return [
        p
        for p in nodes.pools
        if p.accelerator.name == chosen.accelerator.name
        and p.selector == chosen.selector
        and p.gpus_per_node == chosen.gpus_per_node
        and not kept_off(p, asked)
        and set(tolerations(p, asked)) <= tolerated
    ]


def _lacking(
    request: Request, inventory: Inventory, nodes: Inventory, seat: Seat, on_pools: Choice | None
) -> Lacking:
    """What was looked for, the pools that come nearest with what is against each, the set aside."""
    accelerator, wanted = seat.candidate.accelerator, request.wanted
    carrying = {_kind(p) for p in nodes.pools}
    others = [p for p in inventory.pools if _kind(p) not in carrying]
    near = [(p, _near(p, request, on_pools)) for p in nodes.pools]
    near += [
        (p, _near_pool(p, Unfit.LACKS_LABELS, missing=missing_labels(p, wanted))) for p in others
    ]
    near.sort(key=lambda pair: _distance(pair[0], seat))
    found: list[NearPool | SetAside] = [pool for _, pool in near]
    found += inventory.set_aside
    return Lacking(
        accelerator=accelerator.name,
        either=tuple(labels.selector for labels in accelerator.labels[:NEAREST]),
        labels=wanted.node_selector,
        nearest=tuple(found[:NEAREST]),
        more=max(0, len(found) - NEAREST),
    )


def _kind(pool: Pool) -> tuple[object, ...]:
    """What tells a pool from others, whichever of its nodes are looked at."""
    return (pool.accelerator.name, pool.gpus_per_node, pool.selector, pool.taints)


def _near_pool(pool: Pool, why: Unfit, **figures: Any) -> NearPool:
    first = pool.node_names[0] if pool.node_names else ""
    return NearPool(pool.accelerator.name, first, pool.nodes, why, **figures)


def _near(pool: Pool, request: Request, on_pools: Choice | None) -> NearPool:
    """A pool that carries the labels, with what is against it."""
    why = unfit(pool, request.wanted)
    if why is Unfit.TOO_LITTLE_MEMORY:
        has, wanted = pool.accelerator.memory, request.wanted.min_memory
        return _near_pool(pool, why, memory=has, wanted=wanted)
    if why is Unfit.TAINTED:
        taints = kept_off(pool, request.wanted.tolerations)
        return _near_pool(pool, why, missing=tuple((f"{k}={v}", e) for k, v, e in taints))
    if why is not None:
        return _near_pool(pool, why)
    for trial in on_pools.misses if on_pools else ():
        if trial.candidate.pool and _kind(trial.candidate.pool) == _kind(pool):
            return _near_pool(pool, Unfit.SHORT, gpus=trial.gpus, estimate=trial.estimate)
    for candidate, problem in on_pools.refused if on_pools else ():
        if candidate.pool and _kind(candidate.pool) == _kind(pool):
            return _near_pool(pool, Unfit.REFUSED, problem=problem)
    return _near_pool(pool, Unfit.WITHIN_ERROR)


def _distance(pool: Pool, seat: Seat) -> tuple[object, ...]:
    """Sorts pools: the placement's own accelerator first, then by how like its memory is."""
    accelerator = seat.candidate.accelerator
    return (
        pool.accelerator.name != accelerator.name,
        abs(pool.accelerator.memory - accelerator.memory),
        pool.accelerator.name,
        pool.selector,
        pool.node_names,
    )
