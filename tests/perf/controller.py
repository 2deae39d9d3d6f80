"""The controller with 2,000 objects: how soon all have a status, and how much memory it takes.

Baselines in the same run: the same client creating the objects and writing an equal status
itself; a bare kopf process with the same watches.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from cluster.fixtures_operator import free_port, install, operator_process, until
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from controlplane.processes import Process
from perf import requests

if TYPE_CHECKING:
    from perf.results import Report

OBJECTS, NODES, CONNECTIONS = 2000, 1000, 16
PATH = "/apis/plimsoll.dev/v1alpha1/namespaces/bench/llmdeployments"
MERGE = {"Content-Type": "application/merge-patch+json"}


class Bench:
    """One client of the API server."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        certificate, key = plane.authority.issue("bench", ["system:masters"]).write(
            plane.folder, "bench"
        )
        self.context = ssl.create_default_context(cadata=plane.authority.bundle.decode())
        self.context.load_cert_chain(certificate, key)

    def session(self) -> aiohttp.ClientSession:
        """A session with 16 connections."""
        connector = aiohttp.TCPConnector(ssl=self.context, limit=CONNECTIONS)
        return aiohttp.ClientSession(self.plane.url, connector=connector)

    async def create(self, first: int, status: dict[str, Any] | None) -> float:
        """Create the objects, and write a status on each where one is given. Seconds."""
        numbers = iter(range(first, first + OBJECTS))

        async def worker(session: aiohttp.ClientSession) -> None:
            for number in numbers:
                body = requests.allowed(number)
                async with session.post(PATH, json=body) as answer:
                    made = await answer.json()
                    assert answer.status == 201, made
                if status is None:
                    continue
                patch = {
                    "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]},
                    "status": status,
                }
                url = f"{PATH}/{made['metadata']['name']}/status"
                async with session.patch(url, data=json.dumps(patch), headers=MERGE) as answer:
                    assert answer.status == 200, await answer.text()

        async with self.session() as session:
            start = time.perf_counter()
            await asyncio.gather(*(worker(session) for _ in range(CONNECTIONS)))
            return time.perf_counter() - start

    async def until_all_have_status(self, limit: float) -> None:
        """Watch until every object has a status of its own."""
        end = time.perf_counter() + limit
        async with self.session() as session:
            have: set[str] = set()
            async with session.get(PATH, params={"limit": "0"}) as answer:
                listed = await answer.json()
            for item in listed["items"]:
                if item["status"].get("observedGeneration", -1) >= 1:
                    have.add(item["metadata"]["name"])
            version = listed["metadata"]["resourceVersion"]
            query = {"watch": "true", "resourceVersion": version}
            async with session.get(
                PATH, params=query, timeout=aiohttp.ClientTimeout(total=limit), read_bufsize=1 << 22
            ) as stream:
                while len(have) < OBJECTS:
                    assert time.perf_counter() < end, f"{len(have)} of {OBJECTS} have a status"
                    item = json.loads(await stream.content.readline())["object"]
                    if item.get("status", {}).get("observedGeneration", -1) >= 1:
                        have.add(item["metadata"]["name"])

    async def one_status(self, name: str) -> dict[str, Any]:
        """The status of an object."""
        async with self.session() as session, session.get(f"{PATH}/{name}") as answer:
            found: dict[str, Any] = (await answer.json())["status"]
            return found

    def clear(self) -> None:
        """Delete all objects at once."""
        self.plane.kubectl("delete", "--raw", PATH)


def memory_of(pid: int) -> float:
    """MiB in memory now."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(line.split()[1]) / 1024


def bare_memory(plane: ControlPlane) -> float:
    """MiB of the bare kopf process once it has seen everything."""
    port = free_port()
    process = Process(
        "bare-kopf",
        [sys.executable, str(Path(__file__).with_name("bare_kopf.py")), str(port)],
        plane.folder / "bare.log",
        environment=os.environ | {"KUBECONFIG": str(plane.kubeconfig)},
    )

    def alive() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    try:
        until(alive, 30, "the bare process lives")
        last, same = 0.0, 0
        while same < 5:
            time.sleep(1)
            now = memory_of(process.pid)
            same = same + 1 if abs(now - last) < 0.5 else 0
            last = now
        return last
    finally:
        process.kill()


def run(report: Report) -> None:
    """Both figures."""
    with ControlPlane() as plane:
        install(plane)
        plane.kubectl("create", "namespace", "bench")
        kinds = ("a100-80gb", "h100-80gb", "l4")
        plane.create([gpu_node(f"n{i}", kinds[i % 3], realistic=True) for i in range(NODES)])
        bench = Bench(plane)
        kubeconfig = plane.kubeconfig_for_service_account("plimsoll-system", "plimsoll-controller")
        with operator_process("controller", kubeconfig, plane.folder) as ours:

            async def with_controller() -> float:
                start = time.perf_counter()
                await bench.create(0, None)
                await bench.until_all_have_status(180)
                return time.perf_counter() - start

            seconds = asyncio.run(with_controller())
            status = asyncio.run(bench.one_status("allowed-0"))
            time.sleep(8)
            memory = ours.memory() / 2**20
        bare = bare_memory(plane)
        bench.clear()
        asyncio.run(bench.create(100_000, status))
        bench.clear()
        alone = asyncio.run(bench.create(200_000, status))
        report.add(
            "2,000 LLMDeployments until each has its status", seconds, "s", "ratio <= 1.5", alone
        )
        report.add(
            "controller: memory of all its processes at 2,000 objects, 1,000 nodes",
            memory,
            "MiB",
            "ratio <= 1.7",
            bare,
        )
