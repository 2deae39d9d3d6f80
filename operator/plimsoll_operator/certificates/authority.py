"""Certificates as such: an authority, a serving certificate signed by it, and reading them again.

It must not know Secrets or the cluster, or decide when a certificate is due. All texts are PEM.

    issued at = notBefore + `CLOCKS_DIFFER`      due = issued at + 2/3 x (notAfter - issued at)
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""How far a certificate is dated back: the API server's clock may be behind ours."""
DUE_AFTER: Final = 2 / 3
"""The part of its life after which a certificate is replaced."""
_NO_PASSWORD: Final = serialization.NoEncryption()


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key (PKCS #8), both PEM."""

    certificate: bytes
    key: bytes


def make_authority(lifetime: timedelta, now: datetime) -> Pair:
    """A self-signed authority with a name that no other has, so that two are told apart."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"plimsoll admission authority {secrets.token_hex(4)}")
    builder = _builder(name, name, key.public_key(), now, now + lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def make_serving(authority: Pair, names: Sequence[str], lifetime: timedelta, now: datetime) -> Pair:
    """A serving certificate for DNS names and IP addresses; it never outlives its authority.

    Raises ValueError if the authority is not a pair, or for a name that is neither.
    """
    issuer = read_pair(authority)
    if issuer is None:
        raise ValueError("the authority's certificate and key are not a pair")
    signing = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + lifetime, issuer.not_valid_after_utc)
    builder = _builder(_name("plimsoll admission"), issuer.subject, key.public_key(), now, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
    )
    return Pair(_pem(builder.sign(signing, hashes.SHA256())), _key_pem(key))


def general_name(name: str) -> x509.GeneralName:
    """A DNS name or an IP address. Raises ValueError if it is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not name or not name.isascii() or any(c.isspace() or c in "/:" for c in name):
            raise ValueError(f"{name!r} is neither a DNS name nor an IP address") from None
        return x509.DNSName(name.lower())


def read_pair(pair: Pair) -> x509.Certificate | None:
    """The first certificate of a pair, None if it cannot be read or the key is another's.

    Only keys on elliptic curves count: we make no others.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, None)
        if isinstance(key, ec.EllipticCurvePrivateKey) and (
            key.public_key() == certificate.public_key()
        ):
            return certificate
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    return None


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a bundle; what cannot be read is left out."""
    found = []
    for block in pem.split(b"-----BEGIN CERTIFICATE-----")[1:]:
        try:
            found.append(x509.load_pem_x509_certificate(b"-----BEGIN CERTIFICATE-----" + block))
        except ValueError:
            continue
    return tuple(found)


def bundle(roots: Iterable[x509.Certificate]) -> bytes:
    """Several certificates as one text, each once, in the order given."""
    return b"".join(dict.fromkeys(_pem(root) for root in roots))


def is_signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    """Whether a certificate was issued by that authority."""
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_for(certificate: x509.Certificate, names: Iterable[str]) -> bool:
    """Whether a serving certificate is good for each of these names."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.UnsupportedGeneralNameType, ValueError):
        return False
    return {general_name(name) for name in names} <= set(held)


def is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether a certificate has begun and has not run out."""
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def due(certificate: x509.Certificate) -> datetime:
    """When a certificate is to be replaced."""
    issued = certificate.not_valid_before_utc + CLOCKS_DIFFER
    return issued + DUE_AFTER * (certificate.not_valid_after_utc - issued)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, _NO_PASSWORD
    )
