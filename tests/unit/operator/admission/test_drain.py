"""Claims about the end of admission: whoever asks until then is answered, and nobody is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp

from controlplane.certificates import LOOPBACK, Authority
from plimsoll_operator.admission.review import Answer, Review
from plimsoll_operator.admission.server import AdmissionServer, Limits
from plimsoll_operator.admission.tls import ServingCertificate

if TYPE_CHECKING:
    from pathlib import Path

REVIEW = json.dumps(
    {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "u1", "operation": "CREATE", "object": {"spec": {}}},
    }
)


async def slowly(_: Review) -> Answer:
    await asyncio.sleep(0.01)
    return Answer(True)


async def serving(folder: Path, limits: Limits) -> tuple[AdmissionServer, ssl.SSLContext]:
    authority = Authority()
    pair = authority.issue("admission", sans=LOOPBACK).write(folder, "admission")
    server = AdmissionServer(slowly, limits=limits)
    await server.start("127.0.0.1", 0, ServingCertificate(*pair).context)
    return server, ssl.create_default_context(cadata=authority.bundle.decode())


async def test_whoever_asks_during_the_drain_is_answered_and_asked_to_go_elsewhere(
    tmp_path: Path,
) -> None:
    server, trust = await serving(tmp_path, Limits(drain=0.5, grace=2.0))
    url, outcomes = f"https://127.0.0.1:{server.port}/fit", Counter[str]()
    served, everybody = set[float](), asyncio.Event()

    async def client(pause: float) -> None:
        """Over one connection, until it is told that this is the last answer."""
        connector = aiohttp.TCPConnector(ssl=trust, limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                try:
                    async with session.post(url, data=REVIEW) as response:
                        outcomes[str(response.status)] += 1
                        last = response.headers.get("Connection") == "close"
                        served.add(pause)
                        if len(served) == len(clients):
                            everybody.set()
                except aiohttp.ClientError as error:
                    outcomes[f"cut off: {error!r}"] += 1
                    return
                if last:
                    outcomes["went elsewhere"] += 1
                    return
                await asyncio.sleep(pause)

    clients = [asyncio.create_task(client(0.015 * n)) for n in range(1, 21)]
    await everybody.wait()
    await asyncio.sleep(0.5)
    await server.stop()
    await asyncio.gather(*clients)
    assert set(outcomes) == {"200", "went elsewhere"}, outcomes
    assert outcomes["went elsewhere"] == len(clients)
    assert outcomes["200"] > 2 * len(clients)


async def test_a_connection_that_nothing_comes_over_ends_with_the_drain_not_before(
    tmp_path: Path,
) -> None:
    server, trust = await serving(tmp_path, Limits(drain=0.3, grace=5.0))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trust)
    started = time.monotonic()
    stopping = asyncio.create_task(server.stop())
    assert await reader.read() == b""
    assert 0.3 <= time.monotonic() - started < 2.0
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    await stopping
    assert time.monotonic() - started < 2.0, "waited for nobody"
