"""Which nodes of a placement over several lie close to one another, by the levels of Topologies.

level     the narrowest whose domains have enough nodes for a replica at all: it stays while
          pods come and go
domain    one of that level with room for a replica now: where its own pods are, else the first
          by name
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.decision.verdict import Near
from plimsoll.inventory.topologies import domains

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.decision.trial import Seat
    from plimsoll.inventory.facts import Stocks
    from plimsoll.inventory.topologies import Levels


def near(
    topologies: Sequence[Levels],
    stocks: Stocks,
    left: Mapping[str, int],
    held: Mapping[str, int],
    seat: Seat,
) -> Near | None:
    """How close the nodes of a replica may be; None for one node, or where no level has enough.

    stocks: of the nodes that it may be on. left: GPUs of each that it may have; held: that its own
    pods have.
    """
    nodes, share = seat.nodes, seat.per_node
    if nodes < 2:
        return None
    facts = stocks.facts.values()
    narrowest: tuple[int, Levels] | None = None
    for levels in topologies:
        for depth in range(len(levels), 0, -1):
            largest = max(map(len, domains(levels[:depth], facts).values()), default=0)
            if largest >= nodes and (narrowest is None or largest < narrowest[0]):
                narrowest = (largest, levels[:depth])
    if narrowest is None:
        return None
    level = narrowest[1]
    found = []
    for values, members in domains(level, facts).items():
        if sum(left[fact.name] // share for fact in members) >= nodes:
            own = sum(held.get(fact.name, 0) for fact in members)
            found.append((-own, values))
    return Near(level[-1], min(found)[1][-1] if found else "")
