"""On which kinds of GPU, and on which pools of nodes, a request may run at all.

Memory that is asked for by name counts here, what a model needs does not.

Two lists. `from_table` is what the request itself allows, whatever a cluster has today: whether
something is refused follows from it alone, so that a pipeline without a cluster says the same as
admission. `from_pools` is where it could run today: it decides the placement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from plimsoll.accelerators.labels import named_by
from plimsoll.accelerators.types import MAX_GPUS
from plimsoll.decision.request import Prefer
from plimsoll.decision.stated import alike, stated
from plimsoll.decision.taints import kept_off, may_be_taken_away
from plimsoll.decision.verdict import Unfit
from plimsoll.findings import Rule, finding
from plimsoll.inventory.declared import price_of
from plimsoll.paths import Field
from plimsoll.units import ceil_mib, gib_down

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Wanted
    from plimsoll.findings import Finding
    from plimsoll.inventory.pools import Inventory, Pool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kind of GPU with the size of its nodes. pool: the nodes, None for the table's own.

    prefer: by what placements on it are measured; rank: its place among those that are allowed.
    price: of one of its GPUs an hour, in millionths; None if nobody said it. replicas: so many are
    to find room.
    """

    accelerator: Accelerator
    per_node: int
    pool: Pool | None = None
    prefer: Prefer = Prefer.FEWEST_GPUS
    rank: int = 0
    price: int | None = None
    replicas: int = 1

    def measure(self, gpus: int) -> tuple[int, ...]:
        """What a replica on so many of its GPUs costs, by what is preferred; less is better."""
        memory = gpus * self.accelerator.memory
        match self.prefer:
            case Prefer.SMALLEST:
                return (memory, gpus)
            case Prefer.CHEAPEST:
                return (self.price is None, gpus * (self.price or 0), gpus, memory)
            case Prefer.FIRST_AVAILABLE:
                return (self.rank, gpus, memory)
        return (gpus, memory)

    def most_gpus(self, other: Candidate, gpus: int) -> int | None:
        """GPUs above which a replica cannot be better than one on so many of another's GPUs.

        None if any number of its own is better.
        """
        match self.prefer:
            case Prefer.SMALLEST:
                return gpus * other.accelerator.memory // max(1, self.accelerator.memory)
            case Prefer.CHEAPEST if self.price is None or other.price is None:
                return gpus if self.price is other.price else (0 if self.price is None else None)
            case Prefer.CHEAPEST:
                return gpus * (other.price or 0) // max(1, self.price or 0)
            case Prefer.FIRST_AVAILABLE if self.rank != other.rank:
                return 0 if self.rank > other.rank else None
        return gpus

    @property
    def order(self) -> tuple[object, ...]:
        """A fixed order among candidates: most memory first, then by name."""
        pool = self.pool
        place = (pool.selector, pool.gpus_per_node, pool.node_names) if pool else ()
        return (-self.accelerator.memory, self.accelerator.name, place)

    def standing(self, nodes: int, gpus: int) -> tuple[bool, ...]:
        """What speaks against its pool for a replica on so many GPUs of so many nodes, the worst
        first.

        Too few nodes, ever; too few today; too few that are ready; nodes that may be taken away;
        no room for all replicas, and not even for one, if pods were read. By price, nodes that may
        come count as if they were there.
        """
        pool = self.pool
        if pool is None:
            return (False,) * 6
        never, spot = not pool.may_have(nodes), may_be_taken_away(pool)
        if self.prefer is Prefer.CHEAPEST and pool.declared and not never:
            return (False, False, False, spot, False, False)
        few, few_ready = pool.nodes < nodes, pool.ready < nodes
        full = not pool.has_room(nodes * self.replicas, gpus)
        return (never, few, few_ready, spot, full, full and not pool.has_room(nodes, gpus))


def canonical(wanted: Wanted, knowledge: Knowledge) -> Wanted:
    """The request with Plimsoll's own names for the accelerators that the table knows.

    A name that may mean several stays as it is, and `problems` says so.
    Labels that the nodes must carry and that name accelerators leave no others of those allowed.
    """
    found = ((name, knowledge.find(name)) for name in wanted.allowed)
    allowed = tuple(
        known.name if known and not knowledge.meant(name) else name for name, known in found
    )
    named = tuple(name for name in selected(wanted) if knowledge.find(name))
    if named and wanted.memory is None:
        both = tuple(name for name in allowed if name in named)
        allowed = both or allowed or named
    return replace(wanted, allowed=allowed)


def selected(wanted: Wanted) -> tuple[str, ...]:
    """The names of the accelerators that the labels asked for name; empty if they name none."""
    return named_by(dict(wanted.node_selector)) if wanted.node_selector else ()


def from_table(wanted: Wanted, knowledge: Knowledge) -> tuple[Candidate, ...]:
    """What the request allows: the named accelerators, or every whole GPU of certain memory.

    A stated card stands for itself. Names that the table lacks are left out; `unlisted` says so.
    """
    card = stated(wanted, knowledge)
    if card is not None:
        kinds = [card]
    elif wanted.allowed:
        named = (knowledge.find(name) for name in dict.fromkeys(wanted.allowed))
        kinds = [a for a in named if a is not None]
    else:
        kinds = list(knowledge.plannable)
    least = wanted.min_memory or 0
    found = {a.name: candidate_on(wanted, a, a.gpus_per_node) for a in kinds}
    left = [c for c in found.values() if wanted.among is None or c.accelerator.name in wanted.among]
    enough = [c for c in left if c.accelerator.memory >= least]
    return tuple(sorted(enough, key=lambda c: c.order))


def nodes_for(wanted: Wanted, inventory: Inventory) -> Inventory:
    """The part of an inventory whose nodes carry the labels that the request asks for."""
    if not wanted.node_selector:
        return inventory
    declared = tuple(p for p in inventory.declared if not missing_labels(p, wanted))
    if inventory.facts:
        return replace(inventory.matching(dict(wanted.node_selector)), declared=declared)
    return replace(
        inventory,
        pools=tuple(p for p in inventory.pools if not missing_labels(p, wanted)),
        declared=declared,
    )


def from_pools(wanted: Wanted, pools: Iterable[Pool]) -> tuple[Candidate, ...]:
    """The pools of `nodes_for` that a request may run on, whether or not they have enough nodes."""
    found = (
        candidate_on(wanted, p.accelerator, p.gpus_per_node, p)
        for p in pools
        if unfit(p, wanted) is None
    )
    return tuple(sorted(found, key=lambda c: c.order))


def as_asked(
    found: tuple[Candidate, ...], inventory: Inventory, replicas: int
) -> tuple[Candidate, ...]:
    """Candidates for so many replicas, with the price of their pool, else of their kind of GPU."""
    if replicas <= 1 and not inventory.prices and not inventory.declared:
        return found
    return tuple(
        replace(
            one,
            replicas=max(1, replicas),
            price=one.pool.price
            if one.pool and one.pool.price is not None
            else price_of(one.accelerator.name, inventory),
        )
        for one in found
    )


def candidate_on(
    wanted: Wanted, accelerator: Accelerator, count: int, pool: Pool | None = None
) -> Candidate:
    """A kind of GPU with nodes of that count, as the request measures it."""
    named = accelerator.name in wanted.allowed
    rank = wanted.allowed.index(accelerator.name) if named else len(wanted.allowed)
    return Candidate(accelerator, _per_node(accelerator, count), pool, wanted.prefer, rank)


def unfit(pool: Pool, wanted: Wanted) -> Unfit | None:
    """Why a pool whose labels will do is not for a request; None if it is."""
    accelerator = pool.accelerator
    if wanted.allowed and accelerator.name not in wanted.allowed:
        return Unfit.NOT_ALLOWED
    if wanted.among is not None and accelerator.name not in wanted.among:
        return Unfit.NOT_ALLOWED
    if wanted.min_memory and accelerator.memory < wanted.min_memory:
        return Unfit.TOO_LITTLE_MEMORY
    if not alike(accelerator.memory, wanted):
        return Unfit.NOT_ALLOWED
    if kept_off(pool, wanted.tolerations):
        return Unfit.TAINTED
    return None


def missing_labels(pool: Pool, wanted: Wanted) -> tuple[tuple[str, str], ...]:
    """The labels of the request that a pool does not carry."""
    carried = pool.labels.union(pool.selector)
    return tuple(label for label in wanted.node_selector if label not in carried)


def problems(wanted: Wanted, inventory: Inventory, knowledge: Knowledge) -> list[Finding]:
    """A memory that no allowed accelerator has, and labels that name none of those allowed."""
    found = [*_open(wanted, knowledge), *_another_selected(wanted, knowledge)]
    if unlisted(wanted, knowledge) or not wanted.min_memory:
        return found
    free = replace(wanted, min_memory=None)
    any_size = from_table(free, knowledge) + from_pools(free, inventory.pools)
    largest = max((c.accelerator for c in any_size), key=lambda a: (a.memory, a.name), default=None)
    given = ceil_mib(wanted.min_memory)
    if largest is None:
        return [*found, finding(Rule.NO_SUCH_MEMORY_IN_ANY, Field.MIN_MEMORY, given)]
    if largest.memory >= wanted.min_memory:
        return found
    return [
        *found,
        finding(
            Rule.NO_SUCH_MEMORY,
            Field.MIN_MEMORY,
            given,
            largest=largest.name,
            memory=largest.memory,
        ),
    ]


def _open(wanted: Wanted, knowledge: Knowledge) -> list[Finding]:
    """Names that may mean cards of different memory."""
    if wanted.memory is not None:
        return []
    return [
        finding(Rule.SEVERAL_ACCELERATORS, Field.ALLOWED, name, index, meant=meant)
        for index, name in enumerate(wanted.allowed)
        if (meant := knowledge.meant(name))
    ]


def taken_as(wanted: Wanted, knowledge: Knowledge) -> list[Finding]:
    """Names of makers and clouds, each with the card of the table that it was taken for."""
    return [
        finding(Rule.ACCELERATOR_TAKEN_AS, Field.ALLOWED, name, index, accelerator=known.name)
        for index, name in enumerate(wanted.allowed)
        if (known := knowledge.find(name)) is not None
        and known.name != name
        and not knowledge.meant(name)
    ]


def _another_selected(wanted: Wanted, knowledge: Knowledge) -> list[Finding]:
    """Labels that name an accelerator which is not among the allowed ones."""
    named = selected(wanted)
    known = [name for name in wanted.allowed if knowledge.find(name)]
    if not named or len(known) < len(wanted.allowed) or wanted.memory is not None:
        return []
    if not wanted.allowed or set(named) & set(wanted.allowed):
        return []
    labels = ", ".join(f"{key}={value}" for key, value in wanted.node_selector)
    return [
        finding(
            Rule.SELECTOR_NAMES_ANOTHER,
            Field.NODE_SELECTOR,
            labels,
            named=named,
            allowed=wanted.allowed,
        )
    ]


def unlisted(wanted: Wanted, knowledge: Knowledge) -> list[Finding]:
    """Names that the table lacks, each with those that are like it and their memory.

    Whether a node has such a card today changes nothing of that.
    """
    if wanted.memory is not None:
        return []
    return [
        _unknown(index, name, knowledge)
        for index, name in enumerate(wanted.allowed)
        if knowledge.find(name) is None
    ]


def _unknown(index: int, name: str, knowledge: Knowledge) -> Finding:
    near = tuple(
        f"{like} ({gib_down(known.memory)})"
        for like in knowledge.near(name)
        if (known := knowledge.find(like)) is not None
    )
    if near:
        return finding(Rule.UNKNOWN_ACCELERATOR_LIKE, Field.ALLOWED, name, index, near=near)
    return finding(Rule.UNKNOWN_ACCELERATOR, Field.ALLOWED, name, index)


def _per_node(accelerator: Accelerator, count: int) -> int:
    """GPUs of one node that may work together: no tensor parallelism across MIG slices."""
    return 1 if accelerator.mig_of else max(1, min(count, MAX_GPUS))
