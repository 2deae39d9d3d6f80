"""An LLMDeployment in every state that a GitOps tool can meet, as the controller leaves it.

Every status that the controller writes is planned here by its own code, in a small world whose
figures never change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from decision_builders import A100, H100, cluster, on, pool, request, world
from plimsoll.decision.policy import Policy
from plimsoll.errors import Problem
from plimsoll.models.architecture import Model, ModelSource
from plimsoll_operator.controller.plan import plan, plan_after_error, plan_undecided
from plimsoll_operator.controller.snapshot import Identity, Inputs
from plimsoll_operator.deciding.errors import Cause, NotDecided

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll_operator.controller.plan import StatusPlan

GENERATION: Final = 3
_NOW: Final = datetime(2026, 11, 23, 6, 0, 0, tzinfo=UTC)
_UNSEEN: Final[dict[str, Any]] = {"observedGeneration": -1}
"""The status of an object that was just created, by the CRD's default."""
_WHO: Final = Identity(
    namespace="chat",
    name="big",
    uid="2f3c",
    version="7",
    generation=GENERATION,
    api_version="plimsoll.dev/v1alpha1",
    kind="LLMDeployment",
    previous=_UNSEEN,
)
_NODES: Final = cluster(pool(A100, 2), pool(H100, 1))


@dataclass(frozen=True, slots=True)
class State:
    """One state. kstatus: what Flux and Helm read; argo: the health that Argo CD shows."""

    name: str
    kstatus: str
    argo: str
    status: dict[str, Any] | None
    being_deleted: bool = False

    @property
    def object(self) -> dict[str, Any]:
        """The whole object, as the API server gives it."""
        metadata: dict[str, Any] = {
            "name": _WHO.name,
            "namespace": _WHO.namespace,
            "generation": GENERATION,
        }
        if self.being_deleted:
            metadata["deletionTimestamp"] = "2026-11-23T06:10:00Z"
        found: dict[str, Any] = {
            "apiVersion": _WHO.api_version,
            "kind": _WHO.kind,
            "metadata": metadata,
            "spec": {"model": {"uri": "hf://acme/Big-70B"}},
        }
        return found if self.status is None else {**found, "status": self.status}


def _written(planned: StatusPlan) -> dict[str, Any]:
    """What health is read from in a status: the generation and the conditions."""
    patch = json.loads(json.dumps(planned.patch))
    return {key: patch[key] for key in ("observedGeneration", "conditions")}


def _decided(of: Request, override: str = "") -> dict[str, Any]:
    return _written(plan(Inputs(_WHO, of, _NODES, Policy(), override), _NOW, world(None)))


def states() -> tuple[State, ...]:
    """All of them."""
    fits = on(A100)
    wrong = replace(fits, problems=(Problem("spec.model.uri", "", "a location", "give one"),))
    nowhere = plan(Inputs(_WHO, fits, cluster(), Policy(), ""), _NOW, world(None))
    placed = _decided(fits)
    undecided = NotDecided(Cause.BUDGET, "deciding took more than 2 s")
    return (
        State("nobody-looked", "InProgress", "Progressing", _UNSEEN),
        State("changed-since", "InProgress", "Progressing", {**placed, "observedGeneration": 2}),
        State("fits", "Current", "Healthy", placed),
        State("fits-and-no-nodes-today", "Current", "Healthy", _written(nowhere)),
        State("too-large", "Failed", "Degraded", _decided(on(A100, tensor=1))),
        State(
            "too-large-and-overridden", "Failed", "Degraded", _decided(on(A100, tensor=1), "known")
        ),
        State("invalid", "Failed", "Degraded", _decided(wrong)),
        State(
            "unknown-model",
            "Failed",
            "Degraded",
            _decided(request(Model("acme/Secret", ModelSource.UNKNOWN))),
        ),
        State(
            "not-decided",
            "Failed",
            "Degraded",
            _written(plan_undecided(_WHO, undecided, _NOW)),
        ),
        State(
            "our-own-fault",
            "InProgress",
            "Progressing",
            _written(plan_after_error(_WHO, RuntimeError("boom"), _NOW)),
        ),
        State("being-deleted", "Terminating", "Progressing", placed, being_deleted=True),
    )
