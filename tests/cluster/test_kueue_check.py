"""Claims about our answers to AdmissionChecks of Kueue, on a real API server.

What Kueue does is written by the tests; `make test-peers` has Kueue's own manager do it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chart import render
from cluster.fixtures_operator import conditions, llm_deployment, operator_process, until
from cluster.kueue_objects import (
    GPU,
    PRODUCT,
    check,
    cluster_queue,
    flavor,
    kinds,
    local_queue,
    topology,
    workload,
)
from cluster.plane import own_plane
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.fixtures_operator import OperatorProcess
    from controlplane import ControlPlane

plane = own_plane()
SPACE = "default"
MIDDLE, BIG = "Qwen/Qwen2.5-14B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"
SOON = 30.0


@pytest.fixture(scope="module", autouse=True)
def controller(
    plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """A controller that answers, with the rights of the chart; Kueue comes after it has started."""
    rights = render({"controller": {"kueueCheck": True}})
    plane.apply([one for one in rights if one["metadata"]["name"] == "plimsoll-kueue"])
    plane.create(kinds())
    names = [f"crd/{kind['metadata']['name']}" for kind in kinds()]
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    folder = tmp_path_factory.mktemp("kueue")
    settings = {"kueue_check": True, "controller_deciders": 1}
    with operator_process("controller", account, folder, settings) as running:
        plane.create(
            [
                check("model-fits"),
                check("another", "example.com/other"),
                flavor("l4", "NVIDIA-L4"),
                flavor("a100", "NVIDIA-A100-SXM4-80GB"),
                cluster_queue("both", ["l4", "a100"]),
                cluster_queue("unchecked", ["l4", "a100"], checked=False),
                local_queue("both", SPACE),
                local_queue("unchecked", SPACE),
            ]
        )
        until(lambda: active(plane, "model-fits"), SOON, "the check is active")
        yield running


def active(plane: ControlPlane, name: str) -> list[Any]:
    found: list[Any] = (plane.get("admissioncheck", name).get("status") or {}).get("conditions", [])
    return found


def live(plane: ControlPlane, name: str) -> dict[str, Any]:
    return plane.get("workloads.kueue.x-k8s.io", name, "-n", SPACE)


def reserve(plane: ControlPlane, name: str, given: str, **more: Any) -> None:
    """Have a Workload be given a flavor, as Kueue does."""
    assigned = {"name": "main", "flavors": {GPU: given}, "resourceUsage": {GPU: "1"}, "count": 1}
    status = {
        "admission": {"clusterQueue": "both", "podSetAssignments": [assigned]},
        "conditions": [{"type": "QuotaReserved", "status": "True"}],
        "admissionChecks": [{"name": "model-fits", "state": "Pending", **more}],
    }
    patch = json.dumps({"status": status})
    args = ("patch", "workloads.kueue.x-k8s.io", name, "-n", SPACE, "--subresource=status")
    plane.kubectl(*args, "--type=merge", "-p", patch)


def answered(plane: ControlPlane, name: str) -> dict[str, Any]:
    """What the check says, once it says something."""

    def said() -> dict[str, Any] | None:
        (one,) = live(plane, name)["status"]["admissionChecks"]
        return one if one["state"] != "Pending" else None

    found: dict[str, Any] = until(said, SOON, f"{name} is answered")
    return found


def required(plane: ControlPlane, name: str) -> Any:
    """The node affinity of its pods."""
    (pod_set,) = live(plane, name)["spec"]["podSets"]
    affinity = pod_set["template"]["spec"].get("affinity") or {}
    return affinity.get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")


def test_only_checks_of_ours_are_called_active(plane: ControlPlane) -> None:
    (condition,) = active(plane, "model-fits")
    assert (condition["type"], condition["status"]) == ("Active", "True")
    assert condition["message"] == "Plimsoll's controller answers this check"
    assert active(plane, "another") == []


def test_a_flavor_that_cannot_hold_the_model_is_closed_before_quota_is_spent(
    plane: ControlPlane,
) -> None:
    plane.create([workload("waits", SPACE, MIDDLE, "both")])
    until(lambda: required(plane, "waits"), SOON, "a flavor is closed")
    closed = {"key": PRODUCT, "operator": "NotIn", "values": ["NVIDIA-L4"]}
    assert required(plane, "waits") == {"nodeSelectorTerms": [{"matchExpressions": [closed]}]}
    reserve(plane, "waits", "a100")
    assert answered(plane, "waits")["state"] == "Ready"


def test_one_that_was_given_such_a_flavor_all_the_same_gives_it_back(plane: ControlPlane) -> None:
    plane.create([workload("given", SPACE, MIDDLE, "both")])
    reserve(plane, "given", "l4", retryCount=2)
    said = answered(plane, "given")
    assert (said["state"], said["requeueAfterSeconds"]) == ("Retry", 4)
    assert said["message"].startswith("ResourceFlavor l4 is not for it: needs ")
    assert said["message"].endswith("; left: a100")


def test_one_that_no_flavor_holds_is_rejected_with_what_each_lacks(plane: ControlPlane) -> None:
    plane.create([workload("big", SPACE, BIG, "both")])
    reserve(plane, "big", "l4")
    said = answered(plane, "big")
    assert said["state"] == "Rejected"
    assert said["message"].startswith("no ResourceFlavor of ClusterQueue both holds it. a100: ")
    assert required(plane, "big") is None


def test_a_queue_that_does_not_name_the_check_is_left_alone(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    plane.create([workload("alone", SPACE, MIDDLE, "unchecked")])
    plane.create([workload("after", SPACE, MIDDLE, "both")])
    until(lambda: required(plane, "after"), SOON, "the one after it is looked at")
    assert required(plane, "alone") is None
    assert "forbidden" not in controller.log().lower()


def test_a_queue_that_comes_to_name_it_has_its_workloads_looked_at(plane: ControlPlane) -> None:
    plane.create([workload("early", SPACE, MIDDLE, "late"), local_queue("late", SPACE)])
    plane.create([cluster_queue("late", ["l4", "a100"])])
    until(lambda: required(plane, "early"), SOON, "a flavor is closed")


def test_a_placement_over_nodes_says_which_rack_of_a_topology_has_room(plane: ControlPlane) -> None:
    rack = "cloud.example.com/rack"
    racks = {"n0": "r1", "n1": "r2", "n2": "r2"}
    plane.create([topology("network", rack)])
    plane.create([gpu_node(name, "h100-80gb", labels={rack: one}) for name, one in racks.items()])
    spec = {"engine": {"maxModelLen": 8192}, "accelerator": {"allowed": ["nvidia-h100-80gb"]}}
    plane.apply([llm_deployment("over", SPACE, spec, uri="hf://deepseek-ai/DeepSeek-V3")])

    def said() -> dict[str, Any]:
        found = plane.get("llmd", "over", "-n", SPACE)
        placement = found["status"].get("placement") or {}
        assert placement.get("topologyKey") == rack, found["status"]
        return conditions(found)["CapacityAvailable"]

    message = until(said, SOON, "the placement names the rack")["message"]
    assert message.endswith(f"; {rack}=r2 has room for all nodes of a replica")
