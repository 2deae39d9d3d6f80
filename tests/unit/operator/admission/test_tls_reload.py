"""Claims about handshakes while the files of a certificate change under the server's hands."""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from controlplane.certificates import LOOPBACK, Authority, KeyPair
from plimsoll_operator.admission import tls
from plimsoll_operator.admission.app import AdmissionMetrics
from plimsoll_operator.admission.tls import ServingCertificate

if TYPE_CHECKING:
    from pathlib import Path


def served(context: ssl.SSLContext, authority: Authority, name: str) -> str:
    """Common name of the certificate that a new client is shown; the client asks for a name."""
    asking = ssl.create_default_context(cadata=authority.bundle.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = client.getpeercert(binary_form=True)
    assert shown
    (found,) = x509.load_der_x509_certificate(shown).subject
    return str(found.value)


def ending(pair: KeyPair) -> float:
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc.timestamp()


def write(folder: Path, pair: KeyPair) -> tuple[Path, Path]:
    return pair.write(folder, "tls")


@pytest.mark.parametrize("name", LOOPBACK, ids=["by address", "by name"])
def test_a_new_pair_is_shown_to_new_clients_whether_they_ask_for_a_name_or_not(
    tmp_path: Path, name: str
) -> None:
    authority = Authority()
    certificate = ServingCertificate(*write(tmp_path, authority.issue("first", sans=LOOPBACK)))
    assert served(certificate.context, authority, name) == "first"
    write(tmp_path, authority.issue("second", sans=LOOPBACK))
    assert certificate.reload()
    assert served(certificate.context, authority, name) == "second"


def test_files_that_change_while_they_are_read_break_no_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    first, second, third = (
        authority.issue(name, sans=LOOPBACK) for name in ("first", "second", "third")
    )
    paths = write(tmp_path, first)
    certificate = ServingCertificate(*paths)
    load = tls._load

    def torn(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        """The certificate of one pair and the key of the next, as they lay there."""
        certificate.write_bytes(second.certificate)
        key.write_bytes(third.key)
        load(context, certificate, key)

    monkeypatch.setattr(tls, "_load", torn)
    write(tmp_path, second)
    assert not certificate.reload()
    assert served(certificate.context, authority, "127.0.0.1") == "first"
    monkeypatch.undo()
    write(tmp_path, third)
    assert certificate.reload()
    assert served(certificate.context, authority, "127.0.0.1") == "third"


def test_the_metric_says_when_the_certificate_in_use_runs_out(tmp_path: Path) -> None:
    authority, registry = Authority(), CollectorRegistry()
    metrics = AdmissionMetrics(registry)
    pair = authority.issue("first", sans=LOOPBACK)
    certificate = ServingCertificate(*write(tmp_path, pair))
    metrics.watch(certificate)

    def said() -> float | None:
        return registry.get_sample_value("plimsoll_admission_certificate_expiry_timestamp_seconds")

    end = ending(pair)
    assert said() == end
    later = authority.issue("second", sans=LOOPBACK, lifetime=datetime.timedelta(days=30))
    write(tmp_path, later)
    assert said() == end
    assert certificate.reload()
    assert said() == ending(later) > end
