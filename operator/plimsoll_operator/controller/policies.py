"""The status of each SizingPolicy: whether it is read, how many objects it covers and refuses.

It must not decide: it counts what was decided anyway. It runs where somebody may write, and writes
only what is otherwise than the status says.

    objects    LLMDeployments, and objects of other kinds as far as the last audit came to them
    refused    those of them with a denial, whatever lets them in
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import KIND
from plimsoll.decision.knowledge import shipped
from plimsoll.errors import clean
from plimsoll.workloads import kinds
from plimsoll_operator.cluster.client import (
    UNREACHABLE,
    ApiError,
    Conflict,
    NotFound,
    OncePerCause,
)
from plimsoll_operator.cluster.objects import SIZING_POLICIES
from plimsoll_operator.controller.status import merge_patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.known import ClusterKnowledge
    from plimsoll_operator.cluster.policies import Seen
    from plimsoll_operator.controller.cache import ObjectCache

log = logging.getLogger(__name__)

SECONDS: Final = 3.0
"""From one count to the next."""
LONGEST_WAIT: Final = 120.0
"""Seconds after which what is counted is written though objects wait to be decided."""
MOST_SAID: Final = 1000
"""Characters of a condition's message."""


@dataclass(frozen=True, slots=True)
class Count:
    """Objects of one kind in one namespace, and how many of them are refused."""

    namespace: str
    kind: str
    objects: int
    refused: int


class PolicyStatuses:
    """Keeps the status of every SizingPolicy. Run `run_forever` as a task of whoever may write."""

    def __init__(
        self,
        client: Client,
        known: ClusterKnowledge,
        cache: ObjectCache,
        idle: Callable[[], bool],
        audited: Callable[[], Iterable[Count] | None],
    ) -> None:
        """idle: whether nothing waits to be decided. audited: what the last audit found, None as
        long as one is under way that is the first."""
        self._client, self._known, self._cache = client, known, cache
        self._idle, self._audited = idle, audited
        self._news = OncePerCause().news

    async def run_forever(self) -> None:
        """Count and write until cancelled. What fails is tried again."""
        written = time.monotonic()
        while True:
            await asyncio.sleep(SECONDS)
            counts = self._audited()
            settled = self._idle() and counts is not None
            if not len(self._known.policies):
                continue
            if not settled and time.monotonic() - written < LONGEST_WAIT:
                continue
            written = time.monotonic()
            try:
                await self._write([*self._own(), *(counts or ())])
            except (ApiError, *UNREACHABLE) as error:
                if said := self._news(error):
                    log.warning("the status of SizingPolicies is not written: %s", said)

    def _own(self) -> list[Count]:
        """The LLMDeployments of each namespace."""
        objects, refused = Counter[str](), Counter[str]()
        for name in self._cache.names():
            entry = self._cache.entry(name)
            objects[name[0]] += 1
            refused[name[0]] += bool(entry and entry.refused)
        return [Count(one, KIND, objects[one], refused[one]) for one in objects]

    async def _write(self, counts: list[Count]) -> None:
        cards = shipped().adding(self._known.nodes.inventory.own)
        for seen in self._known.policies:
            named = seen.policy.ruling.bounds.accelerators or ()
            covered = [one for one in counts if self._covers(seen, one)]
            status = status_of(
                seen,
                sum(one.objects for one in covered),
                sum(one.refused for one in covered),
                [name for name in named if not cards.find(name)],
                datetime.now(UTC),
            )
            patch = merge_patch(seen.status, status)
            if not patch:
                continue
            try:
                await self._client.patch_status(
                    SIZING_POLICIES, "", seen.policy.name, patch, seen.version
                )
            except (Conflict, NotFound):
                continue  # the watch brings what it is now

    def _covers(self, seen: Seen, count: Count) -> bool:
        """Whether a policy speaks of objects of a kind in a namespace."""
        policy = seen.policy
        labels = self._known.labels.of(count.namespace)
        of_kind = next(kind for kind in kinds.KINDS if kind.name == count.kind)
        return policy.covers(of_kind) and policy.selects(labels)


def status_of(
    seen: Seen, objects: int, refused: int, unknown: list[str], now: datetime
) -> dict[str, Any]:
    """The status of a policy. unknown: names of its accelerators that no table has."""
    accepted, reason, message = "True", "Read", "everything in it holds"
    if seen.policy.problems:
        accepted, reason = "False", "Unreadable"
        message = "does not hold in this: " + "; ".join(map(str, seen.policy.problems))
    elif unknown:
        reason = "UnknownAccelerator"
        message = (
            f"no accelerator of the table is called {', '.join(map(clean, unknown))}: "
            "`plimsoll accelerators` lists all names"
        )
    condition = {
        "type": "Accepted",
        "status": accepted,
        "reason": reason,
        "message": clean(message, MOST_SAID),
        "observedGeneration": seen.generation,
        "lastTransitionTime": _since(seen.status, accepted, now),
    }
    return {
        "observedGeneration": seen.generation,
        "objects": objects,
        "refused": refused,
        "conditions": [condition],
    }


def _since(status: Mapping[str, Any], accepted: str, now: datetime) -> str:
    """Since when the condition has its status."""
    for one in status.get("conditions") or ():
        if isinstance(one, dict) and (one.get("type"), one.get("status")) == ("Accepted", accepted):
            return str(one.get("lastTransitionTime"))
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
