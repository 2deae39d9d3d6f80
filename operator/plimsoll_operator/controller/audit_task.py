"""What is done apart for the audit: reading one object of any kind, deciding, and what to report.

It runs in the processes that decide, which know nothing of the cluster: what lies beside the object
comes with the job, and what was missed of it is named in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plimsoll.decision.decide import decide
from plimsoll.decision.surplus import surplus
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report.audit import Audited, Totals, totals
from plimsoll.report.openreports import results_of
from plimsoll.workloads import kinds
from plimsoll.workloads.llmdeployment import Missing, pick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.policy import Policy

    Wanted = tuple[str, str, str]
    """Kind, namespace and name of an object."""


@dataclass(frozen=True, slots=True)
class AuditJob:
    """One object to audit. beside: objects that it refers to, by kind, namespace and name; None for
    one that is not there.
    """

    obj: Mapping[str, Any]
    policy: Policy
    beside: Mapping[Wanted, Mapping[str, Any] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What was found. serves: whether it serves an LLM at all; results: see `report.openreports`.

    missed: what it refers to that did not come with the job.
    """

    serves: bool
    results: list[dict[str, Any]]
    totals: Totals
    missed: tuple[Wanted, ...]


class _Beside:
    """What came with a job, as readers ask for it; remembers what they asked for in vain."""

    def __init__(self, job: AuditJob) -> None:
        self._beside = job.beside
        self.missed: dict[Wanted, None] = {}

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key of a ConfigMap, or why there is none."""
        data = self.config_map(namespace, name)
        if data is None:
            return Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return pick(name, key, data.get)

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The texts of a ConfigMap; None if it is not at hand."""
        found = self.other("ConfigMap", namespace, name)
        data = found.get("data") if found is not None else None
        if not isinstance(data, dict):
            return None if found is None else {}
        return {str(key): text for key, text in data.items() if isinstance(text, str)}

    def other(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """An object by name; None if it is not at hand."""
        wanted = (kind, namespace, name)
        if wanted not in self._beside:
            self.missed[wanted] = None
            return None
        return self._beside[wanted]


def audit(inventory: Inventory | None, job: AuditJob) -> AuditResult:
    """Decide one object, and say what to report of it."""
    kind = kinds.find(str(job.obj.get("apiVersion")), str(job.obj.get("kind")))
    assert kind is not None
    there, beside = inventory or NO_INVENTORY, _Beside(job)
    found = []
    for served in kind.read(job.obj, beside):
        verdict = decide(served.request, there, job.policy)
        back = surplus(served.request, verdict, there)
        unreadable = served.facts.unreadable
        found.append(Audited(kind.name, served.request, verdict, back, unreadable))
    return AuditResult(bool(found), results_of(found), totals(found), tuple(beside.missed))
