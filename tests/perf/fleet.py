"""A large fleet: 5,000 nodes and 10,000 pods with GPUs, and 2,000 LLMDeployments on them.

How soon they are known, what one event costs, how long it takes to decide everything again, and
what memory that takes. Nodes and pods are as large as in production. Baselines of the same run: a
client that lists and parses the same and keeps nothing; a bare kopf process with the same watches.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    install,
    operator_process,
)
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from controlplane.progress import say
from perf import requests
from perf.controller import bare_memory
from plimsoll_operator.cluster.gpus import GpuNodes
from soak.world import CONNECTIONS, NODES, World, listed, objects_of, send, spent

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from cluster.fixtures_operator import OperatorProcess
    from perf.results import Report

FLEET, PODS, OBJECTS, EVENTS = 5000, 10_000, 2000, 1000
LONGEST: Final = 300.0
"""Seconds that anything is waited for."""
TRIES: Final = 20
"""Times that a request is sent."""
POLL: Final = 0.5
"""Seconds between two looks at the metrics of 2,000 objects, which themselves cost 50 ms."""
REST: Final = 5.0
"""Seconds over which it is seen what the controller spends when nothing happens."""
SPACE: Final = "bench"
KINDS: Final = ("a100-80gb", "h100-80gb", "l40s")
POD_PATH: Final = f"/api/v1/namespaces/{SPACE}/pods"
DECIDED: Final = tuple(
    f'plimsoll_reconcile_seconds_count{{outcome="{outcome}"}}'
    for outcome in ("written", "unchanged")
)


def gpu_pod(name: str, node: str, gpus: int = 1) -> dict[str, Any]:
    """A bound pod that holds GPUs, as large as one of an inference server is: some 8 KB listed."""
    engine = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.33.0",
        "args": [f"--option-{i}=value-{i}" for i in range(20)],
        "env": [{"name": f"VARIABLE_{i}", "value": f"some value of it, {i}"} for i in range(40)],
        "resources": {"limits": {"nvidia.com/gpu": str(gpus), "cpu": "8", "memory": "64Gi"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }
    sidecar = {
        "name": "proxy",
        "image": "proxy:1",
        "env": [{"name": f"PROXY_{i}", "value": f"something, {i}"} for i in range(30)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": SPACE,
            "labels": {f"example.com/label-{i}": f"value-{i}" for i in range(12)},
            "annotations": {f"example.com/annotation-{i}": "x" * 80 for i in range(8)},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "nodeName": node,
            "containers": [engine, sidecar],
            "volumes": [{"name": "cache", "emptyDir": {}}],
        },
    }


def run(report: Report) -> None:
    """All figures of it; one that takes too long is missed, and the rest is measured all the
    same."""
    with ControlPlane() as plane:
        install(plane)
        plane.kubectl("create", "namespace", SPACE)
        asyncio.run(_measure(report, plane))


async def _measure(report: Report, plane: ControlPlane) -> None:
    world = World(plane)
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    async with world.session() as session:
        await _make(session, "nodes", NODES, FLEET, _node)
        await _make(session, "pods", POD_PATH, PODS, _pod)
        started = time.monotonic()
        with operator_process("controller", account, plane.folder, wait=False) as ours:
            await _until(ours.ready)
            known = time.monotonic() - started
            (cpu,) = spent(ours.processes()).cpu
        report.add(
            f"{FLEET:,} nodes and {PODS:,} GPU pods known, from start",
            known,
            "s",
            "<= 8",
            await _listing(session),
        )
        report.add("the same: CPU of the controller", cpu, "s", "")
        await _events_alone(report, session)
        await _make(session, "LLMDeployments", objects_of(SPACE), OBJECTS, requests.allowed)
        with operator_process("controller", account, plane.folder, wait=False) as ours:
            started = time.monotonic()
            await _until(lambda: ours.ready() and _decided(ours) >= OBJECTS, POLL)
            took = time.monotonic() - started
            report.add(f"{OBJECTS:,} objects with their status, from start", took, "s", "")
            await _quiet(ours)
            await _again(report, session, ours)
            await _quiet(ours)
            await _events(report, session, ours)
            await _quiet(ours)
            memory = ours.memory() / 2**20
    report.add(
        f"controller: memory at {FLEET:,} nodes, {PODS:,} pods, {OBJECTS:,} objects",
        memory,
        "MiB",
        "ratio <= 1.3",
        await asyncio.to_thread(bare_memory, plane),
    )


def _node(number: int) -> dict[str, Any]:
    return gpu_node(f"n{number}", KINDS[number % 3], realistic=True)


def _pod(number: int) -> dict[str, Any]:
    return gpu_pod(f"p{number}", f"n{number % FLEET}")


async def _make(
    session: aiohttp.ClientSession,
    what: str,
    path: str,
    count: int,
    one: Callable[[int], dict[str, Any]],
) -> None:
    started, numbers = time.monotonic(), iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await _sent(session, "POST", path, one(number))

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    say(f"      made {count:,} {what} in {time.monotonic() - started:.0f} s")


async def _listing(session: aiohttp.ClientSession) -> float:
    """Seconds in which a client lists and parses the same, and keeps nothing."""
    started = time.monotonic()
    for path in (NODES, "/api/v1/pods"):
        async for _ in listed(session, path):
            pass
    return time.monotonic() - started


async def _events_alone(report: Report, session: aiohttp.ClientSession) -> None:
    """What taking in one event costs, beside reading its JSON."""
    known = GpuNodes()
    for what, path, take in (
        ("node", NODES, known.put),
        ("pod", "/api/v1/pods", known.free.put),
    ):
        some: list[dict[str, Any]] = []
        async for obj in listed(session, path):
            take(obj)
            if len(some) < EVENTS:
                some.append(obj)
        known.settle()
        known.settle_free()
        lines = [json.dumps(one) for one in some]
        changed = [_touched(one, what) for one in some]
        seconds = _seconds(take, changed)
        parsed = _seconds(json.loads, lines)
        report.add(f"a {what} event taken in, without its JSON", seconds, "ms", "<= 1", parsed)


def _touched(obj: dict[str, Any], what: str) -> dict[str, Any]:
    """The object as a later event says it: a heartbeat, or another count of GPUs."""
    if what == "node":
        obj["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-01-02T00:00:00Z"
    else:
        obj["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = "2"
    return obj


def _seconds(call: Callable[[Any], Any], given: list[Any]) -> float:
    """Milliseconds for each."""
    started = time.perf_counter()
    for one in given:
        call(one)
    return (time.perf_counter() - started) * 1e3 / len(given)


async def _again(report: Report, session: aiohttp.ClientSession, ours: OperatorProcess) -> None:
    """One more node of the kind that all objects are placed on."""
    before = _decided(ours)
    tree = ours.processes()
    spent_before, started = spent(tree), time.monotonic()
    node = gpu_node("another", KINDS[0], realistic=True)
    await _sent(session, "POST", NODES, node)
    await _until(lambda: _decided(ours) >= before + OBJECTS, POLL)
    took = time.monotonic() - started
    report.add(f"{OBJECTS:,} objects decided again for one node more", took, "s", "<= 5")
    _, (cpu,), _ = spent(tree).since(spent_before)
    report.add("the same: CPU of the controller", cpu, "s", "")


async def _events(report: Report, session: aiohttp.ClientSession, ours: OperatorProcess) -> None:
    """CPU of the controller for heartbeats of nodes and labels of pods, beyond that at rest."""

    async def beats() -> None:
        for number in range(EVENTS):
            body = {"metadata": {"annotations": {"example.com/beat": str(time.monotonic())}}}
            await _sent(session, "PATCH", f"{NODES}/n{number}", body)

    async def labels() -> None:
        for number in range(EVENTS):
            body = {"metadata": {"labels": {"example.com/beat": str(number)}}}
            await _sent(session, "PATCH", f"{POD_PATH}/p{number}", body)

    for what, happen in (("node's heartbeat", beats), ("pod's change", labels)):
        tree = ours.processes()
        at_rest = spent(tree)
        await asyncio.sleep(REST)
        before = spent(tree)
        rest = before.since(at_rest)
        await happen()
        await asyncio.sleep(3)
        seconds, (cpu,), _ = spent(tree).since(before)
        cpu -= rest[1][0] / rest[0] * seconds
        report.add(f"a {what}: CPU of the controller", cpu * 1e3 / EVENTS, "ms", "<= 1")


async def _sent(
    session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any]
) -> None:
    """Send it until it is taken: on a busy machine the API server does not hear of its etcd."""
    for _ in range(TRIES):
        found = await send(session, method, path, body)
        if found.status in (200, 201, 409):  # what was in time after all is there already
            return
        await asyncio.sleep(1)
    raise AssertionError(found)


def _decided(ours: OperatorProcess) -> float:
    assert ours.process.returncode is None, ours.log()
    return sum(ours.metric(series) or 0.0 for series in DECIDED)


async def _quiet(ours: OperatorProcess) -> None:
    """Wait until nothing has been decided for a while."""
    same, last, deadline = 0, -1.0, time.monotonic() + LONGEST
    while same < 4 and time.monotonic() < deadline:
        await asyncio.sleep(1)
        now = await asyncio.to_thread(_decided, ours)
        same, last = (same + 1, last) if now == last else (0, now)


async def _until(true: Callable[[], bool], poll: float = 0.1) -> None:
    """Wait for something, or for so long that whatever is measured misses its aim."""
    deadline = time.monotonic() + LONGEST
    while not await asyncio.to_thread(true) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(poll)
