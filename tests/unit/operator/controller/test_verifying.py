"""Claims about what an engine is asked of an LLMDeployment, and what follows from its answer."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest

from plimsoll.decision.policy import DEFAULT_POLICY
from plimsoll.measured.dry_facts import read
from plimsoll_operator.api.status import LLMDeploymentStatus
from plimsoll_operator.cluster.documents import ABSENT, Document
from plimsoll_operator.controller.cache import pack
from plimsoll_operator.controller.snapshot import Heard
from plimsoll_operator.controller.task import Job, Planned, work
from plimsoll_operator.controller.verifying import Wish, fields_of
from unit.operator.controller.test_status_patch import merged

NOW = datetime(2026, 11, 30, 6, 0, 0, tzinfo=UTC)
NEW: dict[str, Any] = {
    "model_type": "daybreak",
    "architectures": ["DaybreakForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 8192,
}
"""A model of a type that nobody knows."""
SPEC: dict[str, Any] = {
    "model": {"configMapRef": {"name": "new"}},
    "engine": {"name": "vllm", "version": "0.33.0"},
    "accelerator": {"allowed": ["nvidia-l40s"], "gpusPerReplica": 1},
    "verification": "DryStart",
    "output": {"image": "my/vllm:1"},
}


def document(config: dict[str, Any] = NEW) -> Document:
    return Document(1, {"config.json": zlib.compress(json.dumps(config).encode())})


def planned(
    spec: dict[str, Any] | None = None,
    said: dict[str, Any] | None = None,
    *,
    enabled: bool = True,
    of: Document | None = None,
) -> Planned:
    obj = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"namespace": "chat", "name": "it", "uid": "u", "generation": 1},
        "spec": {**SPEC, **(spec or {})},
        "status": {"observedGeneration": -1},
    }
    where = document() if of is None else of
    heard = Heard(enabled, said)
    return work(None, Job(pack(obj), "new", where, DEFAULT_POLICY, NOW, "", heard))


def status(of: Planned) -> dict[str, Any]:
    """The status as it then is, which the resource's types take."""
    found: dict[str, Any] = merged({}, of.patch)
    LLMDeploymentStatus.model_validate(found)
    return found


def condition(of: Planned, kind: str = "Verified") -> dict[str, Any]:
    found = {one["type"]: one for one in status(of)["conditions"]}
    return dict(found.get(kind) or {})


def wish_of(spec: dict[str, Any] | None = None, **more: Any) -> Wish:
    wish = planned(spec, **more).wish
    assert wish is not None
    return wish


def answer(facts: dict[str, Any], wish: Wish, tries: int = 0) -> dict[str, Any]:
    """What the status says of these facts."""
    said = f"PLIMSOLL-FACTS {json.dumps({'version': '0.33.0', **facts})}"
    return fields_of(wish, read(said), "sha256:1", tries)


def test_an_object_that_does_not_ask_for_it_is_not_verified() -> None:
    for spec in ({"verification": "None"}, {"verification": None}):
        found = planned(spec)
        assert found.wish is None
        assert condition(found) == {}
        assert "dryStart" not in status(found)


def test_the_engine_is_asked_with_the_flags_the_config_and_the_gpu_of_the_plan() -> None:
    wish = wish_of({"engine": {**SPEC["engine"], "maxModelLen": 4096}})
    case = json.loads(wish.case)
    assert wish.image == "my/vllm:1"
    assert case["config"] == NEW
    assert "--max-model-len=4096" in case["command_line"]
    assert case["device"]["capability"] == [8, 9]
    assert condition(planned())["reason"] == "Waiting"


def test_an_answer_counts_for_image_arguments_config_and_gpu_and_for_nothing_else() -> None:
    same = wish_of({"replicas": 3})
    assert same.key == wish_of().key
    others = [
        wish_of({"output": {"image": "my/vllm:2"}}),
        wish_of({"engine": {**SPEC["engine"], "maxModelLen": 4096}}),
        wish_of({"accelerator": {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": 1}}),
        wish_of(of=document({**NEW, "hidden_size": 1024})),
    ]
    assert len({one.key for one in [same, *others]}) == 5
    found = planned(said=answer({"reached": "end"}, others[0]))
    assert condition(found)["reason"] == "Waiting"
    assert found.wish == same


def test_a_start_is_said_with_what_contradicts_the_estimate() -> None:
    wish = wish_of()
    facts = {"reached": "end", "weights": {"counted": 90 << 30}, "cache": {"tokens": 10}}
    found = planned(said=answer(facts, wish))
    assert found.wish is None
    verified = condition(found)
    assert (verified["status"], verified["reason"]) == ("True", "EngineStarts")
    assert "weights of a rank: vLLM 0.33.0 itself says 92160Mi" in verified["message"]
    assert "tokens of the cache: vLLM 0.33.0 itself says 10, the estimate" in verified["message"]
    assert "not seen: CUDA's own memory" in verified["message"]
    assert condition(found, "Fits") == condition(planned({"verification": "None"}), "Fits")


def test_a_start_that_agrees_says_so() -> None:
    before = status(planned())["estimate"]
    weights = int(before["perGPU"]["weights"].removesuffix("Mi")) << 20
    facts = {
        "reached": "end",
        "weights": {"counted": weights},
        "cache": {"tokens": before["kvCacheTokens"] + 9},
    }
    found = condition(planned(said=answer(facts, wish_of())))
    assert "nothing contradicts the estimate" in found["message"]


def test_a_refusal_is_fits_false_with_words_that_are_cleaned_and_no_placement() -> None:
    words = "no kernel \x1b[31mfor\x00 this" + "x" * 5000
    ended = {"message": words, "places": ["vllm/a.py:3 check"]}
    found = planned(said=answer({"reached": "config", "refused": ended}, wish_of()))
    fits = condition(found, "Fits")
    assert (fits["status"], fits["reason"]) == ("False", "EngineRefused")
    assert "vLLM 0.33.0, which refuses in its own code" in fits["message"]
    assert "no kernel" in fits["message"]
    assert "\x1b" not in json.dumps(status(found), ensure_ascii=False)
    assert "placement" not in status(found)
    assert condition(found)["status"] == "False"
    assert condition(found, "Ready")["reason"] == "EngineRefused"
    assert status(found)["dryStart"]["place"] == "vllm/a.py:3 check"


@pytest.mark.parametrize(
    "facts",
    [
        {"reached": "model", "unknown": {"message": "no shape function"}},
        {"reached": "cache"},
        {"reached": "end", "unknown": {}, "refused": None},
    ],
)
def test_what_the_harness_met_changes_no_verdict(facts: dict[str, Any]) -> None:
    found = planned(said=answer(facts, wish_of()))
    assert condition(found)["status"] == "Unknown"
    assert condition(found)["reason"] in ("NothingLearned",)
    assert condition(found, "Fits") == condition(planned({"verification": "None"}), "Fits")
    assert status(found)["dryStart"]["tries"] == 1


@pytest.mark.parametrize("value", [None, "9" * 5000, -1, 1 << 90, True, [], {"counted": {}}])
def test_figures_that_cannot_be_are_no_figures(value: Any) -> None:
    facts = {"reached": "end", "weights": {"counted": value}, "cache": {"tokens": value}}
    found = status(planned(said=answer(facts, wish_of())))
    assert found["dryStart"].keys().isdisjoint({"weights", "kvCacheTokens"})


@pytest.mark.parametrize(
    ("spec", "of", "reason", "words"),
    [
        ({}, ABSENT, "NoConfig", "spec.model.configMapRef"),
        ({"engine": {"name": "sglang"}}, None, "NotAskable", "sglang cannot be dry started"),
    ],
)
def test_what_cannot_be_asked_is_said(
    spec: dict[str, Any], of: Document | None, reason: str, words: str
) -> None:
    if of is ABSENT:
        spec = {"model": {"uri": "hf://me/day-zero"}}
    found = planned(spec, of=of)
    assert found.wish is None
    assert condition(found)["reason"] == reason
    assert words in condition(found)["message"]


def test_what_is_sure_is_not_asked() -> None:
    known = {"model": {"uri": "hf://Qwen/Qwen2.5-7B-Instruct"}}
    spec = {**known, "accelerator": {"allowed": ["nvidia-a100-80gb"]}}
    found = planned({**spec, "engine": {"name": "vllm", "maxModelLen": 8192}})
    assert found.wish is None
    assert condition(found)["reason"] == "NotNeeded"


def test_a_controller_without_the_right_says_so_and_asks_nobody() -> None:
    found = planned(enabled=False)
    assert found.wish is None
    assert condition(found)["reason"] == "NotEnabled"
    assert "dryStart.enabled" in condition(found)["message"]
    kept = planned(said=answer({"reached": "end"}, wish_of()), enabled=False)
    assert condition(kept)["reason"] == "EngineStarts"
