"""What is done apart for the page: reading one object of any kind, deciding, and its row.

It runs in the processes that decide, which know nothing of the cluster.
"""

from __future__ import annotations

from plimsoll.decision.decide import decide
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report.page.objects import Row, row
from plimsoll.workloads.llmdeployment import ignored_rules, override
from plimsoll_operator.deciding.beside import Missed, ObjectJob


class PageJob(ObjectJob):
    """One object to show."""


def rows(inventory: Inventory | None, job: PageJob) -> tuple[Row, ...] | Missed:
    """A row for each engine of an object; none if it serves no LLM."""
    kind, engines = job.engines()
    if isinstance(engines, Missed):
        return engines
    there, ignored, over = inventory or NO_INVENTORY, ignored_rules(job.obj), override(job.obj)
    return tuple(
        row(kind, one.request, decide(one.request, there, job.policy), ignored, override=over)
        for one in engines
    )
