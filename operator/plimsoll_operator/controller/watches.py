"""kopf, as we want it, in a thread and a loop of its own.

In its own: at its end kopf cancels every task of its loop that it did not start, and takes signals
for itself. It must not know what is watched for; `handlers` are registered with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from typing import TYPE_CHECKING, Any, Final

import kopf

from plimsoll.api_group import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator


_NAME: Final[Any] = "plimsoll"
"""Who we are among kopf's peers, of which there are none; else it asks for the user's name, which
an image's user has not."""


class Backoffs:
    """Seconds between kopf's attempts at a request: without end, so that kopf never gives up."""

    def __iter__(self) -> Iterator[float]:
        delay = 0.5
        while True:
            yield delay * random.uniform(0.75, 1.25)
            delay = min(delay * 1.7, 5.0)


class NoDiffs(kopf.DiffBaseStorage):
    """Nowhere to keep what was seen last: nothing is written to objects, and no copy is made.

    kopf copies every object twice per event to compare it with what it kept; that is half of what
    an event costs, and for handlers of events alone it serves nothing.
    """

    def build(self, **_: Any) -> Any:
        """Nothing to compare."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing was kept."""

    def store(self, **_: Any) -> None:
        """Nothing is kept."""


class NoProgress(kopf.ProgressStorage):
    """Nowhere to keep the progress of handlers that there are none of."""

    def fetch(self, **_: Any) -> None:
        """Nothing was kept."""

    def store(self, **_: Any) -> None:
        """Nothing is kept."""

    def purge(self, **_: Any) -> None:
        """Nothing is there."""

    def touch(self, **_: Any) -> None:
        """Nothing is written."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing is in there."""
        return essence


def quieten_kopf() -> None:
    """Leave kopf's warnings in the log, but the one on signals, which are ours to take."""
    for logger in ("kopf", "kopf.objects", "kopf.activities"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    running = logging.getLogger("kopf._core.reactor.running")
    running.addFilter(lambda record: "OS signals" not in record.getMessage())


def kopf_settings() -> kopf.OperatorSettings:
    """Only watching, quick to come back, and nothing posted or written.

    inactivity_timeout stays kopf's own 70 s: bookmarks come every minute.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 5
    settings.watching.reconnect_backoff = 0.5
    settings.watching.chunk_size = 50
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = Backoffs()
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = 25
    settings.persistence.finalizer = f"{GROUP}/finalizer"
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDiffs()
    return settings


class Watches:
    """One run of kopf, in a thread of its own. `stop` may be called from any thread."""

    def __init__(self, registry: kopf.OperatorRegistry, running: threading.Event) -> None:
        """registry: of handlers and login; running: set while kopf watches."""
        self._registry, self._running = registry, running
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()
        self._never = False

    async def run(self) -> None:
        """Run kopf in a thread of its own until told to stop. Raises what made kopf give up.

        The thread is a daemon: when our process ends, it does not wait for kopf, which may take
        its time over a watch that has just begun.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(error: BaseException | None) -> None:
            if ended.done():
                return
            if error is None:
                ended.set_result(None)
            else:
                ended.set_exception(error)

        def target() -> None:
            error: BaseException | None = None
            try:
                asyncio.run(self._operate())
            except Exception as raised:
                error = raised
            finally:
                self._running.clear()
            with contextlib.suppress(RuntimeError):  # the loop that waits has ended already
                loop.call_soon_threadsafe(tell, error)

        threading.Thread(target=target, name="kopf", daemon=True).start()
        await ended

    async def _operate(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._never:
            return
        await kopf.operator(
            registry=self._registry,
            settings=kopf_settings(),
            identity=_NAME,
            standalone=True,
            clusterwide=True,
            stop_flag=self._told,
            ready_flag=self._running,
        )

    def stop(self) -> None:
        """Have `run` end, whether it has begun or not."""
        self._never = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended already
                self._loop.call_soon_threadsafe(self._told.set)
