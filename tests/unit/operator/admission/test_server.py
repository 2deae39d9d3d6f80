"""The HTTP side over real TLS: bounds on bodies and concurrency, mistakes, drain, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from controlplane.certificates import LOOPBACK, Authority
from plimsoll_operator.admission.review import Answer, Review
from plimsoll_operator.admission.server import (
    MAX_BODY,
    SMALL_BODY,
    AdmissionServer,
    Limits,
    Read,
    read_here,
)
from plimsoll_operator.admission.tls import ServingCertificate
from plimsoll_operator.deciding.errors import Cause, NotDecided

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def body(padding: int = 0) -> bytes:
    request = {"uid": "u1", "operation": "CREATE", "object": {"spec": {}, "padding": "x" * padding}}
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(document).encode()


class Running:
    """A server under test and a client that trusts it."""

    def __init__(self, server: AdmissionServer, session: aiohttp.ClientSession) -> None:
        self.server, self.session = server, session

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}/fit"

    async def post(self, data: Any) -> tuple[int, str]:
        async with self.session.post(self.url, data=data) as response:
            return response.status, await response.text()


@contextlib.asynccontextmanager
async def running(
    folder: Path, judge: Any, limits: Limits | None = None, read_large: Read = read_here
) -> AsyncIterator[Running]:
    authority = Authority()
    pair = authority.issue("admission", sans=LOOPBACK).write(folder, "admission")
    certificate = ServingCertificate(*pair)
    limits = limits or Limits(drain=0.0, grace=2.0)
    server = AdmissionServer(judge, limits=limits, read_large=read_large)
    await server.start("127.0.0.1", 0, certificate.context)
    context = ssl.create_default_context(cadata=authority.bundle.decode())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        try:
            yield Running(server, session)
        finally:
            await server.stop()


async def allow(_: Review) -> Answer:
    return Answer(True)


async def test_a_review_is_answered_with_its_uid(tmp_path: Path) -> None:
    async with running(tmp_path, allow) as it:
        status, text = await it.post(body())
        assert status == 200
        assert json.loads(text)["response"] == {"uid": "u1", "allowed": True}


async def test_what_is_no_review_is_a_bad_request_with_the_reason(tmp_path: Path) -> None:
    async with running(tmp_path, allow) as it:
        assert await it.post(b"{}") == (
            400,
            "the body is not an AdmissionReview: kind is missing or another",
        )


async def test_eight_mebibytes_are_legitimate_and_nine_are_not(tmp_path: Path) -> None:
    async with running(tmp_path, allow) as it:
        assert (await it.post(body(8 << 20)))[0] == 200
        assert (await it.post(body(9 << 20)))[0] == 413
        assert (await it.post(body()))[0] == 200


async def test_nine_mebibytes_that_do_not_say_so_are_refused_too(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * (1 << 20)

    async with running(tmp_path, allow) as it:
        try:
            status, _ = await it.post(chunks())
        except aiohttp.ClientConnectionError:
            status = 413
        assert status == 413
        assert MAX_BODY < 9 << 20


async def test_a_body_that_never_ends_is_given_up_and_others_are_served(tmp_path: Path) -> None:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    limits = Limits(in_flight=2, body_timeout=0.5, drain=0.0, grace=1.0)
    async with running(tmp_path, allow, limits) as it:

        async def endless() -> int:
            try:
                return (await it.post(forever()))[0]
            except aiohttp.ClientConnectionError:
                return 408

        slow = asyncio.create_task(endless())
        await asyncio.sleep(0.1)
        assert (await it.post(body()))[0] == 200
        assert await asyncio.wait_for(slow, 5) == 408


async def test_too_many_reviews_at_once_are_told_to_come_again(tmp_path: Path) -> None:
    free = asyncio.Event()

    async def slow(_: Review) -> Answer:
        await free.wait()
        return Answer(True)

    limits = Limits(in_flight=1, max_waiting=2, drain=0.0, grace=1.0)
    async with running(tmp_path, slow, limits) as it:
        waiting = [asyncio.create_task(it.post(body())) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert (await it.post(body()))[0] == 503
        free.set()
        assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200]


async def test_a_mistake_of_ours_is_a_500_and_never_a_denial(tmp_path: Path) -> None:
    async def broken(_: Review) -> Answer:
        raise KeyError("boom")

    async with running(tmp_path, broken) as it:
        status, text = await it.post(body())
        assert status == 500
        assert "allowed" not in text
        assert "boom" not in text


async def _sent_and_reset(port: int, data: bytes) -> None:
    """Send something, and reset the connection without a word."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0.2)
    own: socket.socket = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_client_that_goes_away_costs_no_line_of_log_and_no_more_reviews(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judged = 0

    async def slowly(_: Review) -> Answer:
        nonlocal judged
        judged += 1
        await asyncio.sleep(0.05)
        return Answer(True)

    head = f"POST /fit HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body())}\r\n\r\n".encode()
    async with running(tmp_path, slowly) as it:
        await _sent_and_reset(it.server.port, head + b"{")
        await _sent_and_reset(it.server.port, (head + body()) * 200)
        before = -1
        while judged > before:
            before = judged
            await asyncio.sleep(0.5)
        assert judged < 150
        assert (await it.post(body()))[0] == 200
    assert caplog.records == []


async def test_what_is_not_decided_is_a_500_that_says_so_and_never_a_denial(
    tmp_path: Path,
) -> None:
    async def undecided(_: Review) -> Answer:
        raise NotDecided(Cause.BUDGET, "Plimsoll has not decided on chat/m: too slow")

    async with running(tmp_path, undecided) as it:
        assert await it.post(body()) == (500, "Plimsoll has not decided on chat/m: too slow")


async def test_a_large_body_is_read_elsewhere_and_a_small_one_at_once(tmp_path: Path) -> None:
    read: list[int] = []

    async def elsewhere(large: bytes) -> Review:
        read.append(len(large))
        return await read_here(large)

    async with running(tmp_path, allow, read_large=elsewhere) as it:
        assert (await it.post(body()))[0] == 200
        assert read == []
        assert (await it.post(body(SMALL_BODY)))[0] == 200
        assert read == [len(body(SMALL_BODY))]


async def test_a_review_under_way_is_finished_before_the_server_stops(tmp_path: Path) -> None:
    async def slow(_: Review) -> Answer:
        await asyncio.sleep(0.5)
        return Answer(True)

    async with running(tmp_path, slow) as it:
        under_way = asyncio.create_task(it.post(body()))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(it.server.stop())
        assert (await under_way)[0] == 200
        await stopping


def _issue(folder: Path, authority: Authority, name: str) -> None:
    authority.issue(name, sans=LOOPBACK).write(folder, "admission")


async def _peer(port: int, context: ssl.SSLContext) -> tuple[str, asyncio.StreamWriter]:
    """The common name that a new handshake shows."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("peercert")["subject"]
    return next(value for part in shown for key, value in part if key == "commonName"), writer


async def test_a_new_certificate_is_served_and_open_connections_stay(tmp_path: Path) -> None:
    authority = Authority()
    _issue(tmp_path, authority, "first")
    certificate = ServingCertificate(tmp_path / "admission.crt", tmp_path / "admission.key")
    server = AdmissionServer(allow, limits=Limits(drain=0.0, grace=1.0))
    await server.start("127.0.0.1", 0, certificate.context)
    context = ssl.create_default_context(cadata=authority.bundle.decode())
    connector = aiohttp.TCPConnector(ssl=context, limit=1)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"https://127.0.0.1:{server.port}/fit"
            async with session.post(url, data=body()) as response:
                assert response.status == 200
                held = response.connection
            _issue(tmp_path, authority, "second")
            assert certificate.reload()
            async with session.post(url, data=body()) as response:
                assert response.status == 200
            assert held is None or not held.closed
            name, writer = await _peer(server.port, context)
            assert name == "second"
            writer.close()
    finally:
        await server.stop()


def test_half_a_new_pair_leaves_the_old_certificate_in_force(tmp_path: Path) -> None:
    authority = Authority()
    _issue(tmp_path, authority, "first")
    told: list[bool] = []
    certificate = ServingCertificate(
        tmp_path / "admission.crt", tmp_path / "admission.key", told.append
    )
    other = authority.issue("second", sans=LOOPBACK)
    (tmp_path / "admission.crt").write_bytes(other.certificate)
    assert not certificate.reload()
    assert told == [False]
    (tmp_path / "admission.key").write_bytes(other.key)
    assert certificate.reload()
    assert told == [False, True]


def test_files_that_are_not_there_stop_the_start_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        ServingCertificate(tmp_path / "no.crt", tmp_path / "no.key")
