"""What TensorRT-LLM printed when it started, beside what the memory model says.

Its logs give the memory that was free, the share that went to the cache, and the tokens that it
holds; few say what the rest was spent on.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from plimsoll.accelerators.types import Accelerator
from plimsoll.engines.base import EngineSettings, Estimate, Parallelism, TermName, Workload
from plimsoll.engines.tensorrt_llm.engine import TensorRTLLM
from plimsoll.engines.tensorrt_llm.memory import stage_caches
from plimsoll.engines.tensorrt_llm.settings import TABLE, resolve
from plimsoll.models.catalogue import load
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from plimsoll.engines.tensorrt_llm.memory import StageCache
    from plimsoll.models.architecture import Architecture

H100 = Accelerator(
    "nvidia-h100-80gb", "NVIDIA H100 80GB", 81559 * MIB, "nvidia.com/gpu", "hopper", (9, 0), 8
)
ENGINE = TensorRTLLM()
MEMORY_GUIDE = "https://nvidia.github.io/TensorRT-LLM/reference/memory.html"
QUOTED = "quoted in a third party's notes or tests"


@dataclass(frozen=True)
class Log:
    """A cache that was allocated: GiB, tokens that the log says it holds, bytes a token."""

    model: str
    version: str
    kv_dtype: str
    gib: float
    tokens: int
    per_token: int
    source: str


LOGS = [
    Log("meta-llama/Llama-2-7b-hf", "0.17", "fp8", 63.44, 259840, 262144, MEMORY_GUIDE),
    Log("meta-llama/Llama-2-7b-hf", "0.9", "auto", 69524783104 / GIB, 132608, 524288,
        "https://github.com/NVIDIA/TensorRT-LLM/issues/1400"),
    Log("meta-llama/Llama-3.1-8B-Instruct", "1.2.1", "auto", 1.56, 12800, 131072, QUOTED),
    Log("meta-llama/Llama-3.1-8B-Instruct", "0.17", "auto", 26.91, 220480, 131072,
        "https://github.com/ai-dynamo/dynamo (examples/python_rs/llm/trtllm)"),
    Log("meta-llama/Llama-3.1-8B-Instruct", "0.21", "fp8", 16.05, 263008, 65536, QUOTED),
    Log("openai/gpt-oss-120b", "1.1", "auto", 5.95, 86720, 73728, QUOTED),
    Log("deepseek-ai/DeepSeek-V3", "1.2", "fp8", 166.02, 5073376, 35136,
        "Kimi K2.5, whose cache is DeepSeek-V3's"),
    Log("Qwen/Qwen2.5-0.5B-Instruct", "0.14", "auto", 4.53, 395776, 12288,
        "https://github.com/NVIDIA/TensorRT-LLM/issues/1188"),
]  # fmt: skip


def architecture(name: str) -> Architecture:
    entry = load().find(name)
    assert entry is not None, name
    return entry.architecture


def cache(log: Log) -> tuple[StageCache, int]:
    said = EngineSettings("tensorrt-llm", version=log.version, kv_cache_dtype=log.kv_dtype)
    resolved = resolve(architecture(log.model), said, TABLE.constants(log.version))
    (only,) = stage_caches(architecture(log.model), resolved, 1, 1)
    return only, resolved.block


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.model}-{log.version}-{log.kv_dtype}")
def test_a_token_of_cache_takes_what_the_engine_says(log: Log) -> None:
    assert cache(log)[0].token == log.per_token


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.model}-{log.version}-{log.kv_dtype}")
def test_tokens_follow_from_the_memory_as_logged(log: Log) -> None:
    """Within what two decimals of the logged GiB leave open, and one block."""
    held, block = cache(log)
    found = held.tokens(round(log.gib * GIB), block)
    assert found == pytest.approx(log.tokens, abs=0.005 * GIB / held.token + block)
    assert log.tokens % block == 0


@pytest.mark.parametrize(
    ("available", "share", "given", "source"),
    [
        (70.48, "0.9", 63.44, MEMORY_GUIDE),
        (17.83, "0.9", 16.05, QUOTED),
        (1.42, "0.9", 1.28, QUOTED),
        (85.57, "0.9", 77.02, "https://github.com/NVIDIA/TensorRT-LLM (triton_backend)"),
        (139.81 - 91.46, "0.85", 41.11, QUOTED),
        (119.70 - 113.65 + 0.56, "0.9", 5.95, QUOTED),
    ],
)
def test_the_cache_is_a_share_of_what_is_left(
    available: float, share: str, given: float, source: str
) -> None:
    assert available * float(Decimal(share)) == pytest.approx(given, abs=0.02), source


def estimate(name: str, gpu: Accelerator = H100, **said: object) -> Estimate:
    settings = EngineSettings("tensorrt-llm", **said)  # type: ignore[arg-type]
    return ENGINE.estimate(architecture(name), settings, Workload(), Parallelism(), gpu)


def test_an_engine_of_llama_2_7b_in_fp8_leaves_what_the_guide_logs() -> None:
    """6,678 MiB of weights, 1,134 + 43 + 180 MB of buffers; 70.48 of 79.10 GiB left."""
    found = estimate(
        "meta-llama/Llama-2-7b-hf", version="0.11", quantization="fp8", kv_cache_dtype="fp8"
    )
    assert found.terms[TermName.WEIGHTS].bytes / MIB == pytest.approx(6678, rel=0.005)
    held = found.terms[TermName.ACTIVATION]
    assert held.low < 1357 * MIB < held.high
    left = found.physical - found.required + found.terms[TermName.KV_CACHE].bytes
    assert left / GIB == pytest.approx(70.48, rel=0.01)
    assert found.kv_capacity / GIB == pytest.approx(63.44, rel=0.01)


def test_an_engine_of_a_small_model_with_the_default_batch_spends_most_on_logits() -> None:
    """0.77 + 2.66 + 5.76 GB: https://github.com/NVIDIA/TensorRT-LLM/issues/1188."""
    found = estimate("Qwen/Qwen2.5-0.5B-Instruct", version="0.14")
    assert found.terms[TermName.ACTIVATION].bytes / GIB == pytest.approx(9.18, rel=0.02)
    assert found.max_num_seqs == 2048


def test_gpt_oss_on_the_pytorch_backend_is_inside_the_bands() -> None:
    """63.52 GiB of weights and a peak of 0.85 GiB logged in December 2025."""
    found = estimate("openai/gpt-oss-120b", version="1.1.0")
    held = found.terms[TermName.WEIGHTS]
    peak = found.terms[TermName.ACTIVATION]
    assert held.low < 63.52 * GIB < held.high
    assert peak.low < 0.85 * GIB < peak.high
