"""Which part of the weights a rank holds, against what vLLM logged and against common sense.

Logs as in test_vllm_kv.py: ``Model loading took ... GiB``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import LLAMA_8B, build, dense, experts, latent, moe
from plimsoll.accelerators.catalogue import find
from plimsoll.engines.base import EngineSettings, Parallelism
from plimsoll.engines.layers.gpu_memory import allocated
from plimsoll.engines.layers.sharding import stage_layers, stage_weights
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.findings import Rule
from plimsoll.models.architecture import (
    Architecture,
    Block,
    FeedForward,
    Mixer,
    MixerKind,
    Part,
    Split,
    Tensor,
)
from plimsoll.models.catalogue import load
from plimsoll.models.resolve import resolve
from plimsoll.models.storage import stored_bytes
from plimsoll.units import GIB, MIB

QWEN25_7B = dense(
    layers=28, hidden=3584, heads=28, kv_heads=4, head_dim=128, width=18944, vocab=152064
)


def weights(
    architecture: Architecture, tp: int = 1, pp: int = 1, dp: int = 1, *, expert: bool = False
) -> tuple[int, ...]:
    return stage_weights(architecture, architecture.dtype, "", Parallelism(tp, pp, dp, expert))


@pytest.mark.parametrize(
    ("architecture", "tp", "measured"),
    [
        pytest.param(LLAMA_8B, 1, 14.99, id="Llama-3.1-8B"),
        pytest.param(LLAMA_8B, 2, 7.51, id="Llama-3.1-8B TP2"),
        pytest.param(LLAMA_8B, 4, 3.77, id="Llama-3.1-8B TP4"),
        pytest.param(QWEN25_7B, 1, 14.25, id="Qwen2.5-7B"),
        pytest.param(QWEN25_7B, 2, 7.12, id="Qwen2.5-7B TP2"),
        pytest.param(QWEN25_7B, 4, 3.55, id="Qwen2.5-7B TP4"),
    ],
)
def test_weights_are_those_that_vllm_logged_to_the_digit(
    architecture: Architecture, tp: int, measured: float
) -> None:
    assert weights(architecture, tp)[0] / GIB == pytest.approx(measured, abs=0.006)


@pytest.mark.parametrize(("pp", "measured"), [(2, 7.51), (4, 3.28)])
def test_a_pipeline_stage_holds_its_layers_and_the_ends_what_is_theirs(
    pp: int, measured: float
) -> None:
    stages = weights(LLAMA_8B, 1, pp)
    assert min(stages) / GIB <= measured + 0.006
    assert max(stages) / GIB >= measured - 0.006
    assert stages[0] > stages[1] or pp == 2


def test_rest_layers_go_to_the_last_stage_but_one_and_backwards() -> None:
    assert stage_layers(30, 4) == ((0, 7), (7, 15), (15, 23), (23, 30))
    assert stage_layers(31, 4) == ((0, 8), (8, 16), (16, 24), (24, 31))
    assert stage_layers(5, 1) == ((0, 5),)


def test_a_tied_embedding_is_on_both_ends_of_a_pipeline() -> None:
    tied, apart = dense(tied=True), dense(tied=False)
    assert weights(tied, 1, 2) == weights(apart, 1, 2)
    assert weights(tied)[0] < weights(apart)[0]


def test_kv_projections_stop_shrinking_at_the_number_of_kv_heads() -> None:
    model = dense(layers=1, kv_heads=2, heads=16, hidden=4096, head_dim=256, width=1024)
    two, four, eight = (weights(model, tp)[0] for tp in (2, 4, 8))
    assert two - four > four - eight > 0
    assert eight * 8 > two * 2


def test_the_vocabulary_is_padded_to_64_before_it_is_cut() -> None:
    odd, padded = dense(vocab=32001), dense(vocab=32064)
    assert weights(odd, 2) == weights(padded, 2)


def test_a_vision_tower_is_whole_on_every_rank() -> None:
    plain = dense()
    tower = Tensor("vision_tower.weight", (4096, 4096), Split.NONE, Part.VISION, linear=True)
    seeing = replace(plain, outside=(*plain.outside, tower))
    for tp in (1, 4):
        assert weights(seeing, tp)[0] - weights(plain, tp)[0] == 32 * MIB


def test_expert_parallelism_holds_whole_experts_and_data_parallelism_repeats_the_rest() -> None:
    model = moe(number=8)
    cut, whole = weights(model, 4)[0], weights(model, 4, expert=True)[0]
    assert cut == pytest.approx(whole, rel=0.02)
    alone, spread = weights(model, 1)[0], weights(model, 1, 1, 4, expert=True)[0]
    experts_alone = sum(
        t.elements * 2 for b in model.blocks for t in b.tensors if t.part is Part.EXPERTS
    )
    assert spread == pytest.approx(alone - experts_alone * 3 / 4, rel=0.01)


def test_experts_that_do_not_divide_are_rounded_up_to_whole_ones() -> None:
    block = Block(
        (Mixer(MixerKind.FULL, 16, 4, 64, 64),), FeedForward(0, 5, 2, 2048), experts(1024, 2048, 5)
    )
    model = build((block,), hidden=1024)
    assert weights(model, 2, expert=True)[0] - weights(model, 4, expert=True)[0] > 5 * MIB


def test_fp8_at_load_time_halves_the_linears_and_leaves_the_embedding() -> None:
    size = stage_weights(LLAMA_8B, "bfloat16", "fp8", Parallelism())[0]
    assert size / GIB == pytest.approx(8.49, abs=0.02)


def test_float32_doubles_everything() -> None:
    size = stage_weights(LLAMA_8B, "float32", "", Parallelism())[0]
    assert size / GIB == pytest.approx(29.98, abs=0.01)


def test_the_kv_b_projection_of_mla_is_kept_a_second_time_in_16_bits() -> None:
    model = latent()
    copies = 27 * 16 * 256 * 512 * 2
    stored = model.parameters * 2 + 163840 * 64 * 2
    assert weights(model)[0] == pytest.approx(stored + copies, rel=0.003)
    small = stage_weights(model, "bfloat16", "fp8", Parallelism())[0]
    linears = sum(t.elements for b in model.blocks for t in b.tensors if t.linear)
    assert weights(model)[0] - small == pytest.approx(linears, rel=0.01)


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        (100, 512),
        (MIB, MIB),
        (8 * MIB, 8 * MIB),
        (int(9.75 * MIB), 10 * MIB),
        (int(31.5 * MIB), 32 * MIB),
        (int(24.5 * MIB), int(24.5 * MIB)),
        (259 * MIB, 260 * MIB),
        (260 * MIB, 260 * MIB),
    ],
)
def test_the_allocator_keeps_rests_of_up_to_a_mebibyte(size: int, taken: int) -> None:
    assert allocated(size) == taken


SHAPES = st.builds(
    dense,
    layers=st.integers(1, 12),
    hidden=st.sampled_from([512, 1024, 3584]),
    heads=st.sampled_from([8, 16, 32]),
    kv_heads=st.sampled_from([1, 2, 4, 8]),
    width=st.sampled_from([1024, 5504, 18944]),
    vocab=st.sampled_from([32000, 32001, 151936]),
    tied=st.booleans(),
)


@given(SHAPES, st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_more_tensor_parallelism_never_means_more_weights_per_gpu(
    model: Architecture, tp: int, pp: int
) -> None:
    pp = min(pp, len(model.blocks))
    wide, narrow = weights(model, 2 * tp, pp), weights(model, tp, pp)
    assert all(b <= a for a, b in zip(narrow, wide, strict=True))


@given(SHAPES, st.sampled_from([1, 2, 4, 8]), st.integers(1, 4))
def test_all_ranks_together_hold_at_least_the_whole_model(
    model: Architecture, tp: int, pp: int
) -> None:
    pp = min(pp, len(model.blocks))
    assert tp * sum(weights(model, tp, pp)) >= model.parameters * 2


@pytest.mark.parametrize(
    ("name", "dtype", "tensor", "logged"),
    [
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "bfloat16", 2, 33.88),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "bfloat16", 4, 16.96),
        ("RedHatAI/Llama-3.3-70B-Instruct-quantized.w8a8", "bfloat16", 2, 33.88),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "float16", 1, 8.49),
        ("RedHatAI/Qwen2.5-7B-Instruct-FP8-dynamic", "bfloat16", 1, 8.14),
        ("RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8", "bfloat16", 1, 8.14),
        ("neuralmagic/Meta-Llama-3.1-70B-Instruct-quantized.w8a8", "bfloat16", 1, 67.7229),
    ],
)
def test_quantized_checkpoints_of_the_catalogue_weigh_what_vllm_logged(
    name: str, dtype: str, tensor: int, logged: float
) -> None:
    """m003, m004, m052, m056, m005, m057 and m100 of tests/data/measured.jsonl."""
    entry = load().find(name)
    assert entry is not None
    (weights,) = stage_weights(entry.architecture, dtype, "", Parallelism(tensor))
    assert weights / GIB == pytest.approx(logged, rel=0.002)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", 41.6),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", 77.1),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", 482.2),
    ],
)
def test_quantized_checkpoints_of_the_catalogue_are_as_large_as_their_files(
    name: str, gigabytes: float
) -> None:
    entry = load().find(name)
    assert entry is not None
    assert stored_bytes(entry.architecture) / 1e9 == pytest.approx(gigabytes, abs=0.1)


@pytest.mark.parametrize(
    ("copy", "tensor", "said"),
    [
        ("QuantTrio/Qwen3.6-27B-AWQ", 2, set()),
        ("Qwen/Qwen3.5-122B-A10B-GPTQ-Int4", 4, set()),
        ("cpatonn/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit", 4, set()),
        ("QuantTrio/MiniMax-M2-AWQ", 8, {Rule.QUANTIZATION_BLOCK_CUT}),
        ("cognitivecomputations/Qwen3-30B-A3B-AWQ", 4, {Rule.QUANTIZATION_BLOCK_CUT}),
        ("cognitivecomputations/Qwen3-30B-A3B-AWQ", 2, set()),
        ("TheBloke/Llama-2-13B-AWQ", 8, {Rule.QUANTIZATION_BLOCK_CUT}),
    ],
)
def test_what_a_word_says_is_quantized_is_cut_only_where_it_surely_is(
    copy: str, tensor: int, said: set[Rule]
) -> None:
    model = resolve(uri=f"hf://{copy}").architecture
    assert model is not None
    gpu = find("nvidia-a100-80gb")
    assert gpu is not None
    found = VLLM().problems(model, EngineSettings("vllm"), Parallelism(tensor), gpu)
    assert {getattr(problem, "rule", None) for problem in found} == said
