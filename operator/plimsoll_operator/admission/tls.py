"""The serving certificate, read again when its files change, without dropping a connection.

It must not issue certificates, and it must not replace a pair that works by one that does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import ssl
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    context.load_cert_chain(certificate, key)


def _end(certificate: Path) -> float:
    """When the certificate in a file runs out, as a Unix time; NaN if nobody can read it."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return math.nan
    return found.not_valid_after_utc.timestamp()


def new_context() -> ssl.SSLContext:
    """A server context for the API server: TLS 1.2 and up, no client certificate asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class ServingCertificate:
    """A certificate and its key in two files, and the context that serves them.

    `context` lives as long as the process and hands each handshake over to the context of the
    newest pair; connections that are open keep theirs. `expires` is the Unix time at which the
    certificate that is served runs out. A pair is loaded whole or not at all: one
    loaded into a context in use would leave it without a key if the files change between the
    reading of the one and of the other.
    """

    def __init__(
        self, certificate: Path, key: Path, changed: Callable[[bool], None] = lambda ok: None
    ) -> None:
        """Load the pair. changed: told after each reload whether it worked.

        Raises OSError or ssl.SSLError if the first pair cannot be loaded.
        """
        self.certificate, self.key = certificate, key
        self.context = new_context()
        self._changed = changed
        self._stamp = self._stat()
        _load(self.context, certificate, key)
        self._newest = self.context
        self.expires = _end(certificate)
        self.context.sni_callback = self._hand_over  # called whether a name is asked for or not

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        """What tells one pair of files from the next, symbolic links of a volume followed."""
        found = (path.stat() for path in (self.certificate, self.key))
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in found)

    def reload(self) -> bool:
        """Take up a changed pair. Whether a new pair is served now.

        A pair that does not load (half written, certificate and key of different pairs) leaves
        the old one in force and is tried again at the next look.
        """
        try:
            stamp = self._stat()
            if stamp == self._stamp:
                return False
            newest = new_context()
            _load(newest, self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            log.warning("the new certificate is not usable yet, the old one stays: %s", error)
            self._changed(False)
            return False
        self._stamp, self._newest, self.expires = stamp, newest, _end(self.certificate)
        log.info("serving the new certificate in %s", self.certificate)
        self._changed(True)
        return True

    async def watch(self, every: float) -> None:
        """Look for a changed pair every so many seconds, until cancelled."""
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(every)
                self.reload()
