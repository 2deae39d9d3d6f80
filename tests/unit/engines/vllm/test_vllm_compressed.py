"""DeepSeek V4's cache in vLLM, against start-ups and the engine's own grouping.

Logs: https://github.com/vllm-project/vllm/issues/44376 (0.22, two GH200) and 51041 (0.26, two H20).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll.engines.base import EngineSettings, Parallelism, Speculative, TermName
from plimsoll.engines.vllm.kv import Cache, cache
from plimsoll.engines.vllm.options import TABLE
from plimsoll.engines.vllm.speculative import draft_of
from plimsoll.units import GIB
from vllm_features import estimate, model

FLASH, PRO = "deepseek-ai/DeepSeek-V4-Flash", "deepseek-ai/DeepSeek-V4-Pro"
WINDOW, INDEX, LONG = 37440, 8640, 1728  # pages: 64 x 584, 64 x 132, 2 x 584 bytes, to 576
TUPLE = WINDOW + INDEX + LONG


def held(name: str, version: str, tokens: int, pp: int = 1, draft: str = "") -> Cache:
    architecture = model(name)
    settings = EngineSettings(speculative=Speculative(draft, "", 1) if draft else None)
    return cache(
        architecture,
        Parallelism(1, pp),
        TABLE.constants(version),
        dtype="fp8",
        model_bytes=2,
        block_size=None,
        batched_tokens=tokens,
        draft=draft_of(architecture, settings),
    )


@pytest.mark.parametrize(
    ("name", "version", "in_flight", "length", "gib"),
    [
        pytest.param(FLASH, "0.22", 16384, 30000, 6.66, id="Flash, 30,000 tokens"),
        pytest.param(FLASH, "0.22", 16384, 13524, 5.44, id="Flash, what 5.44 GiB hold"),
        pytest.param(FLASH, "0.22", 8192, 1048576, 7.30, id="Flash, a million tokens"),
        pytest.param(PRO, "0.20", 512, 800000, 4.64, id="Pro, few tokens in flight"),
        pytest.param(PRO, "0.20", 8192, 800000, 8.94, id="Pro, 8,192 tokens in flight"),
        pytest.param(FLASH, "0.26", 8192, 121344, 7.01, id="Flash, two batches in flight"),
    ],
)
def test_one_request_needs_what_the_engine_said(
    name: str, version: str, in_flight: int, length: int, gib: float
) -> None:
    found = held(name, version, in_flight)
    assert found.need(0, 1, length) / GIB == pytest.approx(gib, abs=0.005)


def test_what_the_engine_had_holds_the_length_that_it_named() -> None:
    found = held(FLASH, "0.22", 16384)
    assert found.longest([int(5.44 * GIB)], 10**6) == pytest.approx(13528, abs=8)


@pytest.mark.parametrize(
    ("version", "block", "checked"),
    [
        pytest.param("0.20", 22 * TUPLE, 22 * TUPLE, id="tuples of layers"),
        pytest.param("0.22", 22 * TUPLE, 22 * TUPLE, id="the last release with tuples"),
        pytest.param(
            "0.23", 22 * WINDOW + 21 * INDEX + 20 * LONG, 22 * TUPLE, id="by sizes of pages"
        ),
        pytest.param(
            "0.27", 21 * WINDOW + 21 * INDEX + 20 * LONG, 22 * TUPLE, id="the largest group"
        ),
        pytest.param(
            "0.29",
            21 * WINDOW + 21 * INDEX + 20 * LONG,
            21 * WINDOW + 21 * INDEX + 20 * LONG,
            id="packed, and checked as it lies",
        ),
    ],
)
def test_a_block_is_laid_out_and_checked_as_in_its_release(
    version: str, block: int, checked: int
) -> None:
    pool = held(FLASH, version, 8192).pool
    assert (pool.stage_bytes, pool.asked_bytes) == ((block,), (checked,))


def test_a_block_of_pro_has_a_tuple_for_each_long_layer() -> None:
    assert held(PRO, "0.22", 8192).pool.stage_bytes == (31 * TUPLE,)


def test_a_draft_keeps_a_window_alone() -> None:
    plain, drafted = held(FLASH, "0.22", 8192), held(FLASH, "0.22", 8192, draft="mtp")
    assert drafted.pool.groups == plain.pool.groups
    assert drafted.pool.stage_bytes == plain.pool.stage_bytes


def test_pipeline_stages_share_the_groups_and_have_their_own_layers() -> None:
    pool = held(FLASH, "0.33", 8192, pp=2).pool
    assert pool.groups == held(FLASH, "0.33", 8192).pool.groups
    assert sum(pool.stage_bytes) == 21 * WINDOW + 21 * INDEX + 20 * LONG


def test_the_cache_is_in_eight_bits_where_nothing_is_said() -> None:
    assert estimate(FLASH, version="0.33", tensor=4).kv_cache_dtype == "fp8"


def test_the_workspace_for_gathered_keys_grows_with_the_context() -> None:
    def peak(length: int) -> int:
        settings = EngineSettings(version="0.22", max_model_len=length)
        found = estimate(FLASH, tensor=4, settings=settings)
        return found.terms[TermName.ACTIVATION].bytes

    assert peak(1048576) - peak(8192) < 4 * 1048576 // 4 * 512 * 2
    assert peak(1048576) > peak(8192)


def test_other_models_have_no_compressed_keys() -> None:
    plain = model("Qwen/Qwen3-8B")
    pool = replace(held("Qwen/Qwen3-8B", "0.33", 8192)).pool
    assert len(pool.groups) == 1
    assert not any(mixer.ratio for mixer in plain.mixers())
