"""Weights and cache in host memory, fixed caches, decode context: against logs and source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.engines.base import EngineSettings, Known, Parallelism, TermName
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.units import GIB
from vllm_features import estimate, model, read
from worded import problems_in, worded

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
LARGE = "meta-llama/Meta-Llama-3-70B-Instruct"
KIMI = "moonshotai/Kimi-K2-Instruct"


def weights(
    name: str, *flags: str, pipeline: int = 1, settings: EngineSettings | None = None
) -> int:
    found = estimate(name, *flags, pipeline=pipeline, settings=settings)
    return found.terms[TermName.WEIGHTS].bytes


def test_seventy_gib_out_leave_what_a_start_up_on_gh200_logged() -> None:
    # "Loading model weights took 61.2922 GB", https://github.com/vllm-project/vllm/pull/6496
    term = estimate(LARGE, "--cpu-offload-gb", "70").terms[TermName.WEIGHTS]
    assert term.low / GIB <= 61.2922 <= term.high / GIB
    assert term.bytes / GIB == pytest.approx(61.2922, rel=0.005)
    assert term.known is Known.MODELLED


def test_only_layers_go_out_never_the_embedding_and_the_head() -> None:
    left = weights(LLAMA, "--cpu-offload-gb=100")
    outside = 2 * 128256 * 4096 * 2
    assert outside <= left <= outside * 1.05


def test_the_last_layers_of_each_group_go_out_and_leave_one_layer_of_buffers() -> None:
    layer = (weights(LLAMA) - weights(LLAMA, "--cpu-offload-gb=100")) / 32
    flags = ("--offload-group-size=8", "--offload-num-in-group=2", "--offload-prefetch-step=1")
    gone = weights(LLAMA) - weights(LLAMA, *flags)
    assert gone == pytest.approx((8 - 1) * layer, rel=0.001)


def test_a_prefetch_group_wins_over_an_amount_unless_uva_is_asked_for() -> None:
    both = ("--offload-group-size=8", "--cpu-offload-gb=4")
    assert weights(LLAMA, *both) == weights(LLAMA, "--offload-group-size=8")
    assert weights(LLAMA, *both, "--offload-backend=uva") == weights(LLAMA, "--cpu-offload-gb=4")


def test_the_typed_field_and_the_flag_agree_or_it_is_an_error() -> None:
    typed = EngineSettings(cpu_offload=10 * GIB)
    assert weights(LLAMA, settings=typed) == weights(LLAMA, "--cpu-offload-gb=10")
    assert read("--cpu-offload-gb=10", settings=typed).problems == ()
    problem = str(problems_in(read("--cpu-offload-gb=8", settings=typed))[0])
    assert "the same as spec.engine.cpuOffload (10 GiB)" in problem


def test_what_may_go_out_in_part_is_named_as_not_estimated() -> None:
    assert read("--cpu-offload-params", "experts").settings.unread == (
        "--cpu-offload-params=experts",
    )


def test_swap_and_host_caches_take_nothing_of_a_gpu() -> None:
    plain = estimate(LLAMA).required
    connector = '--kv-transfer-config={"kv_connector":"OffloadingConnector"}'
    for flag in ("--swap-space=16", "--kv-offloading-size=64", connector):
        reading = read(flag)
        assert reading.settings.unread == ()
        assert estimate(LLAMA, flag).required == plain


def test_a_connector_ends_the_grouping_of_layers_by_kind_before_0_23() -> None:
    flag = '--kv-transfer-config={"kv_connector":"OffloadingConnector"}'
    name = "google/gemma-3-27b-it"

    def need(*flags: str, version: str) -> int:
        return estimate(name, *flags, version=version).terms[TermName.KV_CACHE].bytes

    assert need(flag, version="0.19.0") > need(version="0.19.0")
    assert need(flag, version="0.26.0") == need(version="0.26.0")


def test_a_number_of_blocks_fixes_the_cache() -> None:
    found = estimate(LLAMA, "--num-gpu-blocks-override=10000")
    assert found.kv_capacity == 10000 * 16 * 2 * 8 * 128 * 2 * 32
    assert found.kv_tokens == 160_000
    assert found.terms[TermName.KV_CACHE].known is Known.EXACT


def test_fewer_blocks_than_one_request_takes_do_not_fit() -> None:
    found = estimate(LLAMA, "--num-gpu-blocks-override=2000")
    assert found.required_low > found.usable
    assert found.largest_max_model_len == 31984  # one block is held back


@pytest.mark.parametrize(("ways", "tokens"), [(1, 715_072), (8, 5_721_088)])
def test_kimi_k2_holds_as_many_tokens_as_its_recipe_logs(ways: int, tokens: int) -> None:
    # 46.80 GiB on each of 8 GPUs: vllm-project/recipes, moonshotai/Kimi-K2-Think.md
    settings = EngineSettings(version="0.11.2", kv_cache_memory=int(46.8 * GIB))
    flag = f"--decode-context-parallel-size={ways}"
    found = estimate(KIMI, flag, tensor=8, settings=settings)
    assert found.kv_tokens == pytest.approx(tokens, rel=0.0002)


def test_a_context_split_must_divide_the_ranks_and_find_copies_to_split() -> None:
    def problems(name: str, tensor: int, ways: int) -> list[str]:
        settings = read("-dcp", str(ways)).settings
        found = VLLM().problems(model(name), settings, Parallelism(tensor), None)
        return [p.path for p in worded(found)]

    assert problems(KIMI, 8, 8) == []
    assert problems(KIMI, 8, 3) == ["spec.engine.parallelism.tensor"]
    assert problems(LLAMA, 8, 2) == ["spec.engine.parallelism.tensor"]  # 8 KV heads, no copies
    assert problems("Qwen/Qwen2.5-7B-Instruct", 4, 1) == []


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([1, 2, 4]))
def test_more_in_host_memory_never_needs_more_of_a_gpu(a: int, b: int, pipeline: int) -> None:
    low, high = sorted((a, b))
    less, more = (estimate(LLAMA, f"--cpu-offload-gb={n}", pipeline=pipeline) for n in (high, low))
    assert less.required <= more.required
    assert less.required_low <= less.required <= less.required_high


@given(st.integers(2, 8), st.integers(1, 8), st.integers(1, 3))
def test_prefetched_groups_never_need_more_than_none(group: int, number: int, step: int) -> None:
    flags = (
        f"--offload-group-size={group}",
        f"--offload-num-in-group={min(group, number)}",
        f"--offload-prefetch-step={step}",
    )
    assert weights(LLAMA, *flags) <= weights(LLAMA)


@given(st.sampled_from([1, 2, 4, 8]))
def test_a_context_split_never_needs_more_cache(ways: int) -> None:
    whole = estimate(KIMI, tensor=8).terms[TermName.KV_CACHE].bytes
    assert estimate(KIMI, "-dcp", str(ways), tensor=8).terms[TermName.KV_CACHE].bytes <= whole


def test_an_amount_that_no_machine_has_is_a_problem_and_no_error_of_ours() -> None:
    (problem,) = problems_in(read("--cpu-offload-gb=1e999999"))
    assert problem.wanted == "--cpu-offload-gb as a number of GiB, 0 or more"
