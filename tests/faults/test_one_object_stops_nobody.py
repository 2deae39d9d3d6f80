"""One object that takes too long to decide, before real processes: everybody else goes on.

It is slow because the config that it names is large, so that it stays slow: a budget of 50 ms is
far above what others take, and far below what it takes.
"""

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
    free_port,
    install,
    llm_deployment,
    operator_process,
    until,
)  # fmt: skip
from controlplane import ControlPlane
from controlplane.certificates import LOOPBACK
from controlplane.nodes import gpu_node
from plimsoll_operator.api.webhook import at_url, webhook_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW_MODEL = json.dumps({"model_type": "llama", "anything": [{}] * 240_000}, separators=(",", ":"))
SLOW = {"model": {"configMapRef": {"name": "large"}}}
BUDGET = {"decision_seconds": 0.05}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        install(plane)
        plane.create([gpu_node("a100-0")])
        for namespace in ("good", "bad"):
            plane.kubectl("create", "namespace", namespace)
        yield plane


@pytest.fixture(scope="module")
def controller(plane: ControlPlane) -> Iterator[OperatorProcess]:
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    with operator_process("controller", account, plane.folder, BUDGET) as running:
        yield running


@pytest.fixture(scope="module")
def admission(plane: ControlPlane) -> Iterator[OperatorProcess]:
    certificate, key = plane.authority.issue("admission", sans=LOOPBACK).write(
        plane.folder, "admission"
    )
    port = free_port()
    settings = {"admission_host": "127.0.0.1", "admission_port": port, "tls_cert": certificate,
                "tls_key": key, **BUDGET}  # fmt: skip
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, "plimsoll-webhook")
    with operator_process("admission", account, plane.folder, settings) as running:
        hook = webhook_configuration(
            "plimsoll", at_url(f"https://127.0.0.1:{port}/fit", plane.authority.bundle)
        )
        plane.kubectl("apply", "-f", "-", input=json.dumps(hook))
        yield running


def apply(plane: ControlPlane, obj: dict[str, Any]) -> tuple[bool, str]:
    """Whether an object was let in, and what kubectl printed."""
    done = plane.kubectl("apply", "-f", "-", input=json.dumps(obj), check=False)
    return done.returncode == 0, done.stdout + done.stderr


def slow(name: str) -> dict[str, Any]:
    return llm_deployment(name, "bad", SLOW)


def status(plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    obj = plane.get("llmdeployment", name, "-n", namespace)
    return {kind: found["reason"] for kind, found in conditions(obj).items()}


def test_the_controller_sets_one_object_aside_and_decides_the_others(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    assert apply(plane, slow("poison"))[0]
    large = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"config.json": SLOW_MODEL},
             "metadata": {"name": "large", "namespace": "bad"}}  # fmt: skip
    plane.create([large])

    def set_aside() -> bool:
        return status(plane, "bad", "poison").get("Stalled") == "NotDecided"

    until(set_aside, 20, "it is set aside")
    found = conditions(plane.get("llmdeployment", "poison", "-n", "bad"))
    assert {kind: condition["status"] for kind, condition in found.items()} == {
        "Ready": "False", "Fits": "Unknown", "ModelResolved": "Unknown",
        "CapacityAvailable": "Unknown", "Stalled": "True",
    }  # fmt: skip
    assert "deciding took more than 0.05 s" in found["Ready"]["message"]
    assert "when this object or its model's ConfigMap changes" in found["Ready"]["message"]

    number = 0

    def decided() -> bool:  # again if this very machine stood still for so long
        nonlocal number
        number += 1
        good = llm_deployment(f"good-{number}", "good", uri="hf://Qwen/Qwen3-0.6B")
        assert apply(plane, good)[0]
        until(lambda: status(plane, "good", f"good-{number}"), 10, "it is looked at")
        return bool(status(plane, "good", f"good-{number}")["Ready"] == "Placed")

    until(decided, 30, "a good object is decided")
    assert controller.get("/healthz")[0] == 200
    before = controller.metric('plimsoll_not_decided_total{cause="budget"}')
    assert before is not None
    plane.create([gpu_node("a100-1")])  # decides everything again, except what is set aside
    time.sleep(3)
    assert controller.metric('plimsoll_not_decided_total{cause="budget"}') == before
    lines = [line for line in controller.log().splitlines() if "bad/poison is set aside" in line]
    assert len(lines) == 1

    plane.kubectl("delete", "configmap", "large", "-n", "bad")
    until(lambda: status(plane, "bad", "poison").get("Ready") not in ("NotDecided", None), 20,
          "it is decided once its ConfigMap has changed")  # fmt: skip


def test_admission_answers_others_while_one_namespace_has_it_decide_what_is_slow(
    plane: ControlPlane, admission: OperatorProcess
) -> None:
    large = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"config.json": SLOW_MODEL},
             "metadata": {"name": "large", "namespace": "bad"}}  # fmt: skip
    plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(large))

    def refused() -> bool:
        let_in, said = apply(plane, slow("poison-2"))
        return not let_in and "Plimsoll has not decided on" in said

    until(refused, 20, "failurePolicy refuses what is not decided")

    def answered() -> bool:
        apply(plane, slow("poison-3"))
        started = time.monotonic()
        let_in, said = apply(plane, llm_deployment("also-good", "good"))
        assert let_in, said
        return time.monotonic() - started < 3

    until(answered, 30, "a good object in another namespace is answered")
    assert admission.get("/healthz")[0] == 200
    assert admission.metric('plimsoll_not_decided_total{cause="budget"}')
    assert '"bad/poison-2" is not decided' in admission.log()
    assert "Traceback" not in admission.log()
