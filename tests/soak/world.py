"""A quick client of a control plane with many objects, and what processes spend meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

from plimsoll.decision.policy import DEFAULT_POLICY
from plimsoll.inventory.nodes import read_node
from plimsoll.inventory.pools import pools
from plimsoll_operator.cluster.documents import ABSENT
from plimsoll_operator.controller.cache import claim_of
from plimsoll_operator.controller.plan import plan
from plimsoll_operator.controller.snapshot import OneDocument, identify, snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from controlplane import ControlPlane

CONNECTIONS: Final = 16
PER_PAGE: Final = 500
NODES: Final = "/api/v1/nodes"
GROUP: Final = "/apis/plimsoll.dev/v1alpha1"
CONVERGES: Final = 120.0
"""Seconds that all statuses may take to be right once nothing happens any more."""
TICKS: Final = os.sysconf("SC_CLK_TCK")
TIMEOUT: Final = aiohttp.ClientTimeout(total=60)

Json = dict[str, Any]


def objects_of(namespace: str) -> str:
    """The path of the LLMDeployments of a namespace."""
    return f"{GROUP}/namespaces/{namespace}/llmdeployments"


class Answer(NamedTuple):
    """What the API server answered. status: of HTTP, 0 if there was no answer."""

    status: int
    body: Json

    @property
    def message(self) -> str:
        """What it says, if it is an error."""
        return str(self.body.get("message", ""))


class World:
    """An administrator's client with as many connections as the benchmarks have."""

    def __init__(self, plane: ControlPlane) -> None:
        self._url = plane.url
        certificate, key = plane.authority.issue("soak", ["system:masters"]).write(
            plane.folder, "soak"
        )
        self._context = ssl.create_default_context(cadata=plane.authority.bundle.decode())
        self._context.load_cert_chain(certificate, key)

    def session(self) -> aiohttp.ClientSession:
        """A session, to be closed by whoever opens it."""
        connector = aiohttp.TCPConnector(ssl=self._context, limit=CONNECTIONS)
        return aiohttp.ClientSession(self._url, connector=connector, timeout=TIMEOUT)

    async def create(
        self, session: aiohttp.ClientSession, path: str, bodies: Iterable[Json]
    ) -> int:
        """Create objects, as fast as it goes. How many."""
        queue = iter(bodies)

        async def worker() -> int:
            count = 0
            for body in queue:
                answer = await send(session, "POST", path, body)
                assert answer.status == 201, answer
                count += 1
            return count

        return sum(await asyncio.gather(*(worker() for _ in range(CONNECTIONS))))

    async def clear(self, session: aiohttp.ClientSession, path: str) -> None:
        """Delete everything of a collection, in as many requests as it takes."""
        while True:
            answer = await send(session, "DELETE", path)
            if answer.status == 200 and not [item async for item in listed(session, path)]:
                return


async def send(
    session: aiohttp.ClientSession, method: str, path: str, body: Json | None = None
) -> Answer:
    """One request; a PATCH merges."""
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    data = None if body is None else json.dumps(body).encode()
    try:
        async with session.request(
            method, path, data=data, headers={"Content-Type": kind}
        ) as answer:
            return Answer(answer.status, json.loads(await answer.read()))
    except (aiohttp.ClientError, TimeoutError) as error:
        return Answer(0, {"message": f"no answer: {error!r}"})


async def listed(session: aiohttp.ClientSession, path: str) -> AsyncIterator[Json]:
    """Every object of a collection, a page in memory at a time."""
    more = ""
    while True:
        query = {"limit": str(PER_PAGE)} | ({"continue": more} if more else {})
        async with session.get(path, params=query) as answer:
            page = json.loads(await answer.read())
        for item in page["items"]:
            item.setdefault("apiVersion", page["apiVersion"])
            item.setdefault("kind", page["kind"].removesuffix("List"))
            yield item
        more = page["metadata"].get("continue", "")
        if not more:
            return


async def wrong(session: aiohttp.ClientSession, path: str) -> list[str]:
    """The LLMDeployments whose status is not, to the letter, what is decided of them here and now.

    They may not refer to ConfigMaps, and there may be no pods; placements of every namespace count.
    """
    read = [read_node(node) async for node in listed(session, NODES)]
    claims = [
        claim
        async for obj in listed(session, f"{GROUP}/llmdeployments")
        if (claim := claim_of(obj)) is not None
    ]
    inventory = replace(
        pools([facts for facts in read if facts is not None], pods_read=True),
        claims=tuple(sorted(claims, key=lambda claim: claim.turn)),
    )
    found = []
    async for obj in listed(session, path):
        identity = identify(obj)
        if identity is None:
            continue
        nothing = OneDocument(identity.namespace, "", ABSENT)
        inputs = snapshot(obj, identity, inventory, DEFAULT_POLICY, nothing)
        if patch := plan(inputs, datetime.now(UTC)).patch:
            found.append(f"{identity.name}: {json.dumps(patch)[:300]}")
    return found


async def wrong_at_last(session: aiohttp.ClientSession, path: str) -> list[str]:
    """The statuses that are still wrong after a while, or none as soon as all are right."""
    deadline = time.monotonic() + CONVERGES
    while found := await wrong(session, path):
        if time.monotonic() > deadline:
            return found
        await asyncio.sleep(1)
    return []


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent so far. cpu: seconds by what was asked about; idle, all: of the machine."""

    at: float
    cpu: tuple[float, ...]
    idle: float
    all: float

    def since(self, before: Spent) -> tuple[float, tuple[float, ...], float]:
        """Seconds since then, CPU seconds of each, and the idle share of the machine."""
        cpu = tuple(now - then for now, then in zip(self.cpu, before.cpu, strict=True))
        busy = self.all - before.all
        return self.at - before.at, cpu, (self.idle - before.idle) / busy if busy else 0.0


def spent(*groups: Sequence[int]) -> Spent:
    """What these groups of processes and the machine have spent until now."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ticks = [int(value) for value in first]
    cpu = tuple(sum(map(_cpu, group)) for group in groups)
    return Spent(time.monotonic(), cpu, (ticks[3] + ticks[4]) / TICKS, sum(ticks) / TICKS)


def _cpu(process: int) -> float:
    """CPU seconds of a process and of those of its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS
