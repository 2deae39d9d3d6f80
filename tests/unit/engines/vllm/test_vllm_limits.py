"""What a start of vLLM holds beside its budget: blocks of state, and what comes after the cache.

Sources: vllm/config/compilation.py, vllm/v1/worker/gpu_worker.py and gpu/warmup.py of the releases
that are named; https://github.com/vllm-project/vllm/issues/17469 (4 x A10, 0.8.5),
https://github.com/vllm-project/vllm/issues/49064 (969 blocks on an H100, 0.28.0).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from plimsoll.accelerators.catalogue import everything
from plimsoll.engines.base import (
    EngineSettings,
    Estimate,
    Known,
    Limit,
    LimitName,
    Parallelism,
    Span,
    State,
    TermName,
    Workload,
)
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import GIB
from vllm_features import estimate, model

HYBRID = "Qwen/Qwen3.5-27B"
GPUS = {accelerator.name: accelerator for accelerator in everything()}
H100, A10, RTX_4090 = "nvidia-h100-80gb", "nvidia-a10", "nvidia-rtx-4090"
A100 = "nvidia-a100-80gb"


def limit(found: Estimate, name: LimitName) -> Limit | None:
    return next((one for one in found.limits if one.name is name), None)


def states(version: str, *flags: str, of: str = HYBRID) -> Limit | None:
    flags = ("--max-model-len", "8192", *flags)
    return limit(estimate(of, *flags, version=version, gpu=H100), LimitName.STATES)


def after(of: str, version: str, gpu: str, *flags: str, tensor: int = 1) -> Limit:
    flags = ("--max-model-len", "8192", *flags)
    found = limit(
        estimate(of, *flags, version=version, gpu=gpu, tensor=tensor), LimitName.AFTER_CACHE
    )
    assert found is not None
    return found


# -- blocks of state ------------------------------------------------------------------------------


def test_from_0_20_on_every_sequence_needs_a_block_of_its_own() -> None:
    found = states("0.20")
    assert found is not None
    assert found.need == Span(1024, 1024, 1024)
    assert found.has.low <= found.has.middle <= found.has.high < 1024
    assert found.state is State.DOES_NOT_FIT
    assert found.said.rule is Rule.SEQUENCES_BEYOND_STATES
    assert found.short_by == (1024 - found.has.middle) * found.each


def test_as_many_sequences_as_blocks_are_held_and_one_more_is_not() -> None:
    flags = ("--num-gpu-blocks-override", "600", "--max-num-seqs")
    holds, one_more = states("0.20", *flags, "600"), states("0.20", *flags, "601")
    assert holds is not None
    assert one_more is not None
    assert (holds.state, one_more.state) == (State.FITS, State.DOES_NOT_FIT)


@pytest.mark.parametrize(
    ("version", "compared"),
    [
        ("0.10.2", None),
        ("0.11", 512),  # the largest decode batch that is captured
        ("0.17", 512),
        ("0.18", None),  # captured sizes are cut to the blocks
        ("0.19", 1024),
        ("0.20", 1024),
        ("0.33", 1024),
    ],
)
def test_what_is_compared_with_the_blocks_changes_from_release_to_release(
    version: str, compared: int | None
) -> None:
    found = states(version)
    assert (found.need.middle if found else None) == compared


def test_releases_whose_builds_differ_only_warn() -> None:
    found = states("0.19", "--num-gpu-blocks-override", "600")
    assert found is not None
    assert found.state is State.WITHIN_ERROR


def test_only_layers_that_assert_it_die_while_capturing() -> None:
    mamba = "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"
    own, other = states("0.15"), states("0.15", of=mamba)
    assert own is not None
    assert own.said.rule is Rule.GRAPHS_BEYOND_STATES
    assert other is None


def test_without_graphs_and_without_states_nothing_is_compared() -> None:
    assert states("0.20", "--enforce-eager") is None
    assert states("0.20", of="Qwen/Qwen3-8B") is None


# -- loading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "gpu", "state"),
    [
        ("0.12", "nvidia-l40s", State.DOES_NOT_FIT),  # 61 GiB in 16 bits on 44.4
        ("0.12", "nvidia-h100-80gb", State.FITS),
        ("0.14", "nvidia-l40s", State.DOES_NOT_FIT),
        ("0.14", "nvidia-h100-80gb", State.WITHIN_ERROR),  # 30 GiB in 8 bits beside them
        ("0.16", "nvidia-l40s", None),
    ],
)
def test_before_0_16_weights_are_loaded_in_16_bits_before_they_are_quantized(
    version: str, gpu: str, state: State | None
) -> None:
    flags = ("--max-model-len", "8192", "--quantization", "fp8")
    found = limit(estimate("Qwen/Qwen3-32B", *flags, version=version, gpu=gpu), LimitName.LOADING)
    assert (found.state if found else None) is state


def test_what_is_stored_in_8_bits_or_quantized_as_it_comes_needs_no_more() -> None:
    flags = ("--max-model-len", "8192")
    stored = estimate("Qwen/Qwen3-32B-FP8", *flags, version="0.12", gpu="nvidia-l40s")
    by_tensor = estimate(
        "Qwen/Qwen3-32B", *flags, "--quantization", "bitsandbytes", version="0.12", gpu=H100
    )
    assert limit(stored, LimitName.LOADING) is None
    assert limit(by_tensor, LimitName.LOADING) is None


@pytest.mark.parametrize(
    ("of", "version", "gpu", "tensor", "state"),
    [
        ("openai/gpt-oss-120b", "0.16", "nvidia-h100-nvl", 1, State.WITHIN_ERROR),
        ("openai/gpt-oss-120b", "0.16", "nvidia-h200-141gb", 1, State.FITS),
        ("Qwen/Qwen3-235B-A22B", "0.21", "nvidia-gb200", 4, State.WITHIN_ERROR),
        ("Qwen/Qwen3-235B-A22B", "0.20", "nvidia-gb200", 4, None),
        ("Qwen/Qwen3-235B-A22B", "0.21", "nvidia-h200-141gb", 4, None),
        ("Qwen/Qwen3-32B", "0.21", "nvidia-gb200", 1, None),
    ],
)
def test_in_sleep_mode_experts_that_are_converted_may_be_held_twice(
    of: str, version: str, gpu: str, tensor: int, state: State | None
) -> None:
    flags = ("--max-model-len", "8192", "--enable-sleep-mode")
    found = limit(estimate(of, *flags, version=version, gpu=gpu, tensor=tensor), LimitName.LOADING)
    assert (found.state if found else None) is state
    awake = estimate(of, *flags[:2], version=version, gpu=gpu, tensor=tensor)
    assert limit(awake, LimitName.LOADING) is None


# -- after the cache ------------------------------------------------------------------------------


def test_what_is_left_is_what_the_share_leaves_and_the_peak_that_is_over() -> None:
    found = estimate("Qwen/Qwen3-8B", "--max-model-len", "8192", version="0.19", gpu=H100)
    one = limit(found, LimitName.AFTER_CACHE)
    assert one is not None
    left = found.physical * (1 - float(found.utilization)) / GIB - 0.55
    assert one.has.middle / GIB == pytest.approx(left, abs=0.2)
    assert one.need.middle / GIB == pytest.approx(1.0, abs=0.05)  # 0.96 were logged
    assert one.state is State.FITS


def test_graphs_up_to_512_whatever_the_sequences_may_not_fit_on_four_small_gpus() -> None:
    flags = ("--max-num-seqs", "1")
    found = after("Qwen/Qwen3-30B-A3B", "0.8.5", A10, *flags, tensor=4)
    assert "67 graphs" in found.basis
    assert found.has.middle / GIB == pytest.approx(2.3, abs=0.1)
    assert found.state is State.WITHIN_ERROR
    eager = after("Qwen/Qwen3-30B-A3B", "0.8.5", A10, *flags, "--enforce-eager", tensor=4)
    assert eager.state is State.FITS
    later = after("Qwen/Qwen3-30B-A3B", "0.10.0", A10, *flags, tensor=4)
    assert "2 graphs" in later.basis
    assert later.state is State.FITS


def test_graphs_of_experts_and_of_several_ranks_may_be_large_on_older_gpus() -> None:
    # 94 layers x 67 graphs: 18446 ran out with 8 GiB left; on Hopper as many take 2 GiB
    name = "Qwen/Qwen3-235B-A22B"
    assert after(name, "0.8.5", A100, tensor=8).state is State.WITHIN_ERROR
    assert after(name, "0.8.5", H100, tensor=8).state is State.FITS
    alone = after("meta-llama/Llama-3.1-8B-Instruct", "0.8.5", A100)
    assert alone.state is State.FITS


def test_a_share_that_leaves_nothing_for_the_graphs_certainly_fails() -> None:
    found = after(
        "meta-llama/Llama-3.1-70B-Instruct",
        "0.10",
        H100,
        "--gpu-memory-utilization",
        "0.995",
        tensor=4,
    )
    assert found.state is State.DOES_NOT_FIT
    assert (found.said.rule, found.said.field) == (Rule.NO_ROOM_AFTER_CACHE, Field.UTILIZATION)
    assert found.said.given == "0.995"


def test_graphs_that_are_charged_are_not_needed_twice() -> None:
    before = after("meta-llama/Llama-3.1-8B-Instruct", "0.19", H100)
    charged = after("meta-llama/Llama-3.1-8B-Instruct", "0.20", H100)
    assert charged.need.middle < before.need.middle / 3
    assert "beyond what is charged" in charged.basis


def test_the_second_runner_warms_its_sampler_after_the_cache() -> None:
    found = after("Qwen/Qwen3-4B", "0.27.1", RTX_4090)
    assert "sampler of 256 sequences" in found.basis
    assert found.state is State.WITHIN_ERROR  # it ran out there, with adapters
    fewer = after("Qwen/Qwen3-4B", "0.27.1", RTX_4090, "--max-num-seqs", "16")
    assert fewer.state is State.FITS
    assert "sampler" not in after("Qwen/Qwen3-4B", "0.33", RTX_4090).basis


def test_a_cache_of_a_fixed_size_takes_no_more_than_that() -> None:
    found = after("Qwen/Qwen3-8B", "0.19", H100, "--kv-cache-memory-bytes", str(8 * GIB))
    assert found.has.middle > 45 * GIB


@pytest.mark.parametrize(
    ("need", "has", "state"),
    [
        (Span(3, 2, 4), Span(5, 4, 6), State.FITS),
        (Span(4, 3, 5), Span(5, 4, 6), State.WITHIN_ERROR),
        (Span(5, 4, 6), Span(5, 5, 5), State.WITHIN_ERROR),
        (Span(5, 4, 6), Span(4, 3, 5), State.WITHIN_ERROR),
        (Span(7, 6, 8), Span(5, 4, 6), State.DOES_NOT_FIT),
        (Span(5, 5, 5), Span(5, 5, 5), State.FITS),
        (Span(6, 6, 6), Span(5, 5, 5), State.DOES_NOT_FIT),
    ],
)
def test_errors_of_both_sides_add_up_as_squares(need: Span, has: Span, state: State) -> None:
    said = finding(Rule.NO_ROOM_AFTER_CACHE, Field.UTILIZATION)
    name, known = LimitName.AFTER_CACHE, Known.MODELLED
    assert Limit(name=name, need=need, has=has, said=said, known=known).state is state


def test_the_share_is_the_users_own() -> None:
    said = EngineSettings(version="0.19", utilization=Decimal("0.5"), max_model_len=4096)
    found = estimate("Qwen/Qwen3-8B", settings=said, gpu=H100)
    one = limit(found, LimitName.AFTER_CACHE)
    assert one is not None
    assert one.has.middle > found.physical * 0.48


# -- what others hold -----------------------------------------------------------------------------


def held(version: str, share: str = "0.9") -> tuple[set[Rule], Estimate]:
    card = replace(GPUS[RTX_4090], reserved=3 * GIB)
    said = EngineSettings(version=version, utilization=Decimal(share), max_model_len=8192)
    qwen, split = model("Qwen/Qwen3-4B"), Parallelism()
    problems = {problem.rule for problem in VLLM().problems(qwen, said, split, card)}
    return problems, VLLM().estimate(qwen, said, Workload(), split, card)


@pytest.mark.parametrize(
    ("version", "share", "refused"),
    [
        ("0.9.1", "0.9", True),
        ("0.33", "0.86", True),
        ("0.33", "0.85", False),
        ("0.9.0", "0.9", False),  # nothing is checked
    ],
)
def test_from_0_9_1_the_share_must_be_free_of_what_others_hold(
    version: str, share: str, refused: bool
) -> None:
    problems, _ = held(version, share)
    assert (Rule.SHARE_HELD_BY_OTHERS in problems) is refused


def test_what_others_hold_is_charged_to_the_budget_or_lies_beside_it_by_version() -> None:
    _, charged = held("0.8.5", "0.8")
    _, beside = held("0.19", "0.8")
    assert charged.terms[TermName.NON_TORCH].bytes > 3 * GIB
    assert beside.terms[TermName.NON_TORCH].bytes < GIB
    after = limit(beside, LimitName.AFTER_CACHE)
    assert after is not None
    assert after.has.middle < 0.2 * beside.physical - 3 * GIB


def test_a_first_engine_that_ignores_others_has_nothing_left_for_its_graphs() -> None:
    _, found = held("0.7.3", "0.95")
    after = limit(found, LimitName.AFTER_CACHE)
    assert after is not None
    assert after.state is State.DOES_NOT_FIT
