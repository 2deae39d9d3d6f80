"""Activation peak, buffers and graphs against what vLLM 0.11 to 0.19 logged on H100."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from architectures import A100, B200, H100, LLAMA_8B, LLAMA_70B, dense, hybrid, moe
from plimsoll.engines.base import EngineSettings, Known, Parallelism, Term, TermName
from plimsoll.engines.layers.sharding import widths
from plimsoll.engines.vllm.defaults import Resolved, resolve
from plimsoll.engines.vllm.options import TABLE
from plimsoll.engines.vllm.overheads import activation, graphs, non_torch
from plimsoll.engines.vllm.traits import second_runner
from plimsoll.models.quantization import Quantization, Scheme
from plimsoll.models.resolve import resolve as model_of
from plimsoll.units import GIB
from vllm_features import estimate

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

ALONE = Parallelism()

QWEN3_32B = dense(
    layers=64, hidden=5120, heads=64, kv_heads=8, head_dim=128, width=25600, vocab=151936
)
QWEN3_4B = dense(
    layers=36, hidden=2560, heads=32, kv_heads=8, head_dim=128, width=9728, vocab=151936
)
CODELLAMA_7B = dense(
    layers=32, hidden=4096, heads=32, kv_heads=32, head_dim=128, width=11008, vocab=32016
)
GRANITE_8B = dense(
    layers=40, hidden=4096, heads=32, kv_heads=8, head_dim=128, width=12800, vocab=49155
)


def resolved(
    model: Architecture, version: str = "0.19", on: Accelerator = H100, **settings: object
) -> Resolved:
    said = replace(EngineSettings(max_model_len=8192, version=version), **settings)  # type: ignore[arg-type]
    return resolve(model, said, on, TABLE.constants(version))


def peak(
    model: Architecture,
    split: Parallelism = ALONE,
    stage: int = 0,
    version: str = "0.19",
    on: Accelerator = H100,
    **settings: object,
) -> Term:
    return activation(
        model,
        EngineSettings(version=version),
        resolved(model, version, on, **settings),
        split,
        stage,
        on,
        TABLE.constants(version),
    )


@pytest.mark.parametrize(
    ("model", "split", "stage", "version", "measured"),
    [
        pytest.param(LLAMA_8B, Parallelism(), 0, "0.19.0", 1.89, id="Llama-3.1-8B"),
        pytest.param(LLAMA_8B, Parallelism(4), 0, "0.19.0", 1.89, id="Llama-3.1-8B TP4"),
        pytest.param(LLAMA_8B, Parallelism(1, 2), 0, "0.19.0", 1.10, id="Llama-3.1-8B PP2"),
        pytest.param(LLAMA_70B, Parallelism(2), 0, "0.19.0", 1.96, id="Llama-3.3-70B TP2"),
        pytest.param(CODELLAMA_7B, Parallelism(), 0, "0.19.0", 0.77, id="CodeLlama-7B"),
        pytest.param(GRANITE_8B, Parallelism(), 0, "0.19.0", 0.85, id="granite-3.1-8b"),
        pytest.param(QWEN3_32B, Parallelism(), 0, "0.11.0", 5.64, id="Qwen3-32B 0.11"),
        pytest.param(QWEN3_32B, Parallelism(2), 0, "0.11.0", 5.64, id="Qwen3-32B TP2 0.11"),
        pytest.param(LLAMA_70B, Parallelism(2), 0, "0.11.0", 4.84, id="Llama-3.3-70B TP2 0.11"),
    ],
)
def test_the_peak_is_the_one_that_vllm_logged(
    model: Architecture, split: Parallelism, stage: int, version: str, measured: float
) -> None:
    term = peak(model, split, stage, version)
    assert term.bytes / GIB == pytest.approx(measured, abs=0.12)
    assert term.low <= measured * GIB <= term.high
    assert term.known is Known.MODELLED


def test_the_second_runner_samples_without_a_copy_of_the_logits() -> None:
    model = replace(QWEN3_4B, model_type="qwen3")
    term = peak(model, version="0.26.0", max_num_seqs=256, max_num_batched_tokens=2048)
    assert term.bytes / GIB == pytest.approx(0.16, abs=0.01)


def test_fewer_sequences_shrink_the_sampler_until_the_forward_pass_is_larger() -> None:
    many, few = peak(LLAMA_8B, max_num_seqs=1024), peak(LLAMA_8B, max_num_seqs=128)
    assert few.bytes < many.bytes / 1.5
    assert "logits" in many.basis
    assert "batched tokens" in few.basis


@pytest.mark.parametrize(("scheme", "copies"), [("fp8", 1), ("int8", 1), ("w4a16", 0)])
def test_inputs_are_copied_if_kernels_multiply_in_8_bits(scheme: str, copies: int) -> None:
    """vllm/_custom_ops.py, scaled_fp8_quant and scaled_int8_quant: one byte an element."""
    model = replace(QWEN3_32B, vocab_size=64)
    stored = replace(model, quantization=Quantization("any", Scheme(scheme, 8)))
    tokens = resolved(model).batched_tokens
    assert peak(stored).bytes - peak(model).bytes == copies * 25600 * tokens


def test_the_sampler_runs_on_the_last_pipeline_stage_only() -> None:
    wide = dense(vocab=256000, layers=4)
    split = Parallelism(1, 2)
    assert peak(wide, split, 1).bytes > 5 * peak(wide, split, 0).bytes


def test_experts_keep_their_workspaces_beside_the_sampler() -> None:
    routed, plain = moe(number=64, per_token=8, hidden=2048), dense(hidden=2048, width=0)
    assert peak(routed).bytes - peak(plain).bytes == 8192 * 8 * 2 * (2048 + 4096)


def test_data_parallel_expert_ranks_see_each_others_tokens() -> None:
    routed = moe(number=64, per_token=8)
    alone = peak(routed, Parallelism(1, 1, 1, True)).bytes
    assert peak(routed, Parallelism(1, 1, 4, True)).bytes > alone


def test_an_unmeasured_version_is_assumed_with_a_wider_band() -> None:
    old, new = peak(LLAMA_8B), peak(LLAMA_8B, version="0.33")
    assert new.known is Known.ASSUMED
    assert new.high - new.low > 2 * (old.high - old.low)


@pytest.mark.parametrize(
    ("on", "version", "tokens", "seqs"),
    [
        (H100, "0.19", 8192, 1024),
        (A100, "0.19", 2048, 256),
        (B200, "0.33", 16384, 1024),
        (B200, "0.26", 8192, 1024),
        (B200, "0.28", 16384, 1024),
        (H100, "0.7", 8192, 256),
        (H100, "0.8.0", 8192, 1024),
        (A100, "0.8.0", 2048, 1024),
        (A100, "0.8.5", 8192, 1024),
    ],
)
def test_the_batch_that_vllm_starts_with_depends_on_gpu_and_version(
    on: Accelerator, version: str, tokens: int, seqs: int
) -> None:
    own = resolved(LLAMA_8B, version, on)
    assert (own.batched_tokens, own.seqs) == (tokens, seqs)


def test_a_short_context_caps_the_batch_and_the_batch_caps_the_sequences() -> None:
    own = resolved(LLAMA_8B, max_model_len=4, max_num_seqs=8)
    assert own.batched_tokens == 32
    assert resolved(LLAMA_8B, max_num_batched_tokens=100).seqs == 100


@pytest.mark.parametrize(
    ("split", "version", "measured"),
    [
        (Parallelism(1), "0.19", 0.25),
        (Parallelism(2), "0.19", 2.09),
        (Parallelism(4), "0.19", 2.21),
        (Parallelism(1, 2), "0.19", 0.07),
        (Parallelism(1), "0.17", 0.13),
        (Parallelism(2), "0.11", 0.55),
    ],
)
def test_buffers_outside_torch_are_those_that_vllm_logged(
    split: Parallelism, version: str, measured: float
) -> None:
    term = non_torch(split, H100, TABLE.constants(version))
    assert term.low <= measured * GIB <= term.high
    assert term.bytes / GIB == pytest.approx(measured, abs=0.1)


def test_on_a_gpu_that_nobody_measured_buffers_are_assumed() -> None:
    assert non_torch(Parallelism(2), A100, TABLE.constants("0.19")).known is Known.ASSUMED


def test_smaller_gpus_keep_smaller_buffers_than_an_h100() -> None:
    for version in ("0.7", "0.12", "0.19"):
        for split in (Parallelism(), Parallelism(2)):
            sizes = [non_torch(split, on, TABLE.constants(version)).bytes for on in (A100, H100)]
            assert sizes[0] < sizes[1]


def test_the_first_engine_profiles_a_whole_prompt_on_gpus_before_ampere() -> None:
    v100 = replace(A100, name="v100", title="V100", compute=(7, 0), memory=32 * GIB)
    length = {"max_model_len": 32768}
    assert resolved(LLAMA_8B, "0.8.5", v100, **length).batched_tokens == 32768
    assert resolved(LLAMA_8B, "0.8.5", A100, **length).batched_tokens == 8192


def test_with_tensor_parallelism_the_charge_for_graphs_is_less_certain() -> None:
    own = resolved(LLAMA_8B, "0.21")
    one, two = (
        graphs(LLAMA_8B, own, Parallelism(n), 32, H100, TABLE.constants("0.21")) for n in (1, 2)
    )
    assert two.bytes < one.bytes
    assert two.high > one.high


def test_graphs_are_charged_from_0_20_on_and_lie_outside_before() -> None:
    new, old = resolved(LLAMA_8B, "0.21"), resolved(LLAMA_8B, "0.19")
    charged = graphs(LLAMA_8B, new, Parallelism(), 32, H100, TABLE.constants("0.21"))
    free = graphs(LLAMA_8B, old, Parallelism(), 32, H100, TABLE.constants("0.19"))
    assert charged.bytes / GIB == pytest.approx(0.91, abs=0.05)
    assert free.bytes == 0


@pytest.mark.parametrize(
    ("model_type", "version", "second"),
    [
        ("llama", "0.21", False),
        ("qwen3", "0.22", True),
        ("llama", "0.22", False),
        ("llama", "0.23", True),
        ("gemma2", "0.24", False),
        ("gemma2", "0.25", True),
    ],
)
def test_the_second_runner_serves_more_models_from_release_to_release(
    model_type: str, version: str, second: bool
) -> None:
    model = replace(LLAMA_8B, model_type=model_type)
    assert second_runner(model, TABLE.constants(version)) is second


def test_experts_and_states_and_images_wait_for_the_second_runner_until_0_29() -> None:
    for model in (moe(), hybrid(), replace(LLAMA_8B, multimodal=True)):
        assert not second_runner(model, TABLE.constants("0.28"))
        assert second_runner(model, TABLE.constants("0.29"))


def test_the_second_runner_charges_no_graphs_before_0_29() -> None:
    for version, charged in (("0.26", False), ("0.29", True)):
        own = resolved(LLAMA_8B, version)
        term = graphs(LLAMA_8B, own, Parallelism(), 32, H100, TABLE.constants(version))
        assert (term.bytes > 0) is charged


def test_before_0_13_experts_give_their_workspaces_back() -> None:
    model = moe()
    assert peak(model, version="0.12").bytes < peak(model, version="0.13").bytes


def test_the_first_releases_of_the_second_engine_charge_the_cuda_context() -> None:
    sizes = {
        v: non_torch(Parallelism(), A100, TABLE.constants(v)).bytes for v in ("0.8.5", "0.9.1")
    }
    assert sizes["0.8.5"] - sizes["0.9.1"] == pytest.approx(0.55 * GIB)


def test_eager_mode_captures_nothing() -> None:
    eager = resolved(LLAMA_8B, "0.33", enforce_eager=True)
    term = graphs(LLAMA_8B, eager, Parallelism(), 32, H100, TABLE.constants("0.33"))
    assert (term.bytes, term.high, term.known) == (0, 0, Known.EXACT)


def logged(name: str, version: str, **said: object) -> int:
    settings = EngineSettings(version=version, **said)  # type: ignore[arg-type]
    found = estimate(name, tensor=2, gpu="nvidia-h200-141gb", settings=settings)
    return found.terms[TermName.ACTIVATION].bytes


@pytest.mark.parametrize(
    ("name", "version", "gib"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "0.11.0", 4.84),
        ("Qwen/Qwen3-32B", "0.11.0", 5.64),
        ("Qwen/Qwen3-14B", "0.16.0", 5.64),
        ("openai/gpt-oss-120b", "0.11.0", 7.38),
    ],
)
def test_a_sampler_that_sorts_peaks_as_start_ups_logged(
    name: str, version: str, gib: float
) -> None:
    found = logged(name, version, max_num_seqs=1024, max_num_batched_tokens=8192)
    assert found / GIB == pytest.approx(gib, abs=0.01)


def test_few_rows_are_sorted_as_one_which_takes_more_for_each() -> None:
    few, many = (
        logged("Qwen/Qwen3-0.6B", "0.11.0", max_num_seqs=n, max_num_batched_tokens=2048)
        for n in (127, 128)
    )
    assert few > many
    later = logged("Qwen/Qwen3-0.6B", "0.19.0", max_num_seqs=127, max_num_batched_tokens=2048)
    assert later < many


def test_a_feed_forward_without_a_gate_needs_one_width_less() -> None:
    model = model_of(uri="hf://EleutherAI/gpt-neox-20b").architecture
    assert model is not None
    own = widths(model, 1)[0]
    assert not own.gated
    needed = own.dense_pass(model.hidden_size, 1, TABLE.constants("0.33"))
    assert needed == 2 * 24576 + 4.25 * 6144
