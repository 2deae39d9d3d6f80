"""What is kept of a node with accelerators: what it has to give, what others hold of it, and what
else there is on it.

It must not speak to a cluster, and it knows one node at a time: `plimsoll.inventory.pools` groups
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.accelerators.types import Accelerator, Dialect
    from plimsoll.inventory.held import Taken

Pairs = tuple[tuple[str, str], ...]
Taint = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of GPU that a node has to give, and how many."""

    accelerator: Accelerator
    count: int
    dialect: Dialect
    selector: Pairs


@dataclass(frozen=True, slots=True)
class Asked:
    """What pods ask of a node beside accelerators. cpu: thousandths; memory, disk: bytes; pods: how
    many they are.
    """

    cpu: int = 0
    memory: int = 0
    disk: int = 0
    pods: int = 0

    def __add__(self, more: Asked) -> Asked:
        return Asked(
            self.cpu + more.cpu,
            self.memory + more.memory,
            self.disk + more.disk,
            self.pods + more.pods,
        )


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is kept of a node with GPUs.

    offers: usually one; one per MIG profile with the mixed strategy. labels: those that a user's
    node selector may ask for (see `nodes.kept_labels`). ready: Ready and schedulable.
    memory, disk, cpu: bytes, and thousandths, that pods may use; pods: how many it takes; 0 if the
        node does not say.
    asides: why some of its accelerators are not among the offers. speaks: see
        `plimsoll.inventory.dialects`. taken: what pods hold of it, if pods were read.
    asked: what all its pods ask of it beside; None if not all were read.
    """

    name: str
    offers: tuple[Offer, ...]
    labels: frozenset[tuple[str, str]]
    taints: tuple[tuple[str, str, str], ...]
    ready: bool
    memory: int = 0
    disk: int = 0
    cpu: int = 0
    pods: int = 0
    asides: tuple[str, ...] = ()
    speaks: Dialect | None = None
    taken: tuple[Taken, ...] = ()
    asked: Asked | None = None

    def left(self, offer: Offer) -> int:
        """GPUs of an offer that no pod holds."""
        resource = offer.accelerator.resource
        return max(0, offer.count - sum(t.count for t in self.taken if t.resource == resource))

    def carries(self, selector: Mapping[str, str]) -> bool:
        """Whether the node has every one of those labels."""
        return all(
            pair in self.labels or pair == ("kubernetes.io/hostname", self.name)
            for pair in selector.items()
        )


@dataclass(frozen=True, slots=True)
class Stock:
    """One offer of a ready node. left: GPUs of it that no pod holds."""

    fact: NodeFacts
    offer: Offer
    left: int


class Stocks:
    """What ready nodes have to give of one card, in the order of their names.

    each: one for each of them. left: GPUs that no pod holds, by the node's name; of: GPUs of all.
    """

    def __init__(self, each: Iterable[Stock]) -> None:
        self.each = tuple(each)
        self.left: Mapping[str, int] = {stock.fact.name: stock.left for stock in self.each}
        self.of = sum(stock.offer.count for stock in self.each)

    @cached_property
    def facts(self) -> dict[str, NodeFacts]:
        """The nodes by their names."""
        return {stock.fact.name: stock.fact for stock in self.each}


NO_STOCKS: Final = Stocks(())
