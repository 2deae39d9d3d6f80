"""Creates through ours, the floor alone, Gatekeeper, a no-op webhook and through nothing.

All of them on one API server in one run, in turns, for what is allowed, what is denied and what
nobody can read: a model that is in no catalogue. What does not judge lets the denied in.

Beside each rate of ours stands the CPU of one create, of our processes against API server and etcd:
where those alone keep the processors busy, it says which ratio can be had at all.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from cluster.fixtures_operator import DEPLOY, install
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from perf import requests
from perf.admission import WEBHOOK, register, servers
from perf.gatekeeper import gatekeeper
from soak.world import CONNECTIONS, World, objects_of, send, spent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import aiohttp

    from perf.results import Report

NAMESPACE: Final = "bench"
LEAST: Final = {"allowed": 0.8, "denied": 0.3, "unread": 0.8}
"""Of the no-op webhook's rate. What is denied is not written by ours and by the floor, and ours
looks for ways out instead."""
ROUNDS: Final = 3
CREATES: Final = 100
BUSY: Final = "no process was free to decide"
SETTLES: Final = 2.0
"""Seconds after which the API server acts on a webhook or a policy that came or went."""


def unread(number: int, namespace: str = NAMESPACE) -> dict[str, Any]:
    """One whose model nobody knows."""
    found = requests.allowed(number, namespace)
    found["spec"]["model"] = {"uri": f"hf://nobody/knows-{number}"}
    return found


KINDS: Final = {"allowed": requests.allowed, "denied": requests.refused, "unread": unread}


async def _burst(session: aiohttp.ClientSession, bodies: Iterator[dict[str, Any]]) -> float:
    """Creates a second over 16 connections; all are answered alike: let in, or refused.

    What was not decided in time, as the machine was too busy, is asked again, as users do.
    """
    path, statuses = objects_of(NAMESPACE), set()

    async def worker() -> int:
        count = 0
        for body in bodies:
            answer = await send(session, "POST", path, body)
            while BUSY in answer.message:
                answer = await send(session, "POST", path, body)
            assert answer.status in (201, 403, 422), answer
            statuses.add(answer.status)
            count += 1
        return count

    started = time.perf_counter()
    count = sum(await asyncio.gather(*(worker() for _ in range(CONNECTIONS))))
    assert len(statuses) == 1, statuses
    return count / (time.perf_counter() - started)


async def _race(
    world: World,
    contestants: dict[str, Callable[[bool], None]],
    processes: Sequence[Sequence[int]],
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], list[float]]]:
    """The median rate of each contestant for each kind, and the milliseconds of CPU that each of
    some groups of processes took for one create. A contestant is put in force, and out."""
    rates: dict[tuple[str, str], list[float]] = {}
    took: dict[tuple[str, str], list[float]] = {}
    number = 0
    async with world.session() as session:
        for _ in range(ROUNDS):
            for name, put in contestants.items():
                put(True)
                await asyncio.sleep(SETTLES)
                for kind, make in KINDS.items():
                    made = (make(i) for i in range(number, number + CREATES + CONNECTIONS))
                    number += CREATES + CONNECTIONS
                    await _burst(session, (next(made) for _ in range(CONNECTIONS)))
                    before = spent(*processes)
                    rates.setdefault((name, kind), []).append(await _burst(session, made))
                    _, cpu, _ = spent(*processes).since(before)
                    sums = took.setdefault((name, kind), [0.0] * len(cpu))
                    for group, seconds in enumerate(cpu):
                        sums[group] += seconds * 1e3 / (ROUNDS * CREATES)
                    await world.clear(session, objects_of(NAMESPACE))
                put(False)
                await asyncio.sleep(SETTLES)
    return {key: statistics.median(values) for key, values in rates.items()}, took


def run(report: Report) -> None:
    """Ours, the floor and Gatekeeper against the no-op webhook; nothing at all, to compare."""
    with ControlPlane() as plane:
        install(plane)
        plane.kubectl("create", "namespace", NAMESPACE)
        plane.create([gpu_node(f"n{i}", ("a100-80gb", "l4")[i % 2]) for i in range(20)])
        with servers(plane) as (ours, baseline, process), gatekeeper(plane) as peer:

            def floor(on: bool) -> None:
                plane.kubectl("apply" if on else "delete", "-f", str(DEPLOY / "floor.yaml"))

            def webhook(url: str) -> Callable[[bool], None]:
                def put(on: bool) -> None:
                    if on:
                        register(plane, url)
                    else:
                        plane.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK)

                return put

            contestants: dict[str, Callable[[bool], None]] = {
                "nothing": lambda on: None,
                "no-op": webhook(baseline),
                "ours": webhook(ours),
                "the floor": floor,
                "Gatekeeper": webhook(peer),
            }
            groups = (process.processes(), plane.processes())
            rates, took = asyncio.run(_race(World(plane), contestants, groups))
    for kind in KINDS:
        theirs = rates["no-op", kind]
        for name in ("ours", "the floor", "Gatekeeper", "nothing"):
            figure = f"creates through {name}, {kind}"
            aim = f"ratio >= {LEAST[kind]}" if name in ("ours", "the floor") else ""
            report.add(figure, rates[name, kind], "/s", aim, theirs)
        own, api = took["ours", kind]
        report.add(f"CPU of a create through ours, {kind}: ours", own, "ms", "", api)
