"""The page of `plimsoll report` of this cluster, served to whoever reaches this pod's loopback.

    kubectl port-forward deploy/plimsoll-controller 8081    then http://localhost:8081

It only reads: LLMDeployments as they are watched and, where they are audited, other people's
kinds. Each object is decided apart, one after another; a page is kept for some seconds, and only
one is made at a time. A name that another site's host resolves to is not answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

import plimsoll
from plimsoll.api_group import KIND
from plimsoll.report.page.html import About, content_policy, page
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, in_words
from plimsoll_operator.cluster.objects import name_of
from plimsoll_operator.connections import PLAIN, PlainServer
from plimsoll_operator.controller.cache import unpack
from plimsoll_operator.controller.others import Others
from plimsoll_operator.controller.page_task import PageJob
from plimsoll_operator.deciding.beside import in_rounds
from plimsoll_operator.deciding.errors import NotDecided, TaskFault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from plimsoll.decision.policy import Policy
    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.page.objects import Row
    from plimsoll.workloads.llmdeployment import Missing
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.known import ClusterKnowledge
    from plimsoll_operator.cluster.objects import Json
    from plimsoll_operator.connections import ConnectionBounds, Connections
    from plimsoll_operator.controller.cache import ObjectCache
    from plimsoll_operator.deciding.beside import Found, Missed, Wanted

    Decide = Callable[[Inventory, PageJob, str], Awaitable[tuple[Row, ...] | Missed]]
    Look = Callable[[Wanted], Awaitable[Mapping[str, Any] | Missing | None]]

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
HOSTS: Final = frozenset({"localhost", LOOPBACK, "[::1]"})
"""By which a page is asked for through a port that is forwarded."""
MOST_OBJECTS: Final = 2_000
"""Objects of one page."""
MOST_SECONDS: Final = 60.0
"""Seconds after which a page is made of what was decided until then."""
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageMaker:
    """Makes the page of what is known of a cluster."""

    def __init__(
        self,
        client: Client,
        cache: ObjectCache,
        known: ClusterKnowledge,
        decide: Decide,
        *,
        others: bool,
        resolved_in: str = "",
    ) -> None:
        """others: whether other people's kinds may be read. resolved_in: see `Others`."""
        self._client, self._cache, self._known = client, cache, known
        self._decide, self._others, self._resolved_in = decide, others, resolved_in

    async def make(self) -> bytes:
        """The page as it is now."""
        rows: list[Row] = []
        unread: list[str] = []
        seen, inventory = 0, self._known.nodes.inventory
        try:
            async with asyncio.timeout(MOST_SECONDS), aclosing(self._objects(unread)) as objects:
                async for obj, policy, look in objects:
                    if seen == MOST_OBJECTS:
                        unread.append(f"objects beyond the first {MOST_OBJECTS:,} are left out")
                        break
                    seen += 1
                    rows += await self._rows(inventory, obj, policy, look, unread)
        except TimeoutError:
            unread.append(f"what was not decided within {MOST_SECONDS:g} s is left out")
        except (ApiError, *UNREACHABLE, ValueError) as error:
            unread.append(in_words(error))
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        about = About("cluster", made, plimsoll.__version__)
        return await asyncio.to_thread(lambda: page(rows, unread, inventory, about).encode())

    async def _objects(self, unread: list[str]) -> AsyncGenerator[tuple[Json, Policy, Look]]:
        """LLMDeployments first, then the others, each with its policy and where to look."""

        async def watched(wanted: Wanted) -> Mapping[str, Any] | Missing | None:
            return self._known.beside(wanted)

        for name in sorted(self._cache.names()):
            entry = self._cache.entry(name)
            if entry is not None:
                yield unpack(entry.packed), self._known.policy(name[0]), watched
        if self._others:
            others = Others(self._client, self._known, self._resolved_in)
            async for other in others.each():
                yield other.obj, other.policy, others.beside
            unread += others.unlisted

    async def _rows(
        self, inventory: Inventory, obj: Json, policy: Policy, look: Look, unread: list[str]
    ) -> tuple[Row, ...]:
        namespace, name = name_of(obj)

        async def ask(found: Found, last: bool) -> tuple[Row, ...] | Missed:
            return await self._decide(inventory, PageJob(obj, policy, found, last), namespace)

        try:
            return await in_rounds(ask, look)
        except NotDecided as error:
            why = str(error)
        except TaskFault as fault:
            log.error("%s/%s is not on the page, after a fault of ours: %s", namespace, name, fault)
            why = f"a fault of Plimsoll ({fault.kind})"
        unread.append(f"{obj.get('kind') or KIND} {namespace}/{name}: {why}")
        return ()


class PageServer:
    """Serves one page on the loopback address, and nothing else."""

    def __init__(
        self,
        make: Callable[[], Awaitable[bytes]],
        seconds: float,
        bounds: ConnectionBounds = PLAIN,
    ) -> None:
        """seconds: for which a page is kept, from when it was made."""
        self._make, self._seconds = make, seconds
        self._lock = asyncio.Lock()
        self._kept, self._until = b"", 0.0
        self._headers = {
            **HEADERS,
            "Content-Security-Policy": f"{content_policy()}; frame-ancestors 'none'",
        }
        self._server = PlainServer({"/": self._answer}, bounds)

    @property
    def connections(self) -> Connections:
        """Those that are open."""
        return self._server.connections

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return self._server.port

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        host, colon, port = request.host.rpartition(":")
        if (host if colon and port.isdecimal() else request.host).lower() not in HOSTS:
            said = f"ask for it as http://localhost:{self.port}\n"
            return web.Response(status=421, text=said, headers=HEADERS)
        return web.Response(
            body=await self._page(),
            content_type="text/html",
            charset="utf-8",
            headers=self._headers,
        )

    async def _page(self) -> bytes:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._kept = await self._make()
                self._until = time.monotonic() + self._seconds
            return self._kept

    async def start(self, port: int) -> None:
        """Listen. port 0 picks a free one; `port` then says which. Raises OSError."""
        await self._server.start(LOOPBACK, port)
        log.info("page on port %d of %s", self.port, LOOPBACK)

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop()
