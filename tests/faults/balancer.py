"""A TCP balancer as a Service is one: new connections go round, open ones stay where they are.

It must not look at what it carries, and it does not ask anybody for their health: endpoints come
and go because somebody says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self

HERE = "127.0.0.1"


class Balancer:
    """Listens on a loopback port. Use it as a context manager, from any thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.carried: dict[int, int] = {}
        """Connections that each endpoint was given."""
        self._endpoints: list[int] = []
        self._next = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._carry, HERE, self.port, backlog=512)
        asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def add(self, port: int) -> None:
        """New connections may go there."""
        self._loop.call_soon_threadsafe(self._endpoints.append, port)

    def remove(self, port: int) -> None:
        """New connections go there no more; open ones stay."""
        self._loop.call_soon_threadsafe(self._endpoints.remove, port)

    async def _close(self) -> None:
        for end in list(self._open):
            end.transport.abort()
        await asyncio.sleep(0.1)  # they notice, each by itself

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._open.add(writer)
        try:
            if not self._endpoints:
                return
            self._next += 1
            port = self._endpoints[self._next % len(self._endpoints)]
            self.carried[port] = self.carried.get(port, 0) + 1
            far_reader, far = await asyncio.open_connection(HERE, port)
            ends.append(far)
            self._open.add(far)
            await asyncio.gather(_pump(reader, far), _pump(far_reader, writer))
        except OSError:  # nobody listens there: closed, as a refused connection is
            pass
        finally:
            for end in ends:
                self._open.discard(end)
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one way until it ends, then say so to the other side: an end is not an abort."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
