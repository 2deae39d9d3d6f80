"""DeepSeek V4 under SGLang: tokens that its pools hold, by version, and what is loaded."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from architectures import L4
from plimsoll.engines.base import (
    NOTHING_ASKED,
    EngineSettings,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.engines.sglang.engine import SGLang
from plimsoll.engines.sglang.pools import Pools, pools
from plimsoll.engines.sglang.settings import TABLE, resolve
from plimsoll.models.resolve import resolve as model
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

L20 = replace(L4, memory=46068 * MIB)
SPLIT = Parallelism(tensor=8)
POOL = int(1.7865 * GIB)
"""What 0.85 of an L20 leaves beside 35.52 GiB of weights, as its two logs agree on."""


def flash() -> Architecture:
    """DeepSeek V4 Flash, all of it in fp8."""
    found = model(uri="hf://sgl-project/DeepSeek-V4-Flash-FP8").architecture
    assert found is not None
    return found


def pro() -> Architecture:
    """DeepSeek V4 Pro, its experts in 4 bits."""
    found = model(uri="hf://deepseek-ai/DeepSeek-V4-Pro").architecture
    assert found is not None
    return found


def said(version: str, seqs: int | None = 8, *unread: str) -> EngineSettings:
    return EngineSettings(
        name="sglang",
        version=version,
        max_model_len=32768,
        max_num_seqs=seqs,
        utilization=Decimal("0.85"),
        unread=unread,
    )


def made(settings: EngineSettings) -> Pools:
    figures = TABLE.constants(settings.version)
    resolved = resolve(flash(), settings, SPLIT, L20, figures)
    return pools(flash(), settings, resolved, SPLIT, figures)


@pytest.mark.parametrize(
    ("unread", "tokens"), [((), 120_576), (("--speculative-algorithm=EAGLE",), 73_472)]
)
def test_the_pools_hold_the_tokens_that_servers_logged(
    unread: tuple[str, ...], tokens: int
) -> None:
    # https://github.com/sgl-project/sglang/pull/28620: V4 Flash in fp8 on 8 x L20
    assert made(said("0.5.14", 8, *unread)).tokens([POOL]) == pytest.approx(tokens, abs=256)


def test_running_state_of_far_layers_is_held_for_requests_since_0_5_15() -> None:
    few, many = made(said("0.5.15", 8)), made(said("0.5.15", 64))
    assert many.stages[0].fixed - few.stages[0].fixed == 56 * 128 * 1024 * 4 * 20
    assert made(said("0.5.14", 64)).stages[0].fixed == 0


def test_requests_that_nobody_says_are_256() -> None:
    assert made(said("0.5.20", None)).stages == made(said("0.5.20", 256)).stages


def test_what_is_loaded_is_what_a_server_logged() -> None:
    e = SGLang().estimate(flash(), said("0.5.14"), Workload(), SPLIT, L20)
    weights = e.terms[TermName.WEIGHTS]
    assert weights.low <= 35.52 * GIB <= weights.high
    assert e.kv_cache_dtype == "fp8_e4m3"


def test_data_parallel_attention_gives_every_rank_its_part_of_the_requests() -> None:
    settings = SGLang().read_arguments(
        ("--enable-dp-attention", "--tp-size=8", "--dp-size=8"), said("0.5.20", None), NOTHING_ASKED
    )
    figures, split = TABLE.constants("0.5.20"), Parallelism(1, data=8)
    resolved = resolve(flash(), settings.settings, split, L20, figures)
    own = pools(flash(), settings.settings, resolved, split, figures)
    assert own.stages == made(said("0.5.20", 32)).stages


@pytest.mark.parametrize(
    ("compute", "version", "twice"),
    [((9, 0), "0.5.15", True), ((9, 0), "0.5.16", False), ((10, 0), "0.5.15", False)],
)
def test_scales_of_four_bit_experts_are_held_twice_by_marlin_until_0_5_15(
    compute: tuple[int, int], version: str, twice: bool
) -> None:
    # https://github.com/SemiAnalysisAI/InferenceX/issues/2128: 125.65 GiB on each of 8 x H200
    gpu = replace(L4, memory=143771 * MIB, compute=compute)
    e = SGLang().estimate(pro(), said(version), Workload(), SPLIT, gpu)
    weights = e.terms[TermName.WEIGHTS]
    assert (weights.low <= 125.65 * GIB <= weights.high) is twice
    loaded = 61 * 384 * 3 * 3072 * 7168 // 32 * 4 // 8
    assert weights.bytes - twice * loaded == pytest.approx(103.06 * GIB, rel=1e-4)
