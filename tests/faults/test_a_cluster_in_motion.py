"""Claims about what clusters do all day: namespaces end, nodes flap, many share one ConfigMap."""

from __future__ import annotations

import json
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
from cluster.plane import own_plane
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controlplane import ControlPlane

SOON = 30.0
SHARERS = 500
LARGEST = 1_000_000
"""Bytes of a value; a ConfigMap may have 1 MiB in all."""
WRITTEN = 'plimsoll_reconcile_seconds_count{outcome="written"}'
UNCHANGED = 'plimsoll_reconcile_seconds_count{outcome="unchanged"}'

plane = own_plane(nodes=[gpu_node(f"a100-{i}") for i in range(4)])


@pytest.fixture(scope="module")
def controller(plane: ControlPlane) -> Iterator[OperatorProcess]:
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    with operator_process("controller", account, plane.folder) as running:
        yield running


def count(controller: OperatorProcess, series: str) -> float:
    return controller.metric(series) or 0.0


def decided(plane: ControlPlane, namespace: str) -> dict[str, str]:
    """Whether each object is Ready, of those that were decided."""
    return {
        item["metadata"]["name"]: conditions(item)["Ready"]["status"]
        for item in plane.get("llmdeployments", "-n", namespace)["items"]
        if item["status"]["observedGeneration"] == item["metadata"]["generation"]
    }


def test_a_node_that_flaps_writes_no_status_and_no_event_unless_a_placement_changes(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    plane.kubectl("create", "namespace", "flaps")
    names = [f"m-{i}" for i in range(10)]
    on_a100 = {"accelerator": {"allowed": ["nvidia-a100-80gb"]}}
    plane.create([llm_deployment(name, "flaps", on_a100) for name in names])
    until(lambda: decided(plane, "flaps") == dict.fromkeys(names, "True"), SOON)
    time.sleep(2)

    def versions() -> dict[str, str]:
        items = plane.get("llmdeployments", "-n", "flaps")["items"]
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}

    def events() -> int:
        return len(plane.get("events", "-n", "flaps")["items"])

    before, told = versions(), events()
    for state in ("False", "True") * 3:
        node = plane.get("node", "a100-3")
        (ready,) = (c for c in node["status"]["conditions"] if c["type"] == "Ready")
        ready["status"] = state
        plane.kubectl(
            "replace", "--raw", "/api/v1/nodes/a100-3/status", "-f", "-", input=json.dumps(node)
        )
        time.sleep(2.5)
    assert versions() == before
    assert events() == told


def test_a_namespace_that_is_deleted_during_writes_leaves_nothing_and_stops_nobody(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    for namespace in ("ends", "stays"):
        plane.kubectl("create", "namespace", namespace)
    many = [f"m-{i}" for i in range(60)]
    plane.create([llm_deployment(name, "ends") for name in many])
    plane.kubectl("delete", "namespace", "ends", "--wait=false")
    path = "/apis/plimsoll.dev/v1alpha1/namespaces/ends/llmdeployments"
    plane.kubectl("delete", "--raw", path)  # as the namespace controller does
    ending: dict[str, Any] = plane.get("namespace", "ends")
    ending["spec"]["finalizers"] = []
    finalize = "/api/v1/namespaces/ends/finalize"
    plane.kubectl("replace", "--raw", finalize, "-f", "-", input=json.dumps(ending))

    plane.create([llm_deployment("m", "stays")])
    until(lambda: decided(plane, "stays") == {"m": "True"}, SOON, "others go on")

    def forgotten() -> bool:
        return 'namespace="ends"' not in controller.get("/metrics")[1]

    until(forgotten, SOON, "what was in it is forgotten")
    time.sleep(2)
    assert "Traceback" not in controller.log(5000)
    said = [line for line in controller.log(5000).splitlines() if "ends/" in line]
    assert len(said) <= 2, said


def test_five_hundred_objects_that_share_one_config_map_of_a_mebibyte_stay_within_memory_and_time(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    plane.kubectl("create", "namespace", "shares")
    config: dict[str, Any] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16",
    }

    def shared(hidden: int) -> dict[str, Any]:
        text = json.dumps(config | {"hidden_size": hidden})
        text = text[:-1] + ', "comment": "' + "x y z " * ((LARGEST - len(text)) // 6) + '"}'
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "large", "namespace": "shares"},
            "data": {"config.json": text},
        }

    plane.kubectl("create", "-f", "-", input=json.dumps(shared(4096)))
    spec = {"model": {"configMapRef": {"name": "large"}}}
    names = [f"m-{i}" for i in range(SHARERS)]
    before = controller.memory()
    started = time.monotonic()
    plane.create([llm_deployment(name, "shares", spec) for name in names])
    until(lambda: len(decided(plane, "shares")) == SHARERS, 120, "all are decided")
    first = time.monotonic() - started
    most = controller.memory()
    generation = count(controller, WRITTEN)
    plane.kubectl("replace", "-f", "-", input=json.dumps(shared(5120)))
    started = time.monotonic()
    until(lambda: count(controller, WRITTEN) >= generation + SHARERS, 120, "all again")
    again = time.monotonic() - started
    most = max(most, controller.memory())
    print(
        f"{SHARERS} objects, one ConfigMap of 1 MiB: created and decided in {first:.1f} s, all "
        f"decided again {again:.1f} s after it changed; memory {before / 2**20:.0f} MiB before, "
        f"{most / 2**20:.0f} MiB then"
    )
    assert most - before < 150 << 20
    assert count(controller, 'plimsoll_not_decided_total{cause="budget"}') == 0
    assert set(decided(plane, "shares").values()) == {"True"}
