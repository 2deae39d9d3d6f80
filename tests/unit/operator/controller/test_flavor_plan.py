"""What is written on a Workload of Kueue, from its state and the flavors of its queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plimsoll.inventory.nodes import read_node
from plimsoll.inventory.pools import Inventory, pools
from plimsoll.workloads.kueue import Flavor, behind
from plimsoll_operator.controller.flavor_plan import (
    Queue,
    Step,
    is_open,
    read_queue,
    step,
    to_judge,
)
from plimsoll_operator.controller.flavor_task import FlavorJob, judge

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
L4 = Flavor("l4", {PRODUCT: "NVIDIA-L4"})
A100 = Flavor("a100", {PRODUCT: "NVIDIA-A100-SXM4-80GB"})
FLAVORS = {one.name: one for one in (L4, A100)}
MIDDLE = "Qwen/Qwen2.5-14B-Instruct"
BIG = "meta-llama/Llama-3.3-70B-Instruct"


def queue(*flavors: str, only: list[str] | None = None) -> Queue:
    check = {"name": "fits", **({"onFlavors": only} if only else {})}
    groups = [
        {"coveredResources": ["cpu"], "flavors": [{"name": "cpus"}]},
        {"coveredResources": [GPU], "flavors": [{"name": name} for name in flavors]},
    ]
    strategy = {"admissionChecks": [{"name": "another"}, check]}
    spec = {"resourceGroups": groups, "admissionChecksStrategy": strategy}
    return read_queue({"metadata": {"name": "team"}, "spec": spec})


def workload(
    model: str = MIDDLE,
    *,
    given: str = "",
    state: str = "Pending",
    owner: str = "Pod",
    conditions: tuple[str, ...] = (),
    gpus: int = 1,
    **pod: Any,
) -> dict[str, Any]:
    args = ["--model", model, "--max-model-len", "8192", "--tensor-parallel-size", str(gpus)]
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.19.0",
        "args": args,
        "resources": {"limits": {GPU: str(gpus)}},
    }
    reserved = ("QuotaReserved",) if given else ()
    status: dict[str, Any] = {
        "conditions": [{"type": one, "status": "True"} for one in (*conditions, *reserved)],
        "admissionChecks": [{"name": "fits", "state": state}],
    }
    if given:
        assigned = {"name": "main", "flavors": {"cpu": "cpus", GPU: given}}
        status["admission"] = {"clusterQueue": "team", "podSetAssignments": [assigned]}
    return {
        "metadata": {
            "namespace": "chat",
            "name": "w",
            "ownerReferences": [{"kind": owner, "controller": True}],
        },
        "spec": {
            "podSets": [
                {
                    "name": "main",
                    "count": 1,
                    "template": {"spec": {"containers": [container], **pod}},
                }
            ]
        },
        "status": status,
    }


def wanted(obj: dict[str, Any], of: Queue, flavors: dict[str, Flavor] | None = None) -> Step | None:
    known = FLAVORS if flavors is None else flavors
    names = to_judge(obj, "fits", of)
    standings = judge(None, FlavorJob(obj, tuple(known[n] for n in names if n in known)))
    return step(obj, "fits", of, known, standings)


def closed(made: Step) -> Any:
    (affinity,) = made.affinity.values()
    required = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return required["nodeSelectorTerms"]


NOT_L4 = {"key": PRODUCT, "operator": "NotIn", "values": ["NVIDIA-L4"]}


def test_a_flavor_that_cannot_hold_the_model_is_closed_before_quota_is_reserved() -> None:
    made = wanted(workload(), queue("l4", "a100"))
    assert made is not None
    assert made.state == ""
    assert closed(made) == [{"matchExpressions": [NOT_L4]}]


def test_terms_that_are_there_each_keep_off_the_flavor_and_nothing_is_written_twice() -> None:
    zones = [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in "ab"
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": zones}}
    obj = workload(affinity={"nodeAffinity": required, "podAffinity": {"x": 1}})
    made = wanted(obj, queue("l4", "a100"))
    assert made is not None
    assert [NOT_L4 in term["matchExpressions"] for term in closed(made)] == [True, True]
    assert made.affinity[0]["podAffinity"] == {"x": 1}
    assert NOT_L4 not in zones[0]["matchExpressions"]
    obj["spec"]["podSets"][0]["template"]["spec"]["affinity"] = made.affinity[0]
    assert wanted(obj, queue("l4", "a100")) is None


def test_one_that_holds_it_is_ready_and_says_with_what() -> None:
    made = wanted(workload(given="a100"), queue("l4", "a100"))
    assert made is not None
    assert made.state == "Ready"
    assert made.message.startswith("ResourceFlavor a100: needs ")
    assert "1 x nvidia-a100-80gb" in made.message


def test_one_that_does_not_gives_its_quota_back_while_another_is_left() -> None:
    made = wanted(workload(given="l4"), queue("l4", "a100"))
    assert made is not None
    assert (made.state, made.delay, made.affinity) == ("Retry", 1, {})
    assert made.message.startswith("ResourceFlavor l4 is not for it: needs ")
    assert made.message.endswith("; left: a100")
    again = workload(given="l4")
    again["status"]["admissionChecks"][0]["retryCount"] = 4
    later = wanted(again, queue("l4", "a100"))
    assert later is not None
    assert later.delay == 16


def test_without_a_flavor_that_could_hold_it_it_is_rejected_with_each_of_them() -> None:
    waiting = wanted(workload(BIG), queue("l4", "a100"))
    assert waiting is None  # nothing else to take; quota tells
    made = wanted(workload(BIG, given="l4"), queue("l4", "a100"))
    assert made is not None
    assert made.state == "Rejected"
    assert made.message.startswith("no ResourceFlavor of ClusterQueue team holds it. a100: ")
    assert "; l4: " in made.message


def test_flavors_that_no_label_tells_apart_are_said_to_be_so() -> None:
    labels = {**L4.labels, "zone": "a"}
    flavors = {
        "l4": Flavor("l4", {"zone": "a"}),
        "a100": Flavor("a100", {**A100.labels, "zone": "a"}),
    }
    inventory = of_l4(labels)
    obj = workload(given="l4")
    standings = judge(inventory, FlavorJob(obj, tuple(flavors.values())))
    made = step(obj, "fits", queue("l4", "a100"), flavors, standings)
    assert made is not None
    assert made.state == "Rejected"
    assert "give each a nodeLabel of its own" in made.message


def of_l4(labels: dict[str, str]) -> Inventory:
    node = {
        "metadata": {"name": "n", "labels": labels},
        "status": {
            "allocatable": {GPU: "1"},
            "capacity": {GPU: "1"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    facts = read_node(node)
    assert facts is not None
    return pools([facts])


def test_a_flavor_whose_labels_name_no_gpu_is_known_by_its_nodes() -> None:
    flavors = (Flavor("small", {"pool": "small"}), A100)
    inventory = of_l4({**L4.labels, "pool": "small"})
    assert judge(inventory, FlavorJob(workload(), flavors))["small"].misfit
    assert not judge(None, FlavorJob(workload(), flavors))["small"].misfit


def test_what_only_some_flavors_are_checked_for_is_left_alone_on_the_others() -> None:
    of = queue("l4", "a100", only=["a100"])
    assert to_judge(workload(), "fits", of) == ("a100",)
    assert wanted(workload(), of) is None


@pytest.mark.parametrize(
    "obj",
    [
        workload(given="l4", state="Ready"),
        workload(given="l4", state="Retry"),
        workload(given="l4", conditions=("Evicted",)),
    ],
)
def test_nothing_is_written_over_an_answer_or_while_kueue_evicts(obj: dict[str, Any]) -> None:
    assert wanted(obj, queue("l4", "a100")) is None


@pytest.mark.parametrize("condition", ["Finished", "Admitted"])
def test_what_runs_or_has_run_is_nobodys_business(condition: str) -> None:
    assert is_open(workload())
    assert not is_open(workload(conditions=(condition,)))
    assert not is_open({**workload(), "spec": {"active": False}})


def test_what_nobody_knows_holds_up_nobody() -> None:
    for owner in ("RayCluster", "PyTorchJob"):
        made = wanted(workload(BIG, given="l4", owner=owner), queue("l4", "a100"))
        assert made is not None
        assert made.state == "Ready"
        assert made.message.startswith(
            "not judged: how its pods work together on ResourceFlavor l4"
        )
    made = wanted(workload("someone/unheard-of", given="l4"), queue("l4", "a100"))
    assert made is not None
    assert made.state == "Ready"
    made = wanted(workload(given="unlisted"), queue("unlisted"))
    assert made is not None
    assert made.state == "Ready"


def test_a_workload_without_gpus_is_ready() -> None:
    obj = workload(given="l4")
    del obj["spec"]["podSets"][0]["template"]["spec"]["containers"][0]["resources"]
    made = wanted(obj, queue("l4", "a100"))
    assert made is not None
    assert (made.state, made.message) == ("Ready", "not judged: it asks for no GPU")


def test_a_group_of_pods_is_judged_as_the_server_that_it_is() -> None:
    alone = workload(BIG, given="a100", gpus=1)
    alone["spec"]["podSets"][0]["count"] = 2
    made = wanted(alone, queue("a100"))
    assert made is not None
    assert made.state == "Rejected"
    group = workload(BIG, given="a100", gpus=1, owner="LeaderWorkerSet")
    pod_set = group["spec"]["podSets"][0]
    pod_set["count"] = 4
    args = pod_set["template"]["spec"]["containers"][0]["args"]
    args[args.index("--tensor-parallel-size") + 1] = "4"
    made = wanted(group, queue("a100"))
    assert made is not None
    assert made.state == "Ready", made.message
    seen = behind(group, A100)
    assert seen is not None
    assert seen["spec"]["leaderWorkerTemplate"]["size"] == 4


@pytest.mark.parametrize("part", ["spec", "status", "metadata"])
@pytest.mark.parametrize("text", ["null", "7", "[]", '{"podSets": [1, {"template": 3}]}'])
def test_anything_at_all_is_read(part: str, text: str) -> None:
    obj = {**workload(given="l4"), part: json.loads(text)}
    wanted(obj, queue("l4", "a100"))
    assert read_queue({"metadata": {}, "spec": json.loads(text)}).flavors(GPU) == ()
