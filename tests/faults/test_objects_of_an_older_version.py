"""The claim that what an older version of the CRD let in is read and gets its status today."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    conditions,
    install,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import own_plane
from controlplane.nodes import gpu_node
from soak.world import World, objects_of, wrong_at_last

if TYPE_CHECKING:
    from controlplane import ControlPlane

OLDER = Path(__file__).parents[1] / "chart/frozen/plimsoll-0.0.9/crds/llmdeployments.yaml"
CONDITION = {
    "type": "Ready", "status": "Unknown", "reason": "Waiting", "message": "",
    "lastTransitionTime": "2025-01-01T00:00:00Z",
}  # fmt: skip

plane = own_plane(nodes=[gpu_node("a100-0")], installed=False)


def test_even_an_object_that_todays_crd_would_refuse_gets_its_status(plane: ControlPlane) -> None:
    plane.kubectl("apply", "-f", str(OLDER))
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    good = llm_deployment("good", "default")
    odd = llm_deployment("odd", "default", uri="what an older version took for a model")
    plane.create([good, odd])
    status = {"status": {"conditions": [CONDITION]}}
    plane.kubectl("patch", "llmd", "good", "--subresource=status", "--type=merge",
                  "-p", json.dumps(status))  # fmt: skip
    install(plane)

    def refused_today() -> bool:
        odd["metadata"]["name"] = "odder"
        command = ("create", "--dry-run=server", "-f", "-")
        return (
            "spec.model.uri" in plane.kubectl(*command, input=json.dumps(odd), check=False).stderr
        )

    until(refused_today, 20, "today's CRD is in force")
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    with operator_process("controller", account, plane.folder) as controller:
        for name, status_of_ready in (("good", "True"), ("odd", "False")):

            def ready(name: str = name, wanted: str = status_of_ready) -> bool:
                found = conditions(plane.get("llmd", name)).get("Ready", {})
                return bool(found.get("status") == wanted)

            until(ready, 20, f"{name} is decided")
        assert "Traceback" not in controller.log()

    async def wrong() -> list[str]:
        world = World(plane)
        async with world.session() as session:
            return await wrong_at_last(session, objects_of("default"))

    assert asyncio.run(wrong()) == []
