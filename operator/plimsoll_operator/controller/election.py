"""Who of several controllers writes: a coordination Lease, taken, renewed, lost or given back.

It must not be taken for a fence. A leader that slept through its term does not know it: what it
still sends is refused by the resource version that each write carries.

    taken    if nobody holds the Lease, or it has not changed for `lease` seconds *of our own*
             monotonic clock: clocks of other machines are never compared
    renewed  every `retry` seconds
    lost     `renew` seconds after the sending of the last renewal that worked, or at the first
             sight of another holder. renew < lease: the old leader has stopped writing before a
             new one begins
    given back at a clean end, so that the next one need not wait

Why not `kubernetes.aio.leaderelection` (37.0.2, read whole): it lets only ApiException be a
failure, so that a broken connection ends it; it does not give the Lease back; having seen another
holder it goes on calling itself leader until the deadline has passed; a leader that slept begins
a new deadline when it wakes; and it measures with the wall clock, which steps. The record it
writes is the same, so that `kubectl get lease` reads as everywhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import PlimsollError
from plimsoll_operator.cluster.client import (
    UNREACHABLE,
    ApiError,
    Client,
    Conflict,
    NotFound,
    in_words,
)
from plimsoll_operator.cluster.objects import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll_operator.cluster.objects import Json
    from plimsoll_operator.settings import Settings

log = logging.getLogger(__name__)

POD_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE: Final = "plimsoll-system"
RELEASING: Final = 3.0
"""Seconds that giving the Lease back may take before the process ends without."""


class LostLease(PlimsollError):
    """Somebody else may lead by now: this process must end."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a Lease holds, in seconds; see the module's docstring."""

    lease: float
    renew: float
    retry: float

    def __post_init__(self) -> None:
        """Raises `PlimsollError` if two controllers could lead at once."""
        if not 0 < self.retry < self.renew < self.lease or self.lease < 1:
            raise PlimsollError(
                f"--lease-seconds {self.lease:g}, --lease-renew-seconds {self.renew:g}, "
                f"--lease-retry-seconds {self.retry:g}: the first must be at least 1 and the "
                "largest, the last the smallest and above 0"
            )


def own_namespace(given: str = "") -> str:
    """The namespace given, or else the one of this pod, or else `DEFAULT_NAMESPACE`."""
    if given:
        return given
    try:
        return POD_NAMESPACE.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE


def new_identity() -> str:
    """A name for this process in the Lease: its pod's name, and something nobody else has."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"


class Election:
    """One candidate for one Lease: `acquire`, then `hold`, and `release` at the end."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        term: LeaseTimes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds that only ever grow, also while this process is stopped."""
        self._client, self._clock = client, clock
        self._namespace, self._name = namespace, name
        self.identity, self.term = identity, term
        self._lease: Json = {}
        self._seen: tuple[str, float] = ("", 0.0)
        self._renewed = -1.0
        self._holds = False

    @property
    def leading(self) -> bool:
        """Whether this process may write now. Asked before each write, it is true at no time
        when another process may lead, except for a process that is stopped after it asked."""
        return self._holds and self._clock() - self._renewed < self.term.renew

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen; empty if nobody did."""
        return _holder(self._lease)

    @property
    def why_not_leading(self) -> str:
        """Why this process may not write now; empty if it may."""
        if self.leading:
            return ""
        if self.holder == self.identity:
            return f"this controller has not renewed the Lease {self._where} in time"
        return f"another controller leads: {self.holder or 'nobody knows who'}"

    async def acquire(self) -> None:
        """Wait until this process leads."""
        said = ""
        while True:
            try:
                async with asyncio.timeout(self.term.renew):
                    if await self._try():
                        break
                saying = f"standing by: {self.holder} leads"
            except (ApiError, *UNREACHABLE) as error:
                saying = f"standing by: the Lease {self._where} cannot be taken: {in_words(error)}"
            if saying != said:
                log.info("%s", saying)
                said = saying
            await asyncio.sleep(self.term.retry)
        log.info("leading, as %s holds the Lease %s", self.identity, self._where)

    async def hold(self) -> None:
        """Renew until that fails for too long. Raises `LostLease` then, and never returns."""
        while True:
            left = self._renewed + self.term.renew - self._clock()
            if left <= 0:
                raise self._lost(f"it was not renewed for {self.term.renew:g} s")
            await asyncio.sleep(min(self.term.retry, left))
            left = self._renewed + self.term.renew - self._clock()
            if left <= 0:
                continue
            try:
                # half of the term each, so that one request that hangs does not cost the Lease
                async with asyncio.timeout(min(left, self.term.renew / 2)):
                    renewed = await self._renew()
            except (ApiError, *UNREACHABLE) as error:
                log.warning("the Lease %s was not renewed: %s", self._where, in_words(error))
                continue
            if not renewed:
                raise self._lost(f"{self.holder or 'nobody'} holds it now")

    async def release(self) -> None:
        """Give the Lease back if it is held, so that another leads at once."""
        if not self.leading:
            return
        self._holds = False
        try:
            async with asyncio.timeout(RELEASING):
                await self._write("", seconds=1)
        except (ApiError, *UNREACHABLE) as error:
            log.info(
                "the Lease %s was not given back, it runs out: %s", self._where, in_words(error)
            )
        else:
            log.info("gave the Lease %s back", self._where)

    @property
    def _where(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _lost(self, why: str) -> LostLease:
        self._holds = False
        return LostLease(
            f"the Lease {self._where} is lost: {why}; this process ends, "
            "another controller leads, or this one again once it is restarted"
        )

    async def _try(self) -> bool:
        """One look at the Lease, and one attempt at taking it if it is free."""
        try:
            self._look(await self._client.request("GET", LEASES.path(self._namespace, self._name)))
        except NotFound:
            self._lease = {}
        else:
            _, since = self._seen
            if self.holder and self._clock() - since < self._lasts():
                return False
        try:
            await self._write(self.identity)
        except Conflict:  # somebody else was faster
            return False
        return True

    async def _renew(self) -> bool:
        """One renewal. Whether the Lease is still ours."""
        try:
            await self._write(self.identity)
        except (Conflict, NotFound):
            try:
                found = await self._client.request("GET", LEASES.path(self._namespace, self._name))
            except NotFound:  # deleted: whoever creates it leads
                self._lease = {}
            else:
                self._look(found)
                if self.holder != self.identity:
                    return False
            try:
                await self._write(self.identity)
            except Conflict:
                return False
        return True

    def _look(self, lease: Json) -> None:
        """Note when the Lease was seen to change."""
        version = str(lease["metadata"].get("resourceVersion", ""))
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        self._lease = lease

    def _lasts(self) -> float:
        """Seconds that the holder asked for: it may have been started with other settings."""
        asked = (self._lease.get("spec") or {}).get("leaseDurationSeconds")
        return float(asked) if asked else self.term.lease

    async def _write(self, holder: str, seconds: int = 0) -> None:
        """Create or replace the Lease as it was seen. Raises `Conflict` if it has changed."""
        sent = self._clock()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before: dict[str, Any] = self._lease.get("spec") or {}
        spec = {
            **before,
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds or max(1, math.ceil(self.term.lease)),
            "renewTime": now,
        }
        if before.get("holderIdentity") != holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(before.get("leaseTransitions") or 0) + bool(
                holder and before
            )
        if self._lease:
            path = LEASES.path(self._namespace, self._name)
            lease = await self._client.request("PUT", path, body={**self._lease, "spec": spec})
        else:
            made = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": spec,
            }
            lease = await self._client.create(LEASES, made, namespace=self._namespace)
        self._look(lease)
        if holder:
            self._renewed, self._holds = sent, True


def election_for(settings: Settings, client: Client) -> Election:
    """The election that the settings ask for. Raises `PlimsollError` if they contradict."""
    return Election(
        client,
        namespace=own_namespace(settings.lease_namespace),
        name=settings.lease_name,
        identity=new_identity(),
        term=LeaseTimes(
            settings.lease_seconds, settings.lease_renew_seconds, settings.lease_retry_seconds
        ),
    )


def _holder(lease: Json) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
