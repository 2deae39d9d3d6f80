"""What pods leave of each pool of nodes: GPUs that are free, and nodes on which nobody holds one.

free    GPUs of ready nodes that no pod holds
idle    those of them on nodes where no pod holds any: nodes that could be given back
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.inventory.pools import Inventory, pool_key

if TYPE_CHECKING:
    from plimsoll.inventory.facts import NodeFacts, Offer
    from plimsoll.inventory.pools import Pool


@dataclass(frozen=True, slots=True)
class Use:
    """One pool in GPUs. away: of nodes that are not ready.

    taken, free, idle: None if no pods were read.
    """

    pool: Pool
    gpus: int
    away: int
    taken: int | None
    free: int | None
    idle: int | None


def use(inventory: Inventory) -> tuple[Use, ...]:
    """Each pool of an inventory, in its order, with what is taken of it."""
    members: dict[tuple[object, ...], list[tuple[NodeFacts, Offer]]] = {}
    for fact in inventory.facts:
        for offer in fact.offers:
            members.setdefault(pool_key(fact, offer), []).append((fact, offer))
    return tuple(
        _use(pool, nodes, pods_read=inventory.pods_read)
        for pool in inventory.pools
        for nodes in (members.get(_key_of(pool), []),)
    )


def _key_of(pool: Pool) -> tuple[object, ...]:
    gpu = pool.accelerator
    return (gpu.name, gpu.resource, pool.gpus_per_node, pool.selector, pool.taints)


def _use(pool: Pool, nodes: list[tuple[NodeFacts, Offer]], *, pods_read: bool) -> Use:
    ready = [(offer.count, offer.count - fact.left(offer)) for fact, offer in nodes if fact.ready]
    away = sum(offer.count for fact, offer in nodes if not fact.ready)
    gpus = pool.gpus_per_node * pool.nodes
    if not pods_read:
        return Use(pool, gpus, away, None, None, None)
    free = sum(count - taken for count, taken in ready)
    idle = sum(count for count, taken in ready if not taken)
    return Use(pool, gpus, away, sum(taken for _, taken in ready), free, idle)
