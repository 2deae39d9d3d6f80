"""A list and a watch of one kind for ever: what is there now, through outages and restarts.

It must not keep the objects it sees, only their names, and it never gives up: whatever the API
server answers, it tries again.

    list in pages -> changed(object) each; deleted(name) for names that are there no more
    watch from the list's version -> changed / deleted; a bookmark moves the version on
    end of stream, timeout         -> watch again from the last version seen
    410 Gone, an error event       -> list again
    no answer                      -> wait min(0.5 x 1.7^n, 8 s), jittered, try again
    not served, or not allowed     -> as above; who can do without is told, and asked every minute
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from plimsoll_operator.cluster.client import (
    UNREACHABLE,
    ApiError,
    Client,
    Gone,
    OncePerCause,
)
from plimsoll_operator.cluster.objects import Json, Name, Resource, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 8.0
"""Seconds; short, so that everybody is back within seconds of the API server's return."""
WITHOUT: Final = 60.0
"""Seconds between two looks for a kind that is not served, or that may not be read."""
FORBIDDEN: Final = 403
NOT_SERVED: Final = 404
REFUSALS: Final = 4
"""Refusals in a row after which a kind is done without: an API server that has just started, too,
refuses for a moment what it allows."""


def backoff(failures: int) -> float:
    """Seconds to wait after that many failures in a row, jittered by a quarter either way."""
    delay = FIRST_DELAY * 1.7 ** min(max(failures - 1, 0), 20)
    return min(delay, LONGEST_DELAY) * random.uniform(0.75, 1.25)


class Reflector:
    """Tells what is there of one kind, and what changes. Run `run` as a task of its own."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        changed: Callable[[Json], None],
        deleted: Callable[[Name], None],
        chunk: int = 100,
        label_selector: str = "",
        field_selector: str = "",
        keeps: Callable[[Json], bool] | None = None,
        without: Callable[[bool], None] | None = None,
    ) -> None:
        """changed: given each object listed, added or modified; deleted: the name of each gone.

        Both must be quick; what they raise is logged, and the object is passed over.
        chunk: objects per page of the list. The selectors restrict both list and watch.
        keeps: whether an object matters; one that does not is as good as gone.
        without: the kind may be done without if it is not served or may not be read; told True
        after each list, and False while it cannot be had.
        """
        self._client, self._resource = client, resource
        self._changed, self._deleted = changed, deleted
        self._chunk = chunk
        self._labels, self._fields = label_selector, field_selector
        self._keeps, self._without = keeps, without
        self._refused = 0
        self._known: set[Name] = set()
        self._heard = time.monotonic()
        self._hurried = asyncio.Event()
        self._news = OncePerCause().news
        self.synced = asyncio.Event()
        """Set once the first list is complete."""

    def has(self, name: Name) -> bool:
        """Whether there is an object of that name."""
        return name in self._known

    @property
    def age(self) -> float:
        """Seconds since the API server was last heard of for this kind (bookmarks count)."""
        return time.monotonic() - self._heard

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        version = ""
        while True:
            started = time.monotonic()
            try:
                if not version:
                    version = await self._list()
                async for kind, obj in self._client.watch(
                    self._resource,
                    version,
                    label_selector=self._labels,
                    field_selector=self._fields,
                ):
                    self._heard = time.monotonic()
                    version = str((obj.get("metadata") or {}).get("resourceVersion") or version)
                    if kind != "BOOKMARK":
                        self._tell(kind, obj)
                    failures = 0
            except Gone as error:
                version = ""
                failures += 1
                log.info("%s: listing again: %s", self._resource.title, error)
            except ApiError as error:
                version = ""
                failures += 1
                if self._without is not None and self._is_not_to_be_had(error):
                    if said := self._news(error):
                        log.warning("%s: done without: %s", self._resource.title, said)
                    self._do_without(self._without)
                    await self._pause(WITHOUT)
                    continue
                if said := self._news(error):
                    log.warning("%s: listing again: %s", self._resource.title, said)
            except UNREACHABLE as error:
                failures += 1
                if said := self._news(error):
                    log.info("%s: no answer: %s", self._resource.title, said)
            except ValueError as error:
                version = ""
                failures += 1
                log.warning("%s: not understood: %s", self._resource.title, error)
            if failures or time.monotonic() - started < 1:
                await self._pause(backoff(failures))

    def hurry(self) -> None:
        """Try again now: the API server answers others."""
        self._hurried.set()

    async def _pause(self, seconds: float) -> None:
        self._hurried.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()

    async def _list(self) -> str:
        seen: set[Name] = set()
        version = ""
        async for page in self._client.pages(
            self._resource,
            chunk=self._chunk,
            label_selector=self._labels,
            field_selector=self._fields,
        ):
            self._heard = time.monotonic()
            for obj in page.items:
                self._tell("LISTED", obj)
                if (name := name_of(obj)) in self._known:
                    seen.add(name)
            version = page.resource_version
            del page
            await asyncio.sleep(0)
        for gone in self._known - seen:
            self._forget(gone)
        self._refused = 0
        if self._without is not None:
            self._without(True)
        self.synced.set()
        return version

    def _is_not_to_be_had(self, error: ApiError) -> bool:
        """Whether the kind is not served, or may surely not be read."""
        self._refused += error.status == FORBIDDEN
        return error.status == NOT_SERVED or (
            error.status == FORBIDDEN and self._refused >= REFUSALS
        )

    def _do_without(self, told: Callable[[bool], None]) -> None:
        for name in tuple(self._known):
            self._forget(name)
        told(False)
        self._heard = time.monotonic()
        self.synced.set()

    def _tell(self, kind: str, obj: Json) -> None:
        name = name_of(obj)
        if kind == "DELETED":
            self._forget(name)
            return
        try:
            if self._keeps is not None and not self._keeps(obj):
                if name in self._known:
                    self._forget(name)
                return
            self._known.add(name)
            self._changed(obj)
        except Exception:
            log.exception("%s %s could not be taken in", self._resource.title, "/".join(name))

    def _forget(self, name: Name) -> None:
        self._known.discard(name)
        try:
            self._deleted(name)
        except Exception:
            log.exception("%s %s could not be forgotten", self._resource.title, "/".join(name))
