"""How the controller's cost grows with the objects: to all statuses, in memory, for one change.

Objects and nodes are real, on a real API server; the controller starts when all of them are there.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    install,
    operator_process,
)
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from perf import requests
from soak.world import NODES, World, objects_of, send, spent, wrong_at_last

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from cluster.fixtures_operator import OperatorProcess

STEPS: Final = (1000, 3000, 10_000)
KINDS: Final = ("a100-80gb", "h100-80gb", "l4")
NAMESPACE: Final = "bench"
QUIET: Final = 30.0
WRITTEN: Final = 'plimsoll_reconcile_seconds_count{outcome="written"}'
UNCHANGED: Final = 'plimsoll_reconcile_seconds_count{outcome="unchanged"}'


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen at one size.

    all_statuses, cpu, server_cpu: seconds until all have a status, and CPU seconds that the
    controller and the API server spent on it. idle: share of the machine that was idle meanwhile.
    memory: MiB of all processes of the controller afterwards. quiet: CPU of the controller when
    nothing happens, in percent of one core. change: seconds from one change to its status.
    again, again_cpu, again_written: seconds and CPU seconds to decide all again for one node that
    changes no placement, and statuses written for it. restart: seconds until a new controller has
    found that nothing is to be written.
    """

    objects: int
    nodes: int
    all_statuses: float
    cpu: float
    server_cpu: float
    idle: float
    memory: float
    quiet: float
    change: float
    again: float
    again_cpu: float
    again_written: float
    restart: float
    restart_cpu: float


async def run(steps: tuple[int, ...], nodes: int) -> list[Row]:
    """One row for each size, printed as they come."""
    rows = []
    with ControlPlane() as plane:
        install(plane)
        plane.kubectl("create", "namespace", NAMESPACE)
        world = World(plane)
        async with world.session() as session:
            started = time.monotonic()
            made = (gpu_node(f"n{i}", KINDS[i % 3], realistic=True) for i in range(nodes))
            await world.create(session, NODES, made)
            print(f"{nodes} nodes made in {time.monotonic() - started:.0f} s", flush=True)
            path = objects_of(NAMESPACE)
            for objects in steps:
                started = time.monotonic()
                await world.clear(session, path)
                await world.create(session, path, map(requests.allowed, range(objects)))
                print(f"{objects} objects made in {time.monotonic() - started:.0f} s", flush=True)
                row = await _row(plane, session, objects, nodes)
                rows.append(row)
                print(json.dumps(asdict(row)), flush=True)
    return rows


async def _row(
    plane: ControlPlane, session: aiohttp.ClientSession, objects: int, nodes: int
) -> Row:
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    server = plane.processes()
    before = spent((), server)
    with operator_process("controller", account, plane.folder, wait=False) as ours:
        await _until(lambda: _count(ours, WRITTEN) >= objects, objects)
        tree = ours.processes()
        after = spent(tree, server)
        took, (_, server_cpu), idle = after.since(before)
        cpu = after.cpu[0]
        print(f"{objects} statuses in {took:.0f} s, CPU {cpu:.1f} s", flush=True)
        assert not (found := await wrong_at_last(session, objects_of(NAMESPACE))), found[:3]
        await asyncio.sleep(QUIET / 2)
        calm = spent(tree)
        await asyncio.sleep(QUIET)
        rested, (resting,), _ = spent(tree).since(calm)
        memory = ours.memory() / 2**20
        change = await _one_change(session, objects)
        again, again_cpu, again_written = await _all_again(ours, session, objects)
    started = time.monotonic()
    with operator_process("controller", account, plane.folder, wait=False) as ours:
        await _until(lambda: _count(ours, UNCHANGED) >= objects, objects)
        restart = time.monotonic() - started
        restart_cpu = spent(ours.processes()).cpu[0]
        assert _count(ours, WRITTEN) == 0
    return Row(
        objects=objects,
        nodes=nodes,
        all_statuses=took,
        cpu=cpu,
        server_cpu=server_cpu,
        idle=idle,
        memory=memory,
        quiet=100 * resting / rested,
        change=change,
        again=again,
        again_cpu=again_cpu,
        again_written=again_written,
        restart=restart,
        restart_cpu=restart_cpu,
    )


async def _one_change(session: aiohttp.ClientSession, objects: int) -> float:
    """The median of seconds from a change of one spec to its status, of five."""
    times = []
    for number in range(5):
        path = f"{objects_of(NAMESPACE)}/allowed-{objects // 2 + number}"
        started = time.monotonic()
        changed = await send(
            session, "PATCH", path, {"spec": {"workload": {"inputTokens": 700 + number}}}
        )
        assert changed.status == 200, changed
        generation = changed.body["metadata"]["generation"]
        while True:
            found = await send(session, "GET", path)
            if found.body["status"].get("observedGeneration") == generation:
                break
            await asyncio.sleep(0.005)
        times.append(time.monotonic() - started)
    return sorted(times)[2]


async def _all_again(
    ours: OperatorProcess, session: aiohttp.ClientSession, objects: int
) -> tuple[float, float, float]:
    """Seconds, CPU seconds and writes that one more node of another kind costs."""
    written, unchanged = _count(ours, WRITTEN), _count(ours, UNCHANGED)
    tree = ours.processes()
    before = spent(tree)
    node = gpu_node("another", "h200-141gb", realistic=True)
    assert (await send(session, "POST", NODES, node)).status == 201
    wanted = written + unchanged + objects
    await _until(lambda: _count(ours, WRITTEN) + _count(ours, UNCHANGED) >= wanted, objects)
    seconds, (cpu,), _ = spent(tree).since(before)
    await send(session, "DELETE", f"{NODES}/another")
    await _until(
        lambda: _count(ours, WRITTEN) + _count(ours, UNCHANGED) >= wanted + objects, objects
    )
    return seconds, cpu, _count(ours, WRITTEN) - written


def _count(ours: OperatorProcess, series: str) -> float:
    assert ours.process.returncode is None, ours.log()
    return ours.metric(series) or 0.0


async def _until(true: Callable[[], bool], objects: int) -> None:
    """Ask now and then: three series for each object are no small answer."""
    pause = max(0.25, objects / 2500)
    async with asyncio.timeout(1800):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110
            await asyncio.sleep(pause)


def table(rows: list[Row]) -> str:
    """The rows as Markdown, with what one object costs at each size."""
    lines = [
        "| objects | nodes | until all have a status | CPU of the controller | a status | "
        "CPU of the API server | machine idle | memory | quiet | one change | "
        "one node more: all again | written for it | restart, nothing to write |",
        "|" + "---|" * 13,
    ]
    for row in rows:
        each = 1e3 * row.cpu / row.objects
        lines.append(
            f"| {row.objects:,} | {row.nodes:,} | {row.all_statuses:.0f} s | {row.cpu:.0f} s | "
            f"{each:.1f} ms | {row.server_cpu:.0f} s | {row.idle:.0%} | {row.memory:.0f} MiB | "
            f"{row.quiet:.1f} % of a core | {row.change * 1e3:.0f} ms | "
            f"{row.again:.0f} s, CPU {row.again_cpu:.0f} s | {row.again_written:.0f} | "
            f"{row.restart:.0f} s, CPU {row.restart_cpu:.0f} s |"
        )
    return "\n".join(lines)


def main(nodes: int, most: int) -> None:
    """Run all steps up to so many objects; print the table and write build/scale.json."""
    steps = tuple(step for step in STEPS if step <= most) or (most,)
    rows = asyncio.run(run(steps, nodes))
    target = Path("build") / "scale.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print(table(rows))
