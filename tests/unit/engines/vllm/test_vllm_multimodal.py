"""What of a multimodal model is loaded and profiled, by the limits on its prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.engines.base import EngineSettings, Parallelism, TermName
from plimsoll.engines.layers.sharding import stage_weights
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.models.architecture import Part
from vllm_features import estimate, model, read
from worded import notes_in, problems_in

SEEING = "Qwen/Qwen2.5-VL-7B-Instruct"
GEMMA = "google/gemma-3-27b-it"
TEXT = ("--limit-mm-per-prompt", '{"image": 0, "video": 0}')


def weights(name: str, *flags: str, version: str = "", tensor: int = 1) -> int:
    found = estimate(name, *flags, version=version, tensor=tensor)
    return found.terms[TermName.WEIGHTS].bytes


def tower_bytes(name: str) -> int:
    parts = (Part.VISION, Part.AUDIO, Part.PROJECTOR)
    return sum(2 * t.elements for t in model(name).outside if t.part in parts)


@pytest.mark.parametrize("flags", [("--language-model-only",), TEXT, (TEXT[0], "image=0,video=0")])
def test_a_tower_that_nothing_reaches_is_not_loaded(flags: tuple[str, ...]) -> None:
    spared = weights(SEEING) - weights(SEEING, *flags)
    assert spared == pytest.approx(tower_bytes(SEEING), rel=0.02)


@pytest.mark.parametrize("limits", ['{"image": 0, "video": 1}', '{"image": 0}', '{"video": 0}'])
def test_every_modality_that_the_model_takes_must_be_at_none(limits: str) -> None:
    assert weights(SEEING, f"--limit-mm-per-prompt={limits}") == weights(SEEING)


def test_no_image_is_enough_for_a_model_that_takes_nothing_else() -> None:
    assert weights(GEMMA, '--limit-mm-per-prompt={"image": 0}') == weights(GEMMA, *TEXT)
    assert weights(GEMMA, *TEXT) < weights(GEMMA)


def test_every_pipeline_stage_holds_the_tower() -> None:
    (whole,) = stage_weights(model(SEEING), "bfloat16", "", Parallelism())
    halves = stage_weights(model(SEEING), "bfloat16", "", Parallelism(pipeline=2))
    rotary = model(SEEING).rotary_elements * 2
    assert sum(halves) - whole - rotary == pytest.approx(tower_bytes(SEEING), rel=0.02)


def test_families_left_their_towers_out_at_different_releases() -> None:
    assert weights(SEEING, *TEXT, version="0.11.0") < weights(SEEING, version="0.11.0")
    assert weights(GEMMA, *TEXT, version="0.11.0") == weights(GEMMA, version="0.11.0")
    assert weights(GEMMA, *TEXT, version="0.16.0") < weights(GEMMA, version="0.16.0")


def test_no_encoder_is_profiled_if_no_image_may_come() -> None:
    seeing = estimate(SEEING).terms[TermName.ACTIVATION]
    text = estimate(SEEING, "--language-model-only").terms[TermName.ACTIVATION]
    assert text.bytes < seeing.bytes
    assert text.high < seeing.high


def test_an_encoder_that_is_not_profiled_is_loaded_and_its_images_are_named() -> None:
    found = estimate(SEEING, "--skip-mm-profiling")
    assert found.terms[TermName.WEIGHTS] == estimate(SEEING).terms[TermName.WEIGHTS]
    assert (
        found.terms[TermName.ACTIVATION].bytes < estimate(SEEING).terms[TermName.ACTIVATION].bytes
    )
    assert any("--skip-mm-profiling" in note for note in notes_in(found))


@given(st.integers(1, 999), st.sampled_from(["0.9.2", "0.13.0", "0.19.0", "0.33.0"]))
def test_a_limit_above_none_changes_nothing_at_start_up(images: int, version: str) -> None:
    flag = f'--limit-mm-per-prompt={{"image":{images}}}'
    assert estimate(SEEING, flag, version=version).terms == estimate(SEEING, version=version).terms


def test_a_tower_split_by_data_is_whole_on_every_rank() -> None:
    assert weights(SEEING, "--mm-encoder-tp-mode=data", tensor=4) > weights(SEEING, tensor=4)
    assert weights(SEEING, "--mm-encoder-tp-mode=data") == weights(SEEING)


def test_the_typed_limit_and_the_flag_agree_or_it_is_an_error() -> None:
    typed = EngineSettings(images=0, videos=0)
    assert weights(SEEING) > estimate(SEEING, settings=typed).terms[TermName.WEIGHTS].bytes
    assert read(*TEXT, settings=typed).problems == ()
    assert read("--language-model-only", settings=typed).problems == ()
    for flags in (('--limit-mm-per-prompt={"image": 4}',), ("--limit-mm-per-prompt", "image=4")):
        problem = str(problems_in(read(*flags, settings=typed))[0])
        assert "the same as spec.workload.imagesPerPrompt (0)" in problem
    assert read("--language-model-only", settings=EngineSettings(images=2)).problems


def test_limits_are_written_back_as_one_flag() -> None:
    reading = read("--limit-mm-per-prompt.image=2", "--limit-mm-per-prompt.video", "0")
    assert reading.problems == ()
    flags = VLLM().arguments(estimate(SEEING), reading.settings)
    assert '--limit-mm-per-prompt={"image":2,"video":0}' in flags
    text = VLLM().arguments(estimate(SEEING), EngineSettings(images=0, videos=0))
    assert '--limit-mm-per-prompt={"audio":0,"image":0,"video":0}' in text


@pytest.mark.parametrize("text", ['{"image": "x"}', "image=x", "[1]", '{"image": -1}', "{"])
def test_an_unreadable_limit_is_a_problem_and_never_a_crash(text: str) -> None:
    assert read(f"--limit-mm-per-prompt={text}").problems


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ('{"max_pixels": 1003520, "min_pixels": 3136, "fps": 1}', 0),
        ('{"size": {"shortest_edge": 3136, "longest_edge": 1003520}}', 0),
        ('{"images_kwargs": {"max_pixels": 1003520}}', 0),
        ('{"num_crops": 4}', 1),
        ('{"max_pixels": "many"}', 1),
        ('{"max_pixels": 1e6}', 1),
        ('{"size": 1003520}', 1),
        ('{"images_kwargs": {"do_pan_and_scan": true}}', 1),
        ('{"videos_kwargs": 1}', 1),
    ],
)
def test_what_changes_images_otherwise_than_in_size_is_named_as_not_estimated(
    text: str, unread: int
) -> None:
    assert len(read("--mm-processor-kwargs", text).settings.unread) == unread


def test_the_rotary_table_of_qwen3_vl_is_no_longer_four_contexts_long() -> None:
    name = "Qwen/Qwen3-VL-30B-A3B-Instruct"
    old, new = (
        estimate(name, version=v).terms[TermName.WEIGHTS].bytes for v in ("0.31.0", "0.32.0")
    )
    assert old - new == 3 * 262144 * 128 * 2
