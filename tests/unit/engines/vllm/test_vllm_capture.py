"""CUDA graphs: the sizes that vLLM captures from release to release, and what that takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from architectures import dense, hybrid, latent, moe
from plimsoll.accelerators import catalogue as accelerators
from plimsoll.engines.base import EngineSettings, Known, Parallelism
from plimsoll.engines.vllm.capture import Sizes, sizes, taken
from plimsoll.engines.vllm.defaults import resolve
from plimsoll.engines.vllm.options import TABLE
from plimsoll.engines.vllm.overheads import captured, graphs
from plimsoll.models.catalogue import load
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture


def gpu(name: str) -> Accelerator:
    found = accelerators.find(name)
    assert found is not None
    return found


def model(name: str) -> Architecture:
    found = load().find(name)
    assert found is not None
    return found.architecture


H100, L4, B200 = gpu("nvidia-h100-80gb"), gpu("nvidia-l4"), gpu("nvidia-b200")
A100 = gpu("nvidia-a100-80gb")
LLAMA = model("meta-llama/Llama-3.1-8B-Instruct")


def found(
    version: str, own: Architecture = LLAMA, on: Accelerator = H100, **settings: object
) -> Sizes:
    figures = TABLE.constants(version)
    said = EngineSettings(version=version, **settings)  # type: ignore[arg-type]
    return sizes(own, resolve(own, said, on, figures), on, figures)


def gib(version: str, own: Architecture, on: Accelerator, tensor: int = 1) -> float:
    figures = TABLE.constants(version)
    resolved = resolve(own, EngineSettings(version=version), on, figures)
    split = Parallelism(tensor)
    return captured(own, resolved, split, len(own.blocks), on, figures).bytes / GIB


@pytest.mark.parametrize(
    ("version", "on", "seqs", "piecewise", "full", "largest"),
    [
        ("0.6.6", L4, 256, 0, 35, 256),
        ("0.7.3", L4, 10, 0, 5, 16),
        ("0.8.5", L4, 16, 67, 0, 512),
        ("0.10.0", L4, 16, 7, 0, 32),
        ("0.11.0", L4, 128, 35, 19, 256),
        ("0.11.0", H100, 1024, 67, 67, 512),
        ("0.11.1", H100, 1024, 51, 51, 512),
        ("0.19.0", A100, 256, 51, 35, 512),
        ("0.19.0", A100, 1, 2, 1, 2),
        ("0.27.0", B200, 1024, 51, 51, 512),
        ("0.29.0", B200, 1024, 83, 83, 1024),
    ],
)
def test_the_sizes_that_are_captured_change_with_the_release(
    version: str, on: Accelerator, seqs: int, piecewise: int, full: int, largest: int
) -> None:
    own = found(version, on=on, max_num_seqs=seqs)
    assert (len(own.piecewise), len(own.full)) == (piecewise, full)
    assert max(own.piecewise + own.full) == largest


def test_whole_graphs_go_no_further_than_the_sequences_at_once() -> None:
    own = found("0.33", max_num_seqs=100)
    assert max(own.full) <= 100 < max(own.piecewise)


def test_no_graph_is_larger_than_a_batch() -> None:
    assert max(found("0.33", max_num_batched_tokens=64).piecewise) == 64


def test_gpt_oss_is_captured_up_to_1024() -> None:
    own = found("0.19.0", model("openai/gpt-oss-20b"))
    assert (len(own.piecewise), len(own.full)) == (83, 83)
    assert max(found("0.10.0", model("openai/gpt-oss-20b")).piecewise) == 512


def test_models_that_pool_have_no_whole_graphs() -> None:
    own = found("0.19.0", replace(LLAMA, class_name="LlamaForSequenceClassification"))
    assert own.piecewise
    assert not own.full


def test_eager_mode_captures_nothing() -> None:
    own = found("0.33", enforce_eager=True)
    assert own.count == 0
    assert taken(LLAMA, own, 32, 1, H100, TABLE.constants("0.33")) == 0


@pytest.mark.parametrize(
    ("name", "version", "on", "tensor", "logged"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "0.19.0", H100, 1, 0.91),
        ("meta-llama/Llama-3.1-8B-Instruct", "0.19.0", H100, 2, 0.76),
        ("meta-llama/Llama-3.1-8B-Instruct", "0.19.0", H100, 4, 0.67),
        ("Qwen/Qwen3-4B", "0.26.0", L4, 1, 0.60),
        ("microsoft/Phi-3-mini-4k-instruct", "0.19.1", L4, 1, 0.46),
        ("Qwen/Qwen2.5-1.5B-Instruct", "0.6.6", L4, 1, 0.21),
        ("Qwen/Qwen2.5-1.5B-Instruct", "0.9.2", L4, 1, 0.46),
        ("Qwen/Qwen3-30B-A3B", "0.19.0", H100, 1, 1.41),
    ],
)
def test_what_capturing_took_in_logs_of_other_gpus_and_releases_is_met(
    name: str, version: str, on: Accelerator, tensor: int, logged: float
) -> None:
    assert gib(version, model(name), on, tensor) == pytest.approx(logged, rel=0.15)


def test_heads_cut_in_two_save_half_of_what_flash_attention_3_splits_on_hopper_alone() -> None:
    assert gib("0.19.0", LLAMA, H100, 1) - gib("0.19.0", LLAMA, H100, 2) > 0.15
    assert gib("0.19.0", LLAMA, A100, 1) == gib("0.19.0", LLAMA, A100, 2)


def test_experts_and_latent_attention_take_more() -> None:
    plain = gib("0.33", dense(layers=4), H100)
    assert gib("0.33", latent(layers=4), H100) > plain
    assert gib("0.33", moe(layers=4), H100) > plain


def test_a_kind_of_start_up_that_was_never_measured_is_stated_wide_and_as_assumed() -> None:
    figures = TABLE.constants("0.33")
    terms = []
    for own, on in ((LLAMA, H100), (hybrid(attending=1, recurrent=3), B200)):
        resolved = resolve(own, EngineSettings(version="0.33"), on, figures)
        terms.append(graphs(own, resolved, Parallelism(), 4, on, figures))
    known, unknown = terms
    assert known.known is Known.MODELLED
    assert unknown.known is Known.ASSUMED
    assert unknown.high / unknown.bytes > known.high / known.bytes
    assert unknown.low / unknown.bytes < known.low / known.bytes
