"""Lists of all LLMDeployments, now and then: they repair what the watch missed or saw deleted late.

It must not decide and must not write. kopf's watch tells of changes within milliseconds, but not
of what was deleted while it was away; a list does.

    at start                      -> once nodes, namespaces and ConfigMaps are known, list until
                                     it works; only then is anything decided
    every `resync_seconds`        -> list
    the API server is back, or kopf lists again -> list at once
    a node changed                -> after `node_settle_seconds`, the inventory; if it is another
                                     one, everything is decided again (what comes with nodes waits
                                     for them, see `plimsoll_operator.controller.together`)
    what is free changed          -> after as long, and once nothing waits to be decided, what is
                                     placed on that kind of GPU, or in that quota's namespace
    a namespace's policy changed  -> what is in it is decided again
    a SizingPolicy changed        -> what it may cover is looked at again
    a ConfigMap changed           -> what takes its model from it is decided again
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, OncePerCause, in_words
from plimsoll_operator.cluster.objects import LLM_DEPLOYMENTS, name_of, trimmed
from plimsoll_operator.cluster.reflector import backoff
from plimsoll_operator.controller.together import Together

if TYPE_CHECKING:
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.known import ClusterKnowledge
    from plimsoll_operator.cluster.objects import Json, Name
    from plimsoll_operator.controller.cache import ObjectCache
    from plimsoll_operator.controller.queue import KeyedQueue
    from plimsoll_operator.controller.reconcile import Reconciler
    from plimsoll_operator.metrics import ControllerMetrics
    from plimsoll_operator.settings import Settings

log = logging.getLogger(__name__)

OBJECTS_PER_PAGE: Final = 200
LONGEST_WAIT: Final = 300.0
"""Seconds after which what is free is looked at though the queue never ends: a large cluster that
starts would decide everything again and again."""


class Resync:
    """Keeps cache and queue true to the cluster. Run its `*_forever` methods as tasks."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        cache: ObjectCache,
        known: ClusterKnowledge,
        queue: KeyedQueue[Name],
        reconciler: Reconciler,
        metrics: ControllerMetrics,
        together: Together | None = None,
    ) -> None:
        """together: told when nodes change and when objects come."""
        self._client, self._settings = client, settings
        self._cache, self._known = cache, known
        self._queue = queue
        self._reconciler, self._metrics = reconciler, metrics
        self._together = together or Together()
        self._decided_on = 0
        self._wanted = asyncio.Event()
        self._nodes = asyncio.Event()
        self._free = asyncio.Event()
        self._heard = self._listed = time.monotonic()
        self._news = OncePerCause().news
        self.first = asyncio.Event()
        """Set once everything has been listed for the first time."""

    @property
    def age(self) -> float:
        """Seconds since the API server was last heard of."""
        return time.monotonic() - self._heard

    @property
    def overdue(self) -> float:
        """Seconds since everything was last listed."""
        return time.monotonic() - self._listed

    def heard(self) -> None:
        """The API server was heard of just now."""
        self._heard = time.monotonic()

    def soon(self) -> None:
        """Have everything listed soon, once the first list is there."""
        if self.first.is_set():
            self._wanted.set()

    def nodes_changed(self) -> None:
        """Have the inventory computed again once the nodes have settled."""
        self._together.nodes_changed()
        self._nodes.set()

    def free_changed(self) -> None:
        """Have it looked at what is free once pods and placements have settled."""
        self._free.set()

    def namespace_changed(self, namespace: str) -> None:
        """Have everything in a namespace decided again, by its new policy."""
        for name in self._cache.in_namespace(namespace):
            self._queue.add(name)

    def policies_changed(self) -> None:
        """Have everything looked at again: what has another policy now is decided again."""
        for name in self._cache.names():
            self._queue.add(name)

    def take(self, obj: Json, gone: bool, listed_again: bool) -> None:
        """Take in an event of the watch: decide its object, before what waits to be decided again.

        gone: it was deleted. listed_again: the watch had ended, so that it may have missed some.
        """
        self.heard()
        if listed_again:
            self.soon()
        name = name_of(obj)
        try:
            if gone:
                self._reconciler.forget(name)
            elif self._cache.put(trimmed(obj)):
                seen = (obj.get("status") or {}).get("observedGeneration")
                if seen != obj["metadata"].get("generation"):
                    self._together.came(name)
                self._queue.add(name, urgent=True)
        except Exception:
            log.exception("%s could not be taken in", "/".join(name))

    def document_changed(self, config_map: Name) -> None:
        """Have everything that takes its model from a ConfigMap decided again, soon."""
        for name in self._cache.referrers(config_map):
            self._queue.add(name, urgent=True)

    async def list_forever(self) -> None:
        """List at start, when wanted, and every so often."""
        failures = 0
        while True:
            try:
                started = time.monotonic()
                await self._list()
                log.info(
                    "listed %d LLMDeployments and %d GPU nodes in %.1f s",
                    len(self._cache),
                    len(self._known.nodes),
                    time.monotonic() - started,
                )
                failures = 0
                self._listed = time.monotonic()
                self.first.set()
            except (ApiError, *UNREACHABLE, ValueError) as error:
                failures += 1
                if said := self._news(error):
                    log.warning("not listed: %s", said)
                await asyncio.sleep(backoff(failures))
                continue
            try:
                async with asyncio.timeout(self._settings.resync_seconds):
                    await self._wanted.wait()
                await asyncio.sleep(1.0)  # several watches notice one outage
            except TimeoutError:
                pass
            self._wanted.clear()

    async def beat_forever(self) -> None:
        """See whether the API server answers; when it does again, list and hurry."""
        away = False
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            try:
                await self._client.request("GET", "/version")
            except (ApiError, *UNREACHABLE) as error:
                if not away:
                    log.warning("the API server is away: %s", in_words(error))
                away = True
                continue
            self.heard()
            if away:
                log.warning("the API server is back")
                away = False
                self._known.hurry()
                self._queue.hurry()
                self.soon()

    async def settle_forever(self) -> None:
        """Collect node changes for a moment, then decide everything again if need be."""
        await self.first.wait()
        while True:
            await self._nodes.wait()
            await asyncio.sleep(self._settings.node_settle_seconds)
            self._nodes.clear()
            self._settle()

    async def settle_free_forever(self) -> None:
        """Collect changes of what is free for a moment, then decide again what hangs on them."""
        await self.first.wait()
        while True:
            await self._free.wait()
            since = time.monotonic()
            while True:
                await asyncio.sleep(self._settings.node_settle_seconds)
                if self._queue.idle or time.monotonic() - since > LONGEST_WAIT:
                    break
            self._free.clear()
            self._settle_free()

    def _settle_free(self) -> None:
        freed = self._known.nodes.settle_free()
        for name in self._cache.placed(freed) if freed else ():
            self._queue.add(name)

    def _settle(self) -> None:
        nodes = self._known.nodes
        nodes.settle()
        if nodes.version == self._decided_on:
            return
        self._decided_on = nodes.version
        self._metrics.inventory(nodes.inventory)
        log.info(
            "inventory %d: %d pools; deciding %d LLMDeployments again",
            nodes.version,
            len(nodes.inventory.pools),
            len(self._cache),
        )
        for name in self._cache.names():
            self._queue.add(name)

    async def _list(self) -> None:
        await self._known.first_lists()
        self._settle()
        await self._list_objects()
        self._settle_free()

    async def _list_objects(self) -> None:
        cache = self._cache
        known = set(cache.names())
        last = 0
        async for page in self._client.pages(LLM_DEPLOYMENTS, chunk=OBJECTS_PER_PAGE):
            self.heard()
            for obj in page.items:
                name = name_of(obj)
                known.discard(name)
                self._put(obj)
                self._queue.add(name)
            last = int(page.resource_version or 0)
            del page
            await asyncio.sleep(0)
        for name in known:
            entry = cache.entry(name)
            if entry is not None and entry.version <= last:
                self._reconciler.forget(name)

    def _put(self, obj: Json) -> None:
        try:
            self._cache.put(obj)
        except Exception:
            log.exception("%s could not be taken in", "/".join(name_of(obj)))
