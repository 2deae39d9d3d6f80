"""Events about objects: made, queued until it is quiet, and posted one after another.

It must not decide what there is to tell (`plan` does). An Event that cannot be posted is let go.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, OncePerCause
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
MOST_WAITING: Final = 4096
"""Events that may wait to be posted; the oldest are let go beyond that."""
QUIET: Final = 0.4
"""Seconds without a status written after which Events are posted."""
PATIENCE: Final = 30.0
"""Seconds after which an Event is posted though it is never quiet."""


class EventQueue:
    """The Events that wait to be posted. Run `post_forever` as a task."""

    def __init__(self, client: Client, busy: Callable[[], bool]) -> None:
        """busy: whether statuses wait to be written; those go first."""
        self._client, self._busy = client, busy
        self._waiting: deque[tuple[float, Identity, Event]] = deque(maxlen=MOST_WAITING)
        self._added = asyncio.Event()
        self._failures = OncePerCause()
        self._wrote = 0.0

    def wrote(self) -> None:
        """A status was written just now."""
        self._wrote = time.monotonic()

    def add(self, identity: Identity, events: Iterable[Event]) -> None:
        """Have Events on an object posted, as soon as it is quiet."""
        now = time.monotonic()
        self._waiting.extend((now, identity, event) for event in events)
        self._added.set()

    async def post_forever(self) -> None:
        """Post them one after another, until cancelled.

        Statuses go first: an Event waits for a moment without any, but no longer than `PATIENCE`.
        """
        while True:
            while self._waiting:
                added, identity, event = self._waiting[0]
                now = time.monotonic()
                busy = self._busy() or now - self._wrote < QUIET
                if busy and now - added < PATIENCE:
                    await asyncio.sleep(QUIET / 4)
                    continue
                self._waiting.popleft()
                await self.post(identity, event)
            self._added.clear()
            await self._added.wait()

    async def post(self, identity: Identity, event: Event) -> None:
        """Post an Event on an object now; one that cannot be posted is let go."""
        try:
            await self._client.create(EVENTS, _event(identity, event), namespace=identity.namespace)
        except (ApiError, *UNREACHABLE) as error:
            if said := self._failures.news(error):
                log.warning("%s/%s: no Event: %s", identity.namespace, identity.name, said)


def _event(identity: Identity, event: Event) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
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
