"""Claims about what is run of an LLMDeployment and what its status says of it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from builders import gpu_node
from plimsoll.decision.policy import DEFAULT_POLICY
from plimsoll.inventory.nodes import read_nodes
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll_operator.cluster.documents import ABSENT
from plimsoll_operator.controller.applying import Workloads
from plimsoll_operator.controller.cache import pack
from plimsoll_operator.controller.running import Live, live_of, owner_of
from plimsoll_operator.controller.snapshot import Identity, identify
from plimsoll_operator.controller.task import Job, Planned, work

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.cluster.client import Client

NOW = datetime(2026, 11, 30, tzinfo=UTC)
RAN = {
    "mode": "Create",
    "objects": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "it"}],
}


def planned(
    output: dict[str, Any], inventory: Inventory = NO_INVENTORY, **status: Any
) -> tuple[Identity, Planned]:
    """What is planned for an LLMDeployment of Qwen3-8B on an L40S."""
    obj = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"namespace": "chat", "name": "it", "uid": "u", "generation": 2},
        "spec": {
            "model": {"uri": "hf://Qwen/Qwen3-8B"},
            "engine": {"maxModelLen": 8192},
            "accelerator": {"allowed": ["nvidia-l40s"]},
            "output": output,
        },
        "status": status,
    }
    identity = identify(obj)
    assert identity is not None
    return identity, work(inventory, Job(pack(obj), "", ABSENT, DEFAULT_POLICY, NOW))


def test_nodes_without_the_disk_of_the_pods_that_are_made_are_no_room() -> None:
    node = gpu_node("l40s-0", "l40s")
    node["status"]["allocatable"]["ephemeral-storage"] = "8Gi"
    nodes = read_nodes([node])

    def capacity(output: dict[str, Any]) -> tuple[str, str, str]:
        plan = planned(output, nodes)[1]
        (found,) = [c for c in plan.patch["conditions"] if c["type"] == "CapacityAvailable"]
        return found["status"], found["reason"], found["message"]

    status, reason, message = capacity({"mode": "Create"})
    assert (status, reason) == ("False", "NodesTooSmall")
    assert "20.0 GiB of ephemeral-storage, and no node has more than 8.0 GiB" in message
    assert "cacheClaim: NAME" in message
    for output in ({"mode": "Create", "cacheClaim": "models"}, {"mode": "Recommend"}, {}):
        assert capacity(output)[:2] == ("True", "NodesMatch")


async def carried_out(output: dict[str, Any], live: Live, **status: Any) -> dict[str, Any]:
    """The conditions in the patch, with what came of the run."""

    class Told(Workloads):
        async def bring(self, *_: object) -> Live:
            return live

    identity, plan = planned(output, **status)
    workloads = Told(cast("Client", None), lambda name: None, frozenset({"Create"}))
    patch = (await workloads.carry_out(identity, plan, NOW)).patch
    return {one["type"]: one for one in patch["conditions"]} | {"patch": patch}


def live(**status: Any) -> Live:
    """What a Deployment of two replicas says."""
    obj = {
        "kind": "Deployment",
        "metadata": {"generation": 3},
        "status": {"observedGeneration": 3, **status},
    }
    return live_of(obj, tuple(RAN["objects"]), 2)  # type: ignore[arg-type]


def test_the_status_says_what_each_pod_needs_at_the_rate_that_is_given() -> None:
    slow = planned({})[1].patch["pod"]
    fast = planned({"readRate": "1Gi"})[1].patch["pod"]
    assert (slow["cpu"], slow["storage"]) == ("3", "20Gi")
    assert (slow["startSeconds"], fast["startSeconds"]) == (732, 616)
    assert any("at 1,074 MB/s (given)" in line for line in fast["reasons"])


def test_nothing_is_run_unless_it_is_asked_for() -> None:
    assert planned({"mode": "Recommend"})[1].run is None
    assert planned({})[1].run is None


async def test_a_controller_without_the_right_says_so_and_the_object_is_stalled() -> None:
    identity, plan = planned({"mode": "Create"})
    workloads = Workloads(cast("Client", None), lambda name: None, frozenset())
    patch = (await workloads.carry_out(identity, plan, NOW)).patch
    said = {one["type"]: one for one in patch["conditions"]}
    assert (said["Applied"]["status"], said["Applied"]["reason"]) == ("False", "NotEnabled")
    assert "workloads.create" in said["Applied"]["message"]
    assert (said["Ready"]["status"], said["Stalled"]["status"]) == ("False", "True")


async def test_what_cannot_be_rendered_is_named_by_its_field() -> None:
    _, plan = planned({"mode": "Create", "pin": "KVCacheBytes"})
    assert plan.run is not None
    assert plan.run.objects
    _, plan = planned({"mode": "Create", "template": {"spec": {"containers": [{}]}}})
    assert plan.run is not None
    assert plan.run.objects == ()
    assert "spec.output.template.spec.containers[0].name" in plan.run.why


@pytest.mark.parametrize(
    ("status", "ready", "reason", "beside"),
    [
        ({}, "False", "Starting", "Reconciling"),
        ({"updatedReplicas": 2, "availableReplicas": 1}, "False", "Starting", "Reconciling"),
        ({"updatedReplicas": 2, "availableReplicas": 2}, "True", "Serving", ""),
        (
            {"updatedReplicas": 1, "availableReplicas": 2},
            "False",
            "Starting",
            "Reconciling",
        ),
    ],
)
async def test_ready_is_true_once_every_replica_of_the_new_template_is_available(
    status: dict[str, Any], ready: str, reason: str, beside: str
) -> None:
    identity, plan = planned({"mode": "Create"})
    assert plan.run is not None
    two = plan.run.__class__("Create", plan.run.objects, "", 2, ())

    class Told(Workloads):
        async def bring(self, *_: object) -> Live:
            return live(**status)

    workloads = Told(cast("Client", None), lambda name: None, frozenset({"Create"}))
    plan = dataclasses.replace(plan, run=two)
    patch = (await workloads.carry_out(identity, plan, NOW)).patch
    said = {one["type"]: one for one in patch["conditions"]}
    assert (said["Ready"]["status"], said["Ready"]["reason"]) == (ready, reason)
    assert {"Reconciling", "Stalled"} & set(said) == ({beside} if beside else set())


async def test_pods_that_a_quota_refuses_are_said_in_the_deployments_words() -> None:
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": 'pods "it-1-x" is forbidden: exceeded quota: gpus',
    }
    said = await carried_out({"mode": "Create"}, live(conditions=[refused]))
    assert "exceeded quota: gpus" in said["Ready"]["message"]


async def test_a_deployment_that_gave_up_is_said_in_its_own_words() -> None:
    gave_up = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": 'ReplicaSet "it-1" has timed out progressing.',
    }
    said = await carried_out({"mode": "Create"}, live(conditions=[gave_up]))
    assert said["Ready"]["reason"] == "Stuck"
    assert "ProgressDeadlineExceeded: ReplicaSet" in said["Ready"]["message"]
    assert said["Stalled"]["status"] == "True"


async def test_another_mode_takes_everything_out_of_the_status_again() -> None:
    before = {"replicas": 1, "selector": "a=b", "workload": RAN}
    said = await carried_out({"mode": "Recommend"}, Live(True, "Applied", ""), **before)
    assert "Applied" not in said
    assert said["Ready"]["reason"] == "Placed"
    assert {said["patch"][key] for key in before} == {None}


def test_only_a_controller_of_our_kind_is_an_owner() -> None:
    other = {"kind": "ReplicaSet", "name": "it", "uid": "u", "controller": True}
    assert owner_of({"metadata": {"ownerReferences": [other]}}) == ("", "")
    ours = {"kind": "LLMDeployment", "name": "it", "uid": "u", "controller": True}
    assert owner_of({"metadata": {"ownerReferences": [other, ours]}}) == ("it", "u")
