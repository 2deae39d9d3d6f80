"""What a cluster has: nodes grouped into pools that are alike in accelerator, count and labels.

It must not speak to a cluster: it reads what `plimsoll.inventory.nodes` made of Node objects that
somebody else fetched.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators.own import known_as
from plimsoll.inventory.dialects import of_cluster
from plimsoll.inventory.facts import NO_STOCKS, NodeFacts, Offer, Stock, Stocks
from plimsoll.inventory.held import Promises
from plimsoll.start_ups import NONE_KEPT, Calibration
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.accelerators.types import Accelerator, Dialect
    from plimsoll.inventory.facts import Pairs, Taint
    from plimsoll.inventory.held import Claim, Quota, Taken

NAMES_KEPT: Final = 10
"""Node names of a pool that are kept for messages."""

SELECTORS_KEPT: Final = 32
"""Answers of `Inventory.matching` that are kept."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes alike in accelerator, GPUs per node, selecting labels and taints.

    accelerator: the kind of GPU, with the memory that these nodes report (the smallest of them).
    gpus_per_node: allocatable GPUs (or slices) of one node.
    nodes: how many such nodes; node_names: up to ten of them, for messages.
    selector: the labels that select these nodes in the dialect that they speak.
    dialect: that dialect.
    labels: further labels that all its nodes share and a user's node selector may ask for.
    taints: (key, value, effect) of taints on every node of it.
    ready: nodes of them that are Ready and schedulable.
    memory: bytes of a host that pods may use, the least of them; 0 if not every node says it.
    free: of the ready nodes, (GPUs that no pod holds, nodes with so many); None if no pods were
    read.
    declared: name of the AcceleratorPool that it is of (`plimsoll.inventory.declared`), or empty.
    most: nodes that it may have then, if that is said. price: of one of its GPUs an hour, in
    millionths, if it is said. spot: whether its nodes may be taken away, by what was declared.
    """

    accelerator: Accelerator
    gpus_per_node: int
    nodes: int
    node_names: tuple[str, ...]
    selector: Pairs
    dialect: Dialect
    labels: frozenset[tuple[str, str]] = frozenset()
    taints: tuple[tuple[str, str, str], ...] = ()
    ready: int = 0
    memory: int = 0
    free: tuple[tuple[int, int], ...] | None = None
    declared: str = ""
    most: int | None = None
    price: int | None = None
    spot: bool = False

    def may_have(self, nodes: int) -> bool:
        """Whether it has so many nodes, or is declared to be one that may have them."""
        if self.nodes >= nodes:
            return True
        return bool(self.declared) and (self.most is None or self.most >= nodes)

    def has_room(self, parts: int, gpus: int) -> bool:
        """Whether so many parts of so many GPUs find room on its ready nodes, each on one of them;
        as far as is known: True if no pods were read.
        """
        if self.free is None:
            return True
        return sum(left // gpus * nodes for left, nodes in self.free) >= parts


@dataclass(frozen=True, slots=True)
class SetAside:
    """Accelerators of a node that are not counted, and why, in words that its owner can act on."""

    node: str
    why: str


@dataclass(frozen=True)
class Inventory:
    """The GPU nodes of a cluster. known: False if nobody looked (a check without a cluster).

    facts: the nodes themselves, for selectors that cut through a pool.
    speaks: the dialect in which nodes to come are asked for; None if no node tells.
    own: accelerators that the cluster adds to the table (`plimsoll.accelerators.own`).
    calibration: start-ups that are kept there.
    pods_read: whether it is known which GPUs are taken (`NodeFacts.taken`).
    claims: of placements, in their turn. quotas: of all namespaces.
    declared: pools that may have nodes one day. prices: of one GPU an hour, in millionths, by the
    accelerator's name, where a list was given. topologies: see `plimsoll.inventory.topologies`.
    """

    pools: tuple[Pool, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    known: bool = False
    facts: tuple[NodeFacts, ...] = field(default=(), repr=False)
    speaks: Dialect | None = None
    own: tuple[Accelerator, ...] = ()
    pods_read: bool = False
    claims: tuple[Claim, ...] = field(default=(), repr=False)
    quotas: tuple[Quota, ...] = field(default=(), repr=False)
    declared: tuple[Pool, ...] = ()
    prices: tuple[tuple[str, int], ...] = ()
    topologies: tuple[tuple[str, ...], ...] = ()
    calibration: Calibration = field(default=NONE_KEPT, repr=False)

    @cached_property
    def gpus(self) -> dict[str, tuple[int, int]]:
        """Allocatable GPUs per accelerator name: of all nodes, and of those that are ready."""
        counts: dict[str, tuple[int, int]] = {}
        for pool in self.pools:
            total, ready = counts.get(pool.accelerator.name, (0, 0))
            counts[pool.accelerator.name] = (
                total + pool.nodes * pool.gpus_per_node,
                ready + pool.ready * pool.gpus_per_node,
            )
        return counts

    @cached_property
    def stocks(self) -> dict[tuple[str, str], Stocks]:
        """What the ready nodes have to give, by the accelerator's name and its resource."""
        found: dict[tuple[str, str], list[Stock]] = {}
        for fact in self.facts:
            for offer in fact.offers if fact.ready else ():
                card = (offer.accelerator.name, offer.accelerator.resource)
                found.setdefault(card, []).append(Stock(fact, offer, fact.left(offer)))
        return {card: Stocks(stocks) for card, stocks in found.items()}

    def stocks_of(
        self, card: tuple[str, str], kinds: frozenset[tuple[Pairs, tuple[Taint, ...]]]
    ) -> Stocks:
        """The same of one card, of the nodes with one of these selectors and its taints.

        The last few answers are kept: the same pools are asked for again and again.
        """
        part = self._stocks_of.get((card, kinds))
        if part is None:
            part = Stocks(
                stock
                for stock in self.stocks.get(card, NO_STOCKS).each
                if (stock.offer.selector, stock.fact.taints) in kinds
            )
            while len(self._stocks_of) >= SELECTORS_KEPT:
                self._stocks_of.pop(next(iter(self._stocks_of)), None)
            self._stocks_of[card, kinds] = part
        return part

    @cached_property
    def _stocks_of(self) -> dict[tuple[object, ...], Stocks]:
        return {}

    @cached_property
    def promises(self) -> dict[tuple[str, str], Promises]:
        """What claims do not hold yet, by the accelerator's name and its resource."""
        found: dict[tuple[str, str], list[tuple[Claim, int]]] = {}
        for claim in self.claims:
            held = sum(self.held_of(claim.name, claim.resource).values())
            missing = claim.pods * claim.per_pod - held
            if missing > 0:
                gpus = ceil_div(missing, claim.per_pod) * claim.per_pod
                found.setdefault((claim.accelerator, claim.resource), []).append((claim, gpus))
        return {card: Promises(missing) for card, missing in found.items()}

    @cached_property
    def turns(self) -> dict[str, tuple[str, str]]:
        """The turn of each claim, by its name."""
        return {claim.name: claim.turn for claim in self.claims}

    def held_of(self, name: str, resource: str) -> dict[str, int]:
        """GPUs of a resource that the pods of an LLMDeployment hold, by the node's name."""
        found: dict[str, int] = {}
        for node, taken in self._held_by(name):
            if taken.resource == resource:
                found[node] = found.get(node, 0) + taken.count
        return found

    def pools_for(self, name: str, *, follow: bool = False) -> tuple[Pool, ...]:
        """The pools as an LLMDeployment sees them: what its own pods hold is free to it.

        follow: nothing of what is free counts, lest a placement that follows what is best moves
        away from pods that nobody knows as its own.
        """
        if not self.pods_read or follow:
            return tuple(replace(pool, free=None) for pool in self.pools) if follow else self.pools
        mine: dict[str, dict[str, int]] = {}
        for node, taken in self._held_by(name):
            held = mine.setdefault(node, {})
            held[taken.resource] = held.get(taken.resource, 0) + taken.count
        if not mine:
            return self.pools
        back: dict[tuple[object, ...], Counter[int]] = {}
        for fact in self.facts:
            for offer in fact.offers if fact.ready and fact.name in mine else ():
                given = mine[fact.name].get(offer.accelerator.resource, 0)
                if given:
                    moved, left = (
                        back.setdefault(pool_key(fact, offer), Counter()),
                        fact.left(offer),
                    )
                    moved[left] -= 1
                    moved[left + given] += 1
        return tuple(_given_back(pool, back) for pool in self.pools)

    def _held_by(self, name: str) -> list[tuple[str, Taken]]:
        """What the pods of an LLMDeployment hold, with the node."""
        if name in self._claimants:
            return self._held.get(name, [])
        return self._looked_for(name)

    @cached_property
    def _claimants(self) -> frozenset[str]:
        return frozenset(self.turns)

    @cached_property
    def _held(self) -> dict[str, list[tuple[str, Taken]]]:
        """What the pods of each LLMDeployment with a claim hold, with the node."""
        found: dict[str, list[tuple[str, Taken]]] = {}
        for fact in self.facts:
            for taken in fact.taken:
                if owner := taken.belongs_to(self._claimants):
                    found.setdefault(owner, []).append((fact.name, taken))
        return found

    def _looked_for(self, name: str) -> list[tuple[str, Taken]]:
        """The same for one without a claim, which is looked for among those that begin alike."""
        names = {*self._claimants, name}
        alike = self._by_stem.get(_stem(name), ())
        return [(node, taken) for node, taken in alike if taken.belongs_to(names) == name]

    @cached_property
    def _by_stem(self) -> dict[tuple[str, str], list[tuple[str, Taken]]]:
        """What all pods hold, with the node, by how the name of their owner must begin."""
        found: dict[tuple[str, str], list[tuple[str, Taken]]] = {}
        for fact in self.facts:
            for taken in fact.taken:
                stem = _stem(taken.owner or taken.pod)
                found.setdefault(stem, []).append((fact.name, taken))
        return found

    def matching(self, selector: Mapping[str, str]) -> Inventory:
        """The part of it whose nodes carry those labels, which its pools then list as theirs.

        The last few answers are kept: the same selectors are asked for again and again.
        """
        if not selector or not self.facts:
            return self
        asked = frozenset(selector.items())
        part = self._matching.get(asked)
        if part is None:
            kept = [f for f in self.facts if f.carries(selector)]
            speak = (self.speaks,)
            part = pools(kept, self.set_aside, carried=asked, speak=speak, pods_read=self.pods_read)
            part = _beside_nodes(part, self)
            while len(self._matching) >= SELECTORS_KEPT:
                self._matching.pop(next(iter(self._matching)), None)
            self._matching[asked] = part
        return part

    @cached_property
    def _matching(self) -> dict[frozenset[tuple[str, str]], Inventory]:
        return {}


def _beside_nodes(part: Inventory, whole: Inventory) -> Inventory:
    """An inventory made of nodes, with what its cluster says that no node does."""
    return replace(
        part,
        own=whole.own,
        claims=whole.claims,
        quotas=whole.quotas,
        prices=whole.prices,
        topologies=whole.topologies,
        calibration=whole.calibration,
    )


def _stem(name: str) -> tuple[str, str]:
    """The namespace of a name, and what stands before the first dash of the rest."""
    namespace, _, rest = name.partition("/")
    return namespace, rest.partition("-")[0]


def with_own(inventory: Inventory, own: tuple[Accelerator, ...]) -> Inventory:
    """The inventory of a cluster that adds accelerators to the table: its cards by their names."""
    if own == inventory.own:
        return inventory
    facts = [
        replace(
            fact,
            offers=tuple(
                replace(offer, accelerator=known_as(offer.accelerator, own))
                for offer in fact.offers
            ),
        )
        for fact in inventory.facts
    ]
    if not facts:
        return replace(inventory, own=own)
    named = pools(
        facts, inventory.set_aside, speak=(inventory.speaks,), pods_read=inventory.pods_read
    )
    named = _beside_nodes(named, inventory)
    return replace(named, known=inventory.known, own=own, declared=inventory.declared)


def with_declared(inventory: Inventory, pools: Iterable[Pool | SetAside]) -> Inventory:
    """The inventory with these pools, which were declared, and those that could not be read."""
    read = list(pools)
    aside = {*inventory.set_aside, *(one for one in read if isinstance(one, SetAside))}
    return replace(
        inventory,
        declared=tuple(one for one in read if isinstance(one, Pool)),
        set_aside=tuple(sorted(aside, key=lambda s: (s.node, s.why))),
    )


NO_INVENTORY = Inventory()
"""Nobody looked: plan from the accelerator table alone."""


def pools(
    facts: Iterable[NodeFacts | SetAside],
    set_aside: Iterable[SetAside] = (),
    *,
    carried: frozenset[tuple[str, str]] = frozenset(),
    speak: Iterable[Dialect | None] = (),
    pods_read: bool = False,
) -> Inventory:
    """Group nodes into pools, in a fixed order: most memory first, then by name.

    carried: labels that every one of these nodes is known to have. speak: the dialects of nodes
    that are not among them. pods_read: see `Inventory`.
    """
    kept: list[NodeFacts] = []
    aside = set(set_aside)
    for fact in facts:
        if isinstance(fact, SetAside):
            aside.add(fact)
        else:
            kept.append(fact)
            aside.update(SetAside(fact.name, why) for why in fact.asides)
    kept.sort(key=lambda f: f.name)
    groups: dict[tuple[object, ...], list[tuple[NodeFacts, Offer]]] = {}
    for fact in kept:
        for offer in fact.offers:
            groups.setdefault(pool_key(fact, offer), []).append((fact, offer))
    grouped = [_pool(members, carried, pods_read) for members in groups.values()]
    grouped.sort(
        key=lambda p: (
            -p.accelerator.memory,
            p.accelerator.name,
            -p.gpus_per_node,
            p.selector,
            p.taints,
            p.accelerator.resource,
        )
    )
    ordered = sorted(aside, key=lambda s: (s.node, s.why))
    speaks = of_cluster({*(fact.speaks for fact in kept), *speak})
    return Inventory(tuple(grouped), tuple(ordered), True, tuple(kept), speaks, pods_read=pods_read)


def pool_key(fact: NodeFacts, offer: Offer) -> tuple[object, ...]:
    """What the nodes of one pool have in common."""
    accelerator = offer.accelerator
    return (accelerator.name, accelerator.resource, offer.count, offer.selector, fact.taints)


def _given_back(pool: Pool, back: Mapping[tuple[object, ...], Counter[int]]) -> Pool:
    """A pool with some nodes that have other numbers of free GPUs."""
    accelerator = pool.accelerator
    key = (
        accelerator.name,
        accelerator.resource,
        pool.gpus_per_node,
        pool.selector,
        pool.taints,
    )
    if key not in back:
        return pool
    free = Counter(dict(pool.free or ()))
    free.update(back[key])
    return replace(pool, free=tuple(sorted((left, n) for left, n in free.items() if n > 0)))


def _pool(
    members: list[tuple[NodeFacts, Offer]], carried: frozenset[tuple[str, str]], pods_read: bool
) -> Pool:
    fact, offer = members[0]
    least = min((o.accelerator for _, o in members), key=lambda a: a.memory)
    shared = frozenset.intersection(*{f.labels for f, _ in members})
    free = Counter(f.left(o) for f, o in members if f.ready) if pods_read else None
    return Pool(
        accelerator=least,
        memory=min(f.memory for f, _ in members),
        free=tuple(sorted(free.items())) if free is not None else None,
        gpus_per_node=offer.count,
        nodes=len(members),
        node_names=tuple(f.name for f, _ in members[:NAMES_KEPT]),
        selector=offer.selector,
        dialect=offer.dialect,
        labels=shared | carried if carried else shared,
        taints=fact.taints,
        ready=sum(f.ready for f, _ in members),
    )
