"""How many replicas of a placement could start now, and what is in the way of others.

    left      of a ready node: its GPUs, less those that pods hold; its own pods are not in the way
    promised  GPUs of placements that were there before and whose pods are not there yet, put where
              they leave most room
    replicas  the sum over nodes of left // GPUs of a node's share, or of the pods that a node has
              other room for, // nodes of a replica; no more than what the quotas of its namespace
              have left // GPUs of a replica

Source of the order in which the quota counts: requests of an extended resource are counted when a
pod is created (Kubernetes: resource quotas).
"""

from __future__ import annotations

from heapq import nsmallest
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.decision.nearness import near
from plimsoll.decision.taints import HARD, tolerated
from plimsoll.decision.verdict import Free
from plimsoll.inventory.facts import NO_STOCKS, Stocks
from plimsoll.inventory.held import Promises

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from plimsoll.decision.request import Request
    from plimsoll.decision.trial import Seat
    from plimsoll.inventory.facts import NodeFacts, Stock
    from plimsoll.inventory.held import Claim, Quota
    from plimsoll.inventory.pools import Inventory, Pool

NONE: Final = Promises(())
TOLD: Final = 3
"""Nodes and placements in the way that are told of."""


def free(
    request: Request,
    inventory: Inventory,
    nodes: Inventory,
    pools: Sequence[Pool],
    seat: Seat,
    without: Collection[str] = (),
    room: Mapping[str, int] = MappingProxyType({}),
) -> Free:
    """What is left of the ready nodes of these pools, node by node.

    nodes: the part of the inventory that carries the request's labels. without: names of nodes
    that are not counted. room: for how many more pods a node has what they ask for beside GPUs.
    """
    me, replicas = request.name, max(1, request.replicas)
    card = (seat.candidate.accelerator.name, seat.candidate.accelerator.resource)
    kinds = frozenset((pool.selector, pool.taints) for pool in pools)
    mine = nodes.stocks_of(card, kinds)
    if without:
        mine = Stocks(stock for stock in mine.each if stock.fact.name not in without)
    held = inventory.held_of(me, card[1])
    left = dict(mine.left)
    for name, count in held.items():
        if name in left:
            left[name] += count
    promises, turn = inventory.promises.get(card, NONE), inventory.turns.get(me)
    _take(promises.by_kind(turn), inventory.stocks.get(card, NO_STOCKS), left)
    share = seat.per_node
    usable = {name: min(gpus, share * room.get(name, gpus)) for name, gpus in left.items()}
    slots = sum(gpus // share for gpus in usable.values())
    now, quota = slots // seat.nodes, _quota(request, inventory, card[1], sum(held.values()), seat)
    by_quota = quota[1] if quota else now
    before = promises.before(turn) if now < replicas else ()
    blocking = nsmallest(TOLD, before, key=lambda pair: (-pair[1], pair[0].name))
    holders = _holders(mine.each, held) if now < replicas else []
    return Free(
        replicas=min(now, by_quota),
        wanted=replicas,
        gpus=sum(left.values()),
        of=mine.of,
        holders=tuple(holders[:TOLD]),
        more=max(0, len(holders) - TOLD),
        own=sum(count for name, count in held.items() if name in left),
        promised=tuple((claim.name, gpus) for claim, gpus in blocking),
        others=max(0, len(before) - TOLD),
        quota=quota[0] if quota and by_quota < min(now, replicas) else None,
        near=near(inventory.topologies, mine, usable, held, seat),
    )


def _take(promised: list[tuple[Claim, int]], stocks: Stocks, left: dict[str, int]) -> None:
    """Take GPUs promised to pods of some kinds off what is left, fullest nodes with room first.

    Nodes that are nobody's concern here take their part of them first.
    """
    elsewhere = {}
    if promised and len(stocks.left) > len(left):
        elsewhere = {name: gpus for name, gpus in stocks.left.items() if name not in left}
    for claim, gpus in promised:
        pods, each, selector = gpus // claim.per_pod, claim.per_pod, dict(claim.selector)
        for room in (elsewhere, left):
            # by names already, and sorting keeps that order among equals
            fullest = [name for name, gpus in room.items() if gpus >= each] if pods else []
            for name in sorted(fullest, key=room.__getitem__):
                if not pods:
                    break
                fact = stocks.facts.get(name)
                if fact is not None and _may_land(claim, selector, fact):
                    taken = min(pods, room[name] // each)
                    room[name] -= taken * each
                    pods -= taken


def _may_land(claim: Claim, selector: Mapping[str, str], fact: NodeFacts) -> bool:
    """Whether the pods of a placement may be scheduled onto a node."""
    return fact.carries(selector) and all(
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
