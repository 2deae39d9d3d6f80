"""Claims about what vLLM's class of a model cannot do, release by release."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from architectures import H100, LLAMA_8B, T4, hybrid, moe
from plimsoll.engines.base import EngineSettings, Lora, Parallelism
from plimsoll.engines.layers.sharding import stage_weights
from plimsoll.engines.registry import engine
from plimsoll.engines.vllm import support
from plimsoll.engines.vllm.releases import model_faults, model_notes
from plimsoll.findings import Rule
from plimsoll.models.architecture import Part
from plimsoll.models.resolve import resolve

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

QWEN3_MOE = replace(moe(), class_name="Qwen3MoeForCausalLM")
MAMBA2 = replace(hybrid(), class_name="Mamba2ForCausalLM")


def refused(model: Architecture, split: Parallelism, **settings: object) -> set[Rule]:
    """The two rules of this kind that stop a start."""
    said = replace(EngineSettings(), **settings)  # type: ignore[arg-type]
    found = engine("vllm").problems(model, said, split, H100)
    return {one.rule for one in found} & {Rule.MODEL_WITHOUT_STAGES, Rule.MODEL_WITHOUT_ADAPTERS}


@pytest.mark.parametrize(("version", "loads"), [("0.9.2", False), ("0.10", True), ("", True)])
def test_adapters_go_on_a_model_from_the_release_on_whose_class_takes_them(
    version: str, *, loads: bool
) -> None:
    found = refused(QWEN3_MOE, Parallelism(), version=version, lora=Lora(1, 16))
    assert found == (set() if loads else {Rule.MODEL_WITHOUT_ADAPTERS})


@pytest.mark.parametrize("version", ["", "0.8.5", "0.33.0"])
def test_stages_are_refused_for_a_class_that_never_had_them(version: str) -> None:
    stages = Parallelism(pipeline=2)
    assert refused(MAMBA2, stages, version=version) == {Rule.MODEL_WITHOUT_STAGES}
    assert refused(MAMBA2, Parallelism(tensor=2), version=version) == set()


def test_nothing_is_refused_for_a_release_that_nobody_read_or_for_other_code() -> None:
    stages = Parallelism(pipeline=2)
    assert refused(MAMBA2, stages, version="0.99") == set()
    assert refused(MAMBA2, stages, unread=("--model-impl=transformers",)) == set()
    assert refused(LLAMA_8B, stages) == set()


def test_no_stages_are_planned_for_a_model_that_has_none() -> None:
    vllm = engine("vllm")
    assert not vllm.has_stages(MAMBA2, EngineSettings())
    assert vllm.has_stages(LLAMA_8B, EngineSettings())


def doubted(model: Architecture, gpu: Accelerator, version: str) -> set[object]:
    settings = EngineSettings(version=version)
    return {one.rule for one in support.notes(model, settings, gpu)}


@pytest.mark.parametrize(("version", "doubt"), [("0.19.1", False), ("0.20", True), ("", True)])
def test_a_gpu_that_the_engines_own_builds_leave_out_makes_a_start_doubtful(
    version: str, *, doubt: bool
) -> None:
    volta = replace(T4, name="nvidia-v100-32gb", title="NVIDIA V100", compute=(7, 0))
    assert doubted(LLAMA_8B, volta, version) == ({Rule.BUILDS_WITHOUT_KERNELS} if doubt else set())
    assert doubted(LLAMA_8B, T4, version) == set()


@pytest.mark.parametrize(("version", "doubt"), [("0.7.3", False), ("0.8.5", True), ("0.9", False)])
def test_a_release_that_people_report_not_to_start_is_doubtful(
    version: str, *, doubt: bool
) -> None:
    model = replace(hybrid(), class_name="MiniMaxText01ForCausalLM")
    assert doubted(model, H100, version) == ({Rule.REPORTED_NOT_TO_START} if doubt else set())


@pytest.mark.parametrize("version", ["0.8.5", "0.22.1", "0.33.0"])
def test_experts_of_qwen3_have_embedding_and_head_on_every_stage(version: str) -> None:
    model = replace(QWEN3_MOE, tied=False)
    settings, two = EngineSettings(version=version), Parallelism(pipeline=2)
    lying = support.on_stages(model, settings, two)
    first, last = stage_weights(lying, "bfloat16", "", two)
    plain = stage_weights(model, "bfloat16", "", two)
    ends = {t.part: 2 * t.elements for t in model.outside if t.part in (Part.EMBEDDING, Part.HEAD)}
    assert first - plain[0] == pytest.approx(ends[Part.HEAD], abs=1 << 20)
    assert last - plain[1] == pytest.approx(ends[Part.EMBEDDING], abs=1 << 20)


def test_an_embedding_that_is_the_head_too_is_on_a_stage_once() -> None:
    model = replace(QWEN3_MOE, tied=True)
    model = replace(model, outside=tuple(t for t in model.outside if t.part is not Part.HEAD))
    settings, two = EngineSettings(version="0.33.0"), Parallelism(pipeline=2)
    lying = support.on_stages(model, settings, two)
    assert stage_weights(lying, "bfloat16", "", two) == stage_weights(model, "bfloat16", "", two)


def test_a_dense_model_keeps_its_ends_where_they_are() -> None:
    two = Parallelism(pipeline=2)
    assert support.on_stages(LLAMA_8B, EngineSettings(version="0.33.0"), two) is LLAMA_8B
    alone = support.on_stages(QWEN3_MOE, EngineSettings(version="0.33.0"), Parallelism())
    assert alone is QWEN3_MOE


def test_a_class_that_was_removed_and_that_transformers_has_is_a_note_and_no_refusal() -> None:
    mllama = resolve(uri="hf://meta-llama/Llama-3.2-11B-Vision-Instruct").architecture
    assert mllama is not None
    for version, noted in (("0.10.2", False), ("0.26.0", True)):
        settings = EngineSettings("vllm", version)
        assert list(model_faults(mllama, settings)) == []
        rules = {note.rule for note in model_notes(mllama, settings)}
        assert (Rule.MODEL_BY_TRANSFORMERS in rules) is noted
