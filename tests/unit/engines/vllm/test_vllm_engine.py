"""The whole estimate of one replica, and what the engine refuses, as a user would see them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import (
    A100,
    H100,
    L4,
    LLAMA_8B,
    LLAMA_70B,
    MODELS,
    T4,
    dense,
    moe,
)
from plimsoll.engines.base import (
    EngineSettings,
    Estimate,
    Known,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.engines.registry import NAMES, engine
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.errors import Problem, Unreadable
from plimsoll.models.quantization import Quantization, Scheme
from plimsoll.models.quantization_config import stored
from plimsoll.units import GIB
from worded import notes_in, worded

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

ALONE = Parallelism()
ONE = Workload()


def run(
    model: Architecture = LLAMA_8B,
    split: Parallelism = ALONE,
    on: Accelerator = H100,
    workload: Workload = ONE,
    **settings: object,
) -> Estimate:
    said = replace(EngineSettings(max_model_len=8192), **settings)  # type: ignore[arg-type]
    return VLLM().estimate(model, said, workload, split, on)


def problems(
    model: Architecture = LLAMA_8B,
    split: Parallelism | None = ALONE,
    on: Accelerator | None = H100,
    **settings: object,
) -> tuple[Problem, ...]:
    said = replace(EngineSettings(), **settings)  # type: ignore[arg-type]
    return worded(VLLM().problems(model, said, split, on))


def test_llama_70b_on_two_h100_leaves_little_for_the_cache() -> None:
    result = run(LLAMA_70B, Parallelism(2))
    assert result.utilization == Decimal("0.92")
    assert result.kv_capacity / GIB == pytest.approx(1.08, abs=0.05)
    assert 6800 < result.largest_max_model_len < 7400


def test_llama_70b_on_four_h100_leaves_34_gib() -> None:
    result = run(LLAMA_70B, Parallelism(4))
    assert result.kv_capacity / GIB == pytest.approx(34.0, abs=0.2)
    assert result.kv_tokens == pytest.approx(446_000, rel=0.01)
    assert result.largest_max_model_len == 131072


@pytest.mark.parametrize(
    ("version", "said", "length"),
    [("0.11.0", None, 131072), ("0.11.1", None, 4096), ("", None, 4096), ("", 65536, 65536)],
)
def test_a_longrope_model_starts_with_the_context_from_before_it_was_lengthened(
    version: str, said: int | None, length: int
) -> None:
    model = replace(LLAMA_8B, original_model_len=4096)
    found = run(model, version=version, max_model_len=said)
    assert found.max_model_len == length
    assert found.largest_max_model_len > 65536
    hints = [note for note in notes_in(found) if "maxModelLen may be up to 131072" in note]
    assert len(hints) == (length == 4096)


@pytest.mark.parametrize(
    ("version", "flag", "tokens", "of_short"),
    [
        ("0.19.0", "", 8192, 8192),
        ("0.19.0", "--no-enable-chunked-prefill", 65536, 8192),
        ("0.10.0", "--no-enable-chunked-prefill", 8192, 8192),
        ("0.7.3", "", 2048, 4096),
        ("0.7.3", "--no-enable-chunked-prefill", 65536, 4096),
    ],
)
def test_without_chunked_prefill_the_batch_holds_a_whole_prompt(
    version: str, flag: str, tokens: int, of_short: int
) -> None:
    """vllm/engine/arg_utils.py of each: from 0.8 to 0.11.0 the second engine always chunks."""
    found = run(version=version, max_model_len=65536, flags=(flag,) if flag else ())
    assert found.max_num_batched_tokens == tokens
    short = run(version=version, max_model_len=4096, flags=(flag,) if flag else ())
    assert short.max_num_batched_tokens == of_short


@pytest.mark.parametrize(("flags", "tokens"), [((), 16384), (("--enable-chunked-prefill",), 2048)])
def test_the_first_engine_chunks_if_it_is_told_to(flags: tuple[str, ...], tokens: int) -> None:
    assert run(version="0.7.3", max_model_len=16384, flags=flags).max_num_batched_tokens == tokens


def test_the_terms_come_in_their_order_and_sum_up_to_what_is_required() -> None:
    result = run()
    assert [term.name for term in result.terms] == list(TermName)[:6]
    assert result.required == sum(term.bytes for term in result.terms)
    assert result.required_low <= result.required <= result.required_high


def test_weights_and_cache_are_exact_and_the_rest_says_that_it_is_not() -> None:
    known = {term.name: term.known for term in run(version="0.19.0").terms}
    assert known == {
        TermName.WEIGHTS: Known.EXACT,
        TermName.KV_CACHE: Known.EXACT,
        TermName.ACTIVATION: Known.MODELLED,
        TermName.NON_TORCH: Known.MODELLED,
        TermName.CUDA_GRAPHS: Known.EXACT,
    }


def test_the_worst_pipeline_stage_is_the_one_reported() -> None:
    model = dense(layers=4, vocab=256000, hidden=2048)
    result = run(model, Parallelism(1, 4))
    assert result.stage == 3
    assert result.terms[TermName.ACTIVATION].bytes > 3 * GIB


def test_the_cache_is_for_the_larger_of_one_long_request_and_the_workload() -> None:
    one = run().terms[TermName.KV_CACHE]
    small = run(workload=Workload(2, 100, 100)).terms[TermName.KV_CACHE]
    many = run(workload=Workload(64, 1000, 24)).terms[TermName.KV_CACHE]
    full = run(workload=Workload(64)).terms[TermName.KV_CACHE]
    assert one.bytes == small.bytes < many.bytes < full.bytes
    assert one.basis == "1 request x 8,192 tokens, bfloat16"
    assert many.basis == "64 requests x 1,024 tokens, bfloat16"
    assert full.basis == "64 requests x 8,192 tokens, bfloat16"


def test_data_parallel_ranks_share_the_requests() -> None:
    alone = run(workload=Workload(64)).terms[TermName.KV_CACHE].bytes
    four = run(split=Parallelism(1, 1, 4), workload=Workload(64))
    assert four.terms[TermName.KV_CACHE].bytes == pytest.approx(alone / 4, rel=0.01)
    assert four.kv_tokens == pytest.approx(4 * run().kv_tokens, rel=0.01)


def test_what_does_not_fit_has_a_negative_capacity_and_no_length() -> None:
    result = run(LLAMA_70B)
    assert result.spare < 0
    assert result.kv_capacity < 0
    assert (result.kv_tokens, result.largest_max_model_len) == (0, 0)


def test_a_share_that_leaves_no_room_for_the_context_is_reduced_and_said() -> None:
    result = run(utilization=Decimal("1"))
    assert result.usable < result.physical - GIB // 2
    assert "usable memory is reduced" in " ".join(notes_in(result))


def test_a_fixed_cache_is_taken_whole_and_needs_no_share() -> None:
    result = run(kv_cache_memory=10 * GIB)
    assert result.kv_capacity == 10 * GIB
    assert result.terms[TermName.KV_CACHE].bytes == 10 * GIB
    assert "fixed by --kv-cache-memory-bytes" in result.terms[TermName.KV_CACHE].basis


def test_a_fixed_cache_smaller_than_what_is_asked_of_it_certainly_does_not_fit() -> None:
    result = run(kv_cache_memory=GIB // 2)
    assert result.required_low > result.usable


def test_an_unknown_cache_dtype_counts_as_16_bits_and_says_so() -> None:
    result = run(kv_cache_dtype="octave_k3v4")
    term = result.terms[TermName.KV_CACHE]
    assert term.known is Known.ASSUMED
    assert term.low < term.bytes == run().terms[TermName.KV_CACHE].bytes
    assert "octave_k3v4" in " ".join(notes_in(result))


def test_flags_that_are_not_counted_are_named_in_the_notes() -> None:
    assert "--enable-lora" in " ".join(notes_in(run(unread=("--enable-lora",))))


def test_a_newer_version_is_estimated_with_the_newest_figures_and_says_so() -> None:
    assert "newer than the constants" in " ".join(notes_in(run(version="0.99")))


def test_the_engines_are_found_by_name() -> None:
    assert [engine(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(Unreadable, match="vllm"):
        engine("ollama")


# What vLLM refuses.


@pytest.mark.parametrize(
    ("path", "words", "arguments"),
    [
        ("spec.engine.parallelism.tensor", "64 attention heads", {"split": Parallelism(3)}),
        ("spec.engine.parallelism.pipeline", "80, the number", {"split": Parallelism(1, 81)}),
        ("spec.engine.parallelism.expert", "no experts", {"split": Parallelism(2, expert=True)}),
        ("spec.engine.maxModelLen", "at most 131072", {"max_model_len": 131073}),
        (
            "spec.engine.maxNumBatchedTokens",
            "at least maxNumSeqs",
            {"max_num_batched_tokens": 10, "max_num_seqs": 20},
        ),
        (
            "spec.engine.maxNumBatchedTokens",
            "chunked prefill is off",
            {"max_num_batched_tokens": 2048, "flags": ("--no-enable-chunked-prefill",)},
        ),
        ("spec.engine.version", "0.6 or later", {"version": "0.2"}),
        ("spec.engine.version", "a vLLM version", {"version": "latest"}),
        ("spec.engine.dtype", "one of auto", {"dtype": "int3"}),
        ("spec.engine.dtype", "no bfloat16", {"dtype": "bfloat16", "on": T4}),
        ("spec.engine.kvCacheDtype", "compute capability 8.0", {"kv_cache_dtype": "fp8", "on": T4}),
        (
            "spec.engine.quantization",
            "compute capability 8.0",
            {"quantization": "fp8", "on": T4, "version": "0.13"},
        ),
    ],
)
def test_what_vllm_refuses_is_a_problem_with_its_field(
    path: str, words: str, arguments: dict[str, object]
) -> None:
    found = problems(LLAMA_70B, **arguments)  # type: ignore[arg-type]
    assert [p.path for p in found] == [path]
    assert words in str(found[0])


@pytest.mark.parametrize(("split", "most"), [(ALONE, "0.993"), (Parallelism(2), "0.982")])
def test_a_share_that_is_not_free_after_the_context_is_refused(
    split: Parallelism, most: str
) -> None:
    assert problems(split=split, utilization=Decimal(most)) == ()
    found = problems(split=split, utilization=Decimal("0.999"))
    assert [p.path for p in found] == ["spec.engine.gpuMemoryUtilization"]
    assert f"at most {most} on NVIDIA H100 80GB" in str(found[0])


def test_what_vllm_accepts_is_no_problem() -> None:
    assert problems(LLAMA_70B, Parallelism(8, 2), kv_cache_dtype="fp8") == ()
    assert problems(quantization="fp8", on=A100) == ()
    assert problems(max_model_len=200_000, unread=("--hf-overrides={}",)) == ()
    assert problems(moe(), Parallelism(2, 1, 2, True)) == ()
    assert problems(split=None, on=None) == ()


def test_slices_of_a_gpu_cannot_work_together() -> None:
    piece = replace(H100, mig_of=H100.name, mig_profile="3g.40gb", memory=40448 << 20)
    assert problems(on=piece) == ()
    found = problems(split=Parallelism(2, 2), on=piece)
    assert [p.path.rpartition(".")[2] for p in found] == ["tensor", "pipeline"]


def test_all_problems_are_found_at_once() -> None:
    found = problems(LLAMA_70B, Parallelism(3, 100), version="x", dtype="y", max_model_len=10**9)
    assert len(found) == 5


def test_a_wrong_tensor_size_names_the_sizes_next_to_it() -> None:
    assert "2 or 4 would do" in str(problems(LLAMA_70B, Parallelism(3))[0])


def test_kv_heads_that_neither_divide_nor_are_divided_are_refused() -> None:
    model = dense(heads=24, kv_heads=6, head_dim=128, width=4608, vocab=64 * 480)
    assert problems(model, Parallelism(6)) == ()
    assert problems(model, Parallelism(12)) == ()
    assert "6 key/value heads" in str(problems(model, Parallelism(8))[0])


def test_fp8_blocks_must_divide_every_partition() -> None:
    scheme = Scheme("fp8", 8, 128, 128)
    plain = dense(width=1536, hidden=1024, kv_heads=8, head_dim=128)
    model = replace(plain, quantization=Quantization("fp8", scheme))
    assert problems(model, Parallelism(4)) == ()
    assert "a multiple of 128" in str(problems(model, Parallelism(8))[0])
    assert problems(plain, Parallelism(8)) == ()


def test_4_bit_kernels_want_64_outputs_and_whole_groups_per_gpu() -> None:
    def gptq(width: int, head_dim: int) -> tuple[Problem, ...]:
        model = dense(width=width, heads=16, kv_heads=16, head_dim=head_dim)
        said = stored("gptq")
        assert said is not None
        described = replace(said, by_name=False)
        return problems(replace(model, quantization=described), Parallelism(16))

    assert gptq(2048, 128) == ()
    assert "4-bit kernels" in str(gptq(2048, 96)[0])
    assert "a multiple of 128" in str(gptq(1024, 128)[0])


@pytest.mark.parametrize(
    ("word", "method"),
    [
        ("awq", "awq"),
        ("gptq", "gptq"),
        ("AWQ", "awq"),
        ("modelopt_fp4", "modelopt"),
        ("compressed-tensors", "compressed-tensors"),
    ],
)
def test_a_quantization_that_must_be_stored_is_not_applied_while_loading(
    word: str, method: str
) -> None:
    (problem,) = problems(LLAMA_8B, quantization=word)
    assert problem.path == "spec.engine.quantization"
    assert problem.wanted.startswith("a quantization that vLLM applies while it loads: fp8, ")
    assert problem.fix.endswith("say so in spec.model.quantization")
    kept = replace(LLAMA_8B, quantization=Quantization(method, Scheme("w4a16", 4, 128)))
    assert problems(kept, quantization=word) == ()


def test_a_quantization_that_vllm_does_not_know_is_refused_with_the_near_ones() -> None:
    (problem,) = problems(LLAMA_8B, quantization="bitsandbyte", version="0.27")
    assert problem.wanted == "a quantization that vLLM knows"
    assert problem.fix == "vLLM has bitsandbytes"
    assert problems(LLAMA_8B, quantization="of-next-year", version="0.99") == ()
    assert problems(LLAMA_8B, quantization="fp8") == ()


def test_sequences_beyond_the_batch_that_vllm_chooses_are_refused() -> None:
    (problem,) = problems(LLAMA_8B, max_num_seqs=10**9)
    assert problem.path == "spec.engine.maxNumSeqs"
    assert problem.wanted.startswith("at most 8192, the batched tokens with which vLLM starts on ")
    assert problem.fix == "lower it, or set maxNumBatchedTokens to 1000000000 or more"
    assert problems(LLAMA_8B, max_num_seqs=1024) == ()


def test_tensor_sizes_are_those_that_divide_the_heads() -> None:
    assert VLLM().tensor_parallel_sizes(LLAMA_70B, 8) == (1, 2, 4, 8)
    assert VLLM().tensor_parallel_sizes(dense(heads=28, kv_heads=4, head_dim=128), 8) == (1, 2, 4)


# What must hold everywhere.

SPLITS = st.sampled_from([Parallelism(), Parallelism(2), Parallelism(2, 2), Parallelism(1, 1, 2)])
KINDS = st.sampled_from(sorted(MODELS))
VERSIONS = st.sampled_from(["0.6", "0.9", "0.19", "0.33"])
GPUS = st.sampled_from([H100, A100, L4, T4])


@given(KINDS, SPLITS, VERSIONS)
def test_a_wider_dtype_never_needs_less(kind: str, split: Parallelism, version: str) -> None:
    narrow = run(MODELS[kind], split, kv_cache_dtype="fp8", version=version)
    middle = run(MODELS[kind], split, version=version)
    wide = run(MODELS[kind], split, dtype="float32", version=version)
    assert narrow.required <= middle.required <= wide.required


@given(KINDS, VERSIONS, GPUS, st.integers(1, 32768), st.integers(1, 4096) | st.none())
def test_every_estimate_is_whole_and_its_bands_contain_it(
    kind: str, version: str, on: Accelerator, length: int, seqs: int | None
) -> None:
    result = run(MODELS[kind], on=on, max_model_len=length, max_num_seqs=seqs, version=version)
    for term in result.terms:
        assert 0 <= term.low <= term.bytes <= term.high
        assert isinstance(term.bytes, int)
    assert result.usable <= on.memory
    if result.spare >= 0:
        assert result.largest_max_model_len >= length
        assert result.max_concurrency >= 1
    else:
        assert result.largest_max_model_len < length
