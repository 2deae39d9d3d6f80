"""llama.cpp's estimates: what grows with what, what is refused, and that none of it fails."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from architectures import A100, H100, L4, LLAMA_8B, LLAMA_70B, latent, moe, windows
from plimsoll.engines.base import (
    NOTHING_ASKED,
    EngineSettings,
    Estimate,
    Known,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.engines.llama_cpp.engine import LlamaCpp
from plimsoll.models.catalogue import load
from plimsoll.models.files import HeaderTensor
from plimsoll.units import GIB, MIB
from worded import notes_in, worded

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

ENGINE = LlamaCpp()
SAID = EngineSettings("llama.cpp", quantization="q4_k_m")
CACHES = ("q4_0", "q5_0", "q5_1", "q8_0", "f16", "f32")
"""Types of the cache, narrow to wide."""


def estimate(
    model: Architecture = LLAMA_8B,
    said: EngineSettings = SAID,
    *args: str,
    gpus: int = 1,
    workload: Workload | None = None,
    accelerator: Accelerator = L4,
) -> Estimate:
    reading = ENGINE.read_arguments(args, said, NOTHING_ASKED)
    assert reading.problems == ()
    return ENGINE.estimate(
        model, reading.settings, workload or Workload(), Parallelism(1, gpus), accelerator
    )


def problems(model: Architecture, said: EngineSettings, split: Parallelism) -> list[str]:
    return [str(p) for p in worded(ENGINE.problems(model, said, split, L4))]


def test_usable_memory_is_all_that_a_process_sees() -> None:
    found = estimate()
    assert found.usable == found.physical < L4.memory
    assert found.utilization == 1


def test_the_estimate_of_one_gpu_is_weights_cells_buffer_and_context() -> None:
    found = estimate(LLAMA_8B, replace(SAID, max_model_len=8192))
    assert found.terms[TermName.KV_CACHE].bytes == GIB
    assert found.terms[TermName.KV_CACHE].known is Known.EXACT
    assert "q4_k_m, 32 of 32 layers and output" in found.terms[TermName.WEIGHTS].basis
    assert found.required == sum(t.bytes for t in found.terms)


def test_the_longest_context_is_the_last_that_fits() -> None:
    found = estimate()
    fits = estimate(LLAMA_8B, replace(SAID, max_model_len=found.kv_tokens // 256 * 256))
    assert fits.required <= fits.usable
    more = replace(LLAMA_8B, max_model_len=1 << 22)
    beyond = estimate(more, replace(SAID, max_model_len=found.kv_tokens + 256))
    assert beyond.required > beyond.usable


def test_slots_that_share_a_cache_need_no_more_than_one_long_request() -> None:
    shared = estimate(LLAMA_8B, replace(SAID, max_model_len=8192))
    assert (shared.max_num_seqs, shared.terms[TermName.KV_CACHE].bytes) == (4, GIB)
    apart = estimate(LLAMA_8B, replace(SAID, max_model_len=8192, max_num_seqs=4))
    assert apart.terms[TermName.KV_CACHE].bytes == 4 * GIB


def test_a_workload_lengthens_the_context_that_is_asked_for() -> None:
    many = Workload(concurrent=16, input_tokens=1024, output_tokens=1024)
    found = estimate(LLAMA_8B, replace(SAID, max_model_len=8192), workload=many)
    assert found.terms[TermName.KV_CACHE].bytes == 4 * GIB
    written = ENGINE.arguments(found, replace(SAID, max_model_len=8192))
    assert written[written.index("--ctx-size") + 1] == "32768"
    assert written[written.index("--parallel") + 1] == "16"


def test_a_context_that_the_user_fixed_too_small_does_not_fit() -> None:
    many = Workload(concurrent=16, input_tokens=1024, output_tokens=1024)
    found = estimate(LLAMA_8B, SAID, "-c", "8192", workload=many)
    assert found.required_low > found.usable


def test_layers_in_main_memory_take_nothing_of_the_gpu() -> None:
    half = estimate(LLAMA_8B, SAID, "-ngl", "16", "-c", "8192")
    full = estimate(LLAMA_8B, SAID, "-ngl", "99", "-c", "8192")
    assert half.terms[TermName.KV_CACHE].bytes == GIB * 15 // 32
    assert half.terms[TermName.WEIGHTS].bytes < full.terms[TermName.WEIGHTS].bytes
    assert any("main memory" in note for note in notes_in(half))


def test_before_b7410_the_output_is_the_last_layer_to_reach_the_gpu() -> None:
    old = estimate(LLAMA_8B, replace(SAID, version="b6000"), "-ngl", "32", "-c", "4096")
    new = estimate(LLAMA_8B, replace(SAID, version="b9500"), "-ngl", "32", "-c", "4096")
    assert "and output" not in old.terms[TermName.WEIGHTS].basis
    assert "31 of 32 layers and output" in new.terms[TermName.WEIGHTS].basis


def test_experts_can_stay_in_main_memory() -> None:
    model = moe(layers=8)
    full = estimate(model).terms[TermName.WEIGHTS].bytes
    some = estimate(model, SAID, "--n-cpu-moe", "4").terms[TermName.WEIGHTS].bytes
    none = estimate(model, SAID, "--cpu-moe").terms[TermName.WEIGHTS].bytes
    assert full > some > none > 0


def test_a_sliding_layer_keeps_its_window_and_a_micro_batch() -> None:
    model = windows(full=2, sliding=10, window=1024, kv_heads=4, head_dim=64)
    said = replace(SAID, max_model_len=32768, max_num_seqs=1)
    cell = 2 * 4 * 64 * 2
    found = estimate(model, said).terms[TermName.KV_CACHE].bytes
    assert found == cell * (2 * 32768 + 10 * (1024 + 512))
    whole = estimate(model, said, "--swa-full").terms[TermName.KV_CACHE].bytes
    assert whole == cell * 12 * 32768
    old = estimate(model, replace(said, version="b5000")).terms[TermName.KV_CACHE].bytes
    assert old == whole


def test_latent_attention_kept_whole_heads_before_april_2025() -> None:
    # https://github.com/abetlen/llama-cpp-python/issues/1944: 204,800 MiB on the first of four GPUs
    said = replace(SAID, version="b4700", quantization="q2_k", max_model_len=163840)
    entry = load().find("deepseek-ai/DeepSeek-V3")
    assert entry is not None
    found = estimate(entry.architecture, said, gpus=4, accelerator=A100)
    assert found.terms[TermName.KV_CACHE].bytes == 204_800 * MIB


def test_a_file_that_holds_kv_b_whole_keeps_whole_heads_on_every_build() -> None:
    def cache(part: str) -> int:
        row = HeaderTensor(f"blk.0.{part}.weight", (512, 4096), "Q8_0", 1 << 21)
        file = replace(latent(heads=16), stored=(row,))
        said = replace(SAID, version="b9000", max_model_len=4096)
        return estimate(file, said).terms[TermName.KV_CACHE].bytes

    assert cache("attn_k_b") == 27 * 576 * 2 * 4096
    assert cache("attn_kv_b") == 27 * 16 * (192 + 128) * 2 * 4096


def test_latent_attention_kept_its_values_before_b7833() -> None:
    entry = load().find("deepseek-ai/DeepSeek-V2-Lite")
    assert entry is not None
    model, said = entry.architecture, replace(SAID, max_model_len=4096)
    new = estimate(model, replace(said, version="b9000")).terms[TermName.KV_CACHE].bytes
    old = estimate(model, replace(said, version="b7000")).terms[TermName.KV_CACHE].bytes
    assert new == 27 * 576 * 2 * 4096
    assert old == 27 * (576 + 512) * 2 * 4096


def test_several_gpus_share_the_layers_and_the_worst_is_reported() -> None:
    one = estimate(LLAMA_70B, replace(SAID, max_model_len=8192), accelerator=H100)
    four = estimate(LLAMA_70B, replace(SAID, max_model_len=8192), gpus=4, accelerator=H100)
    assert four.required < one.required / 2
    assert four.parallelism.gpus == 4
    uneven = estimate(
        LLAMA_70B, replace(SAID, max_model_len=8192), "-ts", "3,1,1,1", gpus=4, accelerator=H100
    )
    assert uneven.stage == 0
    assert uneven.required > four.required
    assert "41 of 80 layers" in uneven.terms[TermName.WEIGHTS].basis


def test_no_share_of_the_cache_lies_on_the_gpu_without_offload() -> None:
    found = estimate(LLAMA_8B, SAID, "--no-kv-offload")
    assert found.terms[TermName.KV_CACHE].bytes == 0
    assert "main memory" in found.terms[TermName.KV_CACHE].basis


def test_a_projector_counts_only_if_it_is_loaded() -> None:
    entry = load().find("google/gemma-3-27b-it")
    assert entry is not None
    text = estimate(entry.architecture)
    seeing = estimate(entry.architecture, SAID, "--mmproj", "mmproj.gguf")
    grown = seeing.terms[TermName.WEIGHTS].bytes - text.terms[TermName.WEIGHTS].bytes
    assert 0.7 * GIB < grown < 1.0 * GIB
    assert any("--mmproj" in note for note in notes_in(text))


def test_an_unknown_file_type_is_a_problem_that_names_the_known_ones() -> None:
    (only,) = problems(LLAMA_8B, replace(SAID, quantization="awq"), Parallelism())
    assert only.startswith('spec.engine.quantization: Invalid value: "awq"')
    assert "q4_k_m" in only


def test_tensor_data_and_expert_parallelism_are_refused_with_the_way_out() -> None:
    found = problems(LLAMA_8B, SAID, Parallelism(2, 1, 2, True))
    assert [line.partition(":")[0] for line in found] == [
        "spec.engine.parallelism.tensor",
        "spec.engine.parallelism.data",
        "spec.engine.parallelism.expert",
    ]
    assert "set spec.engine.parallelism.pipeline to 2" in found[0]
    assert ENGINE.tensor_parallel_sizes(LLAMA_8B, 8) == (1,)


def test_fields_that_mean_nothing_to_llama_cpp_are_refused() -> None:
    said = replace(
        SAID, utilization=Decimal("0.9"), block_size=16, enforce_eager=True, kv_cache_memory=GIB
    )
    found = problems(LLAMA_8B, said, Parallelism())
    assert len(found) == 4
    assert all("unset for llama.cpp" in line for line in found)


def test_a_quantized_cache_of_values_needs_flash_attention() -> None:
    off = ENGINE.read_arguments(["-ctv", "q8_0", "-fa", "off"], SAID, NOTHING_ASKED).settings
    assert any("flash attention" in line for line in problems(LLAMA_8B, off, Parallelism()))
    keys = ENGINE.read_arguments(["-ctk", "q8_0", "-fa", "off"], SAID, NOTHING_ASKED).settings
    assert problems(LLAMA_8B, keys, Parallelism()) == []


def test_a_context_shared_by_slots_must_hold_the_length_asked_for() -> None:
    said = replace(SAID, max_model_len=8192)
    read = ENGINE.read_arguments(["-c", "16384", "-np", "4"], said, NOTHING_ASKED).settings
    (only,) = problems(LLAMA_8B, read, Parallelism())
    assert "at most 4096, what --ctx-size 16384 leaves each of 4 slots" in only


def test_a_checkpoint_that_is_no_gguf_counts_as_sixteen_bits_and_says_so() -> None:
    entry = load().find("Qwen/Qwen3-30B-A3B-FP8")
    assert entry is not None
    found = estimate(entry.architecture, replace(SAID, quantization=""), accelerator=H100)
    assert found.terms[TermName.WEIGHTS].known is Known.ASSUMED
    assert any("stored as fp8, no GGUF file type" in note for note in notes_in(found))


def test_an_unsaid_file_is_never_certain_not_to_fit() -> None:
    said = replace(SAID, quantization="", max_model_len=4096)
    found = estimate(LLAMA_70B, said, gpus=2)
    assert found.required > found.usable > found.required_low
    assert any("nothing says which GGUF file" in note for note in notes_in(found))
    sure = estimate(LLAMA_70B, replace(said, quantization="bf16"), gpus=2)
    assert sure.required_low > sure.usable


def test_an_old_build_reserves_logits_for_a_whole_micro_batch() -> None:
    old = estimate(LLAMA_8B, replace(SAID, version="b9000", max_model_len=4096))
    new = estimate(LLAMA_8B, replace(SAID, version="b9500", max_model_len=4096))
    assert old.terms[TermName.ACTIVATION].bytes == (128256 + 4096) * 512 * 4
    assert new.terms[TermName.ACTIVATION].bytes < old.terms[TermName.ACTIVATION].bytes / 2


models = st.sampled_from(
    [LLAMA_8B, moe(), windows(full=2, sliding=6, window=512, kv_heads=4, head_dim=64)]
)
builds = st.sampled_from(["b3000", "b5000", "b6000", "b7000", "b8000", "b9000", "b10000", ""])


@settings(max_examples=60)
@given(
    models,
    builds,
    st.integers(1, 1 << 15),
    st.integers(0, 1 << 14),
    st.sampled_from([None, 1, 3, 8]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["on", "off"]),
)
def test_more_context_never_needs_less(
    model: Architecture, build: str, length: int, more: int, slots: int | None, gpus: int, fa: str
) -> None:
    said = replace(SAID, version=build, max_num_seqs=slots)
    short = estimate(model, replace(said, max_model_len=length), "-fa", fa, gpus=gpus)
    long = estimate(model, replace(said, max_model_len=length + more), "-fa", fa, gpus=gpus)
    assert short.required <= long.required


@settings(max_examples=40)
@given(models, builds, st.integers(1, 1 << 15), st.integers(0, len(CACHES) - 2))
def test_a_wider_cache_never_needs_less(
    model: Architecture, build: str, length: int, index: int
) -> None:
    sizes = []
    for name in CACHES[index : index + 2]:
        said = replace(SAID, version=build, max_model_len=length, kv_cache_dtype=name)
        sizes.append(estimate(model, said, "-fa", "on").terms[TermName.KV_CACHE].bytes)
    assert sizes[0] <= sizes[1]


@settings(max_examples=40)
@given(models, builds, st.integers(0, 40), st.integers(0, 40))
def test_more_layers_on_the_gpu_never_need_less(
    model: Architecture, build: str, layers: int, more: int
) -> None:
    said = replace(SAID, version=build, max_model_len=4096)
    few = estimate(model, said, "-ngl", str(layers))
    many = estimate(model, said, "-ngl", str(layers + more))
    assert few.required <= many.required
