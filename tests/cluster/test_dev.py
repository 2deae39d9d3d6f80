"""Claims about `plimsoll-operator dev`: one command on an empty cluster, and nothing left of it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from cluster.fixtures_operator import conditions, free_port, llm_deployment, operator_process, until
from cluster.plane import LLAMA, own_plane
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from controlplane import ControlPlane

SOON = 20.0
ONE_A100 = {
    "accelerator": {"allowed": ["nvidia-a100-80gb"]},
    "engine": {"parallelism": {"tensor": 1}},
}


plane = own_plane(
    "registers a webhook for everybody", [gpu_node("a100-0")], installed=False, scope="function"
)


def test_one_command_installs_decides_refuses_and_leaves_no_webhook_behind(
    plane: ControlPlane,
) -> None:
    port = free_port()
    settings = {"admission_port": port, "admission_drain_seconds": 0.2, "dev_install": "true"}

    def hooks() -> str:
        return plane.kubectl("get", "validatingwebhookconfigurations", "-o", "name").stdout

    with operator_process("dev", plane.kubeconfig, plane.folder, settings) as dev:
        until(lambda: "plimsoll-dev" in hooks(), SOON, "the webhook is registered")
        plane.apply([llm_deployment("fits", "default")])
        until(
            lambda: "Ready" in conditions(plane.get("llmdeployment", "fits")), SOON, "it is decided"
        )
        refused = plane.kubectl(
            "create",
            "-f",
            "-",
            check=False,
            input=str(llm_deployment("does-not", "default", ONE_A100, uri=LLAMA)).replace("'", '"'),
        )
        assert refused.returncode != 0
        assert "short by" in refused.stderr
        assert "denied the request" in refused.stderr
        os.kill(dev.process.pid, signal.SIGTERM)
        assert dev.process.wait(10) == 0, dev.log()
    assert "plimsoll-dev" not in hooks()
    plane.create([llm_deployment("afterwards", "default")])
