"""Take names from the queue and bring each LLMDeployment's status up to date.

It must not know kopf and must not decide. One worker at a time is on a name; what fails is tried
again later, for ever, and nothing is written where nothing changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from plimsoll_operator.client import UNREACHABLE, ApiError, Conflict, NotFound
from plimsoll_operator.controller.documents import ABSENT
from plimsoll_operator.controller.execute import LLM_DEPLOYMENTS, post_event, write_status
from plimsoll_operator.controller.plan import plan_after_error, plan_undecided
from plimsoll_operator.controller.snapshot import identify, snapshot
from plimsoll_operator.controller.task import Job, Planned
from plimsoll_operator.deciding.errors import Cause, NotDecided
from plimsoll_operator.reflector import version_of

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.client import Client
    from plimsoll_operator.controller.cache import Cache
    from plimsoll_operator.controller.documents import Documents
    from plimsoll_operator.controller.plan import Event, Plan
    from plimsoll_operator.controller.queue import KeyedQueue
    from plimsoll_operator.controller.snapshot import Identity
    from plimsoll_operator.metrics import ControllerMetrics
    from plimsoll_operator.reflector import Name

log = logging.getLogger(__name__)

MOST_EVENTS: Final = 4096
"""Events that may wait to be posted; the oldest are let go beyond that."""
QUIET: Final = 0.4
"""Seconds without a status written after which Events are posted."""
PATIENCE: Final = 30.0
"""Seconds after which an Event is posted though it is never quiet."""

Decide = Callable[["Inventory", Job, str], Awaitable[Planned]]
"""From what is known of the nodes, a job and its namespace to what to write.

Raises `NotDecided` if that would take too long.
"""


class Reconciler:
    """Works on names from a queue. Run `work` as several tasks, and `post_events` as one."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        documents: Documents,
        queue: KeyedQueue[Name],
        metrics: ControllerMetrics,
        decide: Decide,
    ) -> None:
        self._decide = decide
        self._set_aside: dict[Name, tuple[str, int, int]] = {}
        self._client, self._cache, self._documents = client, cache, documents
        self._queue, self._metrics = queue, metrics
        self._events: deque[tuple[float, Identity, Event]] = deque(maxlen=MOST_EVENTS)
        self._wrote = 0.0
        self._posted = asyncio.Event()

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

    async def post_events(self) -> None:
        """Post the Events of written plans, one after another, until cancelled.

        Statuses go first: an Event waits for a moment without any, but no longer than `PATIENCE`.
        """
        while True:
            while self._events:
                planned, identity, event = self._events[0]
                now = time.monotonic()
                busy = self._queue.depth > 0 or now - self._wrote < QUIET
                if busy and now - planned < PATIENCE:
                    await asyncio.sleep(QUIET / 4)
                    continue
                self._events.popleft()
                await post_event(self._client, identity, event)
            self._posted.clear()
            await self._posted.wait()

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
            said = str(error) or type(error).__name__
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
        self._metrics.gone(*name)

    async def _reconcile(self, name: Name) -> str:
        entry = self._cache.entry(name)
        document = ABSENT
        while entry is not None and entry.refers_to:
            refers_to = entry.refers_to
            document = await self._documents.get((name[0], refers_to))
            entry = self._cache.entry(name)  # it may have changed meanwhile
            if entry is None or entry.refers_to == refers_to:
                break
        if entry is None:
            return "gone"
        surroundings = (self._cache.nodes.version, document.version, self._cache.modes.get(name[0]))
        if entry.settled == (entry.version, *surroundings):
            return "skipped"
        identity = identify(entry)
        if identity is None:
            return "deleting"
        state = (identity.uid, identity.generation, document.version)
        if self._set_aside.get(name) == state:
            return "set-aside"
        version, now = entry.version, datetime.now(UTC)
        try:
            job = snapshot(self._cache, entry, document, now)
            planned = await self._decide(self._cache.nodes.inventory, job, name[0])
        except NotDecided as error:
            if error.cause is Cause.BUSY:
                self._queue.failed(name)
                return "busy"
            log.warning("%s/%s is set aside: %s", *name, error)
            await self._write(version, identity, plan_undecided(identity, error, now))
            self._set_aside[name] = state
            self._metrics.undecided(*name)
            return "not-decided"
        except Exception as fault:
            await self._write(version, identity, plan_after_error(identity, fault, now))
            raise
        self._set_aside.pop(name, None)
        version = await self._write(version, identity, planned)
        if self._cache.entry(name) is entry:  # it may have gone meanwhile
            entry.settled = (version, *surroundings)
            self._metrics.decided(*name, planned.outcome)
        return "written" if planned.patch else "unchanged"

    async def _write(self, version: int, identity: Identity, planned: Plan | Planned) -> int:
        """Write a plan for an object of that version; the version that it then has."""
        if planned.patch:
            written = await write_status(self._client, identity, planned.patch)
            self._wrote = time.monotonic()
            self._cache.put(written)
            version = version_of(written)
        if planned.events:
            now = time.monotonic()
            self._events.extend((now, identity, event) for event in planned.events)
            self._posted.set()
        return version

    async def _refresh(self, name: Name) -> None:
        """Read again what changed under our hands; the watch brings it too, if need be later."""
        try:
            self._cache.put(await self._client.request("GET", LLM_DEPLOYMENTS.path(*name)))
        except NotFound:
            self.forget(name)
        except (ApiError, *UNREACHABLE) as error:
            log.info("%s/%s: not read again yet: %s", *name, error)
