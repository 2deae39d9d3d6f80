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

from plimsoll_operator.connections import PLAIN, PlainServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from plimsoll_operator.connections import ConnectionBounds

    Question = Callable[[], str | Awaitable[str]]

log = logging.getLogger(__name__)


class HealthServer(PlainServer):
    """Answers probes: 200 if the question's answer is empty, 503 with what is wrong."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        alive: Question,
        ready: Question,
        bounds: ConnectionBounds = PLAIN,
    ) -> None:
        """alive, ready: say what is wrong, or nothing."""
        self._registry = registry
        routes = {
            "/healthz": self._probe(alive),
            "/readyz": self._probe(ready),
            "/metrics": self._metrics,
        }
        super().__init__(routes, bounds)

    @staticmethod
    def _probe(question: Question) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def answer(_: web.BaseRequest) -> web.Response:
            said = question()
            wrong = await said if inspect.isawaitable(said) else said
            return web.Response(status=503 if wrong else 200, text=(wrong or "ok") + "\n")

        return answer

    async def _metrics(self, _: web.BaseRequest) -> web.Response:
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def start(self, host: str, port: int) -> None:
        """Listen. port 0 picks a free one; `port` then says which. Raises OSError."""
        await super().start(host, port)
        log.info("metrics and probes on port %d", self.port)
