"""On which kinds of GPU, and on which pools of nodes, a request may run at all.

It must not estimate: memory asked for by name (``minMemory``) counts here, need does not.

Two lists. `from_table` is what the request itself allows, whatever a cluster has today: whether
something is refused follows from it alone, so that a pipeline without a cluster says the same as
admission. `from_pools` is where it could run today: it decides the placement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from plimsoll.accelerators.types import MAX_GPUS
from plimsoll.errors import Problem, shown
from plimsoll.units import ceil_mib, floor_mib

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Wanted
    from plimsoll.inventory.pools import Inventory, Pool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kind of GPU with the size of its nodes. pool: the nodes, None for the table's own."""

    accelerator: Accelerator
    per_node: int
    pool: Pool | None = None

    @property
    def order(self) -> tuple[object, ...]:
        """A fixed order among candidates: most memory first, then by name."""
        pool = self.pool
        place = (pool.selector, pool.gpus_per_node, pool.node_names) if pool else ()
        return (-self.accelerator.memory, self.accelerator.name, place)


def canonical(wanted: Wanted, knowledge: Knowledge) -> Wanted:
    """The request with Plimsoll's own names for the accelerators that the table knows."""
    found = ((name, knowledge.find(name)) for name in wanted.allowed)
    return replace(wanted, allowed=tuple(known.name if known else name for name, known in found))


def from_table(wanted: Wanted, inventory: Inventory, knowledge: Knowledge) -> tuple[Candidate, ...]:
    """What the request allows: the named accelerators, or every whole GPU of certain memory.

    A name that only the inventory knows is taken from there. Names that nobody knows are left
    out; `problems` says so.
    """
    if wanted.allowed:
        named = (_named(name, inventory, knowledge) for name in dict.fromkeys(wanted.allowed))
        kinds = [a for a in named if a is not None]
    else:
        kinds = list(knowledge.plannable)
    least = wanted.min_memory or 0
    found = {a.name: Candidate(a, _per_node(a, a.gpus_per_node)) for a in kinds}
    enough = [c for c in found.values() if c.accelerator.memory >= least]
    return tuple(sorted(enough, key=lambda c: c.order))


def nodes_for(wanted: Wanted, inventory: Inventory) -> Inventory:
    """The part of an inventory whose nodes carry the labels that the request asks for."""
    if not wanted.node_selector:
        return inventory
    if inventory.facts:
        return inventory.matching(dict(wanted.node_selector))
    return replace(inventory, pools=tuple(p for p in inventory.pools if not lacks(p, wanted)))


def from_pools(wanted: Wanted, nodes: Inventory) -> tuple[Candidate, ...]:
    """The pools of `nodes_for` a request on which it may run, whatever they are worth."""
    found = (
        Candidate(p.accelerator, _per_node(p.accelerator, p.gpus_per_node), p)
        for p in nodes.pools
        if not why_not(p, wanted)
    )
    return tuple(sorted(found, key=lambda c: c.order))


def why_not(pool: Pool, wanted: Wanted) -> str:
    """Why a pool whose labels will do is not for a request, in words; empty where it is."""
    accelerator = pool.accelerator
    if wanted.allowed and accelerator.name not in wanted.allowed:
        return "not among spec.accelerator.allowed"
    if wanted.min_memory and accelerator.memory < wanted.min_memory:
        return (
            f"has {floor_mib(accelerator.memory)} per GPU, "
            f"spec.accelerator.minMemory is {ceil_mib(wanted.min_memory)}"
        )
    return ""


def lacks(pool: Pool, wanted: Wanted) -> str:
    """Which labels of the request a pool does not carry, in words; empty where it has all."""
    carried = pool.labels.union(pool.selector)
    missing = [f"{k}={v}" for k, v in wanted.node_selector if (k, v) not in carried]
    return "lacks the label " + ", ".join(missing) if missing else ""


def problems(wanted: Wanted, inventory: Inventory, knowledge: Knowledge) -> list[Problem]:
    """Names that nobody knows, and a memory that no allowed accelerator has."""
    found: list[Problem] = []
    for index, name in enumerate(wanted.allowed):
        if _named(name, inventory, knowledge) is None:
            near = knowledge.near(name)
            fix = f"did you mean {' or '.join(near)}? " if near else ""
            found.append(
                Problem(
                    f"spec.accelerator.allowed[{index}]",
                    shown(name),
                    "unknown accelerator",
                    f"{fix}`plimsoll accelerators` lists all names",
                )
            )
    if wanted.min_memory and not found:
        free = replace(wanted, min_memory=None)
        any_size = from_table(free, inventory, knowledge) + from_pools(free, inventory)
        have = [c.accelerator for c in any_size]
        largest = max(have, key=lambda a: (a.memory, a.name), default=None)
        if largest is None or largest.memory < wanted.min_memory:
            most = (
                f"the largest is {largest.name} with {floor_mib(largest.memory)}; "
                if largest
                else ""
            )
            found.append(
                Problem(
                    "spec.accelerator.minMemory",
                    shown(ceil_mib(wanted.min_memory)),
                    "no accelerator that this request allows has so much memory",
                    f"{most}lower it, or allow another accelerator",
                )
            )
    return found


def _named(name: str, inventory: Inventory, knowledge: Knowledge) -> Accelerator | None:
    """The accelerator of that name: the table's, or the one of a pool (its smallest memory)."""
    known = knowledge.find(name)
    if known is not None:
        return known
    pools = [p.accelerator for p in inventory.pools if p.accelerator.name == name]
    return min(pools, key=lambda a: a.memory, default=None)


def _per_node(accelerator: Accelerator, count: int) -> int:
    """GPUs of one node that may work together: no tensor parallelism across MIG slices."""
    return 1 if accelerator.mig_of else max(1, min(count, MAX_GPUS))
