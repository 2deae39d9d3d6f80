"""How many replicas of a placement could start now, and what is in the way of others.

    left      of a ready node: its GPUs, less those that pods hold; its own pods are not in the way
    promised  GPUs of placements that were there before and whose pods are not there yet, put where
              they leave most room
    replicas  the sum over nodes of left // GPUs of a node's share, // nodes of a replica; no more
              than what the quotas of its namespace have left // GPUs of a replica

Source of the order in which the quota counts: requests of an extended resource are counted when a
pod is created (Kubernetes: resource quotas).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.decision.taints import HARD, tolerated
from plimsoll.decision.verdict import Free
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.request import Request
    from plimsoll.decision.trial import Seat
    from plimsoll.inventory.held import Claim, Quota
    from plimsoll.inventory.pools import Inventory, NodeFacts, Pool, Stock

TOLD = 3
"""Nodes and placements in the way that are told of."""


def free(
    request: Request, inventory: Inventory, nodes: Inventory, pools: Sequence[Pool], seat: Seat
) -> Free:
    """What is left of the ready nodes of these pools, node by node.

    nodes: the part of the inventory that carries the request's labels.
    """
    me, replicas = request.name, max(1, request.replicas)
    card = (seat.candidate.accelerator.name, seat.candidate.accelerator.resource)
    kinds = {(pool.selector, pool.taints) for pool in pools}
    mine = [
        stock
        for stock in nodes.stocks.get(card, ())
        if (stock.offer.selector, stock.fact.taints) in kinds
    ]
    held = inventory.held_of(me, card[1])
    left = {stock.fact.name: stock.left for stock in mine}
    for name, count in held.items():
        if name in left:
            left[name] += count
    promised = _promised(me, inventory, card)
    _take(promised, inventory.stocks.get(card, ()), left)
    slots = sum(gpus // seat.per_node for gpus in left.values())
    now, quota = slots // seat.nodes, _quota(request, inventory, card[1], sum(held.values()), seat)
    by_quota = quota[1] if quota else now
    blocking = sorted(promised, key=lambda pair: (-pair[1], pair[0].name)) if now < replicas else []
    holders = _holders(mine, held) if now < replicas else []
    return Free(
        replicas=min(now, by_quota),
        wanted=replicas,
        gpus=sum(left.values()),
        of=sum(stock.offer.count for stock in mine),
        holders=tuple(holders[:TOLD]),
        more=max(0, len(holders) - TOLD),
        own=sum(count for name, count in held.items() if name in left),
        promised=tuple((claim.name, gpus) for claim, gpus in blocking[:TOLD]),
        others=max(0, len(blocking) - TOLD),
        quota=quota[0] if quota and by_quota < min(now, replicas) else None,
    )


def _promised(me: str, inventory: Inventory, card: tuple[str, str]) -> list[tuple[Claim, int]]:
    """The GPUs of this kind that placements before mine ask for and do not hold yet."""
    turn = next((claim.turn for claim in inventory.claims if claim.name == me), None)
    found = []
    for claim in inventory.claims_on.get(card, ()):
        if turn is not None and claim.turn >= turn:
            break
        held = sum(inventory.held_of(claim.name, card[1]).values())
        missing = claim.pods * claim.per_pod - held
        if missing > 0:
            found.append((claim, ceil_div(missing, claim.per_pod) * claim.per_pod))
    return found


def _take(promised: list[tuple[Claim, int]], stocks: Sequence[Stock], left: dict[str, int]) -> None:
    """Take promised GPUs off what is left, from the fullest nodes that have room first.

    Nodes that are nobody's concern here take their part of them first.
    """
    groups: dict[tuple[object, ...], tuple[Claim, int]] = {}
    for claim, gpus in promised:
        key = (claim.selector, claim.tolerations, claim.per_pod)
        groups[key] = (claim, gpus + groups.get(key, (claim, 0))[1])
    elsewhere = {s.fact.name: s.left for s in stocks if s.fact.name not in left} if groups else {}
    for claim, gpus in groups.values():
        pods, each = gpus // claim.per_pod, claim.per_pod
        there = [s.fact.name for s in stocks if _may_land(claim, s.fact)]
        for room in (elsewhere, left):
            for name in sorted(
                (n for n in there if room.get(n, 0) >= each), key=lambda n: (room[n], n)
            ):
                taken = min(pods, room[name] // each)
                room[name] -= taken * each
                pods -= taken


def _may_land(claim: Claim, fact: NodeFacts) -> bool:
    """Whether the pods of a placement may be scheduled onto a node."""
    return fact.carries(dict(claim.selector)) and all(
        tolerated(taint, claim.tolerations) for taint in fact.taints if taint[2] in HARD
    )


def _holders(mine: Sequence[Stock], held: dict[str, int]) -> list[tuple[str, int, int, str, int]]:
    """The nodes on which pods of others hold GPUs, the fullest first."""
    found = []
    for stock in mine:
        resource = stock.offer.accelerator.resource
        taken = [t for t in stock.fact.taken if t.resource == resource]
        count = sum(t.count for t in taken) - held.get(stock.fact.name, 0)
        if count > 0:
            found.append((stock.fact.name, count, stock.offer.count, taken[0].pod, len(taken) - 1))
    return sorted(found, key=lambda one: (one[2] - one[1], one[0]))


def _quota(
    request: Request, inventory: Inventory, resource: str, held: int, seat: Seat
) -> tuple[Quota, int] | None:
    """The quota of its namespace that leaves least, and for how many replicas that is enough."""
    namespace = request.name.partition("/")[0]
    found = [
        (quota, max(0, quota.hard - quota.used + held) // seat.gpus)
        for quota in inventory.quotas
        if quota.namespace == namespace and quota.resource == resource
    ]
    return min(found, key=lambda pair: (pair[1], pair[0].name), default=None)
