"""The claim about an etcd at its quota: reviews are answered, writes wait, then all goes on.

A disk that is full is of the same class: etcd refuses what is written and serves what is read.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from cluster.fixtures_operator import install, llm_deployment, until
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from faults.both import both

if TYPE_CHECKING:
    from collections.abc import Iterator

QUOTA = 24 << 20
MANY = 40
FULL = 30.0
"""Seconds that etcd is full with the controller at work."""
RESUMES = 75.0
"""Seconds within which everything is written afterwards: the longest pause of a retry."""
CONFIG_MAPS = "/api/v1/namespaces/filler/configmaps"


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    plane = ControlPlane()
    plane.etcd_flags = (f"--quota-backend-bytes={QUOTA}",)
    with plane:
        install(plane)
        for namespace in ("filler", "users"):
            plane.kubectl("create", "namespace", namespace)
        plane.create([gpu_node("a100-0")])
        yield plane


def fill(plane: ControlPlane) -> None:
    """Write until etcd takes no more."""
    for number in range(2 * QUOTA >> 20):
        filler = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"filler-{number}", "namespace": "filler"},
            "data": {"text": "x" * 1_000_000},
        }
        done = plane.kubectl("create", "-f", "-", input=json.dumps(filler), check=False)
        if done.returncode:
            assert "mvcc: database space exceeded" in done.stderr
            return
    raise AssertionError("etcd took more than its quota")


def empty(plane: ControlPlane) -> None:
    """What its keepers do: delete, compact, defragment, and take the alarm back."""
    plane.kubectl("delete", "--raw", CONFIG_MAPS)
    header = plane.etcd("maintenance/status", {})["header"]
    plane.etcd("kv/compaction", {"revision": header["revision"], "physical": True})
    plane.etcd("maintenance/defragment", {})
    alarm = {"action": "DEACTIVATE", "memberID": header["member_id"], "alarm": "NOSPACE"}
    plane.etcd("maintenance/alarm", alarm)


def decided(plane: ControlPlane) -> int:
    items = plane.get("llmdeployments", "-n", "users")["items"]
    return sum(item["status"]["observedGeneration"] >= 1 for item in items)


def refused(plane: ControlPlane) -> str:
    """What kubectl prints of an object that cannot fit, when nothing is to be written."""
    spec: dict[str, Any] = {
        "engine": {"parallelism": {"tensor": 1}},
        "accelerator": {"allowed": ["nvidia-l4"], "gpusPerReplica": 1},
    }
    obj = llm_deployment("large", "users", spec, uri="hf://meta-llama/Llama-3.3-70B-Instruct")
    command = ("create", "--dry-run=server", "-f", "-")
    return plane.kubectl(*command, input=json.dumps(obj), check=False).stderr


@pytest.mark.timeout(300)
def test_writes_wait_with_one_line_in_the_log_and_all_are_made_once_there_is_room(
    plane: ControlPlane,
) -> None:
    with both(plane) as kubelets:
        until(kubelets[1].running.ready, 40, "admission is there")
        kubelets[0].close()
        plane.create([llm_deployment(f"m-{i}", "users") for i in range(MANY)])
        fill(plane)
        kubelets[0].start()
        controller, admission = (kubelet.running for kubelet in kubelets)
        for process in (controller, admission):
            until(process.ready, 40, "it is ready although nothing can be written")
        until(lambda: "database space exceeded" in controller.log(), 20, "the controller says it")
        time.sleep(FULL)
        lines = [line for line in controller.log(5000).splitlines() if "space exceeded" in line]
        assert len(lines) == 1, lines
        attempts = controller.metric('plimsoll_reconcile_seconds_count{outcome="error"}')
        assert attempts is not None
        assert attempts <= MANY * 8, "each waits twice as long as the time before"
        assert "does not fit on 1 x nvidia-l4" in refused(plane)
        assert decided(plane) == 0

        empty(plane)
        started = time.monotonic()
        until(lambda: decided(plane) == MANY, RESUMES, "all are written")
        took = time.monotonic() - started
        print(f"{attempts:.0f} attempts while full; all {MANY} written {took:.1f} s after it")
        for process in (controller, admission):
            assert process.process.returncode is None
