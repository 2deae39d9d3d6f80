"""SGLang's estimate of catalogue models against what servers of known GPUs logged."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest

from plimsoll.accelerators.catalogue import find
from plimsoll.engines.base import EngineSettings, Estimate, Parallelism, TermName, Workload
from plimsoll.engines.sglang.engine import SGLang
from plimsoll.models.catalogue import load
from plimsoll.units import GIB


@dataclass(frozen=True)
class Logged:
    """One start-up. weights: GiB per GPU, 0 if not logged; tokens: max_total_num_tokens."""

    source: str
    model: str
    accelerator: str
    version: str
    tensor: int
    fraction: str
    weights: float
    tokens: int
    within: float


LOGGED = (
    Logged("https://github.com/vllm-project/vllm/issues/21348", "Qwen/Qwen3-235B-A22B-FP8",
           "nvidia-h100-80gb", "0.4.9", 4, "0.93", 0, 367404, 0.01),
    Logged("https://github.com/ai-dynamo/aisimulate/pull/263", "deepseek-ai/DeepSeek-R1",
           "nvidia-h200-141gb", "0.5.9", 8, "0.82", 0, 509000, 0.01),
    Logged("Qwen3-32B in SGLang 0.5.19 on GKE, September 2026", "Qwen/Qwen3-32B",
           "nvidia-h100-80gb", "0.5.19", 1, "0.9", 61.07, 39078, 0.03),
    Logged("https://github.com/sgl-project/sglang/pull/4760", "meta-llama/Llama-3.1-8B-Instruct",
           "nvidia-h100-80gb", "0.4.4", 1, "", 15.11, 442750, 0.01),
    Logged("QwQ-32B on a g6.12xlarge, March 2025, when its config still said 131072 positions",
           "Qwen/Qwen2.5-32B",
           "nvidia-l4", "0.4.3", 4, "", 15.54, 46611, 0.01),
)  # fmt: skip


def estimate_of(row: Logged) -> Estimate:
    """The estimate of a logged start-up; skips if the catalogue has no such model."""
    entry, accelerator = load().find(row.model), find(row.accelerator)
    if entry is None or accelerator is None:
        pytest.skip(f"{row.model} is not in the catalogue")
    settings = EngineSettings(
        name="sglang",
        version=row.version,
        utilization=Decimal(row.fraction) if row.fraction else None,
    )
    split = Parallelism(tensor=row.tensor)
    return SGLang().estimate(entry.architecture, settings, Workload(), split, accelerator)


@pytest.mark.parametrize("row", LOGGED, ids=lambda r: r.model)
def test_tokens_of_the_pool_are_as_logged(row: Logged) -> None:
    assert estimate_of(row).kv_tokens == pytest.approx(row.tokens, rel=row.within)


@pytest.mark.parametrize("row", [r for r in LOGGED if r.weights], ids=lambda r: r.model)
def test_weights_are_as_logged(row: Logged) -> None:
    term = estimate_of(row).terms[TermName.WEIGHTS]
    assert term.bytes / GIB == pytest.approx(row.weights, rel=0.005)
    assert term.low <= row.weights * GIB <= term.high


@pytest.mark.parametrize("row", LOGGED, ids=lambda r: r.model)
def test_a_pool_as_logged_lies_within_the_band(row: Logged) -> None:
    """The band of weights and context covers the pool that the server really had."""
    e = estimate_of(row)
    token = max(1, e.kv_capacity) / max(1, e.kv_tokens)
    low, high = (
        sum(getattr(t, end) for t in e.terms if t.name is not TermName.KV_CACHE)
        for end in ("low", "high")
    )
    assert (e.usable - high) / token <= row.tokens <= (e.usable - low) / token
