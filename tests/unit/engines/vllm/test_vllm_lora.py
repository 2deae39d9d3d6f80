"""Slots for LoRA adapters, against the arithmetic of vLLM's own layers.

Source of the formulas: https://github.com/vllm-project/vllm, vllm/lora/layers of 0.9.2 to 0.33.0.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.engines.base import EngineSettings, Known, LimitName, TermName
from plimsoll.engines.layers.gpu_memory import allocated
from plimsoll.units import GIB
from vllm_features import RANKS, estimate, extra, read
from worded import problems_in, warnings_in

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
MOE = "Qwen/Qwen3-30B-A3B"
H, KV, WIDE, V, LAYERS = 4096, 1024, 14336, 128256, 32


def _allocated(elements: int) -> int:
    """Elements of two bytes as torch's allocator rounds them."""
    return allocated(2 * elements)


def test_each_slice_of_a_linear_has_an_a_and_a_b_for_every_slot() -> None:
    rank = 16
    linears = [(H, H), (H, KV), (H, KV), (H, H), (H, WIDE), (H, WIDE), (WIDE, H)]  # input, output
    layers = LAYERS * sum(rank * (into + out) * 2 for into, out in linears)
    embedding = _allocated(V * rank) + H * rank * 2
    head = _allocated(V * rank) + H * rank * 2
    assert extra(estimate(LLAMA, "--enable-lora"), TermName.LORA) == layers + embedding + head


def test_a_model_without_embedding_modules_has_none_on_embedding_and_head() -> None:
    qwen = "Qwen/Qwen2.5-7B-Instruct"  # 3584 wide, 4 KV heads of 128, 18944 in the MLP
    h, kv, i = 3584, 512, 18944
    linears = [(h, h), (h, kv), (h, kv), (h, h), (h, i), (h, i), (i, h)]
    expected = 28 * sum(16 * (into + out) * 2 for into, out in linears)
    assert extra(estimate(qwen, "--enable-lora"), TermName.LORA) == expected


@pytest.mark.parametrize(
    ("slots", "gib"), [(1, 7.63), (8, 8.17), (64, 12.49)], ids=["one", "eight", "sixty-four"]
)
def test_a_tied_head_has_slots_under_both_its_names(slots: int, gib: float) -> None:
    # Qwen3-4B, 0.27.1, RTX 4090: "Model loading took", adapters of rank 16 on all modules
    flags = ("--enable-lora", f"--max-loras={slots}")
    found = estimate("Qwen/Qwen3-4B", *flags, version="0.27.1", gpu="nvidia-rtx-4090")
    loaded = found.terms[TermName.WEIGHTS].bytes + extra(found, TermName.LORA)
    assert loaded / GIB == pytest.approx(gib, abs=0.01)


def test_a_is_whole_if_the_output_is_cut_and_b_if_the_input_is() -> None:
    rank, tp = 16, 2
    cut = [(H, H // tp), (H, KV // tp), (H, KV // tp), (H, WIDE // tp), (H, WIDE // tp)]
    rows = [(H // tp, H), (WIDE // tp, H)]
    layers = LAYERS * sum(rank * (into + out) * 2 for into, out in (*cut, *rows))
    outside = 2 * (_allocated(V * rank) + H * rank * 2)
    found = extra(estimate(LLAMA, "--enable-lora", tensor=tp), TermName.LORA)
    assert found == layers + outside


def test_fully_sharded_slots_also_cut_the_side_that_was_whole() -> None:
    whole = extra(estimate(LLAMA, "--enable-lora", tensor=4), TermName.LORA)
    flags = ("--enable-lora", "--fully-sharded-loras")
    assert extra(estimate(LLAMA, *flags, tensor=4), TermName.LORA) < whole
    assert extra(estimate(LLAMA, *flags), TermName.LORA) == extra(
        estimate(LLAMA, "--enable-lora"), TermName.LORA
    )


def test_every_expert_of_a_rank_has_slots_from_0_11_2_on() -> None:
    # 48 layers of 128 experts, 2048 wide, 768 in an expert: gate, up and down
    experts = 48 * 128 * 3 * 16 * (2048 + 768) * 2
    before = extra(estimate(MOE, "--enable-lora", version="0.11.0"), TermName.LORA)
    after = extra(estimate(MOE, "--enable-lora", version="0.11.2"), TermName.LORA)
    assert after - before == pytest.approx(experts, rel=0.01)


def test_expert_parallel_gives_a_rank_the_slots_of_its_own_experts_only() -> None:
    flags = ("--enable-lora", "--max-lora-rank=32")
    alone = extra(estimate(MOE, *flags), TermName.LORA)
    spread = extra(estimate(MOE, *flags, tensor=4, expert=True), TermName.LORA)
    assert spread < alone / 3


def test_shared_outer_adapters_keep_two_of_the_six_factors_once_a_layer() -> None:
    plain = extra(estimate(MOE, "--enable-lora"), TermName.LORA)
    shared = extra(estimate(MOE, "--enable-lora", "--enable-moe-shared-loras"), TermName.LORA)
    assert shared < plain / 2


def test_only_the_modules_that_are_named_have_slots() -> None:
    flags = ("--enable-lora", "--lora-target-modules", "o_proj")
    expected = LAYERS * 16 * (H + H) * 2
    assert extra(estimate(LLAMA, *flags), TermName.LORA) == expected


def test_old_releases_reserve_an_extra_vocabulary_for_each_slot() -> None:
    large = ("--enable-lora", "--lora-extra-vocab-size=512")
    old = extra(estimate(LLAMA, "--enable-lora", version="0.9.2"), TermName.LORA)
    assert extra(estimate(LLAMA, *large, version="0.9.2"), TermName.LORA) > old
    new = extra(estimate(LLAMA, "--enable-lora", version="0.13.0"), TermName.LORA)
    assert new < old
    (gone,) = problems_in(read(*large, settings=EngineSettings(version="0.13.0")))
    assert "no --lora-extra-vocab-size: vLLM 0.13 no longer has it" in str(gone)


def test_a_tower_has_no_slots() -> None:
    text = extra(estimate("Qwen/Qwen2.5-7B-Instruct", "--enable-lora"), TermName.LORA)
    seeing = extra(estimate("Qwen/Qwen2.5-VL-7B-Instruct", "--enable-lora"), TermName.LORA)
    assert seeing == text


def test_graphs_are_captured_with_and_without_adapters() -> None:
    plain = estimate(LLAMA).terms[TermName.CUDA_GRAPHS]
    graphs = estimate(LLAMA, "--enable-lora").terms[TermName.CUDA_GRAPHS]
    assert graphs.bytes == 2 * plain.bytes
    assert graphs.low == plain.low
    assert graphs.high == 2 * plain.high
    assert graphs.known is Known.ASSUMED


def test_without_adapters_there_is_no_line_for_them() -> None:
    assert TermName.LORA not in [term.name for term in estimate(LLAMA).terms]


def test_a_rank_without_the_switch_changes_nothing_and_says_so() -> None:
    reading = read("--max-lora-rank=64")
    assert reading.settings.lora is None
    assert warnings_in(reading) == (
        "spec.engine.extraArgs[0]: --max-lora-rank changes nothing without --enable-lora",
    )


@given(
    st.sampled_from([LLAMA, MOE]),
    st.sampled_from(RANKS),
    st.integers(1, 16),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
def test_a_higher_rank_and_more_slots_never_need_less(
    model: str, rank: int, slots: int, tensor: int, expert: bool
) -> None:
    def need(more_rank: int, more_slots: int) -> int:
        flags = ("--enable-lora", f"--max-lora-rank={more_rank}", f"--max-loras={more_slots}")
        ep = expert and model == MOE
        return extra(estimate(model, *flags, tensor=tensor, expert=ep), TermName.LORA)

    base = need(rank, slots)
    assert need(rank, slots + 1) >= base
    assert all(need(more, slots) >= base for more in RANKS if more > rank)


@given(st.sampled_from([LLAMA, MOE]), st.sampled_from([1, 2, 4, 8]))
def test_pipeline_stages_share_the_slots_without_losing_any(model: str, pipeline: int) -> None:
    alone = extra(estimate(model, "--enable-lora"), TermName.LORA)
    worst = extra(estimate(model, "--enable-lora", pipeline=pipeline), TermName.LORA)
    assert alone >= worst >= alone // pipeline // 2


def test_the_first_engine_does_not_refuse_for_slots_that_it_makes_after_measuring() -> None:
    for version, certain in (("0.7.3", False), ("0.8.5", True)):
        term = estimate(LLAMA, "--enable-lora", version=version).terms[TermName.LORA]
        assert (term.low > 0) is certain


@pytest.mark.parametrize(
    ("version", "twice", "wide"),
    [
        pytest.param("0.11.0", False, False, id="with adapters alone"),
        pytest.param("0.11.1", True, True, id="twice, and beside the budget"),
        pytest.param("0.20", False, False, id="charged by the engine's own estimate"),
    ],
)
def test_graphs_of_adapters_are_held_against_what_the_budget_leaves(
    version: str, twice: bool, wide: bool
) -> None:
    # Llama-3.1-8B with two adapters on an H100 (0.11.1) ran out of memory after it captured, with
    # 7.4 GiB beside its budget; 0.11.0 started: https://github.com/vllm-project/vllm/issues/29049
    plain, held = (
        next(
            limit
            for limit in estimate(LLAMA, *flags, version=version, gpu="nvidia-h100-80gb").limits
            if limit.name is LimitName.AFTER_CACHE
        )
        for flags in ((), ("--enable-lora", "--max-loras=2"))
    )
    assert (held.need.middle > 1.5 * plain.need.middle) is twice
    assert (held.need.high > held.has.middle) is wide
