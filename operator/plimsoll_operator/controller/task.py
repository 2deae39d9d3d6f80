"""What is done apart for the controller: reading one LLMDeployment, deciding and planning.

It runs in processes that know nothing of the cluster: everything comes with the job.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.verdict import Policy
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.workloads.llmdeployment import Missing, override_reason, pick
from plimsoll.workloads.llmdeployment import request as read_request
from plimsoll_operator.controller.plan import Event, Inputs, plan
from plimsoll_operator.deciding.warming import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.verdict import Decision, Reason, Verdict

TASK: Final = f"{__name__}:work"
"""Name of the task, for `plimsoll_operator.deciding.pool`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One LLMDeployment to decide.

    packed: as `plimsoll_operator.controller.cache` packs it. refers_to: name of the ConfigMap that
    it refers to, or empty; document: its values, packed, None if there is no such ConfigMap.
    """

    packed: bytes
    refers_to: str
    document: Mapping[str, bytes] | None
    policy: Policy
    now: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What metrics tell of a decision. required, usable: bytes of one GPU, None if not known."""

    decision: Decision
    reason: Reason
    required: int | None
    usable: int | None


@dataclass(frozen=True, slots=True)
class Planned:
    """What to write, see `plimsoll_operator.controller.plan.Plan`, and what was decided."""

    patch: Mapping[str, Any]
    events: tuple[Event, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _OneDocument:
    """The one ConfigMap that a request may refer to, as `plimsoll.workloads` asks for it."""

    namespace: str
    name: str
    packed: Mapping[str, bytes] | None

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key of a ConfigMap, or what is missing, in admission's words."""
        if (namespace, name) != (self.namespace, self.name) or self.packed is None:
            return Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return pick(name, key, self.packed, self._text)

    def _text(self, key: str) -> str | None:
        packed = (self.packed or {}).get(key)
        return None if packed is None else zlib.decompress(packed).decode()


def work(inventory: Inventory | None, job: Job) -> Planned:
    """The task: decide one LLMDeployment and say what to write."""
    obj = json.loads(zlib.decompress(job.packed))
    metadata = obj["metadata"]
    document = _OneDocument(str(metadata.get("namespace", "")), job.refers_to, job.document)
    inputs = Inputs(
        request=read_request(obj, document),
        inventory=inventory or NO_INVENTORY,
        policy=job.policy,
        generation=int(metadata.get("generation") or 0),
        override=override_reason(obj),
        previous=obj.get("status") or {},
    )
    planned = plan(inputs, job.now)
    assert planned.verdict is not None
    return Planned(planned.patch, planned.events, outcome(planned.verdict))


def outcome(verdict: Verdict) -> Outcome:
    """What metrics tell of a verdict."""
    estimate = verdict.estimate
    return Outcome(
        verdict.decision,
        verdict.reason,
        estimate.required if estimate else None,
        estimate.usable if estimate else None,
    )


def warm() -> None:
    """Decide on a few objects, so that everything is loaded and built."""
    for obj in OBJECTS:
        packed = zlib.compress(json.dumps(obj).encode())
        work(None, Job(packed, "", None, Policy(), datetime.now(UTC)))
