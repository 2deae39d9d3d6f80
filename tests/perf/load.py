"""Requests to a server of ours: as many as it takes on so many connections, or at a steady rate.

It must not go anywhere but to loopback, and it ends by itself.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured. seconds: in all; latencies: of each answer, in milliseconds."""

    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds


async def _post(session: aiohttp.ClientSession, url: str, body: bytes, wanted: bytes) -> float:
    start = time.perf_counter()
    async with session.post(url, data=body, headers=JSON) as response:
        answer = await response.read()
        if response.status >= 300 or wanted not in answer:
            raise AssertionError(f"{response.status}: {answer[:400]!r}")
    return (time.perf_counter() - start) * 1e3


def _session(context: ssl.SSLContext, connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=connections))


async def as_fast(
    url: str, context: ssl.SSLContext, bodies: Sequence[bytes], connections: int, wanted: bytes
) -> Load:
    """Send all bodies over that many connections, each as soon as its last was answered."""
    latencies: list[float] = []
    queue = iter(bodies)

    async def worker(session: aiohttp.ClientSession) -> None:
        for body in queue:
            latencies.append(await _post(session, url, body, wanted))

    async with _session(context, connections) as session:
        start = time.perf_counter()
        await asyncio.gather(*(worker(session) for _ in range(connections)))
        return Load(time.perf_counter() - start, latencies)


async def at_rate(
    url: str, context: ssl.SSLContext, bodies: Sequence[bytes], per_second: float, wanted: bytes
) -> Load:
    """Send the bodies at a steady rate, whether the ones before were answered or not."""
    latencies: list[float] = []

    async def one(session: aiohttp.ClientSession, body: bytes) -> None:
        latencies.append(await _post(session, url, body, wanted))

    async with _session(context, 64) as session:
        start = time.perf_counter()
        tasks = []
        for number, body in enumerate(bodies):
            delay = start + number / per_second - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.append(asyncio.create_task(one(session, body)))
        await asyncio.gather(*tasks)
        return Load(time.perf_counter() - start, latencies)
