"""Models that no catalogue knows: found by id once somebody resolved them, and by nothing else."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision, Reason
from plimsoll.engines.base import TermName
from plimsoll.models.architecture import ModelSource
from plimsoll.models.catalogue import load
from plimsoll.workloads.llmdeployment import Missing, request
from plimsoll.workloads.resolved import RESOLVED, config_map, config_map_name, unknown

OURS: Final = "acme/our-70b"


class Kept:
    """Profiles by id, and what was asked for."""

    def __init__(self, **profiles: str) -> None:
        self.profiles = {OURS: profiles.get("ours", "")}
        self.asked: list[tuple[str, str]] = []

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        self.asked.append((namespace, name))
        found = self.profiles.get(name) if namespace == RESOLVED else None
        return found or Missing("not there")


def profile(of: str = "meta-llama/Llama-3.3-70B-Instruct") -> str:
    entry = load().find(of)
    assert entry is not None
    return json.dumps(entry.profile() | {"name": OURS})


def asking(model: dict[str, Any]) -> dict[str, Any]:
    accelerator = {"allowed": ["nvidia-l4"], "gpusPerReplica": 1}
    return {"metadata": {"name": "it"}, "spec": {"model": model, "accelerator": accelerator}}


def test_a_model_that_somebody_resolved_is_known_by_its_id_and_decided_on() -> None:
    uri = f"hf://{OURS}"
    before = decide(request(asking({"uri": uri}), Kept()))
    assert (before.decision, before.reason) == (Decision.WARN, Reason.UNKNOWN_MODEL)
    found = request(asking({"uri": uri}), Kept(ours=profile()))
    assert found.model.source is ModelSource.PROFILE
    assert found.model.name == OURS
    assert found.model.parameters == 70_553_706_496
    assert decide(found).decision is Decision.DENY


@pytest.mark.parametrize(
    "model",
    [
        {"uri": "hf://Qwen/Qwen3-8B"},
        {"uri": f"hf://{OURS}@v2"},
        {"uri": f"hf://{OURS}", "revision": "v2"},
        {"uri": f"hf://{OURS}/gguf/q4.gguf"},
        {"uri": f"hf://{OURS}", "baseModel": "Qwen/Qwen3-8B"},
        {"uri": "s3://acme/our-70b"},
        {"parameters": "70B"},
    ],
)
def test_what_is_known_otherwise_or_is_another_revision_is_not_asked_for(
    model: dict[str, Any],
) -> None:
    kept = Kept(ours=profile())
    request(asking(model), kept)
    assert RESOLVED not in {namespace for namespace, _ in kept.asked}


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "other"}', "x" * 2_000_000])
def test_a_profile_that_describes_no_model_is_nobodys_fault_and_counts_as_none(text: str) -> None:
    found = request(asking({"uri": f"hf://{OURS}"}), Kept(ours=text))
    assert not found.problems
    assert decide(found).reason is Reason.UNKNOWN_MODEL


@pytest.mark.parametrize(
    "uri", ["hf://a", "hf://a/b c", "hf://a/ü", "hf://../a", "hf://a/b?x=1", "hf://-a/b", ""]
)
def test_only_what_a_hub_lets_an_id_be_is_one(uri: str) -> None:
    assert unknown(uri) == ""


def test_the_name_of_its_config_map_follows_from_the_id_in_any_case_and_is_one() -> None:
    names = {config_map_name(one) for one in (OURS, "ACME/Our-70B", "acme/our.70b", "a" * 300)}
    assert len(names) == 3
    assert all(len(name) <= 253 and name.replace("-", "a").isalnum() for name in names)
    made = config_map(OURS, {"format": "x"}, by="command-line", namespace="plimsoll-system")
    assert made["metadata"] == {
        "name": config_map_name(OURS),
        "namespace": "plimsoll-system",
        "labels": {"plimsoll.dev/resolved": "command-line"},
        "annotations": {"plimsoll.dev/model": OURS},
    }


def test_which_layers_a_word_leaves_in_16_bits_is_not_known_and_refuses_nothing() -> None:
    model = {"uri": "hf://acme/tuned", "baseModel": "Qwen/Qwen2.5-32B-Instruct"}
    known = {"uri": "hf://Qwen/Qwen2.5-32B-Instruct-AWQ"}
    engine = {"maxModelLen": 8192, "gpuMemoryUtilization": "0.9"}
    found = {}
    for name, said in (("word", {**model, "quantization": "awq"}), ("config", known)):
        obj = asking(said)
        obj["spec"]["engine"] = engine
        verdict = decide(request(obj, Kept()))
        assert verdict.estimate is not None
        weights = verdict.estimate.terms[TermName.WEIGHTS]
        found[name] = (weights.low, weights.high, verdict.decision)
    (low, high, decision), (exactly_low, exactly_high, _) = found["word"], found["config"]
    assert low < exactly_low
    assert exactly_high < high
    assert decision is not Decision.ALLOW
