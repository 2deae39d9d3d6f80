"""What the model runner keeps, against vLLM 0.33's own start-up on a GPU that is not there."""

from __future__ import annotations

import pytest

from plimsoll.engines.base import EngineSettings, LimitName, TermName
from plimsoll.units import GIB
from vllm_features import estimate, extra


@pytest.mark.parametrize(
    ("name", "gpu", "gib"),
    [
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", "nvidia-h100-80gb", 0.54, id="Llama"),
        pytest.param("Qwen/Qwen3-8B", "nvidia-h100-80gb", 0.63, id="Qwen3"),
        pytest.param("openai/gpt-oss-20b", "nvidia-h100-80gb", 0.83, id="gpt-oss"),
        pytest.param("google/gemma-3-27b-it", "nvidia-h100-80gb", 1.16, id="with embeddings"),
        pytest.param("Qwen/Qwen3-8B", "nvidia-a100-80gb", 0.16, id="256 sequences"),
    ],
)
def test_counts_and_masks_of_every_sequence_are_charged(name: str, gpu: str, gib: float) -> None:
    settings = EngineSettings(version="0.33", max_model_len=8192)
    found = extra(estimate(name, gpu=gpu, settings=settings), TermName.RUNNER)
    assert found / GIB == pytest.approx(gib, abs=0.01)


def test_a_stage_before_the_last_has_none() -> None:
    settings = EngineSettings(version="0.33")
    found = estimate("meta-llama/Llama-3.1-8B-Instruct", pipeline=2, settings=settings)
    last = 1024 * (128256 * 4 + 2 * 128256 // 8 + 16384) + 2 * 8192 * 4096 * 2
    assert found.stage == 1
    assert extra(found, TermName.RUNNER) == last


def test_a_model_that_pools_counts_no_tokens() -> None:
    found = estimate("Qwen/Qwen3-8B", "--runner=pooling", version="0.33")
    assert not extra(found, TermName.RUNNER)


def test_before_it_was_charged_it_lay_beside_the_budget() -> None:
    name, share = "Qwen/Qwen3-8B", "--gpu-memory-utilization=0.99"
    charged = estimate(name, share, version="0.27", gpu="nvidia-h100-80gb")
    beside = estimate(name, share, version="0.26", gpu="nvidia-h100-80gb")
    assert extra(charged, TermName.RUNNER) > 0.6 * GIB
    assert not extra(beside, TermName.RUNNER)
    left = [
        limit.has.middle
        for found in (charged, beside)
        for limit in found.limits
        if limit.name is LimitName.AFTER_CACHE
    ]
    assert left[0] - left[1] == extra(charged, TermName.RUNNER)


def test_the_first_runner_counts_nothing() -> None:
    assert not extra(estimate("Qwen/Qwen3-30B-A3B", version="0.28"), TermName.RUNNER)


@pytest.mark.parametrize(
    ("gpu", "most"), [("nvidia-gb10", 12), ("nvidia-rtx-pro-6000", 0)], ids=["shared", "its own"]
)
def test_processes_are_counted_in_a_memory_that_cpu_and_gpu_share_from_0_27_on(
    gpu: str, most: int
) -> None:
    # https://github.com/eugr/spark-vllm-docker/issues/396
    old, new = (
        estimate("Qwen/Qwen3-8B", gpu=gpu, version=version).terms[TermName.NON_TORCH]
        for version in ("0.26", "0.27")
    )
    assert (new.high - old.high) / GIB == pytest.approx(most, abs=0.3)
    assert (new.low - old.low) / GIB == pytest.approx(0, abs=0.3)
