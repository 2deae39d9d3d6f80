"""kopf's handlers: each takes an event into the cache and queues the names it concerns.

They must not decide, wait or write, and there are none that make kopf write: no create, update or
delete handlers, no daemons, no timers, so no finalizers and no annotations on anybody's objects.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import kopf

from plimsoll.api_group import GROUP, PLURAL, VERSION
from plimsoll_operator.cluster.objects import name_of, trimmed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from plimsoll_operator.cluster.objects import Json, Name
    from plimsoll_operator.controller.cache import Cache
    from plimsoll_operator.controller.queue import KeyedQueue
    from plimsoll_operator.controller.reconcile import Reconciler
    from plimsoll_operator.controller.resync import Resync

    Handle = Callable[[Json, bool], None]

log = logging.getLogger(__name__)


class Handlers:
    """What happens on an event. gone: whether it tells of a deletion."""

    def __init__(
        self,
        cache: Cache,
        queue: KeyedQueue[Name],
        reconciler: Reconciler,
        resync: Resync,
    ) -> None:
        self._cache, self._queue = cache, queue
        self._reconciler, self._resync = reconciler, resync

    def llm_deployment(self, obj: Json, gone: bool) -> None:
        """Decide it, before what waits for a re-decision."""
        name = name_of(obj)
        if gone:
            self._reconciler.forget(name)
        elif self._cache.put(obj):
            self._queue.add(name, urgent=True)

    def register(self, registry: kopf.OperatorRegistry, loop: asyncio.AbstractEventLoop) -> None:
        """Have kopf, in whatever thread, call these in the thread of our own loop."""
        for where, handle in (((GROUP, VERSION, PLURAL), self.llm_deployment),):
            kopf.on.event(*where, registry=registry, id=where[2])(self._adapted(handle, loop))

    def _adapted(self, handle: Handle, loop: asyncio.AbstractEventLoop) -> Any:
        streaming = False

        async def on_event(event: Any, **_: Any) -> None:
            nonlocal streaming
            listed_anew = event["type"] is None and streaming
            streaming = event["type"] is not None
            gone = event["type"] == "DELETED"
            with contextlib.suppress(RuntimeError):  # our loop has ended: so will the process
                loop.call_soon_threadsafe(self._take, handle, event["object"], gone, listed_anew)

        return on_event

    def _take(self, handle: Handle, obj: Json, gone: bool, listed_anew: bool) -> None:
        self._resync.heard()
        if listed_anew:
            self._resync.soon()
        try:
            handle(trimmed(obj), gone)
        except Exception:
            log.exception("%s could not be taken in", "/".join(name_of(obj)))
