"""Claims about SizingPolicies on a real API server: kubectl, controller and pipeline agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chart import render
from cluster.fixtures_operator import (
    OperatorProcess,
    admission_asked,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import own_plane
from commands import as_json
from controlplane.errors import KubectlError
from plimsoll_operator.api.webhook import webhook_configuration, workloads_configuration
from sizing import deployment, policy_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from controlplane import ControlPlane

SOON = 90.0
GPUS = {"accelerator": {"allowed": ["nvidia-l40s"], "gpusPerReplica": 2}}
ONE_GPU = {"accelerator": {"allowed": ["nvidia-l40s"], "gpusPerReplica": 1}}
SAID = "SizingPolicy {name} allows at most 1 GPU a replica, and this is 2"

plane = own_plane("holds every namespace to policies")


def _both(name: str, client: dict[str, Any]) -> dict[str, Any]:
    """Both registrations, as one object to apply."""
    own = webhook_configuration(name, client)
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [own, workloads_configuration(f"{name}-workloads", client)],
    }


@pytest.fixture(scope="module")
def running(plane: ControlPlane, account: Path) -> Iterator[OperatorProcess]:
    """Admission for every kind, and the controller with an audit every second."""
    rights = render({"controller": {"audit": {"enabled": True}}})
    plane.apply([one for one in rights if one["metadata"]["name"] == "plimsoll-audit"])
    settings = {"audit_seconds": 1, "node_settle_seconds": 0.3, "controller_deciders": 1}
    with (
        admission_asked(plane, "plimsoll-policies", _both),
        operator_process("controller", account, plane.folder, settings, wait=False) as controller,
    ):
        until(controller.ready, 120, "the controller is ready beside admission")
        yield controller


def applied(plane: ControlPlane, space: str, obj: dict[str, Any], *flags: str) -> tuple[int, str]:
    """`kubectl apply`: its exit code and everything that it prints."""
    done = plane.kubectl(
        "-n", space, "apply", "-f", "-", *flags, input=yaml.safe_dump(obj), check=False
    )
    return done.returncode, done.stdout + done.stderr


def held(plane: ControlPlane, space: str, name: str, **spec: Any) -> dict[str, Any]:
    """A policy for one namespace, by a label that nobody else looks at."""
    plane.kubectl("label", "namespace", space, f"example.com/{name}=yes")
    selector = {"matchLabels": {f"example.com/{name}": "yes"}}
    policy = policy_object(name, namespaceSelector=selector, **spec)
    plane.apply([policy])
    return policy


def status(plane: ControlPlane, name: str) -> dict[str, Any]:
    found: dict[str, Any] = plane.get("sizingpolicy", name).get("status") or {}
    return found


def counted(plane: ControlPlane, name: str, objects: int, refused: int) -> None:
    """Wait until the status of a policy says so."""

    def says() -> bool:
        found = status(plane, name)
        return (found.get("objects"), found.get("refused")) == (objects, refused)

    until(says, SOON, f"SizingPolicy {name} covers {objects} and refuses {refused}")


def test_what_kubectl_the_status_and_a_pipeline_say_under_a_policy_is_the_same(
    plane: ControlPlane, running: OperatorProcess, space: str, tmp_path: Path
) -> None:
    plane.apply([llm_deployment("before", space, GPUS), llm_deployment("fine", space, ONE_GPU)])
    policy = held(plane, space, "one-gpu", mode="enforce", maxGPUsPerReplica=1)
    counted(plane, "one-gpu", 2, 1)
    new = llm_deployment("new", space, GPUS)

    def refused() -> str:
        code, said = applied(plane, space, new, "--dry-run=server")
        return said if code else ""

    said = until(refused, SOON, "admission knows the policy")
    assert (
        "spec.accelerator.gpusPerReplica: Invalid value: 2: " + SAID.format(name="one-gpu") in said
    )
    assert "Policy: enforce (SizingPolicy one-gpu)" in said

    policy_file, manifests = tmp_path / "policy.yaml", tmp_path / "manifests.yaml"
    policy_file.write_text(yaml.safe_dump(policy), encoding="utf-8")
    before = plane.get("llmdeployment", "before", "-n", space)
    mine = [llm_deployment("before", space, GPUS), new, plane.get("namespace", space)]
    manifests.write_text(yaml.safe_dump_all(mine), encoding="utf-8")
    same, refusal = as_json("check", manifests, "--policy", policy_file)["results"]
    assert same["requestHash"] == before["status"]["estimate"]["requestHash"]
    for line in refusal["message"].splitlines():
        assert line in said
    ready = {one["type"]: one for one in before["status"]["conditions"]}["Ready"]
    assert ready["status"] == "False"
    assert SAID.format(name="one-gpu") in ready["message"]

    accepted = status(plane, "one-gpu")["conditions"][0]
    assert (accepted["type"], accepted["status"], accepted["reason"]) == (
        "Accepted",
        "True",
        "Read",
    )
    shown = plane.kubectl("get", "sizingpolicies", "one-gpu").stdout
    assert shown.split("\n")[1].split()[:5] == ["one-gpu", "enforce", "True", "2", "1"]

    policy["spec"]["maxGPUsPerReplica"] = 2
    plane.apply([policy])
    counted(plane, "one-gpu", 2, 0)
    until(lambda: applied(plane, space, new)[0] == 0, SOON, "the wider policy lets it in")
    counted(plane, "one-gpu", 3, 0)
    plane.kubectl("delete", "sizingpolicy", "one-gpu")


def test_a_namespace_that_no_policy_selects_is_left_alone_until_its_labels_change(
    plane: ControlPlane, running: OperatorProcess, space: str
) -> None:
    policy = policy_object(
        "later",
        namespaceSelector={"matchLabels": {"example.com/later": "yes"}},
        maxGPUsPerReplica=1,
    )
    plane.apply([policy, llm_deployment("model", space, GPUS)])
    counted(plane, "later", 0, 0)
    plane.kubectl("label", "namespace", space, "example.com/later=yes")
    counted(plane, "later", 1, 1)
    plane.kubectl("label", "namespace", space, "example.com/later-")
    counted(plane, "later", 0, 0)
    plane.kubectl("delete", "sizingpolicy", "later")


def test_other_peoples_kinds_are_held_to_it_and_counted_by_the_audit(
    plane: ControlPlane, running: OperatorProcess, space: str
) -> None:
    plane.kubectl("label", "namespace", space, "plimsoll.dev/workloads=warn")
    obj = deployment(gpus=2, selector={"matchLabels": {"app": "vllm"}})
    obj["metadata"]["namespace"] = space
    obj["spec"]["template"]["metadata"] = {"labels": {"app": "vllm"}}
    held(plane, space, "small-pods", kinds=["Deployment"], maxGPUsPerReplica=1)
    wanted = SAID.format(name="small-pods")

    def warned() -> bool:
        code, said = applied(plane, space, obj, "--dry-run=server")
        return code == 0 and "Warning: " in said and wanted in said

    until(warned, SOON, "admission warns of the Deployment")
    assert applied(plane, space, obj)[0] == 0
    counted(plane, "small-pods", 1, 1)
    plane.kubectl("delete", "sizingpolicy", "small-pods")


def test_what_cannot_be_read_of_a_policy_is_said_in_its_status_and_to_whoever_applies(
    plane: ControlPlane, running: OperatorProcess, space: str
) -> None:
    held(plane, space, "half", headroom="99999999Ti", maxGPUsPerReplica=1)

    def accepted() -> dict[str, Any]:
        found: list[dict[str, Any]] = status(plane, "half").get("conditions") or [{}]
        return found[0] if found[0].get("status") == "False" else {}

    condition = until(accepted, SOON, "the policy is not accepted")
    assert condition["reason"] == "Unreadable"
    assert 'spec.headroom: Invalid value: "99999999Ti"' in condition["message"]
    fine = llm_deployment("fine", space, ONE_GPU)

    def told() -> bool:
        code, said = applied(plane, space, fine, "--dry-run=server")
        return code == 0 and "SizingPolicy half does not hold in this: spec.headroom" in said

    until(told, SOON, "whoever applies is told")
    assert applied(plane, space, llm_deployment("big", space, GPUS))[0] != 0
    plane.kubectl("delete", "sizingpolicy", "half")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"mode": "hard"}, "spec.mode"),
        ({"headroom": "95%"}, "spec.headroom"),
        ({"kinds": ["Sofa"]}, "spec.kinds"),
        ({"oldestEngineVersions": {"vlm": "1.0"}}, "spec.oldestEngineVersions"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "In and NotIn take values",
        ),
    ],
)
def test_the_api_server_refuses_what_no_policy_can_mean(
    plane: ControlPlane, spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(KubectlError, match=said):
        plane.kubectl("create", "-f", "-", input=json.dumps(policy_object("bad", **spec)))


def test_every_field_is_explained_by_kubectl(plane: ControlPlane) -> None:
    explained = plane.kubectl("explain", "sizingpolicy.spec", "--recursive").stdout
    for field in ("namespaceSelector", "requiredAnnotations", "maxGPUsPerObject", "headroom"):
        assert field in explained
    assert (
        "Memory of each GPU that stays free"
        in plane.kubectl("explain", "sizingpolicy.spec.headroom").stdout
    )


def test_without_the_definition_nobody_is_held_to_anything(
    plane: ControlPlane, running: OperatorProcess, space: str
) -> None:
    held(plane, space, "gone", maxGPUsPerReplica=1)
    big = llm_deployment("big", space, GPUS)
    dry = "--dry-run=server"
    until(lambda: applied(plane, space, big, dry)[0] != 0, SOON, "the policy holds")
    plane.kubectl("delete", "crd", "sizingpolicies.plimsoll.dev")
    until(lambda: applied(plane, space, big, dry)[0] == 0, SOON, "nothing holds any more")
    assert running.ready()
