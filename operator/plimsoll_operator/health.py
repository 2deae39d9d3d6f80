"""Plain HTTP for probes and Prometheus: /healthz, /readyz, /metrics, the same in both processes.

It must not import kopf or know what being healthy means: it is given questions to ask.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Question = Callable[[], str | Awaitable[str]]

log = logging.getLogger(__name__)


class HealthServer:
    """Answers probes: 200 if the question's answer is empty, 503 with what is wrong."""

    def __init__(self, registry: CollectorRegistry, *, alive: Question, ready: Question) -> None:
        """alive, ready: say what is wrong, or nothing."""
        self._registry = registry
        self._app = web.Application()
        self._app.router.add_get("/healthz", self._probe(alive))
        self._app.router.add_get("/readyz", self._probe(ready))
        self._app.router.add_get("/metrics", self._metrics)
        self._runner: web.AppRunner | None = None
        self.port = 0
        """Where it listens, once started."""

    @staticmethod
    def _probe(question: Question) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            said = question()
            wrong = await said if inspect.isawaitable(said) else said
            return web.Response(status=503 if wrong else 200, text=(wrong or "ok") + "\n")

        return answer

    async def _metrics(self, _: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def start(self, host: str, port: int) -> None:
        """Listen. port 0 picks a free one; `port` then says which. Raises OSError."""
        self._runner = web.AppRunner(self._app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = self._runner.addresses[0][1]
        log.info("metrics and probes on port %d", self.port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
