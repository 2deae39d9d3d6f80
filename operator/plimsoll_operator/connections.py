"""The connections to a port of ours: how many, for how long, and who goes when there are too many.

    handshake            over TLS, within `ConnectionBounds.hurry` seconds
    headers of a request within as many seconds from the first byte of them on (of the first
                         request from the handshake on), however slowly they drip
    too many             the oldest goes that is not being answered, first of those that nothing
                         good has come over; if all are being answered, the new one goes
    accepted             `BATCH` at a time with a pause, so that a flood of handshakes leaves time
                         to answer

It must not read what comes over a connection: aiohttp does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from asyncio import sslproto
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from plimsoll_operator.memory import give_back

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

READ_BUFFER: Final = 16 << 10
"""Bytes that are read from a connection at once. asyncio keeps a buffer of that size for each
connection over TLS, 256 KiB unless told otherwise; a TLS record has no more than this."""
BACKLOG: Final = 1024
BATCH: Final = 4
PAUSE: Final = 0.01
"""Seconds between batches, 400 handshakes a second at most; and as much again as the event loop is
late, times `YIELD`, so that handshakes come last; without TLS there are none."""
YIELD: Final = 5.0
LOOK: Final = 0.5
"""Seconds between looks at who takes too long."""
RUSH: Final = 64
"""Connections that have ended since memory was last given back, after which it is again."""

quiet: Final = logging.getLogger(f"{__name__}.http")
"""The logger that aiohttp tells of requests that are no HTTP: anybody can send those."""
quiet.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """most: connections at once. hurry: see above. kept: seconds that an idle one is kept."""

    most: int
    hurry: float
    kept: float


class Connection(RequestHandler):
    """One connection, from when it is accepted on.

    since: when it last got anywhere: accepted, or a request answered. due: when the handshake, or
    the headers that have begun, must be complete. busy: a request is being answered. proven: a
    good one has come over it. shaking: the handshake, until it is done.
    """

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop, hurry: float) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=quiet,
            logger=quiet,
            auto_decompress=False,
            lingering_time=1.0,
            keepalive_timeout=3600.0,  # never: `Connections` looks after that
        )
        self._hurry = hurry
        self.since = loop.time()
        self.due = self.since + hurry
        self.busy = self.proven = False
        self.shaking: asyncio.Task[None] | None = None
        self.ended: Callable[[Connection], None] = lambda connection: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        super().connection_made(transport)
        self.due = self._loop.time() + self._hurry

    def data_received(self, data: bytes) -> None:
        """Something came; between requests it is the beginning of headers."""
        if not self.busy and self.due == math.inf:
            self.due = self._loop.time() + self._hurry
        super().data_received(data)

    def connection_lost(self, error: BaseException | None) -> None:
        """It is over."""
        self.ended(self)
        super().connection_lost(error)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """A request's headers are complete; until the end of the block it is being answered."""
        self.busy, self.due = True, math.inf
        try:
            yield
        finally:
            self.busy, self.since = False, self._loop.time()

    def end(self) -> None:
        """Close it at once, whatever state it is in."""
        if self.shaking is not None and not self.shaking.done():
            self.shaking.cancel()
        elif self.transport is not None:
            self.transport.abort()


class Connections:
    """All connections of a server."""

    def __init__(self, handle: Handle, bounds: ConnectionBounds) -> None:
        """handle: answers one request."""
        self._bounds = bounds
        self._manager = web.Server(handle)
        self._open: set[Connection] = set()
        self._sockets: list[socket.socket] = []
        self._looking: asyncio.Task[None] | None = None
        self._used = 0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Accept connections from now on; the port. context: unset for plain HTTP.

        Raises OSError.
        """
        if context is not None:
            sslproto.SSLProtocol.max_size = READ_BUFFER
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        listener.setblocking(False)
        self._sockets.append(listener)
        self._accept_from(listener, context, loop.time())
        self._looking = loop.create_task(self._look())
        return int(listener.getsockname()[1])

    async def close(self, grace: float) -> None:
        """Accept nothing more, give what is under way a while, and close everything."""
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            loop.remove_reader(listener)
            listener.close()
        self._sockets.clear()
        if self._looking is not None:
            self._looking.cancel()
        for connection in self:
            if connection.shaking is not None:
                connection.shaking.cancel()
        self._manager.pre_shutdown()
        await self._manager.shutdown(grace)

    def _accept_from(
        self, listener: socket.socket, context: ssl.SSLContext | None, due: float
    ) -> None:
        """Accept again, now or later. due: when this was to happen."""
        loop = asyncio.get_running_loop()
        late = loop.time() - due
        if listener.fileno() < 0:
            return
        if late > PAUSE and context is not None:
            pause = YIELD * late
            loop.call_later(pause, self._accept_from, listener, context, loop.time() + pause)
        else:
            loop.add_reader(listener, self._accept, listener, context)

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept a batch, then pause."""
        loop = asyncio.get_running_loop()
        for _ in range(BATCH):
            try:
                accepted, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no more file descriptors, most likely
                log.warning("a connection could not be accepted: %s", error)
                break
            if len(self._open) >= self._bounds.most and not self._make_room():
                accepted.close()
                continue
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self._manager, loop, self._bounds.hurry)
            self._open.add(connection)
            connection.shaking = loop.create_task(self._shake(connection, accepted, context))
        loop.remove_reader(listener)
        loop.call_later(PAUSE, self._accept_from, listener, context, loop.time() + PAUSE)

    async def _shake(
        self, connection: Connection, accepted: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        """See a connection through its handshake, over TLS."""
        connection.ended = self._forget if context is None else self._used_up
        bounds = {"ssl_handshake_timeout": self._bounds.hurry, "ssl_shutdown_timeout": 1.0}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=context,
                **(bounds if context is not None else {}),
            )
        except OSError:  # no TLS, too slow, not to be trusted: the other side knows
            connection.ended(connection)
        except asyncio.CancelledError:
            connection.ended(connection)
            raise

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _used_up(self, connection: Connection) -> None:
        """Forget one over TLS, which has taken memory."""
        self._forget(connection)
        self._used += 1

    def rush(self) -> None:
        """Much memory was used for a moment: it can be given back."""
        self._used += RUSH

    def _make_room(self) -> bool:
        """Close the oldest connection that may go. Whether there was one."""
        idle = [connection for connection in self._open if not connection.busy]
        if not idle:
            return False
        oldest = min(idle, key=lambda connection: (connection.proven, connection.since))
        self._open.discard(oldest)
        oldest.end()
        return True

    async def _look(self) -> None:
        """Close whoever takes too long, and what has been idle for long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(LOOK, self._bounds.hurry / 4))
            now = loop.time()
            for connection in self:
                if connection.busy:
                    continue
                if connection.due < now or connection.since + self._bounds.kept < now:
                    self._open.discard(connection)
                    connection.end()
            if self._used >= RUSH:
                self._used = 0
                give_back()


PLAIN: Final = ConnectionBounds(most=64, hurry=5.0, kept=120.0)
"""Of a port that probes, Prometheus or a browser asks, over plain HTTP."""


class PlainServer:
    """Answers GET and HEAD of some paths over plain HTTP, whoever else holds connections."""

    def __init__(self, routes: Mapping[str, Handle], bounds: ConnectionBounds = PLAIN) -> None:
        """routes: who answers, by path."""
        self._routes = routes
        self.connections = Connections(self._handle, bounds)
        self.port = 0
        """Where it listens, once started."""

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request.protocol, Connection)
        answer = self._routes.get(request.path)
        with request.protocol.answering():
            if answer is None:
                return web.Response(status=404, text="not found\n")
            if request.method not in ("GET", "HEAD"):
                return web.Response(status=405, text="only read\n", headers={"Allow": "GET, HEAD"})
            try:
                response = await answer(request)
            except Exception:
                log.exception("%s could not be answered", request.path)
                return web.Response(status=500, text="internal error\n")
            request.protocol.proven = True
            return response

    async def start(self, host: str, port: int) -> None:
        """Listen. port 0 picks a free one; `port` then says which. Raises OSError."""
        self.port = await self.connections.listen(host, port)

    async def stop(self) -> None:
        """Stop listening; what is being answered has a second left."""
        await self.connections.close(1.0)
