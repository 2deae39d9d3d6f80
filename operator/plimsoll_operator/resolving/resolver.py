"""Resolves models that the catalogue lacks: one at a time, each once, into a ConfigMap of its own.

    wanted     ids that a reconciled object names; at most `MOST_WAITING` wait, the rest is wanted
               again at the next full list
    asked      in a process apart, for so many seconds, and one byte more than a profile may have
    an error   is kept for ten minutes, twice as long each time, six hours at most: no id is asked
               for again before that, whoever names it
    found      a ConfigMap (`plimsoll.workloads.resolved`), which the watches bring to everybody

Nothing of a hub's answer is believed: `plimsoll` reads the profile again wherever it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter

from plimsoll.errors import clean
from plimsoll.models.checkpoint.profile import FORMAT, MAX_BYTES
from plimsoll.workloads.resolved import config_map
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, Conflict, in_words
from plimsoll_operator.cluster.objects import CONFIG_MAPS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prometheus_client import CollectorRegistry

    from plimsoll_operator.cluster.client import Client

log = logging.getLogger(__name__)

MOST_WAITING: Final = 256
"""Ids that wait to be asked for."""
MOST_KEPT: Final = 4096
"""Ids whose failure is remembered; beyond that the oldest is forgotten."""
FIRST_WAIT: Final = 600.0
LONGEST_WAIT: Final = 6 * 3600.0
BETWEEN: Final = 1.0
"""Seconds between two questions: a hub counts them."""
FETCH: Final = (sys.executable, "-m", "plimsoll_operator.resolving.fetch")
_MOST_READ: Final = 2 * MAX_BYTES
"""Bytes of the process's answer that are read; a profile and what stands around it."""


class NotResolved(Exception):
    """Why a model is not resolved, in words."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that was not resolved: until when it is not asked for again, and for how long."""

    until: float
    wait: float


async def ask_hub(model: str, seconds: float, command: Sequence[str] = FETCH) -> dict[str, Any]:
    """The profile of a model, from a process apart. Raises `NotResolved`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        model,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            text = await _read(process.stdout)
            if len(text) <= _MOST_READ:
                await process.wait()
    except TimeoutError:
        raise NotResolved(f"the hub took more than {seconds:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if len(text) > _MOST_READ:
        raise NotResolved(f"its profile has more than {MAX_BYTES} bytes")
    return _profile(text)


async def _read(stream: asyncio.StreamReader) -> bytes:
    """What a stream holds, at most one byte more than is believed."""
    found = b""
    while len(found) <= _MOST_READ and (piece := await stream.read(1 << 16)):
        found += piece
    return found


def _profile(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise NotResolved("the process that asked the hub ended without an answer") from None
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, str):
        raise NotResolved(clean(error, 300))
    profile = said.get("profile") if isinstance(said, dict) else None
    if not isinstance(profile, dict) or profile.get("format") != FORMAT:
        raise NotResolved("the process that asked the hub gave no profile")
    return profile


def _environment() -> dict[str, str]:
    """The process's own variables without ours: it needs none of them."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PLIMSOLL_")}


class Resolver:
    """Asks for models that are wanted, and writes down what it learns."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        registry: CollectorRegistry,
        *,
        still_wanted: Callable[[str], bool],
        seconds: float,
        ask: Callable[[str, float], Awaitable[dict[str, Any]]] = ask_hub,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """namespace: of the ConfigMaps. still_wanted: whether anybody names a model. seconds: that
        one question may take."""
        self._client, self._namespace, self._seconds = client, namespace, seconds
        self._still_wanted, self._ask, self._clock = still_wanted, ask, clock
        self._waiting: OrderedDict[str, str] = OrderedDict()
        self._failed: OrderedDict[str, Failure] = OrderedDict()
        self._there_is_work = asyncio.Event()
        self._asked = Counter(
            "plimsoll_models_asked_for",
            "Models that the hub was asked for, by what came of it.",
            ["result"],
            registry=registry,
        )

    def want(self, model: str) -> None:
        """Somebody names a model that nobody has resolved."""
        key = model.lower()
        failed = self._failed.get(key)
        if key in self._waiting or len(self._waiting) >= MOST_WAITING:
            return
        if failed is None or self._clock() >= failed.until:
            self._waiting[key] = model
            self._there_is_work.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._there_is_work.wait()
            if not self._waiting:
                self._there_is_work.clear()
                continue
            key, model = next(iter(self._waiting.items()))
            try:
                if self._still_wanted(model):
                    await self._resolve(key, model)
            finally:
                self._waiting.pop(key, None)
            await asyncio.sleep(BETWEEN)

    async def _resolve(self, key: str, model: str) -> None:
        try:
            profile = await self._ask(model, self._seconds)
            await self._write(model, profile)
        except (NotResolved, OSError) as error:
            self._fail(key, model, str(error), "not-resolved")
        except (ApiError, *UNREACHABLE) as error:
            self._fail(key, model, in_words(error), "not-written")
        else:
            self._failed.pop(key, None)
            self._asked.labels("resolved").inc()
            log.info("%s is resolved", model)

    async def _write(self, model: str, profile: dict[str, Any]) -> None:
        made = config_map(model, profile, by="controller", namespace=self._namespace)
        with contextlib.suppress(Conflict):  # it is there meanwhile: whoever wrote it knows better
            await self._client.create(CONFIG_MAPS, made, namespace=self._namespace)

    def _fail(self, key: str, model: str, why: str, result: str) -> None:
        before = self._failed.pop(key, None)
        wait = min(2 * before.wait, LONGEST_WAIT) if before else FIRST_WAIT
        self._failed[key] = Failure(self._clock() + wait, wait)
        while len(self._failed) > MOST_KEPT:
            self._failed.popitem(last=False)
        self._asked.labels(result).inc()
        log.warning("%s is not resolved, again in %.0f s: %s", model, wait, clean(why, 300))
        asyncio.get_running_loop().call_later(wait, self._again, model)

    def _again(self, model: str) -> None:
        if self._still_wanted(model):
            self.want(model)
