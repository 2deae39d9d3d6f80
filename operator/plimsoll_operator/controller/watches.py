"""kopf, as we want it, in a thread and a loop of its own; no other module knows it.

In its own: at its end kopf cancels every task of its loop that it did not start, and takes signals
for itself. It is given one handler of events and none that make it write: no create, update or
delete handlers, no daemons, no timers, so no finalizers and no annotations on anybody's objects.
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
from plimsoll_operator.cluster.client import OncePerCause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Json, Resource

    Take = Callable[[Json, bool, bool], None]
    """Told of an object, whether it is gone, and whether kopf lists again."""

_NAME: Final[Any] = "plimsoll"
"""Who we are among kopf's peers; there are no others. Without it kopf asks for the user's name, and
an image's user has none."""


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
    """Nowhere to keep the progress of handlers: there are no handlers."""

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


class _Attempt(Exception):
    """What a request of kopf failed for."""


def quieten_kopf() -> None:
    """Leave kopf's warnings in the log, a line for each cause, except the one on signals, which are
    ours to take."""
    for logger in ("kopf", "kopf.objects", "kopf.activities"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    running = logging.getLogger("kopf._core.reactor.running")
    running.addFilter(lambda record: "OS signals" not in record.getMessage())
    news = OncePerCause().news

    def is_news(record: logging.LogRecord) -> bool:
        """Of one cause kopf tells at each attempt; a line a minute does."""
        _, attempt, cause = record.getMessage().rpartition(" -> ")
        return not attempt or bool(news(_Attempt(cause)))

    for logger in ("kopf._cogs.clients.watching", "kopf._core.reactor.observation"):
        logging.getLogger(logger).addFilter(is_news)


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


async def _connection(client: Client) -> kopf.ConnectionInfo:
    """The very address and credentials that our own client uses, as they are now: kopf asks again
    if the API server refuses them."""
    await client.credentials.renew()
    configuration = client.configuration
    header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = (header or "").partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def in_loop(take: Take, loop: asyncio.AbstractEventLoop) -> Any:
    """A handler of kopf's events that has them taken in by the thread of another loop."""
    streaming = False

    async def on_event(event: Any, **_: Any) -> None:
        nonlocal streaming
        listed_again = event["type"] is None and streaming
        streaming = event["type"] is not None
        gone = event["type"] == "DELETED"
        with contextlib.suppress(RuntimeError):  # our loop has ended: so will the process
            loop.call_soon_threadsafe(take, event["object"], gone, listed_again)

    return on_event


class Watches:
    """One run of kopf, in a thread of its own. `stop` may be called from any thread."""

    def __init__(
        self, client: Client, resource: Resource, take: Take, running: threading.Event
    ) -> None:
        """resource: the kind to watch. take: told of its events in the thread of the loop that
        `run` is called in. running: set while kopf watches."""
        self._client, self._resource, self._take = client, resource, take
        self._running = running
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()
        self._never = False

    async def run(self) -> None:
        """Run kopf in a thread of its own until told to stop. Raises what made kopf give up.

        The thread is a daemon: when our process ends, it does not wait for kopf, which may take
        its time over a watch that has just begun.
        """
        loop = asyncio.get_running_loop()
        registry = self._registry(loop)
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
                asyncio.run(self._operate(registry))
            except Exception as raised:
                error = raised
            finally:
                self._running.clear()
            with contextlib.suppress(RuntimeError):  # the loop that waits has ended already
                loop.call_soon_threadsafe(tell, error)

        threading.Thread(target=target, name="kopf", daemon=True).start()
        await ended

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return await _connection(self._client)

        resource, registry = self._resource, kopf.OperatorRegistry()
        where = (resource.group, resource.version, resource.plural)
        kopf.on.login(registry=registry, id="login")(login)
        kopf.on.event(*where, registry=registry, id=resource.plural)(in_loop(self._take, loop))
        return registry

    async def _operate(self, registry: kopf.OperatorRegistry) -> None:
        self._loop = asyncio.get_running_loop()
        if self._never:
            return
        await kopf.operator(
            registry=registry,
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
