"""What a review of other people's kinds is answered: where they are guarded, by mode, by change."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from plimsoll.api_group import WORKLOADS_LABEL
from plimsoll.decision.policy import Mode, Policy
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.models.catalogue import load
from plimsoll.workloads.resolved import RESOLVED
from plimsoll.workloads.roles import NothingBeside
from plimsoll_operator.admission.judge import Judge
from plimsoll_operator.admission.review import Answer, Review, read_review
from plimsoll_operator.admission.task import Decided, Question, Untouched, work
from plimsoll_operator.deciding.beside import Missed, Wanted, profile

BIG = ["--model", "Qwen/Qwen2.5-72B-Instruct", "--max-model-len", "8192"]
SMALL = ["--model", "Qwen/Qwen2.5-7B-Instruct", "--max-model-len", "8192"]
A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}


@dataclass
class Known:
    """What admission knows of a cluster with one namespace."""

    mode: Mode | None = Mode.ENFORCE
    documents: NothingBeside = field(default_factory=NothingBeside)
    there: dict[Wanted, dict[str, Any]] = field(default_factory=dict)

    def inventory(self) -> Inventory:
        return NO_INVENTORY

    def policy(self, namespace: str) -> Policy:
        raise AssertionError("this is for LLMDeployments")

    def workloads_policy(self, namespace: str, kind: str) -> Policy | None:
        return None if self.mode is None else Policy(self.mode, namespace, WORKLOADS_LABEL)

    def beside(self, wanted: Wanted) -> dict[str, Any] | None:
        return self.there.get(wanted)


def deployment(
    args: list[str], *, gpus: int = 1, image: str = "vllm/vllm-openai:v0.11.0", **metadata: Any
) -> dict[str, Any]:
    """A Deployment that runs vLLM on A100s."""
    container = {
        "name": "vllm",
        "image": image,
        "args": args,
        "resources": {"limits": {"nvidia.com/gpu": gpus}},
    }
    pod = {"containers": [container], "nodeSelector": A100}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "team", **metadata},
        "spec": {"replicas": 1, "template": {"spec": pod}},
    }


def container_of(obj: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = obj["spec"]["template"]["spec"]["containers"][0]
    return found


async def answer(
    new: dict[str, Any],
    old: dict[str, Any] | None = None,
    *,
    mode: Mode | None = Mode.ENFORCE,
    may: bool = False,
    there: dict[Wanted, dict[str, Any]] | None = None,
) -> tuple[Answer, list[str]]:
    """The answer, and what was counted."""
    request = {
        "uid": "u1",
        "operation": "CREATE" if old is None else "UPDATE",
        "namespace": "team",
        "name": "chat",
        "object": new,
        "oldObject": old,
        "userInfo": {"username": "ada"},
    }
    whole = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    counted: list[str] = []

    async def decide(inventory: Inventory, question: Question, namespace: str) -> Any:
        decided = work(inventory, question)
        assert isinstance(decided, Decided | Untouched | Missed)
        return decided

    async def may_override(review: Review) -> bool:
        return may

    judge = Judge(
        Known(mode, there=there or {}),
        may_override,
        decide,
        lambda result, _: counted.append(result),
    )
    return await judge(read_review(json.dumps(whole).encode())), counted


async def test_a_deployment_that_cannot_start_is_refused_with_the_arithmetic_and_its_place() -> (
    None
):
    said, counted = await answer(deployment(BIG))
    assert not said.allowed
    assert "spec.template.spec.containers[0]" in said.message
    assert "short by" in said.message
    assert "label plimsoll.dev/workloads" in said.message
    assert counted == ["denied"]


async def test_in_warn_mode_it_is_let_in_with_a_warning() -> None:
    said, counted = await answer(deployment(BIG), mode=Mode.WARN)
    assert said.allowed
    assert any("usable" in line for line in said.warnings)
    assert counted == ["warned"]


async def test_in_a_namespace_that_did_not_ask_for_it_nothing_is_said_or_decided() -> None:
    assert await answer(deployment(BIG), mode=None) == (Answer(True), [])


async def test_what_fits_is_let_in_without_a_word() -> None:
    said, counted = await answer(deployment(SMALL))
    assert (said.allowed, said.warnings, counted) == (True, (), ["allow"])


async def test_nothing_is_said_of_what_serves_no_llm() -> None:
    trains = deployment(["train.py"], image="pytorch/pytorch:2.8.0")
    assert await answer(trains) == (Answer(True), ["no-llm"])


async def test_a_kind_that_nobody_reads_is_let_in() -> None:
    assert await answer({**deployment(BIG), "kind": "Rollout"}) == (Answer(True), ["no-llm"])


async def test_what_a_controller_made_for_a_kind_that_is_read_is_not_judged_again() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "controller": True}
    replica_set = {**deployment(BIG, ownerReferences=[owner]), "kind": "ReplicaSet"}
    assert await answer(replica_set) == (Answer(True), [])


async def test_an_update_that_moves_only_the_image_is_judged() -> None:
    old, new = deployment(SMALL), deployment(SMALL, image="vllm/vllm-openai:v0.2.0")
    said, counted = await answer(new, old)
    assert counted != ["unchanged"]
    assert said.warnings or not said.allowed, "a version that no table covers is said"


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.WARN])
async def test_an_update_that_leaves_the_engine_alone_is_let_through_without_a_word(
    mode: Mode,
) -> None:
    old = deployment(BIG)
    new = copy.deepcopy(old)
    new["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5
    container_of(new)["livenessProbe"] = {"httpGet": {"path": "/health", "port": 8000}}
    assert await answer(new, old, mode=mode) == (Answer(True), ["unchanged"])


async def test_what_failed_already_may_be_made_better_and_not_worse() -> None:
    old = deployment(BIG)
    better = deployment([*BIG[:3], "4096"])
    worse = deployment([*BIG[:3], "16384"])
    assert (await answer(better, old))[1] == ["no-worse"]
    assert (await answer(worse, old))[1] == ["denied"]


async def test_an_override_counts_for_those_who_may_and_bars_nobody_in_warn_mode() -> None:
    asks = deployment(BIG, annotations={"plimsoll.dev/override": "a load test"})
    assert (await answer(asks))[1] == ["override-refused"]
    assert (await answer(asks, may=True))[1] == ["overridden"]
    assert (await answer(asks, mode=Mode.WARN))[1] == ["warned"]


async def test_of_several_engines_in_one_object_every_one_that_fails_is_said() -> None:
    pair = deployment(BIG)
    pod = pair["spec"]["template"]["spec"]
    pod["containers"].append({**container_of(deployment(SMALL)), "name": "small"})
    pod["containers"].append({**container_of(deployment(BIG)), "name": "again"})
    said, counted = await answer(pair)
    assert counted == ["denied"]
    assert "spec.template.spec.containers[0]" in said.message
    assert "spec.template.spec.containers[2]" in said.message
    assert "containers[1]" not in said.message
    assert len(said.audit["request-hash"].split()) == 3


SETTINGS: Wanted = ("ConfigMap", "team", "settings")


def by_settings(obj: dict[str, Any]) -> dict[str, Any]:
    """The same with all arguments in a variable of a ConfigMap."""
    reference = {"configMapKeyRef": {"name": "settings", "key": "model"}}
    container_of(obj)["env"] = [{"name": "MODEL", "valueFrom": reference}]
    container_of(obj)["args"] = ["--model", "$(MODEL)", "--max-model-len", "8192"]
    return obj


async def test_arguments_in_a_config_map_are_read_and_said_to_be_missing_where_it_is_not() -> None:
    obj = by_settings(deployment([]))
    there = {SETTINGS: {"data": {"model": BIG[1]}}}
    assert (await answer(obj, there=there))[1] == ["denied"]
    said, counted = await answer(obj)
    assert counted == ["warn"]
    assert "not read: model $(MODEL)" in said.warnings[0]


async def test_a_model_that_somebody_resolved_is_known_even_if_a_config_map_names_it() -> None:
    large = load().find("meta-llama/Llama-3.3-70B-Instruct")
    assert large is not None
    text = json.dumps(large.profile() | {"name": "acme/our-70b"})
    there = {
        SETTINGS: {"data": {"model": "acme/our-70b"}},
        ("ConfigMap", RESOLVED, "acme/our-70b"): dict(profile(text)),
    }
    obj = by_settings(deployment([]))
    assert (await answer(obj, there=there))[1] == ["denied"]
    del there[("ConfigMap", RESOLVED, "acme/our-70b")]
    assert (await answer(obj, there=there))[1] == ["warn"]


async def test_the_refusals_of_dozens_of_engines_are_not_all_repeated() -> None:
    crowd = deployment(BIG)
    one = container_of(crowd)
    crowd["spec"]["template"]["spec"]["containers"] = [{**one, "name": f"e{i}"} for i in range(40)]
    said = (await answer(crowd))[0]
    assert not said.allowed
    assert said.message.count("does not fit on") == 8
    assert said.message.endswith("and 23 more of its engines are refused")
    crowd = deployment([*SMALL, *[f"--unheard-of-{number}=1" for number in range(1000)]])
    assert len((await answer(crowd))[0].warnings) <= 64
