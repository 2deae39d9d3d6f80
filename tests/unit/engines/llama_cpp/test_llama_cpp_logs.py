"""What llama.cpp printed when it started, beside what the memory model says: buffers in MiB.

Each case names where its log was seen. A buffer that a log leaves out is None. Logs of unknown
origin are from tests of third parties that quote a real start-up.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from plimsoll.accelerators.types import Accelerator
from plimsoll.engines.base import (
    NOTHING_ASKED,
    EngineSettings,
    Estimate,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.engines.llama_cpp.cache import cells
from plimsoll.engines.llama_cpp.engine import LlamaCpp
from plimsoll.engines.llama_cpp.files import weights
from plimsoll.engines.llama_cpp.memory import loads
from plimsoll.engines.llama_cpp.settings import TABLE, resolve
from plimsoll.models.catalogue import load
from plimsoll.units import MIB

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

GPU = Accelerator("a-gpu", "A GPU", 98304 * MIB, "nvidia.com/gpu", "ada", (8, 9), 8)
ENGINE = LlamaCpp()

OLLAMA = "https://github.com/ollama/ollama/blob/main/llm/llama_server_test.go"
CI = "https://github.com/ggml-org/ci (pythia 2.8b on a Tesla V100)"
QUOTED = "quoted in a third party's tests or notes"


@dataclass(frozen=True)
class Log:
    """One start-up. weights, kv, compute: of GPU 0, or of all GPUs together if `whole`."""

    model: str
    file: str
    build: str
    args: tuple[str, ...]
    gpus: int
    weights: float | None
    embedding: float | None
    kv: float | None
    compute: float | None
    source: str
    whole: bool = False


LOGS = [
    Log("Qwen/Qwen3-4B", "q4_k_m", "b11000", ("-c", "8192"), 1,
        2375.91, 304.28, 1152.00, 85.01, QUOTED),
    Log("meta-llama/Llama-3.2-3B-Instruct", "q4_k_m", "b8000", ("-c", "4096"), 1,
        1918.35, 308.23, 448.00, 256.50, OLLAMA),
    Log("meta-llama/Llama-3.2-3B-Instruct", "q4_k_m", "b9000", ("-c", "32768"), 2,
        852.89, 308.23, 1920.00, 378.04, OLLAMA),
    Log("EleutherAI/pythia-2.8b", "f16", "b3900", ("-c", "2048"), 1,
        5049.71, 245.62, 640.00, 162.00, CI),
    Log("meta-llama/Llama-3.1-8B-Instruct", "q4_k_m", "b4500", ("-c", "8192", "-np", "4"), 1,
        4403.49, 281.81, None, None, QUOTED),
    Log("meta-llama/Llama-3.1-70B-Instruct", "q4_k_s", "b3700", ("-c", "8192"), 2,
        19142.56, 563.65, None, 1104.00, QUOTED),
    Log("meta-llama/Llama-2-7b-hf", "q4_0", "b3600", ("-c", "4096"), 4,
        None, None, 2048.00, None, "https://github.com/ggml-org/llama.cpp/issues/9229",
        whole=True),
    Log("CohereForAI/c4ai-command-r-v01", "q4_k_m", "b3000", ("-c", "4096", "-ts", "12,29"), 2,
        None, 1640.62, 1536.00, 672.01, "https://github.com/ggml-org/llama.cpp/pull/6122"),
    Log("zai-org/GLM-4-32B-0414", "q4_0", "b5200", ("-c", "5120", "-fa"), 1,
        None, None, None, 308.00, "https://github.com/ikawrakow/ik_llama.cpp/pull/344"),
    Log("Qwen/Qwen3.5-27B", "q4_k_m", "b9000",
        ("-c", "200192", "-ctk", "q8_0", "-ctv", "q8_0", "-np", "1"), 1,
        None, None, 6647.00 + 149.62, 654.78, QUOTED),
    Log("Qwen/Qwen3.5-35B-A3B", "q4_k_m", "b9300", ("-c", "65536", "-np", "1"), 1,
        None, None, 1280.00 + 62.81, None, "https://github.com/ggml-org/llama.cpp/pull/23269"),
    Log("Qwen/Qwen3-30B-A3B", "q4_k_m", "b6000", ("-c", "16384", "-ts", "12,37"), 2,
        None, None, 384.00, None, QUOTED),
    Log("Qwen/Qwen2.5-7B-Instruct", "f16", "b6500", ("-c", "2048", "-fa", "on"), 1,
        None, None, 112.00, 304.00, QUOTED),
]  # fmt: skip


def architecture(name: str) -> Architecture:
    entry = load().find(name)
    assert entry is not None, name
    return entry.architecture


def started(log: Log) -> Estimate:
    settings = EngineSettings("llama.cpp", version=log.build, quantization=log.file)
    reading = ENGINE.read_arguments(log.args, settings, NOTHING_ASKED)
    assert reading.problems == ()
    parallelism = Parallelism(1, log.gpus)
    return ENGINE.estimate(architecture(log.model), reading.settings, Workload(), parallelism, GPU)


def per_gpu(log: Log) -> list[tuple[float, float]]:
    """MiB of weights and of cache on every GPU."""
    settings = EngineSettings("llama.cpp", version=log.build, quantization=log.file)
    settings = ENGINE.read_arguments(log.args, settings, NOTHING_ASKED).settings
    figures = TABLE.or_newest(log.build)
    resolved = resolve(architecture(log.model), settings, Workload(), figures)
    return [
        (held.weights / MIB, cells(resolved, resolved.context, figures).bytes(held.cache) / MIB)
        for held in loads(architecture(log.model), resolved, log.gpus, figures)
    ]


def ids(log: Log) -> str:
    return f"{log.model.partition('/')[2]}-{log.file}-{log.gpus}gpu"


@pytest.mark.parametrize("log", [case for case in LOGS if case.weights], ids=ids)
def test_weights_on_a_gpu_are_as_logged_to_a_hundredth(log: Log) -> None:
    assert log.weights is not None
    assert per_gpu(log)[0][0] == pytest.approx(log.weights, rel=0.0075 if log.gpus > 1 else 1e-5)


@pytest.mark.parametrize("log", [case for case in LOGS if case.embedding], ids=ids)
def test_the_embedding_in_main_memory_is_as_logged(log: Log) -> None:
    held = weights(architecture(log.model), log.file)
    assert held.embedding / MIB == pytest.approx(log.embedding, rel=1e-4)


def test_gpus_together_hold_what_one_would() -> None:
    """The 70B in Q4_K_S: 18,764.46 and 19,142.56 MiB; the 3B: 852.89 and 1,065.46 MiB."""
    large = next(case for case in LOGS if "70B" in case.model)
    small = next(case for case in LOGS if "3.2-3B" in case.model and case.gpus == 2)
    assert sum(w for w, _ in per_gpu(large)) == pytest.approx(18764.46 + 19142.56, abs=0.06)
    assert sum(w for w, _ in per_gpu(small)) == pytest.approx(852.89 + 1065.46, abs=0.02)
    assert [kv for _, kv in per_gpu(small)] == [1920.0, 1664.0]


@pytest.mark.parametrize("log", [case for case in LOGS if case.kv], ids=ids)
def test_the_cache_is_as_logged_to_the_byte(log: Log) -> None:
    found = per_gpu(log)
    size = sum(kv for _, kv in found) if log.whole else found[0][1]
    assert size == pytest.approx(log.kv, abs=0.01)


@pytest.mark.parametrize("log", [case for case in LOGS if case.compute], ids=ids)
def test_a_compute_buffer_lies_in_its_band(log: Log) -> None:
    assert log.compute is not None
    term = started(log).terms[TermName.ACTIVATION]
    assert term.low <= log.compute * MIB <= term.high


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("zai-org/GLM-4-32B-0414", 0.001),
        ("meta-llama/Llama-3.2-3B-Instruct", 0.001),
        ("Qwen/Qwen3-4B", 0.03),
        ("Qwen/Qwen2.5-7B-Instruct", 0.001),
        ("EleutherAI/pythia-2.8b", 0.07),
    ],
)
def test_compute_buffers_are_near_what_was_logged(name: str, near: float) -> None:
    for log in LOGS:
        if log.model == name and log.compute:
            found = started(log).terms[TermName.ACTIVATION].bytes / MIB
            assert found == pytest.approx(log.compute, rel=near)


def test_attention_over_a_quantized_cache_keeps_one_layer_unpacked() -> None:
    """Measured: 7,981 MiB idle and 8,275 MiB at the end of a prompt of 145,041 tokens.

    Compute buffer 3,892 MiB. https://github.com/ggml-org/llama.cpp/pull/23861
    """
    args = tuple(
        shlex.split(
            "-c 150000 -b 4096 -ub 4096 -fa on -ctk q8_0 -ctv q8_0 --kv-unified --cpu-moe -np 1"
        )
    )
    log = Log(
        "Qwen/Qwen3.5-35B-A3B", "q4_k_m", "b9400", args, 1, None, None, None, 3892, "PR 23861"
    )
    term = started(log).terms[TermName.ACTIVATION]
    assert "unpacked" in term.basis
    assert term.low <= 3892 * MIB <= term.high
    plain = started(Log(*(*list(vars(log).values())[:3], args[:8] + args[12:], 1, *[None] * 4, "")))
    copied = term.bytes - plain.terms[TermName.ACTIVATION].bytes
    assert copied / MIB == pytest.approx(8275 - 7981, abs=2)


def test_masks_over_a_long_context_make_up_most_of_a_buffer() -> None:
    """200,192 cells: 391 and 195 MiB of masks, 654.78 MiB in all."""
    log = next(case for case in LOGS if case.model == "Qwen/Qwen3.5-27B")
    unpacked = 200192 * 2 * 4 * 256 * 2
    buffer = started(log).terms[TermName.ACTIVATION].bytes - unpacked
    assert buffer / MIB == pytest.approx(654.78, rel=0.07)


def test_a_cuda_context_takes_what_three_gpus_logged_beside_their_buffers() -> None:
    """451, 456 and 456 MiB unaccounted: https://github.com/ggml-org/llama.cpp/pull/15860."""
    context = started(LOGS[0]).terms[TermName.NON_TORCH]
    assert context.bytes / MIB == pytest.approx(451, abs=6)
    assert context.low < 451 * MIB < context.high


def test_states_are_kept_for_every_token_that_is_drafted() -> None:
    """16,832 MiB with two drafts (https://github.com/ggml-org/llama.cpp/pull/25465); with three,
    which nobody has to say, 598.50 MiB of states on two GPUs: 361.59 and 236.91.
    """
    args = ("-c", "262144", "-np", "1", "--spec-type", "draft-mtp")
    two = (*args, "--spec-draft-n-max", "2")
    log = Log("Qwen/Qwen3.6-27B", "q4_k_m", "b9943", two, 1, None, None, None, None, "PR 25465")
    assert per_gpu(log)[0][1] == pytest.approx(16832.88, abs=0.01)
    plain = Log("Qwen/Qwen3.6-27B", "q4_k_m", "b9943", args, 1, None, None, None, None, QUOTED)
    assert per_gpu(plain)[0][1] - 16384 == pytest.approx(598.50, abs=0.01)


def test_the_own_head_needs_a_cache_and_a_buffer_beside() -> None:
    """648 MiB before its cache: https://github.com/ggml-org/llama.cpp/pull/25465."""
    args = ("-c", "4096", "-np", "1")
    log = Log("Qwen/Qwen3.6-27B", "q4_k_m", "b9943", args, 1, None, None, None, None, "PR 25465")
    drafting = replace(log, args=(*args, "--spec-type", "draft-mtp"))
    before, after = (started(one).terms[TermName.ACTIVATION] for one in (log, drafting))
    assert "own head" in after.basis
    assert (after.bytes - before.bytes) / MIB == pytest.approx(648, rel=0.06)
    assert after.low == before.low, "how much is drafted is not for us to deny by"


@pytest.mark.parametrize(
    "name", ["microsoft/Phi-3-mini-4k-instruct", "mistralai/Ministral-8B-Instruct-2410"]
)
def test_windows_that_llama_cpp_does_not_know_save_nothing(name: str) -> None:
    """A start of Phi-3 mini with 4,096 cells kept 1,536 MiB: every layer keeps all of them."""
    args = ("-c", "4096", "-np", "1", "-ub", "256")
    log = Log(name, "q4_k_m", "b9500", args, 1, None, None, None, None, QUOTED)
    token = sum(
        2 * mixer.kv_heads * (mixer.head_dim + mixer.v_head_dim)
        for mixer in architecture(name).mixers()
    )
    assert per_gpu(log)[0][1] * MIB == 4096 * token
