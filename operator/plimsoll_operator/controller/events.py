"""Events about objects: queued until it is quiet, counted if they repeat, limited for each object.

It must not decide what there is to tell (`plan` does). An Event that cannot be posted is let go.

    one of the same reason waits    -> only the newer one is posted
    the same was posted not long ago -> its count grows, as kubectl describe shows it
    too many on one object          -> those beyond its allowance are let go: the status has it all
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, NotFound, OncePerCause
from plimsoll_operator.cluster.objects import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Json
    from plimsoll_operator.controller.plan import Event
    from plimsoll_operator.controller.snapshot import Identity

log = logging.getLogger(__name__)

COMPONENT: Final = "plimsoll-controller"
LONGEST_EVENT: Final = 1024
"""Characters of an Event's message that the API server takes."""
MOST_REMEMBERED: Final = 4096
"""Events that wait to be posted, that were posted, and objects with an allowance: the oldest are
let go beyond that."""
AT_ONCE: Final = 10
"""Events that one object may have at once: its allowance."""
ONE_MORE_EVERY: Final = 60.0
"""Seconds after which the allowance grows by one."""
SAME_FOR: Final = 600.0
"""Seconds within which the same Event on the same object is counted instead of posted again."""
QUIET: Final = 0.4
"""Seconds without a status written after which Events are posted."""
PATIENCE: Final = 30.0
"""Seconds after which an Event is posted though it is never quiet."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An Event that waits. added: when one like it was first added."""

    added: float
    identity: Identity
    event: Event


@dataclass(frozen=True, slots=True)
class _Posted:
    """An Event that was posted. name: its own. count: how often. at: when last."""

    name: str
    count: int
    at: float


class EventQueue:
    """The Events that wait to be posted. Run `post_forever` as a task."""

    def __init__(
        self,
        client: Client,
        busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """busy: whether statuses wait to be written; those go first. clock: seconds that only
        ever grow."""
        self._client, self._busy, self._clock = client, busy, clock
        self._waiting: OrderedDict[tuple[str, str, str], _Waiting] = OrderedDict()
        self._posted: OrderedDict[tuple[str, Event], _Posted] = OrderedDict()
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._added = asyncio.Event()
        self._failures = OncePerCause()
        self._wrote = 0.0

    def wrote(self) -> None:
        """A status was written just now."""
        self._wrote = self._clock()

    def add(self, identity: Identity, events: Iterable[Event]) -> None:
        """Have Events on an object posted, as soon as it is quiet.

        One that waits and tells of the same thing, as it was before, is not posted any more.
        """
        for event in events:
            about = (identity.uid, event.type, event.reason)
            before = self._waiting.get(about)
            added = self._clock() if before is None else before.added
            self._waiting[about] = _Waiting(added, identity, event)
        _shorten(self._waiting, MOST_REMEMBERED)
        self._added.set()

    async def post_forever(self) -> None:
        """Post them one after another, until cancelled.

        Statuses go first: an Event waits for a moment without any, but no longer than `PATIENCE`.
        """
        while True:
            while self._waiting:
                first = next(iter(self._waiting.values()))
                now = self._clock()
                busy = self._busy() or now - self._wrote < QUIET
                if busy and now - first.added < PATIENCE:
                    await asyncio.sleep(QUIET / 4)
                    continue
                _, next_one = self._waiting.popitem(last=False)
                await self.post(next_one.identity, next_one.event)
            self._added.clear()
            await self._added.wait()

    async def post(self, identity: Identity, event: Event) -> None:
        """Post an Event on an object now; one that cannot be posted is let go."""
        if not self._may_post(identity.uid):
            log.debug("%s/%s: too many Events: %s", identity.namespace, identity.name, event)
            return
        try:
            if not await self._count(identity, event):
                made = _event(identity, event)
                await self._client.create(EVENTS, made, namespace=identity.namespace)
                self._remember(identity, event, _Posted(made["metadata"]["name"], 1, self._clock()))
        except (ApiError, *UNREACHABLE) as error:
            if said := self._failures.news(error):
                log.warning("%s/%s: no Event: %s", identity.namespace, identity.name, said)

    def _may_post(self, uid: str) -> bool:
        """Whether an object's allowance has an Event left; takes it."""
        now = self._clock()
        left, since = self._allowances.get(uid, (float(AT_ONCE), now))
        left = min(AT_ONCE, left + (now - since) / ONE_MORE_EVERY)
        self._allowances[uid] = (left - 1 if left >= 1 else left, now)
        self._allowances.move_to_end(uid)
        _shorten(self._allowances, MOST_REMEMBERED)
        return left >= 1

    async def _count(self, identity: Identity, event: Event) -> bool:
        """Count the same Event once more, if it was posted not long ago. Whether it was."""
        before = self._posted.get((identity.uid, event))
        now = self._clock()
        if before is None or now - before.at > SAME_FOR:
            return False
        again = _Posted(before.name, before.count + 1, now)
        try:
            await self._client.request(
                "PATCH",
                EVENTS.path(identity.namespace, before.name),
                body={"count": again.count, "lastTimestamp": _stamp()},
                content_type="application/merge-patch+json",
            )
        except NotFound:
            return False
        self._remember(identity, event, again)
        return True

    def _remember(self, identity: Identity, event: Event, posted: _Posted) -> None:
        self._posted[identity.uid, event] = posted
        self._posted.move_to_end((identity.uid, event))
        _shorten(self._posted, MOST_REMEMBERED)


def _shorten(remembered: OrderedDict[Any, Any], most: int) -> None:
    """Forget the oldest beyond so many."""
    while len(remembered) > most:
        remembered.popitem(last=False)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _event(identity: Identity, event: Event) -> Json:
    now = _stamp()
    message = event.message
    if len(message) > LONGEST_EVENT:
        message = message[: LONGEST_EVENT - 1] + "…"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{identity.name[:200]}.{uuid.uuid4().hex[:16]}",
            "namespace": identity.namespace,
        },
        "involvedObject": {
            "apiVersion": identity.api_version,
            "kind": identity.kind,
            "namespace": identity.namespace,
            "name": identity.name,
            "uid": identity.uid,
            "resourceVersion": identity.version,
        },
        "type": event.type,
        "reason": event.reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
