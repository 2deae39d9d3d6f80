"""What the first engine keeps otherwise: states beside the pool, whole heads, a pass of images.

Sources: https://github.com/MiniMax-AI/MiniMax-01/issues/42 (MiniMax-Text-01 at TP 8 loaded 62.53
GiB), https://github.com/vllm-project/vllm/issues/9445 (256 images in one pass), and the files of
the releases that plimsoll.engines.vllm.first and .multimodal name.
"""

from __future__ import annotations

import pytest

from architectures import H100
from plimsoll.engines.base import EngineSettings, Estimate, Parallelism, TermName
from plimsoll.engines.vllm.defaults import resolve
from plimsoll.engines.vllm.multimodal import encoder
from plimsoll.engines.vllm.options import TABLE
from plimsoll.units import GIB
from vllm_features import estimate, model, read

MINIMAX, LLAMA_VISION = "MiniMaxAI/MiniMax-Text-01", "meta-llama/Llama-3.2-11B-Vision-Instruct"
A100 = "nvidia-a100-80gb"


def minimax(version: str, *flags: str) -> Estimate:
    flags = ("--max-model-len", "10240", "--quantization", "experts_int8", *flags)
    return estimate(MINIMAX, *flags, version=version, tensor=8, gpu=A100)


def test_states_of_all_sequences_lie_beside_the_pool_and_are_loaded_with_the_weights() -> None:
    terms = minimax("0.8.3").terms
    assert terms[TermName.STATES].basis == "256 sequences"
    loaded = terms[TermName.WEIGHTS].bytes + terms[TermName.STATES].bytes
    assert loaded / GIB == pytest.approx(62.53, abs=0.05)
    fewer = minimax("0.8.3", "--max-num-seqs", "32").terms[TermName.STATES]
    assert fewer.bytes == terms[TermName.STATES].bytes // 8


@pytest.mark.parametrize(
    ("version", "beside"), [("0.7.3", True), ("0.10.1", True), ("0.10.2", False), ("0.20", False)]
)
def test_the_pool_takes_them_in_with_the_second_engine(version: str, beside: bool) -> None:
    assert (TermName.STATES in minimax(version).terms) is beside


def test_where_graphs_are_captured_the_states_are_as_many_as_the_largest_graph() -> None:
    def kept(*flags: str) -> str:
        flags = ("--max-model-len", "4096", "--max-num-seqs", "13", *flags)
        found = estimate("ai21labs/AI21-Jamba-1.5-Mini", *flags, version="0.8.5", tensor=4)
        return found.terms[TermName.STATES].basis

    assert kept() == "16 sequences"
    assert kept("--enforce-eager") == "13 sequences"


def test_attention_alone_is_in_the_pool_of_the_first_engine() -> None:
    old, new = minimax("0.8.3"), minimax("0.10.2")
    assert old.terms[TermName.KV_CACHE].bytes < new.terms[TermName.KV_CACHE].bytes


@pytest.mark.parametrize(("version", "per_token"), [("0.7.0", 61 * 16 * 512 * 2), ("0.7.1", 70272)])
def test_latents_are_cached_from_0_7_1_on_and_whole_padded_heads_before(
    version: str, per_token: int
) -> None:
    found = estimate(
        "deepseek-ai/DeepSeek-V3", "--max-model-len", "8192", version=version, tensor=8
    )
    assert found.terms[TermName.KV_CACHE].bytes == 8192 * per_token


def test_a_model_with_cross_attention_runs_an_image_for_every_sequence() -> None:
    def seen(*flags: str) -> Estimate:
        flags = ("--max-model-len", "1024", *flags)
        return estimate(LLAMA_VISION, *flags, version="0.6.3", gpu=A100)

    all_of_them, fewer = seen(), seen("--max-num-seqs", "32", "--enforce-eager")
    assert "256 images" in all_of_them.terms[TermName.ACTIVATION].basis
    assert all_of_them.required_low > all_of_them.usable  # it ran out of memory
    assert fewer.required_high < fewer.usable  # it started


def test_other_models_run_as_many_images_as_the_batch_holds_prompts() -> None:
    def seen(*flags: str) -> str:
        llava, figures = model("llava-hf/llava-1.5-7b-hf"), TABLE.constants("0.6.3")
        said = read(*flags, settings=EngineSettings(version="0.6.3", max_model_len=4096)).settings
        resolved = resolve(llava, said, H100, figures)
        return encoder(llava, said, resolved, Parallelism(), figures).basis

    assert seen("--max-num-batched-tokens", "5120") == "8 images of 576 tokens in the encoder"
    assert seen("--max-num-batched-tokens", "100") == "1 image of 576 tokens in the encoder"
    assert seen("--limit-mm-per-prompt", "image=2").startswith("8 images")
    assert not seen("--limit-mm-per-prompt", "image=0")


@pytest.mark.parametrize("version", ["0.8.5", "0.19", "0.33"])
def test_minicpm3_caches_every_heads_keys_and_values_though_its_attention_is_latent(
    version: str,
) -> None:
    # vLLM 0.33.0, dry start: 40 heads of 96 for keys and as many for values, 245760 bytes for 16
    def held(tokens: int) -> int:
        found = estimate("openbmb/MiniCPM3-4B", "--max-model-len", str(tokens), version=version)
        return found.terms[TermName.KV_CACHE].bytes

    assert held(1600) - held(800) == 50 * 62 * 245760


def test_states_in_32_bits_are_as_large_as_the_allocation_that_failed() -> None:
    # https://github.com/vllm-project/vllm/issues/23230: 33.75 GiB, of the recurrent ones alone
    def kept(*flags: str) -> int:
        name = "nvidia/NVIDIA-Nemotron-Nano-9B-v2"
        return estimate(name, *flags, version="0.10.1").terms[TermName.STATES].bytes

    halves, wide = kept(), kept("--mamba_ssm_cache_dtype", "float32")
    assert 2 * (wide - halves) / GIB == pytest.approx(33.75, abs=0.01)
