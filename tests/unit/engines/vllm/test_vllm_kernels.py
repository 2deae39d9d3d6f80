"""How kernels hold weights' weights, against vLLM's own start-up with GPUs that are not there."""

from __future__ import annotations

import pytest

from plimsoll.engines.base import EngineSettings, TermName
from plimsoll.models.resolve import resolve
from plimsoll.units import GIB
from vllm_features import estimate

SMALL, LARGE = "openai/gpt-oss-20b", "openai/gpt-oss-120b"
NANO = "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"


@pytest.mark.parametrize(
    ("name", "gpu", "tp", "version", "gib"),
    [
        pytest.param(SMALL, "nvidia-h100-80gb", 1, "0.33", 12.893, id="Hopper"),
        pytest.param(SMALL, "nvidia-h100-80gb", 2, "0.33", 6.581, id="Hopper TP 2"),
        pytest.param(LARGE, "nvidia-h100-80gb", 1, "0.33", 61.074, id="Hopper, the large one"),
        pytest.param(LARGE, "nvidia-h100-80gb", 4, "0.33", 16.278, id="Hopper TP 4"),
        pytest.param(LARGE, "nvidia-a100-80gb", 1, "0.33", 65.929, id="Ampere"),
        pytest.param(SMALL, "nvidia-h100-80gb", 1, "0.19", 13.64, id="Hopper, measured at 0.19"),
        pytest.param("zai-org/GLM-4.6", "nvidia-b200", 8, "0.33", 108.5, id="16 bits on Blackwell"),
        pytest.param(NANO, "nvidia-b200", 2, "0.33", 32.2, id="a state model on Blackwell"),
    ],
)
def test_experts_are_as_large_as_their_kernel_makes_them(
    name: str, gpu: str, tp: int, version: str, gib: float
) -> None:
    term = estimate(name, tensor=tp, gpu=gpu, version=version).terms[TermName.WEIGHTS]
    # Those figures are of parameters; the blocks that hold them are up to 1 % larger.
    assert term.bytes / GIB == pytest.approx(gib, rel=0.011)
    assert term.low / GIB <= gib <= term.high / GIB


@pytest.mark.parametrize("version", ["0.26", "0.27"])
def test_gpt_oss_on_blackwell_is_padded_to_what_its_release_wants(version: str) -> None:
    term = estimate(LARGE, tensor=8, gpu="nvidia-b200", version=version).terms[TermName.WEIGHTS]
    width = 512 if version == "0.26" else 384  # 2880 / 8 = 360
    experts = 36 * 128 * 3 * width * 3072 * 17 // 32
    assert term.bytes == pytest.approx(experts, rel=0.1)
    assert term.bytes > experts


def test_where_the_kernel_may_be_another_the_range_begins_at_the_plain_size() -> None:
    padded = estimate("zai-org/GLM-4.6", tensor=8, gpu="nvidia-b200", version="0.33")
    plain = estimate("zai-org/GLM-4.6", tensor=8, gpu="nvidia-h200-141gb", version="0.33")
    assert padded.terms[TermName.WEIGHTS].low < plain.terms[TermName.WEIGHTS].bytes
    assert padded.terms[TermName.WEIGHTS].bytes > 1.3 * plain.terms[TermName.WEIGHTS].bytes


def test_fp8_blocks_that_a_split_would_cut_are_padded_from_0_31_on() -> None:
    # Qwen3-30B-A3B: 768 / 8 = 96, of blocks of 128
    name = "Qwen/Qwen3-30B-A3B-FP8"
    old, new = (
        estimate(name, tensor=8, version=v).terms[TermName.WEIGHTS].bytes for v in ("0.30", "0.31")
    )
    experts = 48 * 128 * 3 * 2048 * (128 - 96)
    assert new - old == pytest.approx(experts, rel=0.05)


@pytest.mark.parametrize(
    ("word", "gpu", "version", "gib"),
    [
        pytest.param("awq", "nvidia-h100-80gb", "0.33", 5.442, id="AWQ in Machete"),
        pytest.param("gptq", "nvidia-h100-80gb", "0.33", 5.366, id="GPTQ"),
    ],
)
def test_four_bit_weights_lie_as_their_kernel_wants_them(
    word: str, gpu: str, version: str, gib: float
) -> None:
    llama = resolve(base_model="meta-llama/Llama-3.1-8B-Instruct", quantization=word).architecture
    assert llama is not None
    term = estimate(llama, gpu=gpu, version=version).terms[TermName.WEIGHTS]
    assert term.bytes / GIB == pytest.approx(gib, rel=0.002)


def test_fp8_blocks_have_more_scales_where_marlin_runs_them() -> None:
    name = "Qwen/Qwen3-30B-A3B-FP8"
    ampere, hopper = (
        estimate(name, gpu=gpu, version="0.33").terms[TermName.WEIGHTS].bytes
        for gpu in ("nvidia-a100-80gb", "nvidia-h100-80gb")
    )
    linears = 29.9e9  # parameters that are quantized
    assert ampere - hopper == pytest.approx(linears * 2 / 128 - linears * 4 / 128**2, rel=0.12)


def test_each_tensor_of_a_quantized_linear_is_an_allocation_of_its_own() -> None:
    # Qwen2.5-Coder-32B-Instruct-AWQ, 0.13.0, A100 40GB: "Model loading took 18.1425 GiB"
    coder = resolve(base_model="Qwen/Qwen2.5-32B-Instruct", quantization="awq").architecture
    assert coder is not None
    settings = EngineSettings(version="0.13.0", max_model_len=4096, dtype="float16")
    term = estimate(coder, gpu="nvidia-a100-40gb", settings=settings).terms[TermName.WEIGHTS]
    assert term.bytes / GIB == pytest.approx(18.1425, rel=0.001)


@pytest.mark.parametrize(
    ("name", "gpu", "version", "width"),
    [
        ("deepseek-ai/DeepSeek-V4-Pro", "amd-mi300x", "0.28", 512),
        ("deepseek-ai/DeepSeek-V4-Pro", "amd-mi300x", "0.31", 384),
        ("deepseek-ai/DeepSeek-V4-Pro", "amd-mi355x", "0.28", 384),
        (LARGE, "amd-mi355x", "0.33", 512),
    ],
)
def test_four_bit_experts_on_amd_are_padded_as_its_kernels_want(
    name: str, gpu: str, version: str, width: int
) -> None:
    term = estimate(name, tensor=8, gpu=gpu, version=version).terms[TermName.WEIGHTS]
    layers, experts, hidden = (36, 128, 3072) if name == LARGE else (61, 384, 7168)
    padded = layers * experts * 3 * width * hidden * 17 // 32
    assert padded < term.bytes < 1.1 * padded
