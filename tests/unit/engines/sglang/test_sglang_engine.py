"""SGLang's whole estimate against start-ups of real servers, and what may never happen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from architectures import H100, L4, LLAMA_8B, LLAMA_70B, MODELS, dense, latent, moe, windows
from plimsoll.accelerators.types import Accelerator
from plimsoll.engines.base import (
    EngineSettings,
    Estimate,
    Known,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.engines.sglang.engine import SGLang
from plimsoll.engines.sglang.settings import SGLangOptions
from plimsoll.units import GIB, MIB
from worded import notes_in, worded

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

H200 = Accelerator(
    "nvidia-h200-141gb", "NVIDIA H200", 143771 * MIB, "nvidia.com/gpu", "hopper", (9, 0), 8
)
L40S = Accelerator("nvidia-l40s", "NVIDIA L40S", 46068 * MIB, "nvidia.com/gpu", "ada", (8, 9), 8)
QWQ_32B = dense(
    layers=64,
    hidden=5120,
    heads=40,
    kv_heads=8,
    head_dim=128,
    width=27648,
    vocab=152064,
    max_model_len=131072,
)
QWEN_1B5 = dense(
    layers=28,
    hidden=1536,
    heads=12,
    kv_heads=2,
    head_dim=128,
    width=8960,
    vocab=151936,
    max_model_len=32768,
    tied=True,
)
KINDS = MODELS | {
    "windows": replace(
        windows(full=6, sliding=6, window=128, kv_heads=8, head_dim=64),
        class_name="GptOssForCausalLM",
    ),
}


def run(
    model: Architecture = LLAMA_8B,
    accelerator: Accelerator = H100,
    workload: Workload | None = None,
    *,
    tensor: int = 1,
    pipeline: int = 1,
    data: int = 1,
    **settings: object,
) -> Estimate:
    """An estimate with little said."""
    said = EngineSettings(name="sglang", **settings)  # type: ignore[arg-type]
    split = Parallelism(tensor, pipeline, data)
    return SGLang().estimate(model, said, workload or Workload(), split, accelerator)


@dataclass(frozen=True)
class Start:
    """A start-up that somebody logged. tokens: max_total_num_tokens; GiB as logged."""

    source: str
    model: Architecture
    accelerator: Accelerator
    version: str
    tensor: int
    fraction: str
    weights: float
    tokens: int


STARTS = (
    Start(
        "https://github.com/sgl-project/sglang/pull/4760",
        LLAMA_8B, H100, "0.4.4", 1, "", 15.11, 442750,
    ),
    Start("a log of January 2025, free before loading 78.81 GB",
          LLAMA_8B, H100, "0.4.1", 1, "", 15.09, 444500),
    Start("QwQ-32B on a g6.12xlarge, March 2025", QWQ_32B, L4, "0.4.3", 4, "", 15.54, 46611),
    Start(
        "https://github.com/lennonYe/6998_project/blob/cd0034c985fcb078636ba02895ae5c8636432de3/"
        "benchmark/results/sglang_noradix_server.log (GPU not named: 44.4 GiB)",
        QWEN_1B5, L40S, "0.4.9", 1, "0.85", 3.03, 1287482,
    ),
)  # fmt: skip


@pytest.mark.parametrize("start", STARTS, ids=lambda s: s.source[:60])
def test_weights_are_within_their_band_of_what_was_logged(start: Start) -> None:
    e = estimate_of(start)
    term = e.terms[TermName.WEIGHTS]
    assert term.low <= start.weights * GIB <= term.high
    assert term.bytes == pytest.approx(start.weights * GIB, abs=0.1 * GIB)


@pytest.mark.parametrize("start", STARTS, ids=lambda s: s.source[:60])
def test_tokens_are_within_a_percent_of_what_was_logged(start: Start) -> None:
    assert estimate_of(start).kv_tokens == pytest.approx(start.tokens, rel=0.01)


def estimate_of(start: Start) -> Estimate:
    """The estimate of a logged start-up."""
    share = Decimal(start.fraction) if start.fraction else None
    return run(
        start.model,
        start.accelerator,
        tensor=start.tensor,
        version=start.version,
        utilization=share,
    )


def test_required_is_at_most_usable_exactly_if_the_engine_starts() -> None:
    e = run(version="0.4.9", utilization=Decimal("0.6"))
    free = e.physical - round(e.terms[TermName.NON_TORCH].bytes / float(e.utilization))
    pool = int(free * e.utilization) - e.terms[TermName.WEIGHTS].bytes
    need = e.terms[TermName.KV_CACHE].bytes
    assert (e.required <= e.usable) == (need <= pool)
    assert abs(e.kv_capacity - pool) <= 2


def test_a_share_below_the_weights_is_refused_for_certain() -> None:
    e = run(utilization=Decimal("0.15"))
    assert e.required_low > e.usable
    assert e.kv_tokens == 0
    assert e.largest_max_model_len == 0


def test_a_rest_too_small_for_graphs_and_prefill_is_no_fit_however_short_the_context() -> None:
    e = run(
        LLAMA_70B,
        H100,
        tensor=4,
        utilization=Decimal("0.99"),
        max_model_len=1024,
        max_num_batched_tokens=32768,
    )
    assert e.required > e.usable
    assert e.terms[TermName.ACTIVATION].bytes > 0
    assert "beside the static share" in e.terms[TermName.ACTIVATION].basis


def test_a_rest_that_is_large_enough_costs_nothing_more() -> None:
    e = run()
    assert e.terms[TermName.ACTIVATION].bytes == 0
    assert e.terms[TermName.CUDA_GRAPHS].bytes == 0
    assert e.required <= e.usable


def test_max_total_tokens_below_the_context_is_refused() -> None:
    e = run(options=SGLangOptions(max_total_tokens=4096), max_model_len=8192)
    assert e.required_low > e.usable
    assert e.largest_max_model_len == 4096


def test_running_requests_follow_from_the_pool() -> None:
    assert run(version="0.4.4").max_num_seqs == 2048
    assert run(max_num_seqs=7).max_num_seqs == 7
    assert run(dense(max_model_len=2048)).max_num_seqs == 4096


def test_data_parallel_attention_keeps_a_cache_per_rank() -> None:
    options = SGLangOptions(enable_dp_attention=True)
    together = run(latent(), tensor=8)
    apart = run(latent(), tensor=1, data=8, options=options)
    assert apart.kv_tokens > 4 * together.kv_tokens


def test_plain_data_parallelism_copies_experts() -> None:
    model = moe(number=64, per_token=8)
    one, two = run(model), run(model, data=2)
    assert one.terms[TermName.WEIGHTS].bytes == two.terms[TermName.WEIGHTS].bytes
    assert two.kv_tokens == 2 * one.kv_tokens


def test_a_version_beyond_the_table_says_so() -> None:
    assert any("newer than the constants" in note for note in notes_in(run(version="0.9.0")))


def test_terms_say_how_they_are_known() -> None:
    e = run()
    assert e.terms[TermName.WEIGHTS].known is Known.MODELLED
    assert e.terms[TermName.KV_CACHE].known is Known.EXACT
    assert e.terms[TermName.NON_TORCH].known is Known.MODELLED
    assert run(kv_cache_dtype="int3").terms[TermName.KV_CACHE].known is Known.ASSUMED


@pytest.mark.parametrize("model", sorted(KINDS))
def test_a_wider_cache_dtype_never_needs_less(model: str) -> None:
    needs = [
        run(KINDS[model], kv_cache_dtype=kv).terms[TermName.KV_CACHE].bytes
        for kv in ("fp4_e2m1", "fp8_e5m2", "bfloat16")
    ]
    assert all(a <= b for a, b in pairwise(needs))


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ({"version": "yesterday"}, "spec.engine.version", "SGLang version"),
        ({"version": "0.2.0"}, "spec.engine.version", "0.3.6 or later"),
        ({"max_model_len": 10**6}, "spec.engine.maxModelLen", "at most 131072"),
        ({"kv_cache_memory": 1}, "spec.engine.kvCacheMemory", "no size of the cache"),
        (
            {"max_num_batched_tokens": 100, "block_size": 64},
            "spec.engine.maxNumBatchedTokens",
            "a multiple of the page size",
        ),
    ],
)
def test_what_the_engine_would_refuse_is_said_with_its_field(
    settings: dict[str, object], path: str, words: str
) -> None:
    found = SGLang().problems(
        LLAMA_8B,
        EngineSettings(name="sglang", **settings),  # type: ignore[arg-type]
        Parallelism(),
        H100,
    )
    assert [p.path for p in worded(found)] == [path]
    assert words in str(worded(found)[0])


def test_heads_that_do_not_divide_are_refused() -> None:
    found = SGLang().problems(LLAMA_8B, EngineSettings(name="sglang"), Parallelism(tensor=3), H100)
    assert "attention heads" in str(worded(found)[0])
