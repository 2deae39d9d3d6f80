"""Claims about connections over real TLS: how many, how slow, and who has to go."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from controlplane.certificates import LOOPBACK, Authority
from plimsoll_operator.admission.review import Answer, Review
from plimsoll_operator.admission.server import AdmissionServer, Limits
from plimsoll_operator.admission.tls import ServingCertificate
from plimsoll_operator.connections import ConnectionBounds
from plimsoll_operator.controller.page import PageServer
from plimsoll_operator.health import HealthServer
from plimsoll_operator.metrics import new_registry
from unit.operator.admission.test_server import allow, body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Serving:
    """A server, and raw connections to it."""

    def __init__(self, server: AdmissionServer, trust: ssl.SSLContext) -> None:
        self.server, self.trust = server, trust
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, *, tls: bool = True) -> Streams:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=self.trust if tls else None
        )
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(folder: Path, limits: Limits) -> AsyncIterator[Serving]:
    authority = Authority()
    pair = authority.issue("admission", sans=LOOPBACK).write(folder, "admission")
    server = AdmissionServer(allow, limits=limits)
    await server.start("127.0.0.1", 0, ServingCertificate(*pair).context)
    it = Serving(server, ssl.create_default_context(cadata=authority.bundle.decode()))
    try:
        yield it
    finally:
        it.close()
        await server.stop()


def request(data: bytes, *headers: str) -> bytes:
    head = ["POST /fit HTTP/1.1", "Host: x", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


async def status(streams: Streams, sent: bytes) -> int:
    """The status of the answer to a request; the connection stays open."""
    reader, writer = streams
    writer.write(sent)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    await reader.readexactly(length)
    return int(head.split()[1])


async def ends(streams: Streams, within: float) -> bool:
    """Whether the server closes a connection within so many seconds."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(within):
            try:
                await streams[0].read()
            except TimeoutError:
                return False
    return True


def limits(connections: int = 512, hurry: float = 5.0, body_timeout: float = 4.0) -> Limits:
    return Limits(
        connections=connections, hurry=hurry, body_timeout=body_timeout, drain=0.0, grace=0.5
    )


async def test_a_content_encoding_is_refused_unread(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (64 << 20), 9)
    async with serving(tmp_path, limits()) as it:
        for encoding, data in (("gzip", bomb), ("deflate", b"rubbish"), ("br", b""), ("x", body())):
            started = time.monotonic()
            sent = request(data, f"Content-Encoding: {encoding}")
            assert await status(await it.connect(), sent) == 415
            assert time.monotonic() - started < 0.5
        assert await status(await it.connect(), request(body())) == 200


async def test_above_the_cap_the_oldest_idle_goes_and_a_good_review_is_answered(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, limits(connections=50)) as it:
        idle = [await it.connect() for _ in range(60)]
        await asyncio.sleep(0.05)
        assert len(it.server.connections) == 50
        assert [await ends(streams, 0.05) for streams in idle[:10]] == [True] * 10
        assert await status(idle[-1], request(body())) == 200
        assert await status(await it.connect(), request(body())) == 200
        assert await ends(idle[10], 0.5)


async def test_a_connection_that_has_carried_a_review_outlives_those_that_have_not(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, limits(connections=10)) as it:
        api_server = await it.connect()
        assert await status(api_server, request(body())) == 200
        for _ in range(30):
            await it.connect(tls=False)
        await asyncio.sleep(0.15)
        assert len(it.server.connections) == 10
        assert await status(api_server, request(body())) == 200


async def test_if_all_are_being_answered_the_new_one_goes(tmp_path: Path) -> None:
    free = asyncio.Event()

    async def slowly(_: Review) -> Answer:
        await free.wait()
        return Answer(True)

    async with serving(tmp_path, limits(connections=2)) as it:
        it.server._judge = slowly
        busy = [await it.connect() for _ in range(2)]
        answers = [asyncio.create_task(status(each, request(body()))) for each in busy]
        await asyncio.sleep(0.1)
        try:
            assert await ends(await it.connect(tls=False), 0.5)
        finally:
            free.set()
        assert await asyncio.gather(*answers) == [200, 200]


async def test_a_handshake_that_does_not_begin_or_drips_is_ended(tmp_path: Path) -> None:
    async with serving(tmp_path, limits(hurry=0.2)) as it:
        silent = await it.connect(tls=False)
        dripping = await it.connect(tls=False)
        started = time.monotonic()
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03":
            dripping[1].write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert await ends(silent, 1)
        assert await ends(dripping, 1)
        assert time.monotonic() - started < 0.8
        assert len(it.server.connections) == 0


async def test_headers_that_drip_are_given_up_on_a_kept_connection_too(tmp_path: Path) -> None:
    async with serving(tmp_path, limits(hurry=0.2)) as it:
        fresh, kept = await it.connect(), await it.connect()
        assert await status(kept, request(body())) == 200
        await asyncio.sleep(0.3)
        assert await ends(fresh, 0.5)
        assert await status(kept, request(body())) == 200  # idle for longer, and welcome
        started = time.monotonic()
        dripping = asyncio.create_task(ends(kept, 2))
        for _ in range(30):
            if dripping.done():
                break
            kept[1].write(b"POST /fit HTTP/1.1\r\nHost: x\r\nX-A: " if _ == 0 else b"a")
            await asyncio.sleep(0.02)
        assert await dripping
        assert time.monotonic() - started < 0.6


async def test_slow_bodies_take_no_place_from_good_reviews_and_are_closed(tmp_path: Path) -> None:
    given = Limits(in_flight=1, max_waiting=2, body_timeout=0.4, drain=0.0, grace=0.5)
    async with serving(tmp_path, given) as it:
        slow = [await it.connect() for _ in range(20)]
        for _, writer in slow:
            writer.write(b"POST /fit HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{")
        await asyncio.sleep(0.05)
        started = time.monotonic()
        assert await status(await it.connect(), request(body())) == 200
        assert time.monotonic() - started < 0.3
        for reader, _ in slow:
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 408")
        assert all([await ends(streams, 1.5) for streams in slow])


async def test_large_bodies_are_held_up_to_a_bound_and_small_ones_are_taken_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_operator.admission.server.LARGE_BODIES", 1 << 20)
    async with serving(tmp_path, limits(body_timeout=1.0)) as it:
        holding = await it.connect()
        holding[1].write(request(body(2 << 20))[: 900 << 10])
        for _ in range(90):
            if it.server._large > 800 << 10:
                break
            await asyncio.sleep(0.01)
        assert await status(await it.connect(), request(body(400 << 10))) == 503
        assert await status(await it.connect(), request(body())) == 200
        assert await ends(holding, 3)
        assert await status(await it.connect(), request(body(400 << 10))) == 200


async def test_other_paths_and_methods_are_no_reviews(tmp_path: Path) -> None:
    async with serving(tmp_path, limits()) as it:
        other = request(body()).replace(b"/fit", b"/other")
        assert await status(await it.connect(), other) == 404
        got = request(body()).replace(b"POST", b"PUT")
        assert await status(await it.connect(), got) == 405


def contexts(folder: Path) -> tuple[ServingCertificate, Authority, Authority]:
    """A server that only serves whom the second authority vouches for; both authorities."""
    servers, clients = Authority(), Authority()
    pair = servers.issue("admission", sans=LOOPBACK).write(folder, "admission")
    (folder / "clients.crt").write_bytes(clients.bundle)
    return ServingCertificate(*pair, clients=folder / "clients.crt"), servers, clients


def client(servers: Authority, folder: Path, vouching: Authority | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=servers.bundle.decode())
    if vouching is not None:
        context.load_cert_chain(*vouching.issue("api-server").write(folder, "client"))
    return context


async def answered(port: int, context: ssl.SSLContext) -> bool:
    """Whether a client's review is answered."""
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.post(f"https://127.0.0.1:{port}/fit", data=body()) as response,
        ):
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def test_with_client_authorities_only_whom_they_vouch_for_is_answered(
    tmp_path: Path,
) -> None:
    certificate, servers, clients = contexts(tmp_path)
    server = AdmissionServer(allow, limits=limits())
    await server.start("127.0.0.1", 0, certificate.context)
    try:
        assert await answered(server.port, client(servers, tmp_path, clients))
        assert not await answered(server.port, client(servers, tmp_path, None))
        assert not await answered(server.port, client(servers, tmp_path, Authority()))
    finally:
        await server.stop()


async def test_new_client_authorities_are_taken_up_while_serving(tmp_path: Path) -> None:
    certificate, servers, clients = contexts(tmp_path)
    server = AdmissionServer(allow, limits=limits())
    await server.start("127.0.0.1", 0, certificate.context)
    try:
        before, after = client(servers, tmp_path, clients), Authority()
        assert await answered(server.port, before)
        (tmp_path / "clients.crt").write_bytes(b"half a certificate")
        assert not certificate.reload()
        assert await answered(server.port, before)
        (tmp_path / "clients.crt").write_bytes(after.bundle)
        assert certificate.reload()
        assert not await answered(server.port, before)
        assert await answered(server.port, client(servers, tmp_path, after))
    finally:
        await server.stop()


@pytest.mark.parametrize("port", ["metrics", "page"])
async def test_silent_connections_keep_nobody_from_a_plain_port(port: str) -> None:
    """The probes of both processes and their metrics; and the controller's page."""
    bounds = ConnectionBounds(most=20, hurry=0.6, kept=0.9)

    async def page() -> bytes:
        return b"<p>page"

    def fine() -> str:
        return ""

    server: HealthServer | PageServer
    if port == "metrics":
        server = HealthServer(new_registry(), alive=fine, ready=fine, bounds=bounds)
        await server.start("127.0.0.1", 0)
    else:
        server = PageServer(page, 60.0, bounds)
        await server.start(0)
    held: list[Streams] = []

    async def connect() -> Streams:
        held.append(await asyncio.open_connection("127.0.0.1", server.port))
        return held[-1]

    path = "/healthz" if port == "metrics" else "/"
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    try:
        kept = await connect()
        assert await status(kept, asked) == 200
        silent = [await connect() for _ in range(40)]
        for _, writer in silent[::2]:
            writer.write(asked[:20])
        started = time.monotonic()
        assert await status(await connect(), asked) == 200
        assert await status(kept, asked) == 200  # what has been answered before goes last
        assert time.monotonic() - started < 0.5
        assert len(server.connections) <= 20
        assert all([await ends(streams, 1.0) for streams in silent])
        assert await ends(kept, 1.5)
        assert len(server.connections) == 0
        assert await status(await connect(), asked) == 200
        assert await status(await connect(), asked.replace(path.encode(), b"/none", 1)) == 404
        assert await status(await connect(), asked.replace(b"GET", b"POST", 1)) == 405
    finally:
        for _, writer in held:
            writer.transport.abort()
        await server.stop()
