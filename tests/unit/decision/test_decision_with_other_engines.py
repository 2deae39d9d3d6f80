"""Decisions with the engines other than vLLM: how a replica is split, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision, Reason, Verdict
from plimsoll.report.messages import denial, fits_message
from plimsoll.workloads.llmdeployment import NoDocuments, request


def decided(engine: dict[str, Any], uri: str, gpu: str, gpus: int | None) -> Verdict:
    """The verdict on a deployment, and what a user reads of it in `said`."""
    return decide(asked(engine, uri, gpu, gpus))


def asked(engine: dict[str, Any], uri: str, gpu: str, gpus: int | None) -> Any:
    accelerator: dict[str, Any] = {"allowed": [gpu]}
    if gpus is not None:
        accelerator["gpusPerReplica"] = gpus
    spec = {"model": {"uri": f"hf://{uri}"}, "engine": engine, "accelerator": accelerator}
    return request({"metadata": {"name": "one"}, "spec": spec}, NoDocuments())


COMMAND_R = "CohereForAI/c4ai-command-r-plus"
TGI = {"name": "tgi", "quantization": "eetq", "maxModelLen": 11000}


def test_an_engine_without_stages_is_planned_on_a_node_that_holds_all_gpus() -> None:
    verdict = decided(TGI, COMMAND_R, "nvidia-a30", 8)
    assert verdict.decision is Decision.ALLOW
    assert verdict.placement is not None
    split = verdict.placement.parallelism
    assert (split.tensor, split.pipeline) == (8, 1)
    assert (verdict.placement.gpus_per_node, verdict.placement.nodes_per_replica) == (8, 1)


@pytest.mark.parametrize("gpus", [None, 4, 7])
def test_no_field_that_nobody_wrote_is_named(gpus: int | None) -> None:
    wanted = asked(TGI, COMMAND_R, "nvidia-a30", gpus)
    verdict = decide(wanted)
    assert verdict.decision is Decision.DENY
    assert "parallelism" not in denial(wanted, verdict)


def test_experts_that_lie_whole_on_ranks_are_not_cut_by_tensorrt_llm() -> None:
    engine = {
        "name": "tensorrt-llm",
        "parallelism": {"tensor": 8, "expert": True},
        "extraArgs": ["--ep_size", "8"],
    }
    verdict = decided(engine, "Qwen/Qwen3-235B-A22B-FP8", "nvidia-h200-141gb", 8)
    assert verdict.decision is Decision.ALLOW


def test_experts_cut_in_two_within_their_groups_must_keep_whole_blocks() -> None:
    engine = {
        "name": "tensorrt-llm",
        "parallelism": {"tensor": 8, "expert": True},
        "extraArgs": ["--ep_size", "1"],
    }
    wanted = asked(engine, "Qwen/Qwen3-235B-A22B-FP8", "nvidia-h200-141gb", 8)
    assert "up to it 1, 2, 4 would do" in denial(wanted, decide(wanted))


def test_sglang_counts_data_ranks_of_attention_inside_the_tensor_size() -> None:
    engine = {
        "name": "sglang",
        "parallelism": {"tensor": 16, "data": 16, "expert": True},
        "extraArgs": ["--enable-dp-attention", "--cuda-graph-max-bs", "8"],
    }
    verdict = decided(engine, "sgl-project/DeepSeek-V4-Pro-FP8", "nvidia-h200-141gb", 16)
    assert verdict.problems == ()
    assert verdict.estimate is not None
    assert verdict.estimate.parallelism.gpus == 16
    assert verdict.decision is Decision.WARN


@pytest.mark.parametrize(
    ("engine", "starts"),
    [
        ({"name": "sglang", "gpuMemoryUtilization": "0.85"}, True),
        ({"name": "sglang", "maxModelLen": 131072}, False),
        ({"name": "llama.cpp", "quantization": "q8_0"}, True),
        ({"name": "llama.cpp", "quantization": "q8_0", "version": "b7000"}, True),
        ({"name": "llama.cpp", "quantization": "q8_0", "extraArgs": ["--fit", "off"]}, False),
    ],
)
def test_a_context_that_nobody_said_is_shortened_by_the_engine_and_refused_by_nobody(
    engine: dict[str, Any], starts: bool
) -> None:
    wanted = asked(engine, "meta-llama/Llama-3.1-8B-Instruct", "nvidia-l4", 1)
    verdict = decide(wanted)
    assert (verdict.decision is not Decision.DENY) is starts
    if verdict.reason is Reason.SHORTER_CONTEXT:
        assert "not 131,072" in fits_message(wanted, verdict)


def test_a_workload_that_asks_for_more_than_the_shorter_context_is_refused() -> None:
    spec = {
        "model": {"uri": "hf://meta-llama/Llama-3.1-8B-Instruct"},
        "engine": {"name": "sglang", "gpuMemoryUtilization": "0.85"},
        "accelerator": {"allowed": ["nvidia-l4"], "gpusPerReplica": 1},
        "workload": {"inputTokens": 60000, "outputTokens": 1000},
    }
    verdict = decide(request({"metadata": {"name": "one"}, "spec": spec}, NoDocuments()))
    assert verdict.decision is Decision.DENY
