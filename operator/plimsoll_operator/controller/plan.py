"""What to write for one LLMDeployment: inputs, the status before and the time in, a plan out.

It must not read a clock, a cache or the cluster, and it must not write: it is a pure function.

    Fits               True: fits, error included. Unknown: nobody can be sure. False: does not.
    CapacityAvailable  whether the cluster has nodes for the placement today
    ModelResolved      whether anything is known of the model
    Verified           only where verification is asked for (`verifying`)
    Overridden         only if the annotation claims an override of what is refused
    BetterPlacement    only if another placement would be better than the one that stays
    Ready              there is a placement; never waits for capacity. Where the objects that run
                       it are made (`running`): every replica is available
    Stalled            only if Ready is False: nothing changes until somebody changes something
    Reconciling        only after an error of our own, which is tried again

An object that could not be decided within its budget has NotDecided as reason of each.

A status reads as kstatus does: Ready=True is Current, Stalled=True is Failed, Reconciling=True
and an older observedGeneration are InProgress.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.capacity import for_pods
from plimsoll.decision.decide import decide, hash_of
from plimsoll.decision.pod import pod_needs
from plimsoll.decision.policy import Outcome, outcome
from plimsoll.decision.verdict import Capacity, Decision, Reason, Verdict
from plimsoll.errors import shown
from plimsoll.paths import Field
from plimsoll.report import messages
from plimsoll.report.nodes import nodes_message
from plimsoll.report.wording import problems_of
from plimsoll_operator.controller.snapshot import kept, replicas_before
from plimsoll_operator.controller.status import merge_patch, result_fields, shortened
from plimsoll_operator.controller.verifying import Wish, check
from plimsoll_operator.deciding.errors import NotDecided, TaskFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.verdict import Beside
    from plimsoll_operator.controller.snapshot import Identity, Inputs

STARTING: Final = "Starting"
"""Reason of Ready while replicas are not there yet."""
NORMAL: Final = "Normal"
WARNING: Final = "Warning"

_CAPACITY: Final = {
    Capacity.AVAILABLE: "True",
    Capacity.TOO_FEW: "False",
    Capacity.TOO_SMALL: "False",
    Capacity.TAKEN: "False",
    Capacity.OVER_QUOTA: "False",
    Capacity.NO_NODES: "False",
    Capacity.UNKNOWN: "Unknown",
}


@dataclass(frozen=True, slots=True)
class PlannedCondition:
    """One condition before it has a time. status: True, False or Unknown, as text."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell whoever describes the object. type: `NORMAL` or `WARNING`."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StatusPlan:
    """What to do. patch: merge patch for the status, empty if nothing changed.

    events: to post once the patch is written. verdict: for metrics; None after an error of ours.
    status: the whole of it as it then is, for `completed`. wish: the dry start that is to be had.
    """

    patch: Mapping[str, Any]
    events: tuple[Event, ...] = ()
    verdict: Verdict | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    wish: Wish | None = None


def plan(
    inputs: Inputs,
    now: datetime,
    knowledge: Knowledge | None = None,
    pod: Callable[[Verdict], Mapping[Beside, int]] = lambda _: {},
) -> StatusPlan:
    """Decide on the inputs and say what to write. knowledge: to decide by, else what we ship.

    pod: what one pod that is made of a verdict asks of its node; nothing if none is made.
    """
    scaled = _only_scaled(inputs, knowledge)
    stays = kept(inputs.identity, scaled=scaled)
    decided = decide(inputs.request, inputs.inventory, inputs.policy, knowledge, stays)
    checked = check(inputs.request, decided, inputs.verifying)
    verdict = for_pods(inputs.request, inputs.inventory, checked.verdict, pod(checked.verdict))
    before = inputs.identity.previous
    conditions = list(_conditions(inputs, verdict))
    if checked.status:
        conditions.append(
            PlannedCondition("Verified", checked.status, checked.reason, checked.message)
        )
    status = {
        **result_fields(verdict, pod_needs(inputs.request, verdict, inputs.read_rate)),
        **checked.fields,
        "conditions": _timed(conditions, before, inputs.identity.generation, now),
        "observedGeneration": inputs.identity.generation,
    }
    return StatusPlan(
        patch=merge_patch(before, status),
        events=tuple(_events(conditions, status, before)),
        verdict=verdict,
        status=status,
        wish=checked.wish,
    )


def _only_scaled(inputs: Inputs, knowledge: Knowledge | None) -> bool:
    """Whether the spec that was decided on last differs from this one in replicas alone.

    Whoever scales what runs must not move it.
    """
    identity, replicas = inputs.identity, replicas_before(inputs.identity)
    if replicas is None or identity.previous.get("observedGeneration") == identity.generation:
        return False
    hashed = (identity.previous.get("estimate") or {}).get("requestHash")
    before = replace(inputs.request, replicas=replicas)
    return bool(hashed) and hashed == hash_of(before, inputs.inventory, inputs.policy, knowledge)


def completed(
    identity: Identity,
    status: Mapping[str, Any],
    changed: Sequence[PlannedCondition],
    fields: Mapping[str, Any],
    now: datetime,
) -> StatusPlan:
    """The plan of a status with what became of the workload that runs.

    changed: conditions that are added, or take the place of those of their type. fields: of the
    status, beside what the verdict says. What starts is under way (Reconciling); what is not ready
    for another reason stays so until somebody does something (Stalled).
    """
    over = {condition.type: condition for condition in changed}
    kept = [
        PlannedCondition(c["type"], c["status"], c["reason"], c["message"])
        for c in status["conditions"]
        if c["type"] not in ("Stalled", "Reconciling")
    ]
    conditions = [over.pop(c.type, c) for c in kept] + list(over.values())
    ready = conditions[0]
    if ready.status == "False":
        under_way = "Reconciling" if ready.reason == STARTING else "Stalled"
        conditions.append(PlannedCondition(under_way, "True", ready.reason, ready.message))
    before = identity.previous
    whole = {
        **status,
        **fields,
        "conditions": _timed(conditions, before, identity.generation, now),
    }
    return StatusPlan(merge_patch(before, whole), tuple(_events(conditions, whole, before)))


def plan_after_error(identity: Identity, error: Exception, now: datetime) -> StatusPlan:
    """What to write if deciding failed by a fault of ours: what was found before stays."""
    generation, previous = identity.generation, identity.previous
    kind = error.kind if isinstance(error, TaskFault) else type(error).__name__
    said = shortened(
        f"Plimsoll failed on this object ({kind}) and tries again; "
        "the controller's log has the details"
    )
    kept = [
        PlannedCondition(c["type"], c["status"], c["reason"], c["message"])
        for c in previous.get("conditions") or ()
        if c["type"] not in ("Ready", "Reconciling", "Stalled")
    ]
    conditions = [
        PlannedCondition("Ready", "False", "InternalError", said),
        PlannedCondition("Reconciling", "True", "InternalError", said),
        *kept,
    ]
    status = {
        **previous,
        "conditions": _timed(conditions, previous, generation, now),
        "observedGeneration": generation,
    }
    return StatusPlan(merge_patch(previous, status))


_RAN: Final = ("replicas", "readyReplicas", "selector", "workload")
"""What the status says of a workload that runs, which goes on whatever is not decided."""
_SET_ASIDE: Final = (
    ("Ready", "False"),
    ("ModelResolved", "Unknown"),
    ("Fits", "Unknown"),
    ("CapacityAvailable", "Unknown"),
    ("Stalled", "True"),
)


def plan_undecided(identity: Identity, error: NotDecided, now: datetime) -> StatusPlan:
    """What to write if deciding took too much: what was found of this very spec stays."""
    generation, previous = identity.generation, identity.previous
    said = (
        f"{error}; it is tried again when this object or its model's ConfigMap changes, and every "
        "now and then: make the spec, or the config in that ConfigMap, simpler"
    )
    conditions = [PlannedCondition(kind, status, "NotDecided", said) for kind, status in _SET_ASIDE]
    kept = previous if previous.get("observedGeneration") == generation else {}
    kept = {key: previous[key] for key in _RAN if key in previous} | dict(kept)
    status = {
        **kept,
        "conditions": _timed(conditions, previous, generation, now),
        "observedGeneration": generation,
    }
    return StatusPlan(merge_patch(previous, status), tuple(_events(conditions, status, previous)))


def _conditions(inputs: Inputs, verdict: Verdict) -> list[PlannedCondition]:
    fits = _fits(inputs, verdict)
    ready = _ready(verdict, fits)
    conditions = [ready, _model_resolved(verdict), fits, _capacity(verdict)]
    if outcome(verdict, overridden=bool(inputs.override)) is Outcome.OVERRIDDEN:
        said = (
            "it is refused, and its annotation claims an override (admission asks for the verb "
            f"override before it lets one in; nobody asks here): {shown(inputs.override)}"
        )
        conditions.append(PlannedCondition("Overridden", "True", "Annotation", said))
    if verdict.better is not None and verdict.placement is not None:
        gain, said = verdict.better.gain, messages.better_message(verdict.better, verdict.places)
        conditions.append(PlannedCondition("BetterPlacement", "True", str(gain), said))
    if ready.status == "False":
        conditions.append(PlannedCondition("Stalled", "True", ready.reason, ready.message))
    return conditions


def _fits(inputs: Inputs, verdict: Verdict) -> PlannedCondition:
    status = {Decision.ALLOW: "True", Decision.WARN: "Unknown", Decision.DENY: "False"}
    message = messages.fits_message(inputs.request, verdict)
    return PlannedCondition("Fits", status[verdict.decision], str(verdict.reason), message)


def _ready(verdict: Verdict, fits: PlannedCondition) -> PlannedCondition:
    """Placed, or for the reason that Fits has not: there is one thing to read."""
    if verdict.placement is not None and verdict.decision is not Decision.DENY:
        return PlannedCondition("Ready", "True", "Placed", messages.placement_message(verdict))
    return PlannedCondition("Ready", "False", fits.reason, fits.message)


def _model_resolved(verdict: Verdict) -> PlannedCondition:
    model = verdict.model
    place = verdict.places.path(Field.MODEL)
    wrong = [p for p in problems_of(verdict) if p.path.startswith(place)]
    if wrong:
        said = "; ".join(map(str, wrong))
        return PlannedCondition("ModelResolved", "False", str(Reason.INVALID_SPEC), said)
    status = "False" if model.parameters is None else "True"
    return PlannedCondition(
        "ModelResolved", status, str(model.source), messages.model_message(model)
    )


def _capacity(verdict: Verdict) -> PlannedCondition:
    if verdict.placement is None:
        said = "there is no placement to find nodes for"
        return PlannedCondition("CapacityAvailable", "Unknown", "NotPlaced", said)
    status = _CAPACITY[verdict.capacity]
    said = nodes_message(verdict, steady=True)  # nodes flap, and nobody writes a status for it
    return PlannedCondition("CapacityAvailable", status, str(verdict.capacity), said)


def _timed(
    conditions: list[PlannedCondition], before: Mapping[str, Any], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions with the time of their last transition: kept if the status is the same."""
    since = {
        c.get("type"): c.get("lastTransitionTime")
        for c in before.get("conditions") or ()
        if any(c.get("type") == new.type and c.get("status") == new.status for new in conditions)
    }
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {
            "type": condition.type,
            "status": condition.status,
            "observedGeneration": generation,
            "lastTransitionTime": since.get(condition.type) or stamp,
            "reason": condition.reason,
            "message": shortened(condition.message),
        }
        for condition in conditions
    ]


def _events(
    conditions: list[PlannedCondition], status: Mapping[str, Any], before: Mapping[str, Any]
) -> list[Event]:
    """One Event for each thing that has changed, none for what is only worded otherwise."""
    was = {
        c.get("type"): (c.get("status"), c.get("reason")) for c in before.get("conditions") or ()
    }
    found: list[Event] = []
    for c in conditions:
        if was.get(c.type) == (c.status, c.reason):
            continue
        if c.type == "Ready":
            fine = c.status == "True" or c.reason == STARTING
            found.append(Event(NORMAL if fine else WARNING, c.reason, c.message))
        elif c.type == "Applied":
            found.append(Event(NORMAL if c.status == "True" else WARNING, c.reason, c.message))
        elif c.type == "Fits" and c.status == "Unknown" and conditions[0].status == "True":
            found.append(Event(WARNING, c.reason, c.message))
        elif (c.type == "Verified" and c.status != "Unknown") or (
            c.type == "CapacityAvailable" and (c.status == "False" or (was and c.status == "True"))
        ):
            found.append(Event(NORMAL if c.status == "True" else WARNING, c.reason, c.message))
        elif c.type == "Overridden":
            found.append(Event(WARNING, "Overridden", c.message))
        elif c.type == "BetterPlacement":
            found.append(Event(NORMAL, "BetterPlacement", c.message))
    moved = _moved(before.get("placement"), status.get("placement"))
    if moved:
        found.append(Event(NORMAL, "PlacementChanged", moved))
    return found


def _moved(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    """From where to where a placement moved; empty if it stayed, came or went."""
    if not old or not new:
        return ""
    said = [f"{p.get('gpusPerReplica')} x {p.get('accelerator')}" for p in (old, new)]
    if said[0] != said[1]:
        return f"from {said[0]} to {said[1]} per replica"
    labels = [_labels(p.get("nodeSelector") or {}) for p in (old, new)]
    return f"from nodes with {labels[0]} to {labels[1]}" if labels[0] != labels[1] else ""


def _labels(selector: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(selector.items())) or "no label"
