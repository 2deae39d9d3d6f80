"""The HTTP side of admission: bounded bodies, bounded concurrency, a drain at the end.

It must not judge and must not read a cluster: it is given a function from review to answer.

    413  body above `MAX_BODY`        408  body not complete within `body_timeout`
    400  not an AdmissionReview       503  more than `max_waiting` reviews at once
    500  a bug in us: the webhook's failurePolicy decides, never a silent deny
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from plimsoll_operator.admission.review import Answer, NotAReview, Review, read_review, write_answer

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

MAX_BODY = (8 << 20) + (256 << 10)
"""Bytes of a body: the API server sends object and old object, up to about 8 MiB together."""

KEPT = 120.0
"""Seconds that an idle connection is kept: longer than the 90 of the API server (net/http's own
default, which client-go takes), so that it is never we who close one that it is about to use."""

Judge = Callable[[Review], Awaitable[Answer]]
Observe = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once.

    in_flight: reviews being read and judged at a time. max_waiting: those and the ones that wait
    for a place; above it the answer is 503 at once. body_timeout: seconds for a whole body.
    drain: seconds that the server goes on serving after it was told to stop, so that endpoints
    can forget it. grace: seconds for the reviews that are then still under way.
    """

    in_flight: int = 64
    max_waiting: int = 512
    body_timeout: float = 4.0
    drain: float = 5.0
    grace: float = 8.0


class AdmissionServer:
    """An aiohttp application that answers POST on one path over TLS."""

    def __init__(
        self,
        judge: Judge,
        *,
        limits: Limits | None = None,
        observe: Observe = lambda result, seconds: None,
        path: str = "/fit",
    ) -> None:
        """judge: from review to answer; observe: told the result and the seconds of each call."""
        self.limits = limits or Limits()
        self._judge, self._observe = judge, observe
        self._places = asyncio.Semaphore(self.limits.in_flight)
        self._waiting = 0
        self._busy: set[web.RequestHandler] = set()
        self.draining = False
        self.app = web.Application(client_max_size=MAX_BODY)
        self.app.router.add_post(path, self._handle)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def _handle(self, request: web.Request) -> web.Response:
        started = time.perf_counter()
        result, response = "error", web.Response(status=500, text="internal error")
        self._busy.add(request.protocol)
        try:
            result, response = await self._answer(request)
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        except Exception:
            log.exception("a review could not be judged; the webhook's failurePolicy decides")
        finally:
            self._busy.discard(request.protocol)
            self._observe(result, time.perf_counter() - started)
        if self.draining:
            response.force_close()
        return response

    async def _answer(self, request: web.Request) -> tuple[str, web.Response]:
        if request.content_length is not None and request.content_length > MAX_BODY:
            return self._too_large()
        if self._waiting >= self.limits.max_waiting:
            return "busy", web.Response(
                status=503, text="too many reviews at once", headers={"Retry-After": "1"}
            )
        self._waiting += 1
        try:
            async with self._places:
                try:
                    async with asyncio.timeout(self.limits.body_timeout):
                        body = await request.read()
                except TimeoutError:
                    response = web.Response(status=408, text="the body did not end in time")
                    response.force_close()
                    return "timeout", response
                except web.HTTPRequestEntityTooLarge:
                    return self._too_large()
                try:
                    review = read_review(body)
                except NotAReview as error:
                    return "bad-request", web.Response(status=400, text=str(error))
                answer = await self._judge(review)
        finally:
            self._waiting -= 1
        return (
            "allowed" if answer.allowed else "denied",
            web.Response(body=write_answer(review.uid, answer), content_type="application/json"),
        )

    @staticmethod
    def _too_large() -> tuple[str, web.Response]:
        response = web.Response(
            status=413, text=f"the body is larger than {MAX_BODY} bytes, which no review is"
        )
        response.force_close()
        return "too-large", response

    async def start(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Listen. port 0 picks a free one; `port` then says which."""
        self._runner = web.AppRunner(
            self.app, access_log=None, shutdown_timeout=self.limits.grace, keepalive_timeout=KEPT
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=context, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Drain: serve on for `Limits.drain` seconds closing connections politely, then stop."""
        self.draining = True
        await asyncio.sleep(self.limits.drain)
        if self._runner is not None:
            await self._let_go(self._runner)
            await self._runner.cleanup()

    async def _let_go(self, runner: web.AppRunner) -> None:
        """Close the connections that nothing has come over since the drain began, one by one.

        A client that sends while its connection is being closed does not repeat a review: so each
        is closed only where nothing has arrived that is not read yet, and without a moment
        between the look and the end.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.grace):
                while runner.server is not None and runner.server.connections:
                    for protocol in runner.server.connections:
                        transport = protocol.transport
                        if transport is None or transport.is_closing() or protocol in self._busy:
                            continue
                        if not _has_unread(transport):
                            transport.close()
                    await asyncio.sleep(0.02)


def _has_unread(transport: asyncio.BaseTransport) -> bool:
    """Whether something has arrived on a connection that nobody has read yet."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
