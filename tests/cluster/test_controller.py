"""Claims about the controller on a real API server, with the rights that we ship and no others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    OperatorProcess,
    conditions,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import LLAMA, own_plane
from controlplane.nodes import gpu_node
from plimsoll_operator.cluster.client import connect
from plimsoll_operator.cluster.objects import LLM_DEPLOYMENTS, NODES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from controlplane import ControlPlane

SOON = 10.0
"""Seconds; it takes well under one if the machine is idle."""
RESYNC = 3.0
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


plane = own_plane("changes nodes", [gpu_node("a100-0"), gpu_node("a100-1"), gpu_node("l4-0", "l4")])


@pytest.fixture(scope="module")
def controller(plane: ControlPlane, account: Path) -> Iterator[OperatorProcess]:
    settings = {"resync_seconds": RESYNC, "node_settle_seconds": 0.3}
    with operator_process("controller", account, plane.folder, settings) as running:
        yield running


def get(plane: ControlPlane, space: str, name: str = "model") -> dict[str, Any]:
    return plane.get("llmdeployment", name, "-n", space)


def decided(plane: ControlPlane, space: str, name: str = "model") -> dict[str, Any]:
    """The object once its status is about what it is now."""

    def current() -> dict[str, Any] | None:
        obj = get(plane, space, name)
        seen = obj.get("status", {}).get("observedGeneration")
        return obj if seen == obj["metadata"]["generation"] else None

    obj: dict[str, Any] = until(current, SOON, f"{space}/{name} is decided")
    return obj


def condition_is(
    plane: ControlPlane, space: str, kind: str, status: str, reason: str = ""
) -> dict[str, Any]:
    """Wait until a condition of object `model` is so; the condition."""

    def so() -> dict[str, Any]:
        found = conditions(get(plane, space)).get(kind, {})
        assert found.get("status") == status, found
        assert not reason or found["reason"] == reason, found
        return found

    found: dict[str, Any] = until(so, SOON, f"{kind} is {status} {reason}")
    return found


def events(plane: ControlPlane, space: str) -> list[tuple[str, str]]:
    found = plane.get("events", "-n", space)["items"]
    return sorted((e["type"], e["reason"]) for e in found)


def resynced(controller: OperatorProcess, times: int = 2) -> None:
    """Let everything be listed again."""
    before = controller.log(10_000).count("listed ")
    until(
        lambda: controller.log(10_000).count("listed ") >= before + times,
        (RESYNC + SOON) * times,
        "lists again",
    )


def test_an_applied_object_gets_a_placement_within_seconds(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    wanted = {
        "accelerator": {"allowed": ["nvidia-a100-80gb"]},
        "engine": {"name": "vllm", "maxModelLen": 32768},
    }
    plane.apply([llm_deployment("model", space, wanted, uri=LLAMA)])
    status = decided(plane, space)["status"]
    found = {kind: c["status"] for kind, c in conditions({"status": status}).items()}
    assert found == {
        "Ready": "True",
        "ModelResolved": "True",
        "Fits": "True",
        "CapacityAvailable": "True",
    }
    placement = status["placement"]
    assert placement["accelerator"] == "nvidia-a100-80gb"
    assert placement["gpusPerReplica"] in (2, 4)
    assert placement["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    assert f"--tensor-parallel-size={placement['gpusPerReplica']}" in placement["engineArgs"] or (
        "--tensor-parallel-size" in placement["engineArgs"]
    )
    assert status["estimate"]["requestHash"].startswith("sha256:")
    columns = plane.kubectl("get", "llmd", "-n", space).stdout.splitlines()[1].split()
    assert columns[:3] == ["model", "Placed", "True"]
    assert columns[4] == "nvidia-a100-80gb"
    assert columns[6] == columns[8] == "GiB"
    assert columns[9] == "NodesMatch"
    assert {"--gpu-memory-utilization=0.92"} <= set(placement["engineArgs"])


def test_nothing_but_the_status_is_written(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    made = llm_deployment("model", space)
    plane.create([made])
    obj = decided(plane, space)
    assert obj["spec"] == made["spec"]
    assert "finalizers" not in obj["metadata"]
    assert "annotations" not in obj["metadata"]
    assert "labels" not in obj["metadata"]


def test_nothing_is_written_when_nothing_changed_not_even_by_a_restarted_controller(
    plane: ControlPlane, controller: OperatorProcess, account: Path, space: str
) -> None:
    one = {
        "accelerator": {"allowed": ["nvidia-a100-80gb"]},
        "engine": {"parallelism": {"tensor": 1}},
    }
    plane.create(
        [
            llm_deployment("fits", space),
            llm_deployment("does-not", space, one, uri=LLAMA),
            llm_deployment("unknown", space, uri="hf://acme/no-such-model"),
            llm_deployment("wrong", space, {"engine": {"parallelism": {"tensor": 7}}}, uri=LLAMA),
        ]
    )
    names = ("fits", "does-not", "unknown", "wrong")
    before = {n: decided(plane, space, n)["metadata"]["resourceVersion"] for n in names}

    def versions() -> dict[str, str]:
        return {n: get(plane, space, n)["metadata"]["resourceVersion"] for n in names}

    resynced(controller)
    assert versions() == before
    with operator_process("controller", account, plane.folder) as another:
        series = 'plimsoll_reconcile_seconds_count{outcome="%s"}'
        until(
            lambda: (another.metric(series % "unchanged") or 0) >= len(names),
            SOON,
            "the restarted one has looked at everything",
        )
        until(lambda: another.metric("plimsoll_queue_depth") == 0, SOON)
        assert not another.metric(series % "written")
    assert versions() == before


def test_events_tell_of_transitions_and_of_nothing_else(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    plane.create([llm_deployment("model", space)])
    decided(plane, space)
    until(lambda: events(plane, space) == [("Normal", "Placed")], SOON, "one Event")
    resynced(controller)
    assert events(plane, space) == [("Normal", "Placed")]
    short = {"accelerator": {"allowed": ["nvidia-l4"]}, "engine": {"parallelism": {"tensor": 1}}}
    plane.apply([llm_deployment("model", space, short, uri=LLAMA)])
    both = [("Normal", "Placed"), ("Warning", "NotEnoughMemory")]
    until(lambda: events(plane, space) == both, SOON, "a second Event")


def test_an_event_that_repeats_is_counted(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    short = {"accelerator": {"allowed": ["nvidia-l4"]}, "engine": {"parallelism": {"tensor": 1}}}
    fits = llm_deployment("model", space)
    misfit = llm_deployment("model", space, short, uri=LLAMA)

    def count(reason: str) -> int:
        found = plane.get("events", "-n", space)["items"]
        (only,) = [event for event in found if event["reason"] == reason] or [{"count": 0}]
        return int(only["count"])

    plane.apply([fits])
    until(lambda: count("Placed") == 1, SOON, "placed")
    plane.apply([misfit])
    until(lambda: count("NotEnoughMemory") == 1, SOON, "refused")
    plane.apply([fits])
    until(lambda: count("Placed") == 2, SOON, "placed again")


def test_what_cannot_fit_is_stalled_and_says_what_would(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    short = {
        "accelerator": {"allowed": ["nvidia-a100-80gb"]},
        "engine": {"maxModelLen": 32768, "parallelism": {"tensor": 1}},
    }
    plane.apply([llm_deployment("model", space, short, uri=LLAMA)])
    obj = decided(plane, space)
    found = conditions(obj)
    assert found["Ready"]["status"] == "False"
    assert found["Stalled"]["status"] == "True"
    assert found["Fits"]["reason"] == "NotEnoughMemory"
    assert "short by" in found["Fits"]["message"]
    assert "placement" not in obj["status"]
    assert any(
        change["path"] == "spec.engine.parallelism.tensor"
        for alternative in obj["status"]["alternatives"]
        for change in alternative["changes"]
    )


@pytest.mark.parametrize(
    ("uri", "spec", "reason", "says"),
    [
        (LLAMA, {"engine": {"parallelism": {"tensor": 7}}}, "InvalidSpec", "tensor"),
        ("hf://acme/no-such-model", {}, "UnknownModel", "no-such-model"),
        (LLAMA, {"accelerator": {"allowed": ["nvidia-z900"]}}, "UnknownAccelerator", "nvidia-z900"),
        (
            LLAMA,
            {"engine": {"extraArgs": ["--tensor-parallel-size=2"], "parallelism": {"tensor": 4}}},
            "InvalidSpec",
            "extraArgs",
        ),
    ],
    ids=["heads", "model", "accelerator", "arguments"],
)
def test_a_bad_spec_that_slipped_past_admission_is_stalled_with_the_field(
    plane: ControlPlane,
    controller: OperatorProcess,
    uri: str,
    spec: dict[str, Any],
    reason: str,
    says: str,
    request: pytest.FixtureRequest,
) -> None:
    space = f"bad-{request.node.callspec.id}"
    plane.kubectl("create", "namespace", space)
    plane.create([llm_deployment("model", space, spec, uri=uri)])
    decided(plane, space)
    stalled = condition_is(plane, space, "Stalled", "True", reason)
    assert says in stalled["message"]
    condition_is(plane, space, "Ready", "False")


def test_a_placement_stays_when_the_nodes_change_and_moves_if_it_is_to_follow(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    either = {"accelerator": {"allowed": ["nvidia-h100-80gb", "nvidia-h200-141gb"]}}
    plane.create([gpu_node("h200-0", "h200-141gb")])
    plane.create([llm_deployment("model", space, either)])

    def at(accelerator: str) -> bool:
        found = get(plane, space).get("status", {}).get("placement", {})
        assert found.get("accelerator") == accelerator, found
        assert found["nodeSelector"], found
        return True

    until(lambda: at("nvidia-h200-141gb"), SOON, "on the nodes that there are")
    plane.create([gpu_node("h100-0", "h100-80gb")])
    plane.kubectl("delete", "node", "h200-0")
    condition_is(plane, space, "BetterPlacement", "True", "LessMemory")
    at("nvidia-h200-141gb")
    follow = '{"spec": {"placementPolicy": "Follow"}}'
    plane.kubectl("-n", space, "patch", "llmd", "model", "--type=merge", "-p", follow)
    until(lambda: at("nvidia-h100-80gb"), SOON, "on the other nodes")
    until(lambda: ("Normal", "PlacementChanged") in events(plane, space), SOON, "an Event says so")
    plane.kubectl("delete", "node", "h100-0")
    condition_is(plane, space, "CapacityAvailable", "False", "NoNodesMatch")
    condition_is(plane, space, "Ready", "True")


def test_nodes_a_moment_before_an_object_are_never_said_to_be_missing(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    assert said_of_nodes(plane, space, "t4", nodes_first=True) == ("NodesMatch", ["Placed"])


def test_nodes_a_moment_after_an_object_are_never_said_to_be_missing(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    assert said_of_nodes(plane, space, "l40s", nodes_first=False) == ("NodesMatch", ["Placed"])


def said_of_nodes(
    plane: ControlPlane, space: str, gpu: str, *, nodes_first: bool
) -> tuple[str, list[str]]:
    """The reason of CapacityAvailable and those of all Events, of an object that came with them."""
    small = {"accelerator": {"allowed": [f"nvidia-{gpu}"]}, "engine": {"maxModelLen": 2048}}

    async def within_a_second(name: str) -> bool:
        obj = llm_deployment(name, space, small, uri="hf://Qwen/Qwen2.5-0.5B-Instruct")
        both = [(NODES, "", gpu_node(f"{gpu}-0", gpu)), (LLM_DEPLOYMENTS, space, obj)]
        async with connect(str(plane.kubeconfig)) as client:
            started = time.monotonic()
            for resource, namespace, one in both if nodes_first else both[::-1]:
                await client.create(resource, one, namespace=namespace)
                took = time.monotonic() - started
                await asyncio.sleep(0.3)  # in which a new object is decided if nothing holds it
        return took < 0.8

    turn = 0
    try:
        while not asyncio.run(within_a_second(f"turn-{turn}")):  # a busy machine took longer
            turn += 1
            assert turn < 10
            plane.kubectl("delete", "node", f"{gpu}-0")
            plane.kubectl("delete", "llmd", "--all", "-n", space)
        capacity = conditions(decided(plane, space, f"turn-{turn}"))["CapacityAvailable"]
        told = until(lambda: reasons_of(plane, space, f"turn-{turn}"), SOON, "Events")
        return capacity["reason"], told
    finally:
        plane.kubectl("delete", "node", f"{gpu}-0")


def reasons_of(plane: ControlPlane, space: str, name: str) -> list[str]:
    """Why there are Events about an object."""
    found = plane.get("events", "-n", space)["items"]
    return [event["reason"] for event in found if event["involvedObject"]["name"] == name]


def test_a_model_in_a_config_map_is_resolved_when_the_config_map_comes(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    private = llm_deployment("model", space)
    private["spec"]["model"] = {"uri": "s3://bucket/private", "configMapRef": {"name": "private"}}
    plane.create([private])
    condition_is(plane, space, "Stalled", "True")
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "private", "namespace": space},
        "data": {"config.json": json.dumps(CONFIG)},
    }
    plane.create([config_map])
    resolved = condition_is(plane, space, "ModelResolved", "True")
    assert "16 layers" in resolved["message"]
    config_map["data"] = {"config.json": json.dumps(CONFIG | {"num_hidden_layers": 18})}
    plane.apply([config_map])
    until(
        lambda: "18 layers" in conditions(get(plane, space))["ModelResolved"]["message"],
        SOON,
        "the change of the ConfigMap is seen",
    )
    plane.kubectl("delete", "configmap", "private", "-n", space)
    condition_is(plane, space, "ModelResolved", "False")


def test_a_namespaces_policy_is_part_of_the_decision(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    plane.create([llm_deployment("model", space)])
    before = decided(plane, space)["status"]["estimate"]["requestHash"]
    plane.kubectl("label", "namespace", space, "plimsoll.dev/policy=warn")

    def current() -> str:
        return str(get(plane, space)["status"]["estimate"]["requestHash"])

    until(lambda: current() != before, SOON, "decided by the new policy")
    plane.kubectl("label", "namespace", space, "plimsoll.dev/policy-")
    until(lambda: current() == before, SOON, "decided by the default again")


def test_an_override_is_recorded_with_its_reason(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    short = {"accelerator": {"allowed": ["nvidia-l4"]}, "engine": {"parallelism": {"tensor": 1}}}
    made = llm_deployment("model", space, short, uri=LLAMA)
    made["metadata"]["annotations"] = {"plimsoll.dev/override": "measured it, ticket 4711"}
    plane.create([made])
    decided(plane, space)
    assert "ticket 4711" in condition_is(plane, space, "Overridden", "True")["message"]


def test_a_status_that_somebody_else_wrote_over_is_put_right(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    plane.create([llm_deployment("model", space)])
    before = decided(plane, space)["status"]
    clobber: dict[str, Any] = {
        "status": {"conditions": [], "placement": None, "observedGeneration": 0}
    }
    plane.kubectl(
        "patch",
        "llmd",
        "model",
        "-n",
        space,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps(clobber),
    )
    until(
        lambda: get(plane, space)["status"].get("placement") == before["placement"],
        SOON,
        "the placement is back",
    )


def test_metrics_follow_the_objects(
    plane: ControlPlane, controller: OperatorProcess, space: str
) -> None:
    series = f'plimsoll_llmdeployment_fits{{name="model",namespace="{space}"}}'

    def fits() -> float | None:
        return controller.metric(series)

    plane.create([llm_deployment("model", space)])
    until(lambda: fits() == 1, SOON, "a series for the object")
    gpus = 'plimsoll_inventory_gpus{accelerator="nvidia-a100-80gb",state="ready"}'
    assert controller.metric(gpus) == 16
    plane.kubectl("delete", "llmd", "model", "-n", space)
    until(lambda: fits() is None, SOON, "the series goes with the object")


def test_the_shipped_rights_are_enough_and_no_more(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    assert "forbidden" not in controller.log(10_000).lower()
    account = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{CONTROLLER_ACCOUNT}"
    for question in (
        ("update", "llmdeployments.plimsoll.dev"),
        ("delete", "llmdeployments.plimsoll.dev"),
        ("get", "secrets"),
        ("create", "pods"),
        ("update", "nodes"),
        ("update", "configmaps"),
    ):
        asked = plane.kubectl(
            "auth", "can-i", *question, "--all-namespaces", f"--as={account}", check=False
        )
        assert asked.stdout.strip() == "no", question


def test_it_is_ready_only_when_it_can_decide_and_stops_at_once_when_told(
    plane: ControlPlane, account: Path
) -> None:
    with operator_process("controller", account, plane.folder, wait=False) as starting:
        until(lambda: starting.get("/healthz")[0] == 200, SOON, "alive at once")
        until(starting.ready, SOON, "ready when all is listed")
        started = time.monotonic()
        os.kill(starting.process.pid, signal.SIGTERM)
        assert starting.process.wait(5) == 0, starting.log()
        assert time.monotonic() - started < 5
