"""The claim that a wall clock that steps by a day, to either side, changes nothing but timestamps.

The clock is that of the processes alone: a library in front of the C library's moves it, and leaves
the monotonic clock as it is, as a step does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.fixtures_leader import leads
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
from faults.both import both

if TYPE_CHECKING:
    from controlplane import ControlPlane

DAY = 86400
SOON = 20.0
TERM = 7.0
"""Seconds after which a leader that does not renew is none any more."""
ELECTED = {"leader_elect": True}

plane = own_plane(nodes=[gpu_node("a100-0")], scope="function")


class Clock:
    """A wall clock for processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "clock", folder / "clock.so"
        self._file.write_text("0")
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.environment = os.environ | {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self._file)}

    def step(self, seconds: int) -> None:
        """From now on it is so many seconds later than it is."""
        self._file.write_text(str(seconds))


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    return Clock(tmp_path)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("days", [1, -1])
def test_leases_watches_and_answers_go_on_when_the_wall_clock_steps_by_a_day(
    plane: ControlPlane, clock: Clock, days: int
) -> None:
    plane.kubectl("create", "namespace", "users")
    with both(plane, settings=ELECTED, environment=clock.environment) as kubelets:
        controller, admission = (kubelet.running for kubelet in kubelets)
        until(lambda: leads(controller), SOON, "it leads")
        until(admission.ready, SOON)
        plane.create([llm_deployment("before", "users")])
        until(lambda: conditions(plane.get("llmd", "before", "-n", "users")), SOON)
        lease = plane.get("lease", "plimsoll-controller", "-n", SYSTEM_NAMESPACE)["spec"]

        account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
        with operator_process("controller", account, plane.folder, ELECTED) as standby:
            clock.step(days * DAY)
            end = time.monotonic() + 2 * TERM
            while time.monotonic() < end:
                assert leads(controller), controller.log()
                assert not leads(standby), "two lead"
                time.sleep(0.5)
        now = plane.get("lease", "plimsoll-controller", "-n", SYSTEM_NAMESPACE)["spec"]
        assert now["holderIdentity"] == lease["holderIdentity"]
        assert now["renewTime"][:10] != lease["renewTime"][:10], "its clock has stepped"

        plane.create([llm_deployment("after", "users")])
        until(lambda: conditions(plane.get("llmd", "after", "-n", "users")), SOON, "decided")
        for process in (controller, admission):
            assert process.ready(), process.log()
            assert process.get("/healthz")[0] == 200
