"""Claims about an API server that goes away twice while the cluster changes: all converge again.

PLIMSOLL_OUTAGE_SECONDS shortens the outages while working on this; the claim is for 90.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from cluster.fixtures_operator import (
    OperatorProcess,
    conditions,
    llm_deployment,
    until,
)
from cluster.plane import LLAMA, own_plane
from controlplane.nodes import gpu_node
from faults.both import both
from faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controlplane import ControlPlane

OUTAGE = float(os.environ.get("PLIMSOLL_OUTAGE_SECONDS", "90"))
BACK_WITHIN = 30.0
MANY = 40
NAMESPACE = "default"


plane = own_plane(nodes=[gpu_node("a100-0"), gpu_node("a100-1")], scope="function")


@pytest.fixture
def proxy(plane: ControlPlane) -> Iterator[Proxy]:
    server = urlsplit(plane.url)
    assert server.hostname
    assert server.port
    with Proxy(server.hostname, server.port) as proxy:
        yield proxy


@pytest.fixture
def processes(
    plane: ControlPlane, proxy: Proxy
) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Controller and admission. To both the API server is away, to the API server neither is."""
    with both(plane, proxy.kubeconfig) as kubelets:
        controller, admission = (kubelet.running for kubelet in kubelets)
        for process in (controller, admission):
            until(process.ready, BACK_WITHIN, "it is ready")
        yield controller, admission


def let_in(plane: ControlPlane, name: str) -> bool:
    """Whether what fits nowhere is let in, as a namespace that only warns has it."""
    spec = {"engine": {"parallelism": {"tensor": 1}},
            "accelerator": {"allowed": ["nvidia-l4"], "gpusPerReplica": 1}}  # fmt: skip
    obj = llm_deployment(name, "lenient", spec, uri=LLAMA)
    done = plane.kubectl("create", "-f", "-", input=json.dumps(obj), check=False)
    assert done.returncode == 0 or "does not fit" in done.stderr, done.stderr
    return done.returncode == 0


def lines_by_cause(process: OperatorProcess) -> Counter[str]:
    """The lines of its log, without times and figures."""
    lines = (line.partition(" ")[2] for line in process.log(100_000).splitlines())
    return Counter(re.sub(r"[\d.]+", "#", line) for line in lines)


def placed(plane: ControlPlane, expected: dict[str, str]) -> bool:
    """Whether every object that there is has a status about itself, and is placed as expected."""
    assert accelerators(plane) == expected
    return True


def accelerators(plane: ControlPlane) -> dict[str, str]:
    """Where each object is placed, for those whose status is about what they now are."""
    return {
        obj["metadata"]["name"]: obj["status"].get("placement", {}).get("accelerator", "nowhere")
        for obj in plane.get("llmdeployments", "-n", NAMESPACE)["items"]
        if obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
    }


def known(controller: OperatorProcess) -> float | None:
    return controller.metric("plimsoll_llmdeployments")


@pytest.mark.timeout(900)
def test_everything_converges_within_half_a_minute_of_each_of_two_outages(
    plane: ControlPlane, proxy: Proxy, processes: tuple[OperatorProcess, OperatorProcess]
) -> None:
    controller = processes[0]
    plane.kubectl("create", "namespace", "lenient")
    assert not let_in(plane, "strict-yet")
    everywhere = {
        "accelerator": {"allowed": ["nvidia-a100-80gb", "nvidia-h100-80gb"]},
        "placementPolicy": "Follow",
    }
    names = [f"model-{index}" for index in range(MANY)]
    plane.create([llm_deployment(name, NAMESPACE, everywhere) for name in names])
    expected = dict.fromkeys(names, "nvidia-a100-80gb")
    until(lambda: placed(plane, expected), BACK_WITHIN, "all placed at first")
    pid = controller.process.pid

    # The first: objects come, change and go; the nodes become others.
    proxy.cut()
    cut_at = time.monotonic()
    until(lambda: "API server is away" in controller.log(), 20, "the outage was noticed")
    plane.kubectl("delete", "llmdeployment", "-n", NAMESPACE, *names[:5])
    plane.create([llm_deployment(f"late-{i}", NAMESPACE, everywhere) for i in range(5)])
    only_l4 = {"accelerator": {"allowed": ["nvidia-l4"]}}
    plane.apply([llm_deployment(name, NAMESPACE, only_l4) for name in names[5:10]])
    plane.create([gpu_node("h100-0", "h100-80gb")])
    plane.kubectl("delete", "node", "a100-0", "a100-1")
    plane.kubectl("label", "namespace", "lenient", "plimsoll.dev/policy=warn")
    assert not let_in(plane, "not-heard-yet"), "admission answers by what it knows"
    time.sleep(max(0.0, OUTAGE - (time.monotonic() - cut_at)))
    for process in processes:
        assert process.process.returncode is None, process.log()
        assert process.get("/healthz")[0] == 200
    proxy.restore()

    expected = dict.fromkeys(names[10:] + [f"late-{i}" for i in range(5)], "nvidia-h100-80gb")
    expected |= dict.fromkeys(names[5:10], "nvidia-l4")
    took = time.monotonic()
    until(lambda: placed(plane, expected), BACK_WITHIN, "all converge the first time")
    until(lambda: let_in(plane, "heard"), BACK_WITHIN, "admission has heard of the policy")
    until(lambda: known(controller) == MANY + 1, BACK_WITHIN, "the deleted ones are forgotten")
    print(f"first outage: converged {time.monotonic() - took:.1f} s after the return")

    # The second: the API server itself is killed besides, and with it all it remembered.
    proxy.cut()
    cut_at = time.monotonic()
    plane.kubectl("delete", "llmdeployment", "-n", NAMESPACE, "late-0")
    plane.create([gpu_node("a100-2")])
    plane.kubectl("delete", "node", "h100-0")
    plane.create([llm_deployment("latest", NAMESPACE, everywhere)])
    plane.stop_apiserver()
    time.sleep(max(0.0, OUTAGE - (time.monotonic() - cut_at)))
    plane.start_apiserver()
    proxy.restore()

    del expected["late-0"]
    expected["latest"] = "nvidia-h100-80gb"
    expected = {
        name: "nvidia-a100-80gb" if where == "nvidia-h100-80gb" else where
        for name, where in expected.items()
    }
    took = time.monotonic()
    until(lambda: placed(plane, expected), BACK_WITHIN, "all converge the second time")
    print(f"second outage: converged {time.monotonic() - took:.1f} s after the return")
    for process in processes:
        until(process.ready, BACK_WITHIN, "ready again")
    until(lambda: let_in(plane, "heard-again"), BACK_WITHIN, "admission goes on")
    assert controller.process.returncode is None
    assert controller.process.pid == pid

    # Nothing that only looks alive: a change now is seen within seconds, as on the first day.
    plane.create([llm_deployment("after", NAMESPACE, everywhere)])
    until(lambda: accelerators(plane).get("after") == "nvidia-a100-80gb", 5, "watching again")
    after = plane.get("llmdeployment", "-n", NAMESPACE, "after")
    assert conditions(after)["Ready"]["status"] == "True"

    # Two outages and a version that was too old for every watch: a line each, not one for each try.
    for process in processes:
        often = {line: count for line, count in lines_by_cause(process).items() if count > 4}
        assert often == {}
        assert "410" in process.log(100_000), "a watch was told to list again"
