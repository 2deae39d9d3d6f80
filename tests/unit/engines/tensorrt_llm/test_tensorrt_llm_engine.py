"""TensorRT-LLM's estimates: the share of free memory, what grows with what, what is refused."""

from __future__ import annotations

import shlex
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from architectures import A100, B200, H100, L4, LLAMA_8B, LLAMA_70B, moe, windows
from plimsoll.engines.base import (
    NOTHING_ASKED,
    EngineSettings,
    Estimate,
    Known,
    Parallelism,
    Reading,
    TermName,
    Workload,
)
from plimsoll.engines.layers.sharding import stage_weights
from plimsoll.engines.tensorrt_llm.engine import TensorRTLLM
from plimsoll.engines.tensorrt_llm.memory import bounds, weights
from plimsoll.models import catalogue
from plimsoll.units import GIB
from worded import worded

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

ENGINE = TensorRTLLM()
SAID = EngineSettings("tensorrt-llm")


def read(*args: str, **typed: object) -> Reading:
    return ENGINE.read_arguments(args, replace(SAID, **typed), NOTHING_ASKED)  # type: ignore[arg-type]


def estimate(
    model: Architecture = LLAMA_8B,
    said: EngineSettings = SAID,
    split: Parallelism | None = None,
    workload: Workload | None = None,
    gpu: Accelerator = H100,
) -> Estimate:
    return ENGINE.estimate(model, said, workload or Workload(), split or Parallelism(), gpu)


def problems(
    model: Architecture, said: EngineSettings, split: Parallelism, gpu: Accelerator = H100
) -> list[str]:
    return [str(p) for p in worded(ENGINE.problems(model, said, split, gpu))]


def test_the_cache_gets_nine_tenths_of_what_the_rest_leaves() -> None:
    found = estimate()
    others = found.required - found.terms[TermName.KV_CACHE].bytes
    assert found.kv_capacity == int((found.physical - others) * Decimal("0.9"))
    assert found.usable == others + found.kv_capacity


def test_a_request_fits_exactly_if_the_cache_holds_it() -> None:
    found = estimate()
    model = replace(LLAMA_8B, max_model_len=1 << 22)
    longest = estimate(model).largest_max_model_len
    fits = estimate(model, replace(SAID, max_model_len=longest))
    beyond = estimate(model, replace(SAID, max_model_len=longest + 1))
    assert fits.required <= fits.usable
    assert beyond.required > beyond.usable
    assert found.largest_max_model_len == 131072


def test_the_pytorch_backend_is_the_default_from_one_point_oh() -> None:
    engine = estimate(said=replace(SAID, version="0.21"))
    pytorch = estimate(said=replace(SAID, version="1.0"))
    assert "logits" in engine.terms[TermName.ACTIVATION].basis
    assert "logits" not in pytorch.terms[TermName.ACTIVATION].basis
    assert engine.terms[TermName.CUDA_GRAPHS].bytes == 0 < pytorch.terms[TermName.CUDA_GRAPHS].bytes
    asked = read("--backend", "tensorrt").settings
    assert "logits" in estimate(said=asked).terms[TermName.ACTIVATION].basis


def test_blocks_had_64_tokens_before_0_18() -> None:
    old = estimate(said=replace(SAID, version="0.17", max_model_len=65))
    new = estimate(said=replace(SAID, version="0.18", max_model_len=65))
    assert old.terms[TermName.KV_CACHE].bytes == 128 * 131072
    assert new.terms[TermName.KV_CACHE].bytes == 96 * 131072


@pytest.mark.parametrize(("dtype", "parts"), [("auto", 32), ("fp8", 16), ("nvfp4", 9)])
def test_a_narrower_cache_takes_its_share(dtype: str, parts: int) -> None:
    found = estimate(said=replace(SAID, kv_cache_dtype=dtype, max_model_len=8192))
    assert found.terms[TermName.KV_CACHE].bytes == 8192 * 131072 * parts // 32


def test_key_value_heads_are_repeated_beyond_their_number() -> None:
    eight = estimate(LLAMA_70B, SAID, Parallelism(8)).terms[TermName.KV_CACHE].bytes
    sixteen = estimate(LLAMA_70B, SAID, Parallelism(16)).terms[TermName.KV_CACHE].bytes
    assert eight == sixteen


def test_attention_data_parallelism_repeats_attention_and_shares_out_requests() -> None:
    said = read("--enable_attention_dp", "--ep_size", "4").settings
    many = Workload(concurrent=8, input_tokens=4000, output_tokens=96)
    apart = estimate(moe(), said, Parallelism(4, expert=True), many)
    together = estimate(moe(), SAID, Parallelism(4, expert=True), many)
    assert apart.terms[TermName.WEIGHTS].bytes > together.terms[TermName.WEIGHTS].bytes
    one = estimate(moe(), SAID, Parallelism(1), Workload(2, 4000, 96))
    assert apart.terms[TermName.KV_CACHE].bytes == one.terms[TermName.KV_CACHE].bytes


def test_a_window_may_be_kept_apart_so_the_least_is_less() -> None:
    model = windows(full=2, sliding=10, window=1024, kv_heads=4, head_dim=64)
    held = estimate(model, replace(SAID, max_model_len=32768)).terms[TermName.KV_CACHE]
    assert held.bytes == 12 * 4 * 64 * 2 * 2 * 32768
    assert held.low < held.bytes / 3
    assert held.known is Known.ASSUMED


def test_early_stages_take_the_layers_that_do_not_divide() -> None:
    assert bounds(10, 4) == ((0, 3), (3, 6), (6, 8), (8, 10))


@pytest.mark.parametrize("tensor", [1, 8])
def test_what_every_stage_holds_is_counted_once_a_stage_as_tensor_parallelism_cuts_it(
    tensor: int,
) -> None:
    entry = catalogue.load().find("google/gemma-4-E2B-it")  # a table of every layer, on each stage
    assert entry is not None
    for stages in (2, 4, 8):
        split = Parallelism(tensor, stages)
        found = weights(entry.architecture, "bfloat16", "", split, False)
        assert min(found) > 0
        assert sum(found) == sum(stage_weights(entry.architecture, "bfloat16", "", split))


def test_stages_together_weigh_what_one_would_except_their_own_rotary_tables() -> None:
    whole = sum(weights(LLAMA_8B, "bfloat16", "", Parallelism(1), False))
    parts = weights(LLAMA_8B, "bfloat16", "", Parallelism(1, 5), False)
    assert len(parts) == 5
    tables = 4 * LLAMA_8B.max_model_len * 128 * 2
    assert sum(parts) - tables == whole


def test_nothing_but_what_is_said_is_written() -> None:
    said = read("--tp_size=2", "--kv_cache_free_gpu_memory_fraction", "0.8", "--port", "8000")
    assert (said.split.tensor, said.settings.utilization) == (2, Decimal("0.8"))
    found = estimate(LLAMA_70B, said.settings, Parallelism(2))
    assert ENGINE.arguments(found, said.settings) == tuple(
        shlex.split(
            "--tp_size=2 --max_seq_len=131072 --kv_cache_free_gpu_memory_fraction=0.8 --port 8000"
        )
    )


def test_what_was_written_reads_back_to_the_same_settings() -> None:
    reading = read(
        *shlex.split(
            "--tensor_parallel_size 4 --ep_size=4 --max_batch_size 64 --max_num_tokens=4096"
            " --max_seq_len 8192 --enable_attention_dp --max_beam_width=2 --backend pytorch"
            " --config more.yaml --kv_cache_dtype fp8"
        )
    )
    assert reading.problems == ()
    assert reading.settings.unread == ("--config more.yaml",)
    split = Parallelism(reading.split.tensor or 1, 1, 1, bool(reading.split.expert))
    written = ENGINE.arguments(estimate(moe(), reading.settings, split), reading.settings)
    again = ENGINE.read_arguments(written, SAID, NOTHING_ASKED)
    assert again.settings == reading.settings
    assert (again.split.tensor, again.split.expert) == (4, True)


def test_the_options_file_turns_a_denial_into_a_warning() -> None:
    assert read("--extra_llm_api_options=x.yaml").settings.unread == (
        "--extra_llm_api_options=x.yaml",
    )


def test_data_parallelism_is_refused_with_the_way_out() -> None:
    (only,) = problems(LLAMA_8B, SAID, Parallelism(1, 1, 2))
    assert only.startswith("spec.engine.parallelism.data")
    assert "--enable_attention_dp" in only


def test_heads_must_divide_unless_attention_is_replicated() -> None:
    (only,) = problems(LLAMA_8B, SAID, Parallelism(3))
    assert "1, 2 would do" in only
    assert problems(moe(), read("--enable_attention_dp").settings, Parallelism(3)) == []


def test_a_built_engine_needs_equal_stages() -> None:
    assert problems(LLAMA_8B, SAID, Parallelism(1, 3)) == []
    (only,) = problems(LLAMA_8B, replace(SAID, version="0.20"), Parallelism(1, 3))
    assert "a divisor of the model's 32 layers" in only


def test_eight_bit_caches_need_a_gpu_that_computes_in_them() -> None:
    said = replace(SAID, kv_cache_dtype="fp8")
    assert any("8.9" in line for line in problems(LLAMA_8B, said, Parallelism(), A100))
    assert problems(LLAMA_8B, said, Parallelism(), L4) == []
    four = replace(SAID, kv_cache_dtype="nvfp4")
    assert any("10.0" in line for line in problems(LLAMA_8B, four, Parallelism()))
    assert problems(LLAMA_8B, four, Parallelism(), B200) == []


def test_experts_must_divide_over_the_ranks_that_hold_them() -> None:
    said = read("--ep_size", "3").settings
    (only,) = problems(moe(), said, Parallelism(4, expert=True))
    assert "divides 8 experts and 4 ranks" in only
    (none,) = problems(LLAMA_8B, SAID, Parallelism(2, expert=True))
    assert "the model has no experts" in none


def test_other_vendors_are_refused() -> None:
    amd = replace(H100, resource="amd.com/gpu", title="AMD MI300X")
    (only,) = problems(LLAMA_8B, SAID, Parallelism(), amd)
    assert "AMD MI300X is no NVIDIA GPU" in only


def test_memory_is_whole_bytes() -> None:
    assert estimate().kv_capacity < 80 * GIB
    assert isinstance(estimate().kv_capacity, int)


def test_a_billion_sequences_have_a_table_of_blocks_that_no_gpu_holds() -> None:
    said = replace(SAID, max_num_seqs=1_000_000_000, max_num_batched_tokens=1_000_000_000)
    assert estimate(said=replace(said, max_model_len=4096)).required > 1024 * GIB
    few = estimate(said=replace(SAID, max_num_seqs=8, max_model_len=4096))
    many = estimate(said=replace(SAID, max_num_seqs=1032, max_model_len=4096))
    term = TermName.NON_TORCH
    assert many.terms[term].bytes - few.terms[term].bytes == 1024 * 128 * 8
