"""The serving certificate, and who is served, read again when files change; no connection drops.

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


def new_context(clients: Path | None = None) -> ssl.SSLContext:
    """A server context for the API server: TLS 1.2 and up.

    clients: authorities of those who are served, who then must show a certificate; None: anybody.
    Raises OSError or ssl.SSLError if they cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
        context.options |= ssl.OP_NO_TICKET  # a resumed session would show no certificate
        context.num_tickets = 0
    return context


class ServingCertificate:
    """A certificate and its key in two files, and the context that serves them.

    `context` lives as long as the process and hands each handshake over to the context of the
    newest files; connections that are open keep theirs. `expires` is the Unix time at which the
    certificate that is served runs out. Files are loaded all or not at all: a pair
    loaded into a context in use would leave it without a key if the files change between the
    reading of the one and of the other.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        changed: Callable[[bool], None] = lambda ok: None,
        *,
        clients: Path | None = None,
    ) -> None:
        """Load the files. changed: told after each reload whether it worked.

        clients: authorities (PEM) of those who are served; None: anybody is. Raises OSError or
        ssl.SSLError if the first ones cannot be loaded.
        """
        self.certificate, self.key, self.clients = certificate, key, clients
        self.context = new_context(clients)
        self._changed = changed
        self._stamp = self._stat()
        _load(self.context, certificate, key)
        self._newest = self.context
        self.expires = _end(certificate)
        self.context.sni_callback = self._hand_over  # called whether a name is asked for or not

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        """What tells the files from the next ones, symbolic links of a volume followed."""
        paths = (self.certificate, self.key, self.clients)
        found = (path.stat() for path in paths if path is not None)
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in found)

    def reload(self) -> bool:
        """Take up changed files. Whether they are in force now.

        Files that do not load (half written, certificate and key of different pairs) leave
        the old ones in force and are tried again at the next look.
        """
        try:
            stamp = self._stat()
            if stamp == self._stamp:
                return False
            newest = new_context(self.clients)
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
        """Look for changed files every so many seconds, until cancelled."""
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(every)
                self.reload()
