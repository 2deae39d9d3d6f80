"""Claims about LeaderWorkerSets, with their own controller (v0.8.0), kube-controller-manager and
kube-scheduler: what it makes of ours is bound where we said, and what it makes of a user's is
judged like the object itself.

Not collected by `pytest`: `make test-peers` builds the three, once, and runs this file.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from chart.helm import render
from chart.objects import one
from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    install,
    llm_deployment,
    operator_process,
    until,
)
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from controlplane.scheduler import Controllers, Scheduler
from peers.lws import LeaderWorkerSets
from plimsoll.cli.check import command
from plimsoll.decision.decide import decide
from plimsoll.inventory.saved import KIND, from_dict
from plimsoll.render.rendered import render as workload
from plimsoll.workloads.llmdeployment import NoDocuments, request

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 60.0
BIG = "meta-llama/Llama-3.1-405B-Instruct"
PRODUCT = "nvidia.com/gpu.product"
A100, H200 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-H200"
GPU = "nvidia.com/gpu"
RACK = "example.com/rack"
A100S = ("a", "b", "c", "d", "e", "f")
TURNS = 2
"""Groups that are bound one after another."""
MADE = ("leaderworkersets", "statefulsets", "pods")
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane with all four controllers, six nodes of A100, two in a rack, one of H100."""
    with ControlPlane() as plane:
        install(plane)
        made = render({"workloads": {"create": True}})
        plane.apply([one(made, "ClusterRole", "plimsoll-controller")])
        racks = {RACK: "r1"}, {RACK: "r2"}, {RACK: "r3"}
        plane.create([large(gpu_node(n, labels=racks[i // 2])) for i, n in enumerate(A100S)])
        plane.create([large(gpu_node("h", "h100-80gb"))])
        with Controllers(plane), Scheduler(plane), LeaderWorkerSets(plane):
            account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
            settings = {"workloads": True, "controller_deciders": 1, "node_settle_seconds": 0.3}
            with operator_process("controller", account, plane.folder, settings):
                yield plane


def large(node: dict[str, Any]) -> dict[str, Any]:
    """A node with a disk that holds the checkpoint of 405 billion parameters."""
    for part in ("capacity", "allocatable"):
        node["status"][part]["ephemeral-storage"] = "3Ti"
    return node


@pytest.fixture
def space(plane: ControlPlane) -> Iterator[str]:
    """A namespace whose pods are gone afterwards: the next test's find the nodes free."""
    name = f"space-{next(_NUMBERS)}"
    plane.kubectl("create", "namespace", name)
    yield name
    now = ("--wait=false", "--grace-period=0", "--force")
    plane.kubectl("delete", "llmd,lws,sts,pods", "--all", "-n", name, *now)


def pods(plane: ControlPlane, space: str, count: int) -> list[dict[str, Any]]:
    """The pods of a namespace, once there are so many."""

    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = plane.get("pods", "-n", space)["items"]
        return len(found) == count

    until(there, SOON, f"{count} pods in {space}")
    return found


def test_the_pods_of_a_placement_over_two_nodes_are_bound_where_it_says(
    plane: ControlPlane, space: str
) -> None:
    spec = {
        "engine": {"name": "vllm", "maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-a100-80gb"]},
        "output": {"mode": "Create"},
    }
    plane.apply([llm_deployment("big", space, spec, uri=f"hf://{BIG}")])

    def bound() -> list[dict[str, Any]]:
        found = pods(plane, space, 2)
        waits = [pod["status"] for pod in found if not pod["spec"].get("nodeName")]
        assert not waits, waits
        return found

    made: list[dict[str, Any]] = until(bound, SOON, "both pods are bound")
    placement = plane.get("llmd", "big", "-n", space)["status"]["placement"]
    assert (placement["nodesPerReplica"], placement["nodeSelector"]) == (2, {PRODUCT: A100})
    where = {pod["spec"]["nodeName"] for pod in made}
    assert len(where) == 2
    assert where <= set(A100S)
    for pod in made:
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["limits"][GPU] == placement["resources"][GPU]
        assert pod["metadata"]["labels"]["plimsoll.dev/llmdeployment"] == "big"


def test_the_pods_of_a_group_are_bound_in_one_rack_by_the_level_of_a_topology(
    plane: ControlPlane, space: str
) -> None:
    level = {"kind": "Topology", "spec": {"levels": [{"nodeLabel": RACK}]}}
    items = [*({**node, "kind": "Node"} for node in plane.get("nodes")["items"]), level]
    saved = {"kind": KIND, "setAside": [], "items": items, "podsRead": True}
    spec = {
        "engine": {"name": "vllm", "maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-a100-80gb"]},
    }
    obj = llm_deployment("near", space, spec, uri=f"hf://{BIG}")
    asked = request(obj, NoDocuments())
    verdict = decide(asked, from_dict(saved))
    assert verdict.placement is not None
    assert verdict.placement.topology == RACK
    (group, *_) = workload(obj, asked, verdict).objects
    plane.create([busy(f"busy-{name}", name) for name in A100S[1::2]])
    rack = {node["metadata"]["name"]: node["metadata"]["labels"].get(RACK) for node in items[:-1]}
    for turn in range(TURNS):
        # another name each time, which its selector and its pods' labels have as well
        plane.create([json.loads(json.dumps(group).replace('"near"', f'"near-{turn}"'))])

        def both() -> set[str | None]:
            made = pods(plane, space, 2)
            assert all(pod["spec"].get("nodeName") for pod in made), "not bound"
            return {rack[pod["spec"]["nodeName"]] for pod in made}

        assert len(until(both, SOON, "both pods are bound")) == 1
        now = ("--wait=false", "--grace-period=0", "--force")
        plane.kubectl("delete", "lws,sts,pods", "--all", "-n", space, *now)
        pods(plane, space, 0)
    plane.kubectl("delete", "pods", "--all", "-n", "default", "--grace-period=0", "--force")


def busy(name: str, node: str) -> dict[str, Any]:
    """A pod that makes a node the worse choice: one node of each rack, so that two pods of which
    each takes the better one are in two racks.
    """
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "60"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "containers": [container],
        },
    }


def vllm(name: str, gpus: int, product: str, *flags: str) -> dict[str, Any]:
    """A LeaderWorkerSet as vLLM's guide writes it: the workers join a cluster of Ray."""
    serve = f"vllm serve {BIG} --max-model-len=8192 {' '.join(flags)}"
    leader = f"bash multi-node-serving.sh leader --ray_cluster_size=$(LWS_GROUP_SIZE); {serve}"
    worker = "bash multi-node-serving.sh worker --ray_address=$(LWS_LEADER_ADDRESS)"
    image = "vllm/vllm-openai:v0.11.0"
    return group(name, _pod(image, leader, gpus, product), _pod(image, worker, gpus, product))


def sglang(name: str) -> dict[str, Any]:
    """A LeaderWorkerSet as SGLang's guide writes it: leader and workers are started alike."""
    start = (
        f"python3 -m sglang.launch_server --model-path {BIG} --tp 16 --context-length 8192 "
        "--dist-init-addr $(LWS_LEADER_ADDRESS):20000 --nnodes $(LWS_GROUP_SIZE) "
        "--node-rank $(LWS_WORKER_INDEX)"
    )
    alike = _pod("lmsysorg/sglang:v0.5.3", start, 8, A100)
    return group(name, alike, alike)


def _pod(image: str, script: str, gpus: int, product: str) -> dict[str, Any]:
    container = {
        "name": "engine",
        "image": image,
        "command": ["sh", "-c", script],
        "resources": {"limits": {GPU: str(gpus)}},
    }
    selector = {PRODUCT: product}
    return {"spec": {"nodeSelector": selector, "containers": [container]}}


def group(name: str, leader: dict[str, Any], worker: dict[str, Any]) -> dict[str, Any]:
    """A LeaderWorkerSet of one group of two pods."""
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "leaderWorkerTemplate": {"size": 2, "leaderTemplate": leader, "workerTemplate": worker},
        },
    }


def checked(*objects: dict[str, Any]) -> dict[str, Any]:
    """What `plimsoll check -o json` says of objects that come through a pipe."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    answer = CliRunner().invoke(command, ["-", "-o", "json"], input=text)
    assert answer.exit_code in (0, 1), answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


SAME = (
    "engine",
    "engineVersion",
    "model",
    "tensor",
    "pipeline",
    "gpusPerPod",
    "podsPerReplica",
    "maxModelLen",
    "accelerator",
    "decision",
    "rules",
    "estimate",
    "gpusPerReplica",
)


@pytest.mark.parametrize(
    ("obj", "decision", "speak"),
    [
        (vllm("chat", 8, H200, "-tp 8", "-pp 2"), "allow", 2),
        (vllm("chat", 4, A100, "-tp 4", "-pp 2"), "deny", 2),
        (sglang("chat"), "allow", 4),
    ],
    ids=["vllm", "vllm-too-small", "sglang"],
)
def test_what_is_made_of_a_users_set_is_judged_like_it_and_once(
    plane: ControlPlane, space: str, obj: dict[str, Any], decision: str, speak: int
) -> None:
    plane.create([obj], "-n", space)
    pods(plane, space, 2)
    (whole,) = checked(obj)["results"]
    assert whole["decision"] == decision
    listed = [plane.get(kind, "-n", space)["items"] for kind in MADE]
    together = checked(*itertools.chain(*listed))
    assert [one["kind"] for one in together["results"]] == ["LeaderWorkerSet"]
    assert together["madeByOthers"] == 4
    alone = [found for part in (*listed[1], *listed[2]) for found in checked(part)["results"]]
    assert len(alone) == speak
    for found in (together["results"][0], *alone):
        assert {key: found[key] for key in SAME} == {key: whole[key] for key in SAME}
