"""The claim that a leader which slept through its term does no harm when it wakes.

A Lease is no fence: the sleeper does not know that it slept. It is stopped while a write of its
own is under way, held up on the network; the standby takes over, decides, and decides again; then
the old write arrives, and the sleeper wakes.

PLIMSOLL_SLEEP_SECONDS shortens the sleep while working on this; the claim is for 60.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from cluster.fixtures_leader import leader_of, leads, lease
from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    conditions,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import own_plane
from controlplane.nodes import gpu_node
from faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controlplane import ControlPlane

SLEEP = float(os.environ.get("PLIMSOLL_SLEEP_SECONDS", "60"))
TAKES_OVER = 20.0
ENDS = 5.0
"""Seconds in which a leader that wakes has ended; it takes a fraction of one."""
SETTINGS = {"leader_elect": True, "resync_seconds": 600, "heartbeat_seconds": 60}
NAMESPACE = "default"


class HoldingProxy(Proxy):
    """A proxy that can keep what clients send to itself for a while, without losing it."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.may_pass = asyncio.Event()
        self.may_pass.set()
        self.held = 0
        """Bytes that are kept."""

    def hold(self) -> None:
        """Keep what clients send from now on."""
        self._loop.call_soon_threadsafe(self.may_pass.clear)

    def let_go(self) -> None:
        """Send on what was kept."""
        self._loop.call_soon_threadsafe(self.may_pass.set)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._carry(_Held(reader, self), writer)  # type: ignore[arg-type]


class _Held:
    """What a client sends, as its reader has it, but only when it may pass."""

    def __init__(self, reader: asyncio.StreamReader, proxy: HoldingProxy) -> None:
        self._reader, self._proxy = reader, proxy

    async def read(self, most: int) -> bytes:
        data = await self._reader.read(most)
        if not self._proxy.may_pass.is_set():
            self._proxy.held += len(data)
            await self._proxy.may_pass.wait()
        return data


plane = own_plane(nodes=[gpu_node("a100-0"), gpu_node("a100-1")], scope="function")


@pytest.fixture
def proxy(plane: ControlPlane) -> Iterator[HoldingProxy]:
    server = urlsplit(plane.url)
    assert server.hostname
    assert server.port
    with HoldingProxy(server.hostname, server.port) as proxy:
        yield proxy


def status_writes(plane: ControlPlane, code: int) -> float:
    """How many patches of a status the API server has answered like that."""
    total = 0.0
    for line in plane.kubectl("get", "--raw", "/metrics").stdout.splitlines():
        wanted = ('group="plimsoll.dev"', 'subresource="status"', 'verb="PATCH"', f'code="{code}"')
        if line.startswith("apiserver_request_total{") and all(w in line for w in wanted):
            total += float(line.rpartition(" ")[2])
    return total


def get(plane: ControlPlane, name: str) -> dict[str, Any]:
    return plane.get("llmdeployment", name, "-n", NAMESPACE)


def decided(plane: ControlPlane, name: str) -> bool:
    obj = get(plane, name)
    seen = obj.get("status", {}).get("observedGeneration")
    return bool(conditions(obj)) and seen == obj["metadata"]["generation"]


@pytest.mark.timeout(240)
def test_a_leader_that_slept_through_its_term_changes_nothing_and_ends(
    plane: ControlPlane, proxy: HoldingProxy
) -> None:
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    through = proxy.kubeconfig(account)
    with operator_process("controller", through, plane.folder, SETTINGS) as sleeper:
        leader_of([sleeper])
        with operator_process("controller", account, plane.folder, SETTINGS) as standby:
            plane.create([llm_deployment("before", NAMESPACE)])
            until(lambda: decided(plane, "before"), 10, "decided by the leader")
            assert leads(sleeper)
            assert not leads(standby)

            # Its decision on a new object is on its way when it falls asleep.
            proxy.hold()
            plane.create([llm_deployment("model", NAMESPACE)])
            until(lambda: proxy.held > 1000, 10, "the leader has sent something")
            time.sleep(1)  # a renewal of the Lease, perhaps; its decision, by now
            os.kill(sleeper.process.pid, signal.SIGSTOP)
            asleep = time.monotonic()
            until(lambda: leads(standby), TAKES_OVER, "the standby leads")
            until(lambda: decided(plane, "model"), TAKES_OVER, "and decides")
            took = time.monotonic() - asleep
            assert took < TAKES_OVER
            elsewhere = {"accelerator": {"allowed": ["nvidia-h100-80gb"]}}
            plane.apply([llm_deployment("model", NAMESPACE, elsewhere)])
            until(lambda: decided(plane, "model"), 10, "and decides again")
            time.sleep(1)
            as_it_should_be = {name: get(plane, name) for name in ("before", "model")}
            holder = lease(plane)["holderIdentity"]
            assert f"_{standby.process.pid}_" in holder

            # What it had sent arrives late, and is refused by the version that it names.
            refused, written = status_writes(plane, 409), status_writes(plane, 200)
            proxy.let_go()
            until(lambda: status_writes(plane, 409) > refused, 10, "the late write is refused")
            assert status_writes(plane, 200) == written
            time.sleep(max(0.0, SLEEP - (time.monotonic() - asleep)))

            # It wakes, believes that it leads, and finds out before it writes anything.
            os.kill(sleeper.process.pid, signal.SIGCONT)
            woke = time.monotonic()
            assert sleeper.process.wait(ENDS) == 1, sleeper.log()
            print(
                f"taken over after {took:.1f} s; slept {woke - asleep:.0f} s, "
                f"ended {time.monotonic() - woke:.2f} s after waking"
            )
            assert "is lost" in sleeper.log(5)
            assert status_writes(plane, 200) == written
            assert {name: get(plane, name) for name in as_it_should_be} == as_it_should_be
            assert lease(plane)["holderIdentity"] == holder
            assert leads(standby)

            plane.create([llm_deployment("after", NAMESPACE)])
            until(lambda: decided(plane, "after"), 10, "the new leader goes on")


@pytest.mark.timeout(120)
def test_a_leader_that_is_cut_off_has_ended_before_another_leads(
    plane: ControlPlane, proxy: HoldingProxy
) -> None:
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    through = proxy.kubeconfig(account)
    with operator_process("controller", through, plane.folder, SETTINGS) as leader:
        leader_of([leader])
        with operator_process("controller", account, plane.folder, SETTINGS) as standby:
            proxy.cut()
            cut = time.monotonic()
            assert leader.process.wait(10) == 1, leader.log()
            ended = time.monotonic()
            assert not leads(standby)
            assert "is lost: it was not renewed for 7 s" in leader.log(5)
            until(lambda: leads(standby), TAKES_OVER, "the standby leads")
            print(f"ended after {ended - cut:.1f} s, replaced after {time.monotonic() - cut:.1f} s")
