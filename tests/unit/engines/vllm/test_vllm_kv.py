"""The cache in pages and groups, against what vLLM itself logged.

Logs: https://github.com/jgchn/llm-d-planner/blob/a95e9f62e5de8cb5d2beb5f5279e7271a231416d/
accuracy/results/v0.19.0/results_raw.csv (H100, vLLM 0.19.0, 8192 tokens, GiB as printed).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import LLAMA_8B, LLAMA_70B, dense, hybrid, latent, windows
from plimsoll.engines.base import Parallelism
from plimsoll.engines.vllm.kv import Cache, cache
from plimsoll.engines.vllm.options import TABLE
from plimsoll.models.catalogue import load
from plimsoll.models.config import architecture
from plimsoll.units import GIB
from vllm_features import estimate

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

GEMMA_3_27B = windows(full=10, sliding=52, window=1024, kv_heads=16, head_dim=128)
GEMMA_2_9B = windows(full=21, sliding=21, window=4096, kv_heads=8, head_dim=256)
GEMMA_3_4B = windows(full=5, sliding=29, window=1024, kv_heads=4, head_dim=256)
GPT_OSS_20B = windows(full=12, sliding=12, window=128, kv_heads=8, head_dim=64)
QWEN25_72B = dense(layers=80, heads=64, kv_heads=8, head_dim=128)


def held(
    architecture: Architecture,
    *,
    tp: int = 1,
    pp: int = 1,
    dtype: str = "auto",
    version: str = "0.19.0",
    tokens: int = 8192,
    block_size: int | None = None,
) -> Cache:
    return cache(
        architecture,
        Parallelism(tp, pp),
        TABLE.constants(version),
        dtype=dtype,
        model_bytes=2,
        block_size=block_size,
        batched_tokens=tokens,
    )


@pytest.mark.parametrize(
    ("architecture", "tp", "dtype", "kv_gib", "tokens", "concurrency"),
    [
        pytest.param(LLAMA_8B, 1, "auto", 58.11, 476016, 58.11, id="Llama-3.1-8B"),
        pytest.param(LLAMA_8B, 1, "fp8", 58.11, 952032, 116.21, id="Llama-3.1-8B, fp8 cache"),
        pytest.param(LLAMA_8B, 4, "auto", 67.44, 2209792, 269.75, id="Llama-3.1-8B TP4"),
        pytest.param(LLAMA_70B, 4, "auto", 54.09, 708992, 86.55, id="Llama-3.3-70B TP4"),
        pytest.param(QWEN25_72B, 2, "auto", 3.04, 19920, 2.43, id="Qwen2.5-72B TP2"),
        pytest.param(GEMMA_3_27B, 1, "auto", 19.53, 36560, 4.46, id="gemma-3-27b"),
        pytest.param(GEMMA_3_4B, 1, "auto", 62.51, 468144, 57.05, id="gemma-3-4b"),
        pytest.param(GEMMA_2_9B, 1, "auto", 54.12, 168880, 20.60, id="gemma-2-9b"),
        pytest.param(GPT_OSS_20B, 1, "auto", 58.47, 1277184, 155.75, id="gpt-oss-20b"),
        pytest.param(GPT_OSS_20B, 2, "auto", 63.28, 2764768, 337.17, id="gpt-oss-20b TP2"),
        pytest.param(latent(), 1, "auto", 43.61, 1505552, 183.78, id="DeepSeek-V2-Lite"),
        pytest.param(latent(), 2, "auto", 54.78, 1890896, 230.82, id="Kimi-VL-A3B TP2"),
    ],
)
def test_tokens_and_concurrency_are_those_that_vllm_logged(
    architecture: Architecture,
    tp: int,
    dtype: str,
    kv_gib: float,
    tokens: int,
    concurrency: float,
) -> None:
    kv = held(architecture, tp=tp, dtype=dtype)
    blocks = kv.holds([round(kv_gib * GIB)])
    rounding = 0.005 / kv_gib + 1e-4
    assert kv.tokens(blocks, 8192) == pytest.approx(tokens, rel=rounding, abs=16)
    assert kv.concurrency(blocks, 8192) == pytest.approx(concurrency, rel=rounding, abs=0.005)


@pytest.mark.parametrize(("pp", "kv_gib", "tokens"), [(2, 66.54, 1075312), (4, 69.80, 2257264)])
def test_pipeline_stages_share_the_layers_and_the_tokens_grow(
    pp: int, kv_gib: float, tokens: int
) -> None:
    kv = held(LLAMA_8B, pp=pp)
    measured = [round(kv_gib * GIB)] * pp
    assert kv.tokens(kv.holds(measured), 8192) == pytest.approx(tokens, rel=0.015)


def test_the_latent_of_mla_is_whole_on_every_tensor_parallel_rank() -> None:
    assert held(latent(), tp=8).pool.stage_bytes == held(latent()).pool.stage_bytes


def test_kv_heads_are_replicated_when_tensor_parallel_exceeds_them() -> None:
    model = dense(kv_heads=4)
    at_four, at_sixteen = held(model, tp=4), held(model, tp=16)
    assert at_sixteen.pool.stage_bytes == at_four.pool.stage_bytes


def test_a_window_caps_what_a_long_request_keeps_from_0_10_on() -> None:
    old, new = held(GPT_OSS_20B, version="0.9.2"), held(GPT_OSS_20B, version="0.19.0")
    bytes_old, bytes_new = old.need(0, 1, 131072), new.need(0, 1, 131072)
    assert bytes_new < 0.6 * bytes_old


def test_padding_layers_of_an_uneven_hybrid_are_paid_for() -> None:
    kv = held(GEMMA_3_27B)
    assert len(kv.pool.groups) == 7
    assert kv.pool.stage_bytes == (10 * 16 * 16 * 256 * 2,)


@pytest.mark.parametrize(
    ("dtype", "ratio"),
    [
        ("bfloat16", 1.0),
        ("fp8", 0.5),
        ("fp8_e5m2", 0.5),
        ("nvfp4", 0.28125),
        ("fp8_per_token_head", 0.5 + 4 / 256),
        ("int8_per_token_head", 0.5 + 4 / 256),
        ("int4_per_token_head", 0.25 + 4 / 256),
        ("not_known_here", 1.0),
    ],
)
def test_the_cache_dtype_sets_the_size_of_a_token(dtype: str, ratio: float) -> None:
    whole = held(LLAMA_8B).pool.stage_bytes[0]
    assert held(LLAMA_8B, dtype=dtype).pool.stage_bytes[0] == pytest.approx(whole * ratio)


@pytest.mark.parametrize(("dtype", "size"), [("fp8_ds_mla", 656), ("nvfp4_ds_mla", 352)])
def test_the_packed_layouts_of_sparse_mla_have_a_fixed_size(dtype: str, size: int) -> None:
    assert held(latent(layers=1), dtype=dtype).pool.stage_bytes == (16 * size,)


def test_a_block_grows_until_an_attention_page_holds_a_recurrent_state() -> None:
    kv = held(hybrid())
    state = 3 * 8192 * 2 + 32 * 128 * 128 * 4
    token = 2 * 2 * 256 * 2
    assert kv.pool.block * token >= state > (kv.pool.block - 16) * token
    assert kv.pool.stage_bytes == (6 * kv.pool.block * token,)


def test_a_recurrent_state_costs_the_same_at_any_length() -> None:
    kv = held(hybrid())
    full = sum(-(-n // kv.pool.block) for n in (100_000, 1000))
    assert kv.blocks(100_000) - kv.blocks(1000) == full - 2 * -(-1000 // kv.pool.block)


def test_in_0_28_some_hybrids_keep_a_state_for_every_block_of_tokens() -> None:
    def each(version: str, model_type: str) -> bool:
        own = hybrid(attending=1, recurrent=3)
        own = replace(own, model_type=model_type)
        found = cache(
            own,
            Parallelism(),
            TABLE.constants(version),
            dtype="auto",
            model_bytes=2,
            block_size=None,
            batched_tokens=8192,
        )
        attending = -(-500_000 // min(group.block for group in found.pool.groups))
        return found.blocks(10**6) - found.blocks(10**6 // 2) > attending + 1

    assert each("0.28", "nemotron_h")
    assert not each("0.26", "qwen3_next")
    assert not each("0.25", "nemotron_h")
    assert not each("0.29", "nemotron_h")


def test_the_newest_engine_keeps_more_pages_of_a_state_and_holds_one_block_back() -> None:
    old, new = held(hybrid(), version="0.19"), held(hybrid(), version="0.33")
    assert new.blocks(1000) - old.blocks(1000) == 3 * 2
    assert (old.held_back, new.held_back) == (0, 1)


def test_tokens_are_logged_as_concurrency_times_length_from_0_21_on() -> None:
    old, new = held(GPT_OSS_20B, version="0.19"), held(GPT_OSS_20B, version="0.21")
    assert old.tokens(10_000, 131072) == 10_000 // 2 * 16
    assert new.tokens(10_000, 131072) == 10_000 * 131072 // new.blocks(131072)


def test_a_block_size_that_is_asked_for_is_taken() -> None:
    assert held(LLAMA_8B, block_size=128).pool.stage_bytes == (128 * 32 * 8 * 256 * 2,)


@given(
    st.sampled_from([LLAMA_8B, GEMMA_3_27B, GPT_OSS_20B, hybrid(), latent()]),
    st.sampled_from(["0.9", "0.19", "0.33"]),
    st.integers(0, 20_000),
    st.integers(1, 131072),
)
def test_the_longest_length_that_fits_fits_and_one_more_does_not(
    architecture: Architecture, version: str, blocks: int, most: int
) -> None:
    kv = held(architecture, version=version)
    room = [blocks * kv.pool.stage_bytes[0]]
    longest = kv.longest(room, most)
    assert 0 <= longest <= most
    if longest:
        assert kv.need(0, 1, longest) <= room[0]
    if longest < most:
        assert kv.need(0, 1, longest + 1) > room[0]


@given(
    st.sampled_from([LLAMA_8B, GEMMA_3_27B, GPT_OSS_20B, hybrid(), latent()]),
    st.integers(1, 100_000),
    st.integers(0, 1000),
    st.integers(1, 500),
)
def test_more_tokens_or_more_requests_never_need_less(
    architecture: Architecture, tokens: int, more: int, requests: int
) -> None:
    kv = held(architecture)
    need = kv.need(0, requests, tokens)
    assert kv.need(0, requests, tokens + more) >= need
    assert kv.need(0, requests + 1, tokens) >= need


def test_whisper_takes_blocks_for_what_it_says_and_for_what_it_hears() -> None:
    """Cross attention keeps as many tokens as a batch may have (``CrossAttentionSpec``)."""
    entry = load().find("openai/whisper-large-v3")
    assert entry is not None
    made = held(entry.architecture)
    assert len(made.pool.groups) == 2
    assert made.pool.stage_bytes == (32 * 16 * 20 * 64 * 2 * 2,)
    assert made.blocks(448) == 448 // 16 + 8192 // 16


@pytest.mark.parametrize(
    ("version", "words", "bytes_"),
    [
        pytest.param("0.12", ("", ""), 2, id="0.12 asks nothing"),
        pytest.param("0.13", ("", ""), 2, id="0.13 takes 16 bits"),
        pytest.param("0.20", ("", ""), 4, id="0.20 takes 32 bits"),
        pytest.param("0.33", ("", "bfloat16"), 2, id="a flag says 16 bits"),
        pytest.param("0.12", ("", "float32"), 4, id="a flag says 32 bits"),
    ],
)
def test_the_state_of_nemotron_h_is_as_wide_as_its_release_takes_it(
    version: str, words: tuple[str, str], bytes_: int
) -> None:
    nemotron = _entry("nvidia/Nemotron-H-8B-Base-8K")
    found = cache(
        nemotron,
        Parallelism(1),
        TABLE.constants(version),
        dtype="auto",
        model_bytes=2,
        block_size=None,
        batched_tokens=8192,
        state_dtypes=words,
    )
    mixer = next(m for m in nemotron.mixers() if m.state_elements)
    state = mixer.conv_elements * 2 + mixer.state_elements * bytes_
    token = 2 * 8 * 128 * 2
    assert found.pool.block == 16 * -(-state // (16 * token))


def test_a_config_that_says_32_bits_was_not_asked_before_0_13() -> None:
    nano = "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"
    old, new = (held(_entry(nano), version=version).pool.block for version in ("0.12", "0.13"))
    assert new > 1.9 * old


def _entry(name: str) -> Architecture:
    entry = load().find(name)
    assert entry is not None
    return entry.architecture


@pytest.mark.parametrize(
    ("name", "version", "cached", "pages", "each"),
    [
        pytest.param(
            "Qwen/Qwen3-Next-80B-A3B-Instruct", "0.27.1", None, 1, False, id="off in 0.27"
        ),
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.25", True, 2, False, id="said in 0.25"),
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.28", None, 2, False, id="on in 0.28"),
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.33", None, 3, False, id="on in 0.33"),
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.33", False, 1, False, id="said off"),
        pytest.param("ai21labs/Jamba-v0.1", "0.19", True, 2, True, id="a page for every block"),
        pytest.param("ai21labs/Jamba-v0.1", "0.33", True, 2, False, id="no longer so"),
        pytest.param("nvidia/Nemotron-H-8B-Base-8K", "0.33", None, 3, False, id="mamba 2"),
    ],
)
def test_prefix_caching_decides_how_many_states_a_sequence_keeps(
    name: str, version: str, cached: bool | None, pages: int, each: bool
) -> None:
    found = cache(
        _entry(name),
        Parallelism(1),
        TABLE.constants(version),
        dtype="auto",
        model_bytes=2,
        block_size=None,
        batched_tokens=8192,
        prefix_caching=cached,
    )
    assert (found.state_pages, found.state_each) == (pages, each)


def test_a_model_without_attention_starts_without_prefix_caching() -> None:
    mamba = architecture(
        {
            "model_type": "mamba",
            "architectures": ["MambaForCausalLM"],
            "hidden_size": 1024,
            "num_hidden_layers": 48,
            "state_size": 16,
            "conv_kernel": 4,
            "intermediate_size": 2048,
            "time_step_rank": 64,
            "vocab_size": 50280,
        }
    )
    found = estimate(mamba, version="0.33", gpu="nvidia-h100-80gb")
    assert found.max_model_len == 2048
    assert found.kv_capacity // found.max_concurrency == pytest.approx(1824 * 2048, rel=0.001)


@pytest.mark.parametrize(
    ("name", "gpu", "tp", "version", "block"),
    [
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", "nvidia-h100-80gb", 1, "0.33", 576),
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", "nvidia-h100-80gb", 1, "0.32", 544),
        pytest.param("Qwen/Qwen3.5-27B", "nvidia-h100-80gb", 1, "0.33", 832),
        pytest.param("Qwen/Qwen3.5-27B", "nvidia-a100-80gb", 1, "0.33", 784),
    ],
)
def test_delta_nets_that_hand_out_states_have_blocks_of_64(
    name: str, gpu: str, tp: int, version: str, block: int
) -> None:
    found = cache(
        _entry(name),
        Parallelism(tp),
        TABLE.constants(version),
        dtype="auto",
        model_bytes=2,
        block_size=None,
        batched_tokens=8192,
        checkpoints=gpu == "nvidia-h100-80gb",
    )
    assert found.pool.block == block
