"""The HTTP side of admission: bounded connections, bodies and concurrency, a drain at the end.

It must not judge and must not read a cluster: it is given a function from review to answer.

    415  a Content-Encoding: the API server sends none, and what is small would not stay so
    413  body above `MAX_BODY`        408  body not complete within `body_timeout`
    400  not an AdmissionReview       503  more than `max_waiting` reviews, or too much of bodies
    500  not decided in time, or a bug in us: the webhook's failurePolicy decides, never a silent
         deny
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
from plimsoll_operator.connections import Connection, ConnectionBounds, Connections
from plimsoll_operator.deciding.errors import NotDecided

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

MAX_BODY = (8 << 20) + (256 << 10)
"""Bytes of a body: the API server sends object and old object, up to about 8 MiB together."""

SMALL_BODY = 64 << 10
"""Bytes of a body that is always taken, and read at once: nothing in it takes 20 ms."""

LARGE_BODIES = 32 << 20
"""Bytes of larger bodies that are held at once, by all connections together."""

KEPT = 120.0
"""Seconds that an idle connection is kept: longer than the 90 of the API server (net/http's own
default, which client-go takes), so that it is never we who close one that it is about to use."""

Read = Callable[[bytes], Awaitable[Review]]
Judge = Callable[[Review], Awaitable[Answer]]
Observe = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once.

    connections: see `plimsoll_operator.connections`, as for hurry: seconds for a
    handshake, and for headers. body_timeout: seconds for a whole body. in_flight: reviews being
    judged at a time. max_waiting: those and the ones that wait for a place, their bodies read;
    above it the answer is 503 at once. drain: seconds that the server goes on serving after it was
    told to stop, so that endpoints can forget it. grace: seconds for the reviews that are then
    still under way.
    """

    connections: int = 512
    hurry: float = 5.0
    body_timeout: float = 4.0
    in_flight: int = 64
    max_waiting: int = 512
    drain: float = 5.0
    grace: float = 8.0


class _Refused(Exception):
    """A request that is no review to judge. result: for metrics; close: the connection too."""

    def __init__(self, result: str, status: int, text: str, *, close: bool = True) -> None:
        self.result = result
        headers = {"Retry-After": "1"} if status == 503 else None
        self.response = web.Response(status=status, text=text, headers=headers)
        if close:
            self.response.force_close()


async def read_here(body: bytes) -> Review:
    """The review in a body, read in this process."""
    return read_review(body)


class AdmissionServer:
    """Answers POST on one path over TLS."""

    def __init__(
        self,
        judge: Judge,
        *,
        read_large: Read = read_here,
        limits: Limits | None = None,
        observe: Observe = lambda result, seconds: None,
        path: str = "/fit",
    ) -> None:
        """judge: from review to answer; observe: told the result and the seconds of each call.

        read_large: reads bodies above `SMALL_BODY`, away from the event loop.
        """
        self.limits = limits or Limits()
        self._judge, self._read_large, self._observe = judge, read_large, observe
        self._path = path
        self._places = asyncio.Semaphore(self.limits.in_flight)
        self._waiting = 0
        self._large = 0
        self.draining = False
        bounds = ConnectionBounds(self.limits.connections, self.limits.hurry, KEPT)
        self.connections = Connections(self._handle, bounds)
        self.port = 0

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        assert isinstance(request.protocol, Connection)
        started = time.perf_counter()
        result, response = "error", web.Response(status=500, text="internal error")
        with request.protocol.answering():
            try:
                result, response = await self._answer(request)
                request.protocol.proven = True
            except _Refused as refused:
                result, response = refused.result, refused.response
            except NotDecided as error:
                result, response = "not-decided", web.Response(status=500, text=str(error))
            except asyncio.CancelledError:
                result = "cancelled"
                raise
            except Exception:
                log.exception("a review could not be judged; the webhook's failurePolicy decides")
            finally:
                self._observe(result, time.perf_counter() - started)
        transport = request.protocol.transport
        if self.draining or transport is None or transport.is_closing():
            response.force_close()  # what else was sent on it is answered to nobody
        return response

    async def _answer(self, request: web.BaseRequest) -> tuple[str, web.Response]:
        """The answer to a review. Raises `_Refused` and `NotDecided`."""
        self._check(request)
        body = bytearray()
        try:
            await self._take_in(request, body)
            if self._waiting >= self.limits.max_waiting:
                raise _Refused("busy", 503, "too many reviews at once", close=False)
            self._waiting += 1
            try:
                async with self._places:
                    answer, uid = await self._judged(bytes(body))
            finally:
                self._waiting -= 1
        finally:
            if _large(body):
                self._large -= _large(body)
                self.connections.rush()
        return (
            "allowed" if answer.allowed else "denied",
            web.Response(body=write_answer(uid, answer), content_type="application/json"),
        )

    def _check(self, request: web.BaseRequest) -> None:
        """Refuse what can be refused by its headers."""
        if request.path != self._path:
            raise _Refused("bad-request", 404, f"reviews are answered at {self._path}")
        if request.method != "POST":
            raise _Refused("bad-request", 405, "reviews are sent by POST")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused("bad-request", 415, "a review is sent without any Content-Encoding")
        if request.content_length is not None and request.content_length > MAX_BODY:
            raise _too_large()

    async def _take_in(self, request: web.BaseRequest, body: bytearray) -> None:
        """Read a body as it comes, within all its bounds."""
        try:
            async with asyncio.timeout(self.limits.body_timeout):
                async for chunk in request.content.iter_any():
                    before = _large(body)
                    body += chunk
                    self._large += _large(body) - before
                    if len(body) > MAX_BODY:
                        raise _too_large()
                    if _large(body) and self._large > LARGE_BODIES:
                        raise _Refused("busy", 503, "too many large reviews at once")
        except TimeoutError:
            raise _Refused("timeout", 408, "the body did not end in time") from None
        except web.HTTPException as error:
            raise _Refused("bad-request", error.status, "the body cannot be read") from None
        except OSError:  # whoever sent it is gone, which is no mistake of ours
            raise _Refused("cancelled", 400, "the connection ended within the body") from None

    async def _judged(self, body: bytes) -> tuple[Answer, str]:
        try:
            read = self._read_large if len(body) > SMALL_BODY else read_here
            review = await read(body)
        except NotAReview as error:
            raise _Refused("bad-request", 400, str(error), close=False) from None
        return await self._judge(review), review.uid

    async def start(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Listen. port 0 picks a free one; `port` then says which."""
        self.port = await self.connections.listen(host, port, context)

    async def stop(self) -> None:
        """Drain: serve on for `Limits.drain` seconds closing connections politely, then stop."""
        self.draining = True
        await asyncio.sleep(self.limits.drain)
        await self._let_go()
        await self.connections.close(self.limits.grace)

    async def _let_go(self) -> None:
        """Close the connections that nothing has come over since the drain began, one by one.

        A client that sends while its connection is being closed does not repeat a review: so each
        is closed only if nothing has arrived that is not read yet, and without a moment
        between the look and the end.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.grace):
                while len(self.connections):
                    for connection in self.connections:
                        transport = connection.transport
                        if transport is None or transport.is_closing() or connection.busy:
                            continue
                        if not _has_unread(transport):
                            transport.close()
                    await asyncio.sleep(0.02)


def _large(body: bytearray) -> int:
    """Bytes of a body that count against `LARGE_BODIES`."""
    return len(body) if len(body) > SMALL_BODY else 0


def _too_large() -> _Refused:
    said = f"the body is larger than {MAX_BODY} bytes, which no review is"
    return _Refused("too-large", 413, said)


def _has_unread(transport: asyncio.BaseTransport) -> bool:
    """Whether something has arrived on a connection that nobody has read yet."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
