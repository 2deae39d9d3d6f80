"""What is done apart for the controller: reading one LLMDeployment, deciding and planning.

It runs in processes that know nothing of the cluster: everything comes with the job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from plimsoll.decision.knowledge import shipped
from plimsoll.decision.policy import DEFAULT_POLICY
from plimsoll.decision.verdict import Capacity
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll_operator.cluster.documents import ABSENT, Document
from plimsoll_operator.controller.audit_task import AuditJob, AuditResult, audit
from plimsoll_operator.controller.cache import pack, unpack
from plimsoll_operator.controller.flavor_task import FlavorJob, Standing, judge
from plimsoll_operator.controller.page_task import PageJob, rows
from plimsoll_operator.controller.plan import Event, plan
from plimsoll_operator.controller.running import Run, run_of
from plimsoll_operator.controller.snapshot import (
    NOTHING_HEARD,
    Heard,
    OneDocument,
    identify,
    snapshot,
)
from plimsoll_operator.deciding.warming import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.policy import Policy
    from plimsoll.decision.verdict import Beside, Decision, Reason, Verdict
    from plimsoll.report.page.objects import Row
    from plimsoll_operator.controller.verifying import Wish
    from plimsoll_operator.deciding.beside import Missed

TASK: Final = f"{__name__}:run"
"""Name of the task, for `plimsoll_operator.deciding.pool`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One LLMDeployment to decide.

    packed: as `plimsoll_operator.controller.cache` packs it. refers_to: name of the ConfigMap that
    it refers to, or empty; document: that ConfigMap. resolved: the id of the model whose profile
    the document is, if the object refers to none. heard: of dry starts.
    """

    packed: bytes
    refers_to: str
    document: Document
    policy: Policy
    now: datetime
    resolved: str = ""
    heard: Heard = NOTHING_HEARD


class Figures(NamedTuple):
    """What metrics tell of a decision. required, usable: bytes of one GPU, None if not known."""

    decision: Decision
    reason: Reason
    required: int | None
    usable: int | None


@dataclass(frozen=True, slots=True)
class Planned:
    """What to write, see `plimsoll_operator.controller.plan.Plan`, and what was decided.

    nodes_missing: it says of nodes that they are not there, or too few.
    run: what is to be run, None if nothing is; status: the whole of it, where something is.
    wish: the dry start that is to be had; dry_start: what the status then says of one.
    """

    patch: Mapping[str, Any]
    events: tuple[Event, ...]
    figures: Figures
    nodes_missing: bool = False
    run: Run | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    wish: Wish | None = None
    dry_start: Mapping[str, Any] = field(default_factory=dict)


def run(
    inventory: Inventory | None, job: Job | AuditJob | FlavorJob | PageJob
) -> Planned | AuditResult | Missed | dict[str, Standing] | tuple[Row, ...]:
    """The task: decide one LLMDeployment and say what to write, audit any other object, judge a
    Workload of Kueue on its flavors, or say of any object what a page shows."""
    match job:
        case AuditJob():
            return audit(inventory, job)
        case FlavorJob():
            return judge(inventory, job)
        case PageJob():
            return rows(inventory, job)
    return work(inventory, job)


def work(inventory: Inventory | None, job: Job) -> Planned:
    """Decide one LLMDeployment and say what to write."""
    obj = unpack(job.packed)
    identity = identify(obj)
    assert identity is not None
    documents = OneDocument(identity.namespace, job.refers_to, job.document, job.resolved)
    inputs = snapshot(obj, identity, inventory or NO_INVENTORY, job.policy, documents, job.heard)
    known = shipped().adding(inputs.inventory.own)
    run: Run | None = None

    def pod(verdict: Verdict) -> Mapping[Beside, int]:
        nonlocal run
        run = run_of(obj, identity, inputs.request, verdict, known)
        return run.asked if run is not None else {}

    planned = plan(inputs, job.now, pod=pod)
    assert planned.verdict is not None
    status = planned.status if run is not None else {}
    lacking = (Capacity.NO_NODES, Capacity.TOO_FEW, Capacity.TOO_SMALL)
    missing = planned.verdict.capacity in lacking
    dry_start = planned.status.get("dryStart") or {}
    of = figures(planned.verdict)
    return Planned(planned.patch, planned.events, of, missing, run, status, planned.wish, dry_start)


def figures(verdict: Verdict) -> Figures:
    """What metrics tell of a verdict."""
    estimate = verdict.estimate
    return Figures(
        verdict.decision,
        verdict.reason,
        estimate.required if estimate else None,
        estimate.usable if estimate else None,
    )


def warm() -> None:
    """Decide on a few objects, so that everything is loaded and built."""
    for obj in OBJECTS:
        work(None, Job(pack(dict(obj)), "", ABSENT, DEFAULT_POLICY, datetime.now(UTC)))
