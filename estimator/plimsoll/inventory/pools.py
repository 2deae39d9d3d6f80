"""What a cluster has: nodes grouped into pools that are alike in accelerator, count and labels.

It must not speak to a cluster: it reads what `plimsoll.inventory.nodes` made of Node objects that
somebody else fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators.own import known_as
from plimsoll.inventory.dialects import of_cluster

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.accelerators.types import Accelerator, Dialect

NAMES_KEPT: Final = 10
"""Node names of a pool that are kept for messages."""

SELECTORS_KEPT: Final = 32
"""Answers of `Inventory.matching` that are kept."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of GPU that a node has to give, and how many."""

    accelerator: Accelerator
    count: int
    dialect: Dialect
    selector: Pairs


@dataclass(frozen=True, slots=True)
class Taken:
    """GPUs of a node that a pod holds. resource: which; pod: its namespace and name."""

    resource: str
    count: int
    pod: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is kept of a node with GPUs.

    offers: usually one; one per MIG profile with the mixed strategy. labels: those that a user's
    node selector may ask for (see `nodes.kept_labels`). ready: Ready and schedulable.
    memory: bytes of the host that pods may use; 0 if the node does not say.
    asides: why some of its accelerators are not among the offers. speaks: see
        `plimsoll.inventory.dialects`. taken: what pods hold of it, if pods were read.
    """

    name: str
    offers: tuple[Offer, ...]
    labels: frozenset[tuple[str, str]]
    taints: tuple[tuple[str, str, str], ...]
    ready: bool
    memory: int = 0
    asides: tuple[str, ...] = ()
    speaks: Dialect | None = None
    taken: tuple[Taken, ...] = ()

    def carries(self, selector: Mapping[str, str]) -> bool:
        """Whether the node has every one of those labels."""
        return all(
            pair in self.labels or pair == ("kubernetes.io/hostname", self.name)
            for pair in selector.items()
        )


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
    pods_read: whether it is known which GPUs are taken (`NodeFacts.taken`).
    """

    pools: tuple[Pool, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    known: bool = False
    facts: tuple[NodeFacts, ...] = field(default=(), repr=False)
    speaks: Dialect | None = None
    own: tuple[Accelerator, ...] = ()
    pods_read: bool = False

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
            part = replace(
                pools(kept, self.set_aside, carried=asked, speak=speak),
                own=self.own,
                pods_read=self.pods_read,
            )
            while len(self._matching) >= SELECTORS_KEPT:
                self._matching.pop(next(iter(self._matching)), None)
            self._matching[asked] = part
        return part

    @cached_property
    def _matching(self) -> dict[frozenset[tuple[str, str]], Inventory]:
        return {}


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
    named = pools(facts, inventory.set_aside, speak=(inventory.speaks,)) if facts else inventory
    return replace(named, known=inventory.known, own=own, pods_read=inventory.pods_read)


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
            accelerator = offer.accelerator
            key = (accelerator.name, accelerator.resource, offer.count, offer.selector, fact.taints)
            groups.setdefault(key, []).append((fact, offer))
    grouped = [_pool(members, carried) for members in groups.values()]
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


def _pool(members: list[tuple[NodeFacts, Offer]], carried: frozenset[tuple[str, str]]) -> Pool:
    fact, offer = members[0]
    least = min((o.accelerator for _, o in members), key=lambda a: a.memory)
    shared = frozenset.intersection(*{f.labels for f, _ in members})
    return Pool(
        accelerator=least,
        memory=min(f.memory for f, _ in members),
        gpus_per_node=offer.count,
        nodes=len(members),
        node_names=tuple(f.name for f, _ in members[:NAMES_KEPT]),
        selector=offer.selector,
        dialect=offer.dialect,
        labels=shared | carried if carried else shared,
        taints=fact.taints,
        ready=sum(f.ready for f, _ in members),
    )
