"""What is done apart for the audit: reading one object of any kind, deciding, and what to report.

It runs in the processes that decide, which know nothing of the cluster: what lies beside the object
comes with the job, and what was missed of it is named in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plimsoll.decision.decide import decide
from plimsoll.decision.surplus import surplus
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report.audit import Audited, Totals, totals
from plimsoll.report.openreports import results_of
from plimsoll_operator.deciding.beside import Missed, ObjectJob


class AuditJob(ObjectJob):
    """One object to audit."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What was found. serves: whether it serves an LLM; results: see `report.openreports`."""

    serves: bool
    results: list[dict[str, Any]]
    totals: Totals


def audit(inventory: Inventory | None, job: AuditJob) -> AuditResult | Missed:
    """Decide one object, and say what to report of it."""
    there = inventory or NO_INVENTORY
    kind, engines = job.engines()
    if isinstance(engines, Missed):
        return engines
    found = []
    for served in engines:
        verdict = decide(served.request, there, job.policy)
        back = surplus(served.request, verdict, there)
        unreadable = served.facts.unreadable
        found.append(Audited(kind, served.request, verdict, back, unreadable))
    return AuditResult(bool(found), results_of(found), totals(found))
