"""Claims about a controller that is there before the CRD or the server, or outlives one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    DEPLOY,
    SYSTEM_NAMESPACE,
    conditions,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import own_plane
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from pathlib import Path

    from controlplane import ControlPlane

CRD = "llmdeployments.plimsoll.dev"
SOON = 20.0


plane = own_plane(nodes=[gpu_node("a100-0")], scope="function")


@pytest.fixture
def account(plane: ControlPlane) -> Path:
    return plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)


def ready(plane: ControlPlane, name: str) -> bool:
    found = conditions(plane.get("llmdeployment", name))
    return found.get("Ready", {}).get("status") == "True"


def test_a_crd_that_goes_and_comes_back_needs_no_restart(
    plane: ControlPlane, account: Path
) -> None:
    with operator_process("controller", account, plane.folder) as controller:
        plane.create([llm_deployment("before", "default")])
        until(lambda: ready(plane, "before"), SOON)
        plane.kubectl("delete", "crd", CRD)
        until(lambda: controller.get("/readyz")[0] == 503, SOON, "it says that it is not ready")
        assert controller.get("/healthz")[0] == 200
        plane.kubectl("apply", "-f", str(DEPLOY / "crd.yaml"))
        plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD}")
        until(controller.ready, SOON, "it is ready again")
        plane.create([llm_deployment(name, "default") for name in ("before", "after")])
        until(lambda: ready(plane, "before") and ready(plane, "after"), SOON, "both are decided")
        until(lambda: controller.metric("plimsoll_llmdeployments") == 2, SOON, "two are there")


def test_a_controller_that_starts_before_everything_else_waits_and_says_for_what(
    plane: ControlPlane, account: Path
) -> None:
    plane.kubectl("delete", "crd", CRD)
    plane.stop_apiserver()
    with operator_process("controller", account, plane.folder, wait=False) as controller:
        until(lambda: controller.get("/healthz")[0] == 200, SOON, "alive")
        until(lambda: "waiting: " in controller.log(), SOON, "it says that it waits")
        assert controller.get("/readyz") == (503, "nothing has been listed yet\n")
        plane.start_apiserver()
        plane.kubectl("apply", "-f", str(DEPLOY / "crd.yaml"))
        plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD}")
        plane.create([llm_deployment("first", "default")])
        until(lambda: ready(plane, "first"), SOON)
        assert controller.ready()
