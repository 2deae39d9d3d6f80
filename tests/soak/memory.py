"""Churn for minutes on a cluster of some size: memory must stay flat, and nothing may get lost."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.fixtures_operator import install, until
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from faults.both import both
from perf import requests
from soak.churn import Churn
from soak.world import NODES, World, objects_of, send, spent, wrong_at_last

if TYPE_CHECKING:
    import aiohttp

    from cluster.fixtures_operator import OperatorProcess

KINDS: Final = ("a100-80gb", "h100-80gb", "l4")
BUSY, SYSTEM, STILL = "users", "kube-system", "still"
FLAT: Final = 0.05
EVERY: Final = 5.0
"""Seconds between two looks at memory."""
PAUSE: Final = 0.1
FLAPS: Final = 15.0
"""Seconds between two states of the node that flaps, and of the one that comes and goes."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a soak came to.

    memory: MiB of all processes of one, by name: medians of each quarter of the time. growth: of
    the last quarter over the second, as the first fills caches. cpu: seconds, by name. requests: of
    users. lost, wrong, surprises: how many, see `Churn`.
    """

    seconds: float
    objects: int
    nodes: int
    memory: dict[str, list[float]]
    growth: dict[str, float]
    cpu: dict[str, float]
    idle: float
    requests: dict[str, int]
    lost: int
    wrong: int
    surprises: int
    log_lines: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether memory was flat and nothing was lost."""
        grew = any(growth > FLAT for growth in self.growth.values())
        return not (grew or self.lost or self.wrong or self.surprises)


async def run(seconds: float, objects: int, nodes: int, seed: int) -> Figures:
    """A soak of so many seconds; the time to build the cluster comes on top of it."""
    with ControlPlane() as plane:
        install(plane)
        for namespace in (BUSY, STILL):
            plane.kubectl("create", "namespace", namespace)
        world = World(plane)
        async with world.session() as session:
            made = (gpu_node(f"n{i}", KINDS[i % 3], realistic=True) for i in range(nodes))
            await world.create(session, NODES, made)
            still = (requests.allowed(i, STILL) for i in range(objects))
            await world.create(session, objects_of(STILL), still)
            with both(plane) as kubelets:
                ours = {kubelet.command: kubelet.running for kubelet in kubelets}
                for process in ours.values():
                    await asyncio.to_thread(until, process.ready, 120, "it is ready")
                return await _soak(session, ours, seconds, objects, nodes, random.Random(seed))


async def _soak(
    session: aiohttp.ClientSession,
    ours: dict[str, OperatorProcess],
    seconds: float,
    objects: int,
    nodes: int,
    dice: random.Random,
) -> Figures:
    churns = [
        Churn(session, random.Random(dice.random()), BUSY, most=100, refusing=True),
        Churn(session, random.Random(dice.random()), SYSTEM, most=100, refusing=False),
    ]
    stop = asyncio.Event()
    tasks = [asyncio.create_task(churn.go_on(stop, PAUSE)) for churn in churns]
    tasks.append(asyncio.create_task(_flap(session, stop)))
    samples: dict[str, list[float]] = {name: [] for name in ours}
    trees = [process.processes() for process in ours.values()]
    before, end = spent(*trees), time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(EVERY)
        for name, process in ours.items():
            samples[name].append(await asyncio.to_thread(process.memory) / 2**20)
    took, cpu, idle = spent(*trees).since(before)
    stop.set()
    await asyncio.gather(*tasks)
    lost, bad = [], await wrong_at_last(session, objects_of(STILL))
    for churn in churns:
        bad += await wrong_at_last(session, churn.path)
        lost += await churn.lost()
    quarters = {name: _quarters(values) for name, values in samples.items()}
    return Figures(
        seconds=took,
        objects=objects + sum(len(churn.there) for churn in churns),
        nodes=nodes,
        memory=quarters,
        growth={name: four[3] / four[1] - 1 for name, four in quarters.items()},
        cpu=dict(zip(ours, cpu, strict=True)),
        idle=idle,
        requests=dict(sum((churn.answers for churn in churns[1:]), churns[0].answers)),
        lost=len(lost),
        wrong=len(bad),
        surprises=sum(len(churn.surprises) for churn in churns),
        log_lines={name: len(p.log(10**6).splitlines()) for name, p in ours.items()},
    )


async def _flap(session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
    """A node of another kind comes and goes: everything is decided again each time."""
    node = gpu_node("comes-and-goes", "h200-141gb", realistic=True)
    while not stop.is_set():
        await send(session, "POST", NODES, node)
        await asyncio.sleep(FLAPS)
        await send(session, "DELETE", f"{NODES}/comes-and-goes")
        await asyncio.sleep(FLAPS)


def _quarters(values: list[float]) -> list[float]:
    size = max(1, len(values) // 4)
    return [statistics.median(values[i * size : (i + 1) * size] or values) for i in range(4)]


def main(seconds: float, objects: int, nodes: int, seed: int) -> int:
    """0 if memory stayed flat and nothing was lost; writes build/soak.json."""
    figures = asyncio.run(run(seconds, objects, nodes, seed))
    target = Path("build") / "soak.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    print(target.read_text())
    return 0 if figures.clean else 1
