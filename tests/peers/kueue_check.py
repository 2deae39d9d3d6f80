"""Claims about our AdmissionCheck, with Kueue's own manager giving out flavors (v0.17.0).

Not collected by `pytest`: `make test-peers` builds Kueue's manager, once, and runs this file.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from chart import render
from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    install,
    operator_process,
    until,
)
from cluster.kueue_objects import GPU, PRODUCT, check, cluster_queue, flavor, local_queue, served
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from peers.kueue import Kueue
from peers.manager import UNCHECKED

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE = "chat"
MIDDLE, BIG, SMALL = (
    "Qwen/Qwen2.5-14B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "Qwen/Qwen2.5-3B-Instruct",
)
A100, L4 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4"
SOON = 60.0
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane with Kueue's manager and our controller, two flavors and three queues."""
    with ControlPlane() as plane:
        install(plane)
        rights = render({"controller": {"kueueCheck": True}})
        plane.apply([one for one in rights if one["metadata"]["name"] == "plimsoll-kueue"])
        plane.create([gpu_node("a"), gpu_node("b", "l4")])
        plane.kubectl("create", "namespace", SPACE)
        with Kueue(plane) as kueue:
            plane.create(
                [
                    check("model-fits"),
                    flavor("l4", L4),
                    flavor("a100", A100),
                    cluster_queue("both", ["l4", "a100"]),
                    cluster_queue("small", ["l4"]),
                    cluster_queue("unchecked", ["l4", "a100"], checked=False),
                    *(local_queue(name, SPACE) for name in ("both", "small", "unchecked")),
                ],
                UNCHECKED,
            )
            account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
            settings = {"kueue_check": True, "controller_deciders": 1}
            with operator_process("controller", account, plane.folder, settings):
                active = (
                    "wait",
                    "--for=condition=Active",
                    "--timeout=60s",
                    "admissioncheck/model-fits",
                    "clusterqueue/both",
                    "clusterqueue/small",
                )
                done = plane.kubectl(*active, check=False)
                assert done.returncode == 0, f"{done.stderr}\n{kueue.log()}"
                yield plane


def pod(model: str, queue: str) -> dict[str, Any]:
    """A Pod as Kueue's webhook leaves it: gated, with its label and its finalizer."""
    name = f"pod-{next(_NUMBERS)}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": SPACE,
            "labels": {
                "kueue.x-k8s.io/queue-name": queue,
                "kueue.x-k8s.io/managed": "true",
            },
            "finalizers": ["kueue.x-k8s.io/managed"],
        },
        "spec": {**served(model), "schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]},
    }


def job(model: str, queue: str) -> dict[str, Any]:
    """A Job as Kueue's webhook leaves it: suspended."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"job-{next(_NUMBERS)}",
            "namespace": SPACE,
            "labels": {"kueue.x-k8s.io/queue-name": queue},
        },
        "spec": {
            "suspend": True,
            "template": {"spec": {**served(model), "restartPolicy": "Never"}},
        },
    }


def workload_of(plane: ControlPlane, obj: dict[str, Any]) -> dict[str, Any]:
    """The Workload that Kueue made for an object."""
    name = obj["metadata"]["name"]
    for one in plane.get("workloads.kueue.x-k8s.io", "-n", SPACE)["items"]:
        if any(owner["name"] == name for owner in one["metadata"].get("ownerReferences", ())):
            found: dict[str, Any] = one
            return found
    return {}


def flavors(workload: dict[str, Any]) -> set[str]:
    """The flavors that it was given."""
    admission = (workload.get("status") or {}).get("admission") or {}
    return {one["flavors"][GPU] for one in admission.get("podSetAssignments", ())}


def is_true(workload: dict[str, Any], kind: str) -> bool:
    conditions = (workload.get("status") or {}).get("conditions") or ()
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def said(workload: dict[str, Any]) -> dict[str, str]:
    """What our check says on it."""
    checks = (workload.get("status") or {}).get("admissionChecks") or ()
    return next((one for one in checks if one["name"] == "model-fits"), {})


def admitted(plane: ControlPlane, obj: dict[str, Any]) -> dict[str, Any]:
    """The Workload of an object that is created, once it is admitted."""
    plane.create([obj], UNCHECKED)
    found: dict[str, Any] = until(
        lambda: (one := workload_of(plane, obj)) and is_true(one, "Admitted") and one,
        SOON,
        f"{obj['metadata']['name']} is admitted",
    )
    return found


def test_without_the_check_the_first_flavor_is_given_whatever_the_model_needs(
    plane: ControlPlane,
) -> None:
    assert flavors(admitted(plane, job(MIDDLE, "unchecked"))) == {"l4"}


def test_a_pod_moves_to_the_flavor_that_holds_its_model_and_selects_its_nodes(
    plane: ControlPlane,
) -> None:
    obj = pod(MIDDLE, "both")
    workload = admitted(plane, obj)
    assert flavors(workload) == {"a100"}
    assert said(workload)["state"] == "Ready"
    assert said(workload)["message"].startswith("ResourceFlavor a100: needs ")
    started = until(lambda: _ungated(plane, obj), SOON, "the pod starts")
    assert started["spec"]["nodeSelector"] == {PRODUCT: A100}
    assert "affinity" not in started["spec"]


def _ungated(plane: ControlPlane, obj: dict[str, Any]) -> dict[str, Any] | None:
    found = plane.get("pod", obj["metadata"]["name"], "-n", SPACE)
    return None if found["spec"].get("schedulingGates") else found


def test_a_job_moves_too_and_stays_there(plane: ControlPlane) -> None:
    obj = job(MIDDLE, "both")
    assert flavors(admitted(plane, obj)) == {"a100"}
    started = until(lambda: _started(plane, obj), SOON, "the job starts")
    assert started["spec"]["template"]["spec"]["nodeSelector"] == {PRODUCT: A100}
    workload = workload_of(plane, obj)
    assert is_true(workload, "Admitted")
    assert flavors(workload) == {"a100"}


def _started(plane: ControlPlane, obj: dict[str, Any]) -> dict[str, Any] | None:
    found = plane.get("job", obj["metadata"]["name"], "-n", SPACE)
    return None if found["spec"]["suspend"] else found


def test_what_fits_on_the_first_flavor_gets_it(plane: ControlPlane) -> None:
    workload = admitted(plane, job(SMALL, "both"))
    assert flavors(workload) == {"l4"}
    assert "affinity" not in workload["spec"]["podSets"][0]["template"]["spec"]


@pytest.mark.parametrize(("model", "queue"), [(MIDDLE, "small"), (BIG, "both")])
def test_what_no_flavor_of_its_queue_holds_is_deactivated_and_gives_its_quota_back(
    plane: ControlPlane, model: str, queue: str
) -> None:
    obj = job(model, queue)
    plane.create([obj], UNCHECKED)

    def rejected() -> dict[str, Any] | None:
        found = workload_of(plane, obj)
        gone = found and found["spec"].get("active") is False and is_true(found, "Evicted")
        return found if gone else None

    workload = until(rejected, SOON, "it is deactivated")
    evicted = next(c for c in workload["status"]["conditions"] if c["type"] == "Evicted")
    assert "model-fits" in evicted["message"]
    until(lambda: not flavors(workload_of(plane, obj)), SOON, "its quota is given back")
    assert plane.get("job", obj["metadata"]["name"], "-n", SPACE)["spec"]["suspend"]
    events = plane.get("events", "-n", SPACE, "--field-selector=reason=AdmissionCheckRejected")
    name = workload["metadata"]["name"]
    about = [one for one in events["items"] if one["involvedObject"]["name"] == name]
    (event, *_) = about
    assert f"no ResourceFlavor of ClusterQueue {queue} holds it" in event["message"]
