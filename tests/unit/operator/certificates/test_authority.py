"""Claims about certificates as such: who trusts them, for what names, for how long."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from plimsoll_operator.certificates.authority import (
    CLOCKS_DIFFER,
    Pair,
    bundle,
    due,
    general_name,
    is_for,
    is_signed_by,
    is_valid,
    make_authority,
    make_serving,
    read_pair,
    read_roots,
)

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("plimsoll-webhook.plimsoll-system.svc", "127.0.0.1")


def certificate(pair: Pair) -> x509.Certificate:
    found = read_pair(pair)
    assert found is not None
    return found


def handshake(server: Pair, trusted: bytes, name: str, folder: Path) -> str:
    """Verify as the API server does; what went wrong, or nothing. In memory, without sockets."""
    (folder / "tls.crt").write_bytes(server.certificate)
    (folder / "tls.key").write_bytes(server.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    asking = ssl.create_default_context(cadata=trusted.decode())
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    far = serving.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error.verify_message if hasattr(error, "verify_message") else str(error)
    return ""


def test_a_serving_certificate_is_trusted_by_whoever_trusts_its_authority(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority, stranger = make_authority(DAY, now), make_authority(DAY, now)
    serving = make_serving(authority, NAMES, DAY, now)
    for name in NAMES:
        assert handshake(serving, authority.certificate, name, tmp_path) == ""
    assert "mismatch" in handshake(serving, authority.certificate, "other.svc", tmp_path).lower()
    both = stranger.certificate + authority.certificate
    assert handshake(serving, both, NAMES[0], tmp_path) == ""
    assert handshake(serving, stranger.certificate, NAMES[0], tmp_path) != ""


def test_two_authorities_are_told_apart_by_name_and_by_key() -> None:
    one, other = make_authority(DAY, NOW), make_authority(DAY, NOW)
    leaf = certificate(make_serving(one, NAMES, DAY, NOW))
    assert certificate(one).subject != certificate(other).subject
    assert is_signed_by(leaf, certificate(one))
    assert not is_signed_by(leaf, certificate(other))


def test_a_serving_certificate_never_outlives_its_authority() -> None:
    authority = make_authority(DAY, NOW)
    leaf = certificate(make_serving(authority, NAMES, 90 * DAY, NOW))
    assert leaf.not_valid_after_utc == NOW + DAY


def test_a_certificate_is_due_after_two_thirds_of_the_life_it_was_given() -> None:
    authority = certificate(make_authority(90 * DAY, NOW))
    assert due(authority) == NOW + 60 * DAY
    assert authority.not_valid_before_utc == NOW - CLOCKS_DIFFER
    assert is_valid(authority, NOW)
    assert not is_valid(authority, NOW + 90 * DAY)
    assert not is_valid(authority, NOW - 2 * CLOCKS_DIFFER)


def test_an_authority_signs_servers_only_and_no_other_authorities() -> None:
    authority = certificate(make_authority(DAY, NOW))
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert (limits.value.ca, limits.value.path_length) == (True, 0)


def test_a_pair_that_is_none_is_seen() -> None:
    one, other = make_authority(DAY, NOW), make_authority(DAY, NOW)
    assert read_pair(one)
    for wrong in (
        Pair(one.certificate, other.key),
        Pair(b"", b""),
        Pair(one.certificate, b"rubbish"),
        Pair(one.certificate[:100], one.key),
        Pair(b"\xff\x00", one.key),
    ):
        assert read_pair(wrong) is None


def test_a_bundle_is_read_past_what_is_damaged_in_it() -> None:
    one, other = make_authority(DAY, NOW), make_authority(DAY, NOW)
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    roots = read_roots(one.certificate + broken + other.certificate + b"more")
    assert roots == (certificate(one), certificate(other))
    assert bundle((*roots, roots[0])) == one.certificate + other.certificate
    assert read_roots(b"") == ()


def test_a_certificate_is_for_the_names_it_was_issued_for_and_no_others() -> None:
    leaf = certificate(make_serving(make_authority(DAY, NOW), NAMES, DAY, NOW))
    assert is_for(leaf, NAMES)
    assert is_for(leaf, NAMES[:1])
    assert not is_for(leaf, ["other.svc"])
    assert not is_for(certificate(make_authority(DAY, NOW)), NAMES)


@pytest.mark.parametrize("name", ["", "a b", "https://a", "ümlaut", "host:443"])
def test_what_is_no_name_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor an IP address"):
        general_name(name)
