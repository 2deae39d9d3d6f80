"""Certificates: a server that holds one is trusted, one that has run out is not."""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.certificates import LOOPBACK, Authority, KeyPair

if TYPE_CHECKING:
    from pathlib import Path


def test_client_certificate_carries_user_and_groups() -> None:
    pair = Authority().issue("alice", ["developers", "night-shift"])
    subject = x509.load_pem_x509_certificate(pair.certificate).subject

    def values(kind: x509.ObjectIdentifier) -> list[object]:
        return [attribute.value for attribute in subject.get_attributes_for_oid(kind)]

    assert values(NameOID.COMMON_NAME) == ["alice"]
    assert values(NameOID.ORGANIZATION_NAME) == ["developers", "night-shift"]


@pytest.mark.parametrize("name", LOOPBACK)
def test_server_certificate_is_trusted_for_its_names(tmp_path: Path, name: str) -> None:
    authority = Authority()
    shake_hands(authority, authority.issue("server", sans=LOOPBACK), name, tmp_path)


def test_server_certificate_is_refused_elsewhere_when_old_and_from_others(tmp_path: Path) -> None:
    authority = Authority()
    good = authority.issue("server", sans=LOOPBACK)
    old = authority.issue("server", sans=LOOPBACK, lifetime=datetime.timedelta(hours=-1))

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(authority, good, "elsewhere", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(authority, old, "localhost", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        shake_hands(Authority(), good, "localhost", tmp_path)


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    _, key = Authority().issue("alice").write(tmp_path, "alice")
    assert key.stat().st_mode & 0o077 == 0


def shake_hands(authority: Authority, pair: KeyPair, name: str, folder: Path) -> None:
    """A TLS handshake in memory, as strict as Python can be."""
    client = ssl.create_default_context(cadata=authority.bundle.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*pair.write(folder, "server"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
