"""Whether a cluster has nodes today for a placement, and if not, what was looked for and found.

It must not refuse anything: nodes may come when a pod asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.decision.candidates import lacks, why_not
from plimsoll.decision.placement import tolerations
from plimsoll.decision.rounding import shortfall
from plimsoll.decision.verdict import Capacity
from plimsoll.errors import Problem
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.decision.placement import Plan
    from plimsoll.decision.request import Request
    from plimsoll.decision.trial import Seat
    from plimsoll.inventory.pools import Inventory, Pool

NEAREST = 3
"""Pools, and nodes set aside, that a message names."""


def capacity(
    request: Request,
    inventory: Inventory,
    nodes: Inventory,
    seat: Seat | None,
    on_pools: Plan | None,
) -> tuple[Capacity, str]:
    """What the inventory says to a placement.

    nodes: the part of it that carries the request's labels. on_pools: the plan that was tried
    on the pools of that part.
    """
    if not inventory.known:
        return Capacity.UNKNOWN, "no nodes were read: the accelerator table says what would do"
    if seat is None:
        return Capacity.UNKNOWN, "nothing to place"
    if seat.candidate.pool is None:
        return Capacity.NO_NODES, _none(request, inventory, nodes, seat, on_pools)
    pools = _alike(nodes, seat)
    there, ready = sum(p.nodes for p in pools), sum(p.ready for p in pools)
    needed = _nodes_needed(seat, request.replicas)
    where = ", ".join(f"{key}={value}" for key, value in seat.candidate.pool.selector)
    count = seat.candidate.per_node
    each = f"{count} GPU{'s' if count > 1 else ''} each, {where}"
    if ready >= needed:
        match = "matches" if there == 1 else "match"
        enough = "" if ready == there else f", {ready} ready"
        return Capacity.AVAILABLE, f"{_nodes(there)} {match}{enough} ({each}); {needed} needed"
    short = f"{there} match" if ready == there else f"{there} match and {ready} are ready"
    return Capacity.TOO_FEW, f"{_nodes(needed)} needed, {short} ({each})"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _nodes_needed(seat: Seat, replicas: int) -> int:
    """Nodes for all replicas: several share one node where they are small enough."""
    groups = max(1, replicas) * seat.nodes
    return ceil_div(groups, max(1, seat.candidate.per_node // seat.per_node))


def _alike(nodes: Inventory, seat: Seat) -> list[Pool]:
    """The pools on whose nodes the placement's pods could be scheduled."""
    own = seat.candidate.pool
    if own is None:
        return []
    tolerated = set(tolerations(own))
    return [
        p
        for p in nodes.pools
        if p.accelerator.name == own.accelerator.name
        and p.selector == own.selector
        and p.gpus_per_node == own.gpus_per_node
        and set(tolerations(p)) <= tolerated
    ]


def _none(
    request: Request, inventory: Inventory, nodes: Inventory, seat: Seat, on_pools: Plan | None
) -> str:
    """What was looked for, the pools that come nearest with why each will not do, the set aside."""
    looked = _looked_for(request, seat)
    if not inventory.pools and not inventory.set_aside:
        return f"no node matches: looked for {looked}; the cluster has no GPU node"
    carrying = {_kind(p) for p in nodes.pools}
    faults = [(p, _fault(p, request, on_pools)) for p in nodes.pools]
    faults += [
        (p, lacks(p, request.wanted) or "lacks the labels asked for")
        for p in inventory.pools
        if _kind(p) not in carrying
    ]
    faults.sort(key=lambda pair: _distance(pair[0], seat))
    parts = [f"{p.accelerator.name} ({_names(p)}): {fault}" for p, fault in faults]
    parts += [f"{s.node} set aside: {s.why}" for s in inventory.set_aside]
    more = f"; and {len(parts) - NEAREST} more" if len(parts) > NEAREST else ""
    return f"no node matches: looked for {looked}; nearest: {'; '.join(parts[:NEAREST])}{more}"


def _kind(pool: Pool) -> tuple[object, ...]:
    """What tells a pool from others, whichever of its nodes are looked at."""
    return (pool.accelerator.name, pool.gpus_per_node, pool.selector, pool.taints)


def _looked_for(request: Request, seat: Seat) -> str:
    """The labels that would have made a node match, as alternatives."""
    accelerator, wanted = seat.candidate.accelerator, request.wanted
    own = [
        " and ".join(f"{key}={value}" for key, value in labels.selector)
        for labels in accelerator.labels
    ]
    text = accelerator.name + (f" ({' or '.join(own[:NEAREST])})" if own else "")
    if wanted.node_selector:
        text += " with " + ", ".join(f"{key}={value}" for key, value in wanted.node_selector)
    return text


def _names(pool: Pool) -> str:
    """A pool for people: its first node and how many more."""
    first = pool.node_names[0] if pool.node_names else "no name"
    return first if pool.nodes <= 1 else f"{first} and {pool.nodes - 1} more"


def _fault(pool: Pool, request: Request, on_pools: Plan | None) -> str:
    """Why a pool will not do."""
    said = why_not(pool, request.wanted)
    if said:
        return said
    for trial in on_pools.misses if on_pools else ():
        if trial.candidate.pool is pool:
            return f"{trial.gpus} GPUs are short by {shortfall(trial.estimate)} per GPU"
    for candidate, problem in on_pools.refused if on_pools else ():
        if candidate.pool is pool:
            return problem.wanted if isinstance(problem, Problem) else "the engine refuses it"
    return "too close to the estimate's error"


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
