"""Claims about output.mode Apply on a real API server, with the chart's rights and no others."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from chart.helm import helm, render
from chart.objects import one
from cluster.fixtures_operator import conditions, llm_deployment, operator_process, until
from cluster.plane import own_plane
from controlplane.nodes import gpu_node
from plimsoll_operator.cluster.client import connect
from plimsoll_operator.cluster.objects import DEPLOYMENTS, LLM_DEPLOYMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster.fixtures_operator import OperatorProcess
    from controlplane import ControlPlane

SOON = 15.0
SETTINGS = {
    "resync_seconds": 3.0,
    "node_settle_seconds": 0.3,
    "targets": True,
    "workloads": True,
}

plane = own_plane("gives rights", [gpu_node("a100-0"), gpu_node("a100-1")])


@pytest.fixture(scope="module", autouse=True)
def controller(plane: ControlPlane, account: Path) -> Iterator[OperatorProcess]:
    made = render({"workloads": {"apply": True, "create": True}})
    plane.apply([one(made, "ClusterRole", "plimsoll-controller")])
    with operator_process("controller", account, plane.folder, SETTINGS) as running:
        yield running


def workload(space: str, kind: str = "Deployment", **container: Any) -> dict[str, Any]:
    """A workload as somebody keeps it who leaves to Plimsoll what it plans."""
    labels = {"app": "chat"}
    engine = {"name": "vllm", "image": "vllm/vllm-openai:v0.33.0", **container}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [engine]}}
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "chat", "namespace": space}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


def aim(plane: ControlPlane, space: str, mode: str = "Apply", **target: Any) -> None:
    """Apply LLMDeployment `it`, aimed at workload `chat`."""
    output: dict[str, Any] = {"mode": mode}
    if mode == "Apply":
        output["targetRef"] = {"kind": "Deployment", "name": "chat", **target}
    spec = {"engine": {"maxModelLen": 8192}, "output": output}
    plane.apply([llm_deployment("it", space, spec)])


def applied(plane: ControlPlane, space: str, status: str, reason: str) -> str:
    """Wait until condition Applied is so; its message."""

    def so() -> str:
        found = conditions(plane.get("llmd", "it", "-n", space)).get("Applied", {})
        assert (found.get("status"), found.get("reason")) == (status, reason), found
        return str(found["message"])

    said: str = until(so, SOON, f"Applied is {status} {reason}")
    return said


def engine(plane: ControlPlane, space: str, kind: str = "deployment") -> dict[str, Any]:
    """The container of the workload as it is."""
    pod = plane.get(kind, "chat", "-n", space)["spec"]["template"]["spec"]
    found: dict[str, Any] = pod["containers"][0]
    return found


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize("how", ["server-side", "client-side"])
def test_the_plan_is_applied_beside_whoever_keeps_the_workload_and_given_back(
    plane: ControlPlane, kind: str, how: str
) -> None:
    space = f"given-back-{kind.lower()}-{how}"
    plane.kubectl("create", "namespace", space)
    theirs = workload(space, kind)
    flags = ("--server-side",) if how == "server-side" else ()
    plane.apply([theirs], *flags)
    before = plane.get(kind, "chat", "-n", space)["spec"]["template"]
    aim(plane, space, kind=kind)
    said = applied(plane, space, "True", "Applied")
    assert said == f"Resources, Nodes, Flags, Probe, SharedMemory of {kind} chat"
    container = engine(plane, space, kind)
    assert container["image"] == "vllm/vllm-openai:v0.33.0"
    assert "--max-model-len=8192" in container["args"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    seen = plane.get(kind, "chat", "-n", space)["metadata"]["resourceVersion"]
    for _ in range(5):
        plane.apply([theirs], *flags)  # whoever keeps it goes on: nobody takes back a field
    assert plane.get(kind, "chat", "-n", space)["metadata"]["resourceVersion"] == seen
    plane.kubectl("delete", "llmd", "it", "-n", space)
    until(lambda: "args" not in engine(plane, space, kind), SOON, "it is given back")
    obj = plane.get(kind, "chat", "-n", space)
    assert obj["spec"]["template"] == before
    assert "plimsoll.dev/applied-for" not in obj["metadata"].get("annotations", {})


def test_a_field_of_another_manager_is_named_and_nothing_is_changed(
    plane: ControlPlane, space: str
) -> None:
    limits = {"limits": {"nvidia.com/gpu": "4"}}
    plane.apply([workload(space, resources=limits)], "--server-side", "--field-manager=helm")
    before = plane.get("deployment", "chat", "-n", space)["metadata"]["resourceVersion"]
    aim(plane, space)
    said = applied(plane, space, "False", "Conflict")
    assert 'conflict with "helm"' in said
    assert '.spec.template.spec.containers[name="vllm"].resources.limits.nvidia.com/gpu' in said
    assert plane.get("deployment", "chat", "-n", space)["metadata"]["resourceVersion"] == before
    aim(plane, space, parts=["Nodes", "Flags"])
    applied(plane, space, "True", "Applied")
    assert engine(plane, space)["resources"]["limits"] == {"nvidia.com/gpu": "4"}


def test_what_is_said_alike_by_both_is_no_conflict_and_stays_with_the_other(
    plane: ControlPlane, space: str
) -> None:
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    plane.apply([workload(space, resources=limits)], "--server-side", "--field-manager=helm")
    aim(plane, space)
    applied(plane, space, "True", "Applied")
    aim(plane, space, mode="Recommend")
    until(lambda: "args" not in engine(plane, space), SOON, "it is given back")
    assert engine(plane, space)["resources"] == limits | {
        key: value for key, value in engine(plane, space)["resources"].items() if key != "limits"
    }


def test_another_target_has_the_first_given_back(plane: ControlPlane, space: str) -> None:
    other = workload(space)
    other["metadata"]["name"] = "other"
    plane.apply([workload(space), other])
    aim(plane, space)
    applied(plane, space, "True", "Applied")
    aim(plane, space, name="other")
    until(lambda: "args" not in engine(plane, space), SOON, "the first is given back")
    pod = plane.get("deployment", "other", "-n", space)["spec"]["template"]["spec"]
    assert "args" in pod["containers"][0]


@pytest.fixture
def chart(tmp_path: Path, space: str) -> Path:
    """A chart of somebody's: the workload that they keep, and the LLMDeployment aimed at it, beside
    one that has its workload created."""
    folder = tmp_path / "chat"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: chat, version: 0.1.0}")
    onto = {"mode": "Apply", "targetRef": {"kind": "Deployment", "name": "chat"}}
    for obj in (
        workload(space),
        llm_deployment("it", space, {"engine": {"maxModelLen": 8192}, "output": onto}),
        llm_deployment(
            "made", space, {"engine": {"maxModelLen": 8192}, "output": {"mode": "Create"}}
        ),
    ):
        name = f"{obj['kind'].lower()}-{obj['metadata']['name']}.yaml"
        (folder / "templates" / name).write_text(json.dumps(obj))
    return folder


def test_helm_and_an_argo_like_manager_go_on_for_fifty_turns_and_nothing_moves(
    plane: ControlPlane, space: str, chart: Path, controller: OperatorProcess
) -> None:
    def upgrade() -> None:
        helm(
            *("upgrade", "--install", "chat", str(chart), "-n", space, "--server-side=true"),
            kubeconfig=plane.kubeconfig,
        )

    objects = [json.loads(path.read_text()) for path in (chart / "templates").iterdir()]

    async def sync(turns: int) -> None:
        """As Argo CD syncs server-side: its own manager, and by force."""
        async with connect(str(plane.kubeconfig)) as client:
            for _, obj in itertools.product(range(turns), objects):
                kind = DEPLOYMENTS if obj["kind"] == "Deployment" else LLM_DEPLOYMENTS
                await client.apply(kind, obj, manager="argocd-controller", force=True)

    def seen() -> list[tuple[str, str]]:
        listed = [
            plane.get("deployment", name, "-n", space)["metadata"] for name in ("chat", "made")
        ]
        listed += [plane.get("llmd", name, "-n", space)["metadata"] for name in ("it", "made")]
        return [(str(one["generation"]), one["resourceVersion"]) for one in listed]

    upgrade()
    applied(plane, space, "True", "Applied")
    until(lambda: plane.get("deployment", "made", "-n", space), SOON, "the other is created")
    asyncio.run(sync(1))
    upgrade()
    until(lambda: _settled(seen), 60, "all managers have said what they say")
    before = seen()
    for _ in range(5):
        asyncio.run(sync(9))
        upgrade()
    assert seen() == before
    assert engine(plane, space)["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert applied(plane, space, "True", "Applied").endswith("of Deployment chat")


def _settled(seen: Callable[[], object]) -> bool:
    """Whether it is the same a while later."""
    before = seen()
    time.sleep(2)
    return seen() == before


def test_what_cannot_be_a_target_is_said(plane: ControlPlane, space: str) -> None:
    aim(plane, space)
    assert applied(plane, space, "False", "NoTarget") == "Deployment chat is not there"
    two = workload(space)
    two["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "x"})
    plane.apply([two])
    aim(plane, space, container="none")
    said = applied(plane, space, "False", "NotRendered")
    assert "spec.output.targetRef.container" in said
    assert "one of its containers: vllm, sidecar" in said
    aim(plane, space, container="vllm")
    applied(plane, space, "True", "Applied")


def test_what_went_while_no_controller_ran_is_given_back_once_one_does(
    plane: ControlPlane, space: str, account: Path, controller: OperatorProcess
) -> None:
    plane.apply([workload(space)])
    aim(plane, space)
    applied(plane, space, "True", "Applied")
    controller.process.kill()
    plane.kubectl("delete", "llmd", "it", "-n", space)
    assert "args" in engine(plane, space)
    with operator_process("controller", account, plane.folder, SETTINGS):
        until(lambda: "args" not in engine(plane, space), SOON, "it is given back")


def test_mode_and_target_go_together(plane: ControlPlane, space: str) -> None:
    from commands import run

    spec = {"output": {"mode": "Apply"}}
    text = json.dumps(llm_deployment("it", space, spec))
    assert (
        "spec.output.targetRef: Required: a target to apply to"
        in run("check", "-", stdin=text).stdout
    )
