"""What an LLMDeployment has run for it, and what of that is true now. It writes nothing.

    output.mode   unset or Recommend   nothing: the placement is advice
                  Create               a Deployment or LeaderWorkerSet and a Service of our own
                  Apply                the same fields, onto a workload that somebody else keeps
    Applied       True   Applied       they are as they were rendered
                  False  NotEnabled    the controller was not given the right to
                         NotRendered   refused, or there is something that cannot be rendered
                         NotOurs       an object of that name belongs to somebody else
                         NoTarget      there is no workload of the target's name
                         Conflict      another manager has one of the fields
                         Refused       the API server took it not
    Ready         True   Serving       every replica that is wanted is available
                  False  Starting      not yet (Reconciling)
                         as Applied    it will not without somebody's doing (Stalled)

What is refused later takes nothing down: what runs goes on as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import API_VERSION, GROUP, KIND
from plimsoll.errors import clean
from plimsoll.render.names import OWNER_LABEL, label_value
from plimsoll.render.objects import LWS_API, asked_of
from plimsoll.render.onto import PARTS, templates_of
from plimsoll.render.rendered import render
from plimsoll_operator.controller.plan import PlannedCondition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Beside, Verdict
    from plimsoll_operator.controller.snapshot import Identity

Json = dict[str, Any]

CREATE: Final = "Create"
APPLY: Final = "Apply"
APPLIED_FOR: Final = f"{GROUP}/applied-for"
"""Annotation of a target: the LLMDeployment whose plan is applied onto it."""
API_VERSIONS: Final = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "LeaderWorkerSet": LWS_API,
}
MOST_PROBLEMS: Final = 5
"""Problems that are said; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be run. mode: of the output; empty: nothing is, and what ran before goes.

    objects: the workload first; empty while they cannot be made, `why` says what is in the way.
    replicas: how many are wanted. before: what ran so far, as the status says it.
    target: of mode Apply, as the spec says it.
    """

    mode: str
    objects: tuple[Json, ...]
    why: str
    replicas: int
    before: tuple[Json, ...]
    target: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the label of the objects says."""
        said: str = self.objects[0]["metadata"]["labels"][OWNER_LABEL] if self.objects else ""
        return said

    @property
    def asked(self) -> Mapping[Beside, int]:
        """What one pod of ours asks of its node; nothing if none is made."""
        return asked_of(self.objects[0]) if self.mode == CREATE and self.objects else {}

    @property
    def parts(self) -> tuple[str, ...]:
        """What is applied onto the target."""
        return tuple(self.target.get("parts") or PARTS)


@dataclass(frozen=True, slots=True)
class Live:
    """What became of a run. applied: whether all of it is as wanted; reason, message: why not.

    objects: that are there now, by apiVersion, kind and name. replicas, ready: of the workload.
    settled: whether its controller has seen what was applied, and all replicas are of it.
    stuck: what its controller says if it gave up.
    """

    applied: bool
    reason: str
    message: str
    objects: tuple[Json, ...] = ()
    replicas: int = 0
    ready: int = 0
    settled: bool = False
    stuck: str = ""


def run_of(
    obj: Mapping[str, Any],
    identity: Identity,
    request: Request,
    verdict: Verdict,
    knowledge: Knowledge | None = None,
) -> Run | None:
    """What is to be run of an LLMDeployment; None where nothing is, and nothing was."""
    output = (obj.get("spec") or {}).get("output")
    mode = output.get("mode") if isinstance(output, dict) else None
    before = _before(identity.previous)
    if mode not in (CREATE, APPLY):
        return Run("", (), "", 0, before) if before else None
    made = render(obj, request, verdict, knowledge=knowledge)
    why = ""
    if made.problems:
        more = len(made.problems) - MOST_PROBLEMS
        said = [str(problem) for problem in made.problems[:MOST_PROBLEMS]]
        why = "; ".join([*said, *([f"and {more} more"] if more > 0 else [])])
    elif not made.objects:
        why = "it is not placed; condition Fits says why"
    if mode == APPLY and any(one["kind"] == "ResourceClaimTemplate" for one in made.objects):
        why = "spec.accelerator.allocation: DRA goes with mode Create: a claim is an object apart"
        return Run(mode, (), why, request.replicas, before)
    target = output.get("targetRef") if mode == APPLY and isinstance(output, dict) else None
    target = target if isinstance(target, dict) else {}
    return Run(mode, made.objects, clean(why, 1000), request.replicas, before, target)


def _before(previous: Mapping[str, Any]) -> tuple[Json, ...]:
    """What the status says that is there."""
    listed = (previous.get("workload") or {}).get("objects")
    return tuple(one for one in listed or () if isinstance(one, dict))


def reference(obj: Mapping[str, Any]) -> Json:
    """An object by apiVersion, kind and name."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
    }


def owned(obj: Mapping[str, Any], identity: Identity) -> Json:
    """The object as one of an LLMDeployment's own: it goes when that goes."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": identity.name,
        "uid": identity.uid,
        "controller": True,
    }
    metadata = {**obj["metadata"], "namespace": identity.namespace, "ownerReferences": [owner]}
    return {**obj, "metadata": metadata}


def owner_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Name and uid of the LLMDeployment that an object belongs to; empty if to none."""
    for one in (obj.get("metadata") or {}).get("ownerReferences") or ():
        if one.get("kind") == KIND and one.get("controller") is True:
            return str(one.get("name", "")), str(one.get("uid", ""))
    return "", ""


def target_of(run: Run) -> Json:
    """The target of a run by apiVersion, kind and name."""
    kind = str(run.target.get("kind"))
    return {
        "apiVersion": API_VERSIONS.get(kind, ""),
        "kind": kind,
        "name": str(run.target.get("name")),
    }


def applied_onto(there: Mapping[str, Any], name: str, part: Json) -> Json:
    """What is applied onto a target that is there: its part, and whose plan that is.

    Its pods carry the LLMDeployment's label, so that the GPUs that they hold are its own.
    """
    metadata = there["metadata"]
    labels = {OWNER_LABEL: label_value(name)}
    made: Json = {
        "apiVersion": there["apiVersion"],
        "kind": there["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "labels": labels,
            "annotations": {APPLIED_FOR: name},
        },
        **part,
    }
    for template in templates_of(made):
        template["metadata"] = {"labels": labels}
    return made


def nothing_onto(there: Mapping[str, Any]) -> Json:
    """What is applied onto a target to give back every field of it that was ours."""
    metadata = {key: there["metadata"][key] for key in ("name", "namespace", "uid")}
    return {"apiVersion": there["apiVersion"], "kind": there["kind"], "metadata": metadata}


def applied_for(obj: Mapping[str, Any]) -> str:
    """The LLMDeployment whose plan is applied onto an object; empty if none is."""
    found = ((obj.get("metadata") or {}).get("annotations") or {}).get(APPLIED_FOR)
    return found if isinstance(found, str) else ""


_GIVEN_UP: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "Deployment": (("Progressing", "False"), ("ReplicaFailure", "True")),
}
"""Conditions by which a kind says that it gets no further by itself."""


def live_of(workload: Mapping[str, Any], objects: tuple[Json, ...], wanted: int) -> Live:
    """What a Deployment or a LeaderWorkerSet that was applied says of itself."""
    status, metadata = workload.get("status") or {}, workload.get("metadata") or {}
    ready = status.get("availableReplicas", status.get("readyReplicas")) or 0
    updated = status.get("updatedReplicas") or 0
    seen = status.get("observedGeneration", metadata.get("generation"))
    settled = seen == metadata.get("generation") and updated >= wanted
    stuck = ""
    for condition in status.get("conditions") or ():
        if (condition.get("type"), condition.get("status")) in _GIVEN_UP.get(
            str(workload.get("kind")), ()
        ):
            stuck = clean(f"{condition.get('reason')}: {condition.get('message')}", 500)
    return Live(
        applied=True,
        reason="Applied",
        message="",
        objects=objects,
        replicas=status.get("replicas") or 0,
        ready=ready,
        settled=settled,
        stuck=stuck,
    )


def conditions(run: Run, live: Live, placed: bool) -> list[PlannedCondition]:
    """Applied, and Ready by what runs; nothing where nothing is asked for any more.

    placed: whether the verdict has it run at all; else Ready says why not, and stays.
    """
    if not run.mode and live.applied:
        return []
    names = ", ".join(f"{one['kind']} {one['name']}" for one in live.objects)
    if not live.applied:
        message = clean(live.message, 1000)
        if live.objects:
            message += f"; what ran before goes on: {names}"
        applied = PlannedCondition("Applied", "False", live.reason, message)
        ready = PlannedCondition("Ready", "False", live.reason, message)
        return [applied, ready] if placed and run.mode else [applied]
    if run.mode == APPLY:
        said = f"{', '.join(run.parts)} of {names}"
        return [PlannedCondition("Applied", "True", "Applied", said)]
    said = f"{names} are as rendered"
    applied = PlannedCondition("Applied", "True", "Applied", said)
    counted = f"{live.ready} of {run.replicas} replicas are available"
    if live.settled and live.ready >= run.replicas:
        return [applied, PlannedCondition("Ready", "True", "Serving", counted)]
    if live.stuck:
        return [applied, PlannedCondition("Ready", "False", "Stuck", f"{counted}; {live.stuck}")]
    return [applied, PlannedCondition("Ready", "False", "Starting", counted)]


def status_fields(run: Run, live: Live) -> Json:
    """What the status says of the workload, beside conditions."""
    if not live.objects:
        return {}
    workload = {"mode": run.mode, "objects": list(live.objects)}
    if run.mode == APPLY:
        return {"workload": workload}
    return {
        "replicas": live.replicas,
        "readyReplicas": live.ready,
        **({"selector": f"{OWNER_LABEL}={run.label}"} if run.label else {}),
        "workload": workload,
    }
