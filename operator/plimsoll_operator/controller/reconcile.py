"""Take names from the queue and bring each LLMDeployment's status up to date.

It must not know kopf and must not decide. One worker at a time is on a name; what fails is tried
again later, for ever, and nothing is written if nothing changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from plimsoll.decision.verdict import Decision
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, Conflict, NotFound, OncePerCause
from plimsoll_operator.cluster.documents import ABSENT
from plimsoll_operator.cluster.objects import CONFIG_MAPS, LLM_DEPLOYMENTS, version_of
from plimsoll_operator.controller.applying import Workloads
from plimsoll_operator.controller.cache import unpack
from plimsoll_operator.controller.dry_starts import DryStarts
from plimsoll_operator.controller.events import EventQueue
from plimsoll_operator.controller.plan import plan_after_error, plan_undecided
from plimsoll_operator.controller.snapshot import Heard, identify
from plimsoll_operator.controller.task import Job, Planned
from plimsoll_operator.controller.together import Together
from plimsoll_operator.deciding.errors import Cause, NotDecided

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.documents import Document
    from plimsoll_operator.cluster.known import ClusterKnowledge
    from plimsoll_operator.cluster.objects import Name
    from plimsoll_operator.controller.cache import ObjectCache
    from plimsoll_operator.controller.plan import StatusPlan
    from plimsoll_operator.controller.queue import KeyedQueue
    from plimsoll_operator.controller.snapshot import Identity
    from plimsoll_operator.metrics import ControllerMetrics

log = logging.getLogger(__name__)

RETRY_SET_ASIDE: Final = 600.0
"""Seconds after which what was set aside is tried again, longer with each time: perhaps it was the
machine that stood still, and not the object that took long."""
LONGEST_RETRY: Final = 6 * 3600.0

Decide = Callable[["Inventory", Job, str], Awaitable[Planned]]
"""From what is known of the nodes, a job and its namespace to what to write.

Raises `NotDecided` if that would take too long.
"""

TRIES: Final = 3
"""Times that an object is tried before it is set aside: a process that decides may also end, or
be slow, through no fault of the object."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """Something that was not decided. state: what it was; tries: how often; due: when it is tried
    again, by the clock of the loop; wait: the seconds from when it was set aside to then.
    """

    state: tuple[str, int, int]
    tries: int
    due: float
    wait: float


class Reconciler:
    """Works on names from a queue. Run `work` as several tasks."""

    def __init__(
        self,
        client: Client,
        cache: ObjectCache,
        known: ClusterKnowledge,
        queue: KeyedQueue[Name],
        metrics: ControllerMetrics,
        decide: Decide,
        workloads: Workloads | None = None,
        want: Callable[[str], None] = lambda model: None,
        together: Together | None = None,
        dry_starts: DryStarts | None = None,
    ) -> None:
        """want: told the id of each model that the catalogue lacks and nobody has resolved.
        together: told when objects and nodes come, by whoever hears of them."""
        self._together = together or Together()
        self._workloads = workloads or Workloads(client, queue.add, frozenset())
        self._dry_starts = dry_starts or DryStarts(client, queue.add)
        self._decide, self._want = decide, want
        self._set_aside: dict[Name, SetAside] = {}
        self._client, self._cache = client, cache
        self._known = known
        self._queue, self._metrics = queue, metrics
        self._failures = OncePerCause()
        self.events = EventQueue(client, lambda: queue.depth > 0)

    async def work(self) -> None:
        """Work until cancelled."""
        while True:
            name = await self._queue.get()
            started = time.perf_counter()
            try:
                outcome = await self._attempt(name)
            finally:
                self._queue.done(name)
            self._metrics.reconciled(outcome, time.perf_counter() - started)
            await asyncio.sleep(0)

    async def _attempt(self, name: Name) -> str:
        """One go at a name; the outcome, for metrics. Failures are queued again."""
        try:
            outcome = await self._reconcile(name)
        except Conflict:
            await self._refresh(name)
            self._queue.failed(name)
            return "conflict"
        except NotFound:
            self.forget(name)
            return "gone"
        except (ApiError, *UNREACHABLE) as error:
            wait = self._queue.failed(name, getattr(error, "retry_after", 0.0))
            if said := self._failures.news(error):
                log.warning("%s/%s: again in %.1f s: %s", *name, wait, said)
            return "error"
        except Exception:
            wait = self._queue.failed(name)
            log.exception("%s/%s: again in %.1f s, after a fault of ours", *name, wait)
            return "fault"
        self._queue.succeeded(name)
        return outcome

    def forget(self, name: Name) -> None:
        """An LLMDeployment is no more."""
        self._cache.drop(name)
        self._queue.forget(name)
        self._set_aside.pop(name, None)
        self._together.done(name)
        self._workloads.forget(name)
        self._dry_starts.forget(name)
        self._metrics.gone(*name)

    async def _reconcile(self, name: Name) -> str:
        entry = self._cache.entry(name)
        document = ABSENT
        while entry is not None and (of := self._cache.document_of(name, entry)) is not None:
            document = await self._document(of)
            entry = self._cache.entry(name)  # it may have changed meanwhile
            if entry is None or self._cache.document_of(name, entry) == of:
                break
        if entry is None:
            await self._workloads.give_back(name)
            return "gone"
        if entry.asks_for and not document.exists:
            self._want(entry.asks_for)
        if wait := self._together.before_deciding(name):
            return self._held(name, wait)
        nodes = self._known.nodes
        if self._together.near(name):
            nodes.settle()
        surroundings = (
            nodes.version,
            document.version,
            self._known.policy(name[0]),
            self._workloads.version(name),
            self._dry_starts.version(name),
        )
        turn = nodes.turn
        freed = nodes.freed_at(entry.accelerator, name[0])
        if entry.settled == (entry.version, *surroundings) and freed <= entry.turn:
            return "skipped"
        identity = identify(unpack(entry.packed))
        if identity is None:
            return "deleting"
        state = (identity.uid, identity.generation, document.version)
        before, clock = self._set_aside.get(name), asyncio.get_running_loop().time()
        again = before is not None and before.state == state
        if before is not None and again and clock < before.due:
            self._queue.add_later(name, before.due - clock)
            return "set-aside"
        version, now = entry.version, datetime.now(UTC)
        try:
            policy = surroundings[2]
            heard = Heard(self._dry_starts.enabled, self._dry_starts.said(name))
            job = Job(entry.packed, entry.refers_to, document, policy, now, entry.asks_for, heard)
            planned = await self._decide(nodes.inventory, job, name[0])
        except NotDecided as error:
            if error.cause is Cause.BUSY:
                self._queue.failed(name)
                return "busy"
            tries = before.tries + 1 if before is not None and again else 1
            if tries < TRIES:
                self._set_aside[name] = SetAside(state, tries, due=clock, wait=0.0)
                self._queue.failed(name)
                return "tried"
            if tries == TRIES:
                log.warning("%s/%s is set aside: %s", *name, error)
            await self._write(version, identity, plan_undecided(identity, error, now))
            wait = RETRY_SET_ASIDE
            if before is not None and before.wait:
                wait = min(2 * before.wait, LONGEST_RETRY)
            self._set_aside[name] = SetAside(state, tries, clock + wait, wait)
            self._queue.add_later(name, wait)
            self._metrics.undecided(*name)
            return "not-decided"
        except Exception as fault:
            await self._write(version, identity, plan_after_error(identity, fault, now))
            raise
        self._set_aside.pop(name, None)
        if planned.nodes_missing and (wait := self._together.before_missing_nodes(name)):
            return self._held(name, wait)
        if planned.run is not None:
            planned = await self._workloads.carry_out(identity, planned, now)
        version = await self._write(version, identity, planned)
        await self._dry_starts.follow(identity, planned.wish, planned.dry_start)
        if self._cache.entry(name) is entry:  # it may have gone meanwhile
            entry.settled, entry.turn = (version, *surroundings), turn
            entry.refused = planned.figures.decision is Decision.DENY
            namespace, own_name = name
            self._metrics.decided(namespace, own_name, *planned.figures)
        return "written" if planned.patch else "unchanged"

    def _held(self, name: Name, seconds: float) -> str:
        """Look at an object once it has been there for as long as nodes may come after it."""
        self._queue.add_later(name, seconds, urgent=True)
        return "held"

    async def _document(self, name: Name) -> Document:
        """A ConfigMap, from the API server if it is not kept (yet)."""
        documents = self._known.documents
        kept = documents.find(name)
        if kept is not None:
            return kept
        try:
            return documents.put(await self._client.request("GET", CONFIG_MAPS.path(*name)))
        except NotFound:
            return ABSENT

    async def _write(self, version: int, identity: Identity, planned: StatusPlan | Planned) -> int:
        """Write a plan on exactly the object that was decided on; the version that it then has.

        Nothing but ``status`` is written: never a spec, a label, an annotation or a finalizer. What
        runs is `plimsoll_operator.controller.applying`'s.
        """
        if planned.patch:
            written = await self._client.patch_status(
                LLM_DEPLOYMENTS,
                identity.namespace,
                identity.name,
                dict(planned.patch),
                identity.version,
            )
            self.events.wrote()
            self._cache.put(written)
            version = version_of(written)
        self._together.done((identity.namespace, identity.name))
        if planned.events:
            self.events.add(identity, planned.events)
        return version

    async def _refresh(self, name: Name) -> None:
        """Read again what changed under our hands; the watch brings it too, if need be later."""
        try:
            self._cache.put(await self._client.request("GET", LLM_DEPLOYMENTS.path(*name)))
        except NotFound:
            self.forget(name)
        except (ApiError, *UNREACHABLE) as error:
            log.info("%s/%s: not read again yet: %s", *name, error)
