"""Claims about the certificate that `plimsoll-operator dev` makes for its webhook."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from plimsoll_operator.dev import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


def handshake(folder: Path, made_for: str, asked_for: str) -> None:
    made = make_certificate(made_for, folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate, made.key)
    client = ssl.create_default_context(cadata=made.authority.decode())
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except (OSError, ssl.SSLError):
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with near, client.wrap_socket(near, server_hostname=asked_for) as secure:
            assert secure.version() == "TLSv1.3"
    finally:
        thread.join(5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "host.docker.internal"])
def test_a_client_that_trusts_the_authority_trusts_the_address(host: str, tmp_path: Path) -> None:
    handshake(tmp_path, host, host)


def test_it_is_good_for_no_other_address(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "127.0.0.1", "127.0.0.2")


def test_nobody_else_can_read_the_key(tmp_path: Path) -> None:
    assert make_certificate("127.0.0.1", tmp_path).key.stat().st_mode & 0o077 == 0
