"""Claims about output.mode Create on a real API server, with the chart's rights and no others.

No kube-controller-manager runs here: what it would write into a Deployment's status is written by
hand, and that it would collect what is left without an owner is told by the owner references.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chart.helm import render
from chart.objects import one
from cluster.fixtures_operator import conditions, llm_deployment, operator_process, until
from cluster.plane import own_plane
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.fixtures_operator import OperatorProcess
    from controlplane import ControlPlane

SOON = 15.0
CREATE = {"engine": {"maxModelLen": 8192}, "output": {"mode": "Create"}}

plane = own_plane("gives rights", [gpu_node("a100-0"), gpu_node("a100-1")])


@pytest.fixture(scope="module", autouse=True)
def controller(plane: ControlPlane, account: Path) -> Iterator[OperatorProcess]:
    made = render({"workloads": {"create": True}})
    plane.apply([one(made, "ClusterRole", "plimsoll-controller")])
    settings = {"resync_seconds": 3.0, "node_settle_seconds": 0.3, "workloads": True}
    with operator_process("controller", account, plane.folder, settings) as running:
        yield running


def condition_is(
    plane: ControlPlane, space: str, kind: str, status: str, reason: str
) -> dict[str, Any]:
    """Wait until a condition of object `it` is so; the condition."""

    def so() -> dict[str, Any]:
        found = conditions(plane.get("llmd", "it", "-n", space)).get(kind, {})
        assert (found.get("status"), found.get("reason")) == (status, reason), found
        return found

    found: dict[str, Any] = until(so, SOON, f"{kind} is {status} {reason}")
    return found


def there(plane: ControlPlane, space: str, kind: str, name: str = "it") -> dict[str, Any]:
    """An object, once it is there."""

    def so() -> dict[str, Any] | None:
        got = plane.kubectl("get", kind, name, "-n", space, "-o", "json", check=False)
        return json.loads(got.stdout) if got.returncode == 0 else None

    found: dict[str, Any] = until(so, SOON, f"{kind} {name} is there")
    return found


def gone(plane: ControlPlane, space: str, kind: str) -> None:
    """Wait until an object of that kind is no more."""
    until(
        lambda: plane.kubectl("get", kind, "it", "-n", space, check=False).returncode == 1,
        SOON,
        f"{kind} is gone",
    )


def make(plane: ControlPlane, space: str, **spec: Any) -> None:
    """Apply object `it`, with what else its spec says."""
    plane.apply([llm_deployment("it", space, {**CREATE, **spec})])


def say(plane: ControlPlane, space: str, **status: Any) -> None:
    """What the Deployment's controller would write."""
    seen = plane.get("deployment", "it", "-n", space)["metadata"]["generation"]
    patch = json.dumps({"status": {"observedGeneration": seen, **status}})
    plane.kubectl(
        "patch",
        "deployment",
        "it",
        "-n",
        space,
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    )


def test_a_deployment_and_a_service_are_made_and_ready_waits_for_the_pods(
    plane: ControlPlane, space: str
) -> None:
    make(plane, space)
    workload, service = there(plane, space, "deployment"), there(plane, space, "service")
    owner = plane.get("llmd", "it", "-n", space)["metadata"]["uid"]
    for obj in (workload, service):
        (reference,) = obj["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (owner, True)
    condition_is(plane, space, "Applied", "True", "Applied")
    starting = condition_is(plane, space, "Ready", "False", "Starting")
    assert starting["message"] == "0 of 1 replicas are available"
    condition_is(plane, space, "Reconciling", "True", "Starting")
    say(plane, space, replicas=1, updatedReplicas=1, readyReplicas=1, availableReplicas=1)
    condition_is(plane, space, "Ready", "True", "Serving")
    status = plane.get("llmd", "it", "-n", space)["status"]
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert [one["kind"] for one in status["workload"]["objects"]] == ["Deployment", "Service"]
    say(plane, space, replicas=1, updatedReplicas=1, readyReplicas=0, availableReplicas=0)
    condition_is(plane, space, "Ready", "False", "Starting")


def test_nodes_without_the_disk_that_its_pods_ask_for_are_no_room(
    plane: ControlPlane, space: str
) -> None:
    engine = {"name": "engine", "resources": {"requests": {"ephemeral-storage": "760Gi"}}}
    template = {"spec": {"containers": [engine]}}
    make(plane, space, output={"mode": "Create", "template": template})
    told = condition_is(plane, space, "CapacityAvailable", "False", "NodesTooSmall")["message"]
    assert "760.0 GiB of ephemeral-storage, and no node has more than 500.0 GiB" in told
    make(plane, space)
    condition_is(plane, space, "CapacityAvailable", "True", "NodesMatch")


def test_it_is_scaled_by_the_scale_subresource(plane: ControlPlane, space: str) -> None:
    make(plane, space)
    condition_is(plane, space, "Applied", "True", "Applied")
    plane.kubectl("scale", "llmd", "it", "-n", space, "--replicas=3")
    until(lambda: there(plane, space, "deployment")["spec"]["replicas"] == 3, SOON, "3 replicas")
    scale = plane.kubectl("get", "llmd", "it", "-n", space, "--subresource=scale", "-o", "json")
    assert json.loads(scale.stdout)["status"]["selector"] == "plimsoll.dev/llmdeployment=it"


def test_a_change_of_the_spec_changes_what_runs_and_another_mode_removes_it(
    plane: ControlPlane, space: str
) -> None:
    make(plane, space)
    there(plane, space, "service")
    make(plane, space, engine={"maxModelLen": 4096})

    def args() -> list[str]:
        pod = there(plane, space, "deployment")["spec"]["template"]["spec"]
        found: list[str] = pod["containers"][0]["args"]
        return found

    until(lambda: "--max-model-len=4096" in args(), SOON, "the new flag")
    make(plane, space, output={"mode": "Recommend"})
    gone(plane, space, "deployment")
    gone(plane, space, "service")
    condition_is(plane, space, "Ready", "True", "Placed")
    status = plane.get("llmd", "it", "-n", space)["status"]
    assert "workload" not in status
    assert "Applied" not in conditions({"status": status})


def test_gpus_are_claimed_by_a_template_that_another_plan_replaces(
    plane: ControlPlane, space: str
) -> None:
    def templates() -> list[str]:
        listed = plane.get("resourceclaimtemplates", "-n", space)["items"]
        return [one["metadata"]["name"] for one in listed]

    def claimed() -> str:
        pod = there(plane, space, "deployment")["spec"]["template"]["spec"]
        name: str = pod["resourceClaims"][0]["resourceClaimTemplateName"]
        return name

    make(plane, space, accelerator={"allocation": "DRA"})
    condition_is(plane, space, "Applied", "True", "Applied")
    (first,) = templates()
    assert claimed() == first
    make(plane, space, accelerator={"allocation": "DRA", "gpusPerReplica": 2})
    until(lambda: templates() not in ([first], []) and len(templates()) == 1, SOON, "another one")
    assert [claimed()] == templates()


def test_what_somebody_deletes_is_made_again(plane: ControlPlane, space: str) -> None:
    make(plane, space)
    first = there(plane, space, "deployment")["metadata"]["uid"]
    plane.kubectl("delete", "deployment", "it", "-n", space)
    until(lambda: there(plane, space, "deployment")["metadata"]["uid"] != first, SOON, "a new one")


def test_what_is_refused_later_takes_nothing_down(plane: ControlPlane, space: str) -> None:
    make(plane, space)
    before = there(plane, space, "deployment")
    condition_is(plane, space, "Applied", "True", "Applied")
    make(plane, space, accelerator={"allowed": ["nvidia-a100-80gb"], "reserved": "79Gi"})
    said = condition_is(plane, space, "Applied", "False", "NotRendered")
    assert "what ran before goes on: Deployment it, Service it" in said["message"]
    condition_is(plane, space, "Ready", "False", "InvalidSpec")
    after = plane.get("deployment", "it", "-n", space)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_another_managers_field_is_left_to_him_and_named(plane: ControlPlane, space: str) -> None:
    make(plane, space)
    there(plane, space, "service")
    condition_is(plane, space, "Applied", "True", "Applied")
    plane.kubectl("scale", "deployment", "it", "-n", space, "--replicas=7")
    said = condition_is(plane, space, "Applied", "False", "Conflict")
    assert ".spec.replicas" in said["message"]
    assert 'conflict with "kubectl"' in said["message"]
    assert plane.get("deployment", "it", "-n", space)["spec"]["replicas"] == 7
    condition_is(plane, space, "Stalled", "True", "Conflict")


def test_an_object_of_somebody_elses_is_neither_changed_nor_removed(
    plane: ControlPlane, space: str
) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "it", "namespace": space},
        "spec": {"ports": [{"port": 1}], "selector": {"a": "b"}},
    }
    plane.apply([theirs])
    before = plane.get("service", "it", "-n", space)["metadata"]["resourceVersion"]
    make(plane, space)
    said = condition_is(plane, space, "Applied", "False", "NotOurs")
    assert "Service it is there and does not belong to this LLMDeployment" in said["message"]
    make(plane, space, output={"mode": "Recommend"})
    condition_is(plane, space, "Ready", "True", "Placed")
    assert plane.get("service", "it", "-n", space)["metadata"]["resourceVersion"] == before


def test_nothing_drifts_over_fifty_reconciles_beside_kubectl(
    plane: ControlPlane, space: str, controller: OperatorProcess
) -> None:
    make(plane, space)
    condition_is(plane, space, "Applied", "True", "Applied")
    there(plane, space, "service")
    series = 'plimsoll_reconcile_seconds_count{outcome="unchanged"}'
    until(lambda: controller.metric(series) is not None, SOON, "a reconcile that changes nothing")

    def versions() -> list[str]:
        objects = [plane.get(kind, "it", "-n", space) for kind in ("llmd", "deployment", "service")]
        return [str(obj["metadata"].get("generation", 0)) for obj in objects] + [
            obj["metadata"]["resourceVersion"] for obj in objects[1:]
        ]

    before, counted = versions(), controller.metric(series) or 0.0
    for turn in range(50):
        note = f"plimsoll.dev/turn={turn}"
        plane.kubectl("annotate", "llmd", "it", "-n", space, note, "--overwrite")
        make(plane, space)
    until(lambda: (controller.metric(series) or 0) >= counted + 50, 60, "fifty more")
    assert versions() == before


def test_the_rights_to_run_anything_are_there_only_if_they_are_asked_for() -> None:
    def kinds(values: dict[str, Any]) -> set[str]:
        rules = one(render(values), "ClusterRole", "plimsoll-controller")["rules"]
        return {kind for rule in rules for kind in rule["resources"] if "delete" in rule["verbs"]}

    assert kinds({}) == set()
    asked = kinds({"workloads": {"create": True}})
    assert asked == {"deployments", "leaderworkersets", "resourceclaimtemplates", "services"}
