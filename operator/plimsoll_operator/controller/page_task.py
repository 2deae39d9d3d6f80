"""What is done apart for the page: reading one object of any kind, deciding, and its row.

It runs in the processes that decide, which know nothing of the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plimsoll.decision.decide import decide
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report.page.objects import Row, row
from plimsoll.workloads import kinds
from plimsoll.workloads.llmdeployment import ignored_rules
from plimsoll_operator.deciding.beside import Missed, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.policy import Policy
    from plimsoll_operator.deciding.beside import Found


@dataclass(frozen=True, slots=True)
class PageJob:
    """One object to show. beside: objects that it refers to; last: do with those."""

    obj: Mapping[str, Any]
    policy: Policy
    beside: Found = field(default_factory=dict)
    last: bool = True


def rows(inventory: Inventory | None, job: PageJob) -> tuple[Row, ...] | Missed:
    """A row for each engine of an object; none if it serves no LLM."""
    kind = kinds.find(str(job.obj.get("apiVersion")), str(job.obj.get("kind")))
    assert kind is not None
    engines = read(kind, job.obj, job.beside, last=job.last)
    if isinstance(engines, Missed):
        return engines
    there, ignored = inventory or NO_INVENTORY, ignored_rules(job.obj)
    return tuple(
        row(kind.name, one.request, decide(one.request, there, job.policy), ignored)
        for one in engines
    )
