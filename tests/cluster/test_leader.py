"""Claims about two controllers on a real API server: one leads, the other takes over in time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from cluster.fixtures_leader import LEASE, LEASE_RULES, grant, leader_of, leads, lease
from cluster.fixtures_operator import (
    SYSTEM_NAMESPACE,
    OperatorProcess,
    conditions,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import own_plane
from controlplane.nodes import gpu_node
from plimsoll.errors import PlimsollError
from plimsoll_operator.cluster.client import connect
from plimsoll_operator.controller.election import Election, LeaseTimes, LostLease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from controlplane import ControlPlane

TAKES_OVER = 20.0
"""Seconds that a standby may take after its leader was killed."""
AT_ONCE = 5.0
"""The same if the leader ended as it should; a second or two on an idle machine."""
QUICK = LeaseTimes(lease=2.0, renew=1.4, retry=0.2)
SETTINGS = {"leader_elect": True, "resync_seconds": 5}
WRITTEN = 'plimsoll_reconcile_seconds_count{outcome="written"}'


plane = own_plane("starts controllers", [gpu_node("a100-0"), gpu_node("a100-1")])


@pytest.fixture
def two(plane: ControlPlane, account: Path) -> Iterator[list[OperatorProcess]]:
    """Two controllers that are ready; one of them leads."""
    plane.kubectl("delete", "lease", LEASE, "-n", SYSTEM_NAMESPACE, "--ignore-not-found")
    with (
        operator_process("controller", account, plane.folder, SETTINGS) as one,
        operator_process("controller", account, plane.folder, SETTINGS) as other,
    ):
        leader_of((one, other))
        yield [one, other]


def is_decided(plane: ControlPlane, space: str, name: str) -> Callable[[], bool]:
    def decided() -> bool:
        obj = plane.get("llmdeployment", name, "-n", space)
        return bool(conditions(obj)) and (
            obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
        )

    return decided


def test_a_standby_is_ready_knows_everything_and_writes_nothing(
    plane: ControlPlane, two: list[OperatorProcess], space: str
) -> None:
    leader, (standby,) = leader_of(two)
    plane.create([llm_deployment(f"model-{i}", space) for i in range(5)])
    for i in range(5):
        until(is_decided(plane, space, f"model-{i}"), 10, "decided by the leader")
    there = len(plane.get("llmdeployments", "-A")["items"])
    until(lambda: standby.metric("plimsoll_llmdeployments") == there, 10, "the standby knows them")
    assert standby.ready()
    assert standby.metric("plimsoll_leader") == 0
    assert not standby.metric(WRITTEN)
    assert (leader.metric(WRITTEN) or 0) >= 5
    assert f"_{leader.process.pid}_" in lease(plane)["holderIdentity"]
    assert f"_{leader.process.pid}_" in standby.log().split("standing by: ")[1]


def test_a_standby_takes_over_within_twenty_seconds_of_a_killed_leader(
    plane: ControlPlane, two: list[OperatorProcess], space: str
) -> None:
    leader, (standby,) = leader_of(two)
    leader.process.kill()
    killed = time.monotonic()
    plane.create([llm_deployment("model", space)])
    until(lambda: leads(standby), TAKES_OVER, "the standby leads")
    until(is_decided(plane, space, "model"), TAKES_OVER, "and decides")
    took = time.monotonic() - killed
    print(f"kill -9: decided by the standby after {took:.1f} s")
    assert took < TAKES_OVER


def test_a_leader_that_is_told_to_stop_gives_the_lease_back(
    plane: ControlPlane, two: list[OperatorProcess], space: str
) -> None:
    leader, (standby,) = leader_of(two)
    plane.create([llm_deployment("before", space)])
    until(is_decided(plane, space, "before"), 10)
    before = lease(plane)["leaseTransitions"]
    os.kill(leader.process.pid, signal.SIGTERM)
    told = time.monotonic()
    plane.create([llm_deployment("after", space)])
    assert leader.process.wait(5) == 0, leader.log()
    until(is_decided(plane, space, "after"), AT_ONCE, "decided by the standby")
    print(f"SIGTERM: decided by the standby after {time.monotonic() - told:.1f} s")
    assert leads(standby)
    assert lease(plane)["leaseTransitions"] == before + 1
    assert "gave the Lease" in leader.log()


def test_a_leader_that_lost_its_lease_ends_and_says_so(
    plane: ControlPlane, two: list[OperatorProcess]
) -> None:
    leader, (standby,) = leader_of(two)
    stolen = {"spec": {"holderIdentity": "somebody-else"}}
    plane.kubectl(
        "patch", "lease", LEASE, "-n", SYSTEM_NAMESPACE, "--type=merge", "-p", json.dumps(stolen)
    )
    assert leader.process.wait(10) == 1, leader.log()
    assert "is lost: somebody-else holds it now" in leader.log(3)
    until(lambda: leads(standby), TAKES_OVER, "and the other one leads once that has run out")


def test_a_standby_without_the_right_to_the_lease_says_so_and_leads_once_it_has_it(
    plane: ControlPlane, account: Path, space: str
) -> None:
    settings = SETTINGS | {"lease_namespace": space}
    with operator_process("controller", account, plane.folder, settings) as alone:
        until(lambda: "cannot be taken: 403" in alone.log(), 10, "says why it does not lead")
        assert alone.metric("plimsoll_leader") == 0
        grant(plane, "controller-lease", LEASE_RULES, space)
        until(lambda: leads(alone), 10, "leads")


@pytest.mark.parametrize(
    ("lease_seconds", "renew", "retry"), [(10, 10, 2), (10, 7, 7), (0.5, 0.3, 0.1), (10, 7, 0)]
)
def test_terms_in_which_two_could_lead_are_refused(
    lease_seconds: float, renew: float, retry: float
) -> None:
    with pytest.raises(PlimsollError, match="--lease-renew-seconds"):
        LeaseTimes(lease_seconds, renew, retry)


async def test_of_five_candidates_that_fall_silent_or_give_up_in_turn_never_two_lead(
    plane: ControlPlane, account: Path
) -> None:
    leading: list[set[str]] = []
    terms: list[str] = []

    async with connect(str(account)) as client:

        async def candidate(name: str) -> None:
            while True:
                election = Election(
                    client,
                    namespace=SYSTEM_NAMESPACE,
                    name=LEASE,
                    identity=name,
                    term=QUICK,
                )
                elections[name] = election
                await election.acquire()
                terms.append(name)
                try:
                    # holds for a while, then stops renewing without a word, as one that is killed
                    async with asyncio.timeout(0.5 + 0.3 * int(name)):
                        await election.hold()
                except TimeoutError:
                    if int(name) % 2:
                        await election.release()
                        await asyncio.sleep(2 * QUICK.retry)  # lets the others have a look at it
                    else:
                        await asyncio.sleep(QUICK.lease + 1)
                except LostLease:
                    pass

        elections: dict[str, Election] = {}
        plane.kubectl("delete", "lease", LEASE, "-n", SYSTEM_NAMESPACE, "--ignore-not-found")
        tasks = [asyncio.create_task(candidate(str(number))) for number in range(5)]
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            leading.append({name for name, e in elections.items() if e.leading})
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert max(len(now) for now in leading) == 1
    assert len(terms) >= 4, terms
    assert len(set(terms)) >= 2, terms
