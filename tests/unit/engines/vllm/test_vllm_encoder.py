"""What the vision encoder's pass takes at start-up, against vLLM's source and its logs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.engines.base import EngineSettings, Known, Parallelism, Term, TermName
from plimsoll.engines.vllm.defaults import resolve
from plimsoll.engines.vllm.multimodal import Encoder, buffers, encoder
from plimsoll.engines.vllm.options import TABLE
from plimsoll.units import GIB
from vllm_features import _GPUS, estimate, model, read

SEEING = "Qwen/Qwen2.5-VL-7B-Instruct"
DEEP = "Qwen/Qwen3-VL-8B-Instruct"
NEWER = "Qwen/Qwen3.5-35B-A3B"
GEMMA = "google/gemma-3-27b-it"
MISTRAL = "mistralai/Mistral-Small-3.2-24B-Instruct-2506"
SMALL = "nvidia-l4"


def seen(
    name: str, *flags: str, version: str, tensor: int = 1, gpu: str = "nvidia-h200-141gb"
) -> Encoder:
    """What the encoder of a model of the catalogue takes."""
    settings = read(*flags, settings=EngineSettings(version=version)).settings
    figures = TABLE.constants(version)
    resolved = resolve(model(name), settings, _GPUS[gpu], figures)
    return encoder(model(name), settings, resolved, Parallelism(tensor), figures)


def peak(name: str, *flags: str, version: str = "0.23.0", tensor: int = 1) -> Term:
    found = estimate(name, *flags, version=version, tensor=tensor, gpu=SMALL)
    return found.terms[TermName.ACTIVATION]


@pytest.mark.parametrize(
    ("name", "version", "flags", "line"),
    [
        # "a budget of 98304 tokens, and profiled with 1 video items", Qwen2.5-VL-7B on 0.8.1
        pytest.param(SEEING, "0.8.1", (), "1 video of 98,304", id="Qwen2.5-VL 0.8.1"),
        # "114688 tokens, and profiled with 1 video items", Qwen2.5-VL-7B on 0.23.0
        pytest.param(SEEING, "0.23.0", (), "1 video of 114,688", id="Qwen2.5-VL 0.23.0"),
        # "153600 tokens, and profiled with 1 video items", vllm issue 27992 on 0.11.0
        pytest.param(
            DEEP, "0.11.0", ("--max-model-len=32768",), "1 video of 153,600", id="Qwen3-VL 0.11.0"
        ),
        # "16384 tokens, and profiled with 1 image items", vllm issue 34209 and others
        pytest.param(DEEP, "0.17.1", (), "1 image of 16,384", id="Qwen3-VL 0.17.1"),
        # "32768 tokens, and profiled with 2 image items", an NVFP4 Qwen3.6-35B-A3B on 0.19
        pytest.param(
            NEWER,
            "0.19.0",
            ("--max-num-batched-tokens=32768",),
            "2 images of 16,384",
            id="Qwen3.5 at 32768 batched tokens",
        ),
        # "8192 tokens, and profiled with 31 image items", Gemma 3 27B on 0.10.2
        pytest.param(GEMMA, "0.10.2", (), "31 images of 260", id="Gemma 3 0.10.2"),
        # "2048 tokens, and profiled with 7 image items", MedGemma 4B, release not said
        pytest.param(
            "google/gemma-3-4b-it",
            "0.11.0",
            ("--max-num-batched-tokens=2048",),
            "7 images of 260",
            id="Gemma 3 at 2048 batched tokens",
        ),
        # "8192 tokens, and profiled with 3 image items", vllm issue 16292 on 0.8.3
        pytest.param(MISTRAL, "0.8.3", (), "3 images of 3,080", id="Mistral Small 0.8.3"),
        # "8192 tokens, and profiled with 2 image items", a Ministral on 0.2x
        pytest.param(MISTRAL, "0.21.0", (), "2 images of 3,025", id="Mistral Small 0.21.0"),
        # "8192 tokens, and profiled with 3 video items", an NVFP4 Gemma 4 26B-A4B on 0.19
        pytest.param(
            "google/gemma-4-26B-A4B", "0.19.0", (), "3 videos of 2,496", id="Gemma 4 0.19.0"
        ),
        # "16384 tokens, and profiled with 6 video items", the same
        pytest.param(
            "google/gemma-4-26B-A4B",
            "0.19.0",
            ("--max-num-batched-tokens=16384",),
            "6 videos of 2,496",
            id="Gemma 4 at 16384 batched tokens",
        ),
    ],
)
def test_the_items_are_those_that_vllm_logged(
    name: str, version: str, flags: tuple[str, ...], line: str
) -> None:
    found = seen(name, *flags, version=version)
    assert found.basis == f"{line} tokens in the encoder"


def test_a_small_gpu_gets_the_gigabytes_of_the_encoder() -> None:
    """Qwen2.5-VL-7B 0.23.0 at a utilization of 0.22 of 79.2 GiB had -14.28 GiB for its cache
    beside 15.67 of weights and 0.53 of graphs: 15.51 for this and what torch does not hold.
    """
    term = peak(SEEING)
    assert 0.1 < 15.51 - term.bytes / GIB < 0.3
    assert term.known is Known.MODELLED
    assert "video of 114,688 tokens" in term.basis


def test_the_pass_is_what_its_layers_hold_at_once() -> None:
    """vllm/model_executor/models/qwen2_5_vl.py of 0.23.0: in Qwen2_5_VisionMLP gate and up
    (2 x 3420), what their product is (3420) and the output are there beside the layer's input,
    the attention's output, the norm's output and the residual (5 x 1280 with the output).
    """
    patches = 4 * 16384
    found = seen(SEEING, "--max-model-len=8192", version="0.23.0", gpu=SMALL)
    assert found.peak == 2 * patches * (5 * 1280 + 3 * 3420) + 2 * patches * 3 * 2 * 14 * 14
    assert found.held == 2 * 16384 * 3584 + 2 * patches * 3 * 2 * 14 * 14
    assert peak(SEEING, "--max-model-len=8192").bytes == found.peak


def test_tensor_parallelism_cuts_the_layers_and_adds_what_is_reduced() -> None:
    patches = 4 * 16384
    flags = ("--max-model-len=8192",)
    cut = seen(SEEING, *flags, version="0.23.0", tensor=4)
    live = 5 * 1280 + 3 * 3420 / 4 + 1280
    assert cut.peak == 2 * patches * (live + 1176)
    whole = seen(SEEING, *flags, "--mm-encoder-tp-mode=data", version="0.23.0", tensor=4)
    assert whole.peak == seen(SEEING, *flags, version="0.23.0").peak


def test_a_tower_split_by_data_shares_its_items_out() -> None:
    flags = ("--max-num-batched-tokens=32768", "--limit-mm-per-prompt.video=0")
    alone = seen(NEWER, *flags, version="0.19.0")
    shared = seen(NEWER, *flags, "--mm-encoder-tp-mode=data", version="0.19.0", tensor=2)
    inputs = 2 * 65536 * 1536 * 2
    assert shared.peak - inputs == (alone.peak - inputs) / 2


def test_the_text_pass_runs_beside_what_the_encoder_was_given_and_gave_back() -> None:
    """Gemma 3 (0.19.0, T 8192): 32 images of 3 x 896 x 896 and 256 tokens of 5376."""
    found = seen(GEMMA, version="0.19.0")
    assert found.held == 2 * 32 * (3 * 896 * 896 + 256 * 5376)
    with_images = estimate(GEMMA, version="0.19.0").terms[TermName.ACTIVATION].bytes
    text = estimate(GEMMA, "--language-model-only", version="0.19.0").terms[TermName.ACTIVATION]
    assert with_images == text.bytes + found.held


def test_the_second_runner_gives_the_inputs_back() -> None:
    first, second = (seen(GEMMA, version=version) for version in ("0.28.0", "0.29.0"))
    assert first.held - second.held == 2 * 32 * 3 * 896 * 896


def test_outputs_were_padded_to_the_budget_for_two_releases() -> None:
    """vllm issue 25903; 12288 tokens of video counted 12.5 times, 4 x 4096 wide."""
    found = seen(DEEP, version="0.11.0")
    assert found.held == 2 * (153600 * 4 * 4096 + 4 * 12288 * 1536)
    assert found.held_high > found.held
    assert seen(DEEP, version="0.13.0").held < found.held / 5


def test_deepstack_holds_its_outputs_and_buffers_of_the_batch() -> None:
    """Qwen3-VL-8B on a B200 (16384 batched tokens from 0.28 on) loaded 16.97 GiB."""
    found = estimate(DEEP, version="0.28.0", gpu="nvidia-b200")
    assert found.terms[TermName.WEIGHTS].bytes / GIB == pytest.approx(16.97, abs=0.02)
    settings = EngineSettings(version="0.28.0")
    figures = TABLE.constants("0.28.0")
    resolved = resolve(model(DEEP), settings, _GPUS["nvidia-b200"], figures)
    assert buffers(model(DEEP), resolved) == 3 * 16384 * 4096 * 2
    assert buffers(model(NEWER), resolved) == 0
    early = 3 * 16384 * 4096 * 2
    live = 2 * 65536 * (12 * 1152 + 1536)
    assert seen(DEEP, version="0.28.0").peak == live + early


def test_a_video_that_no_prompt_may_have_is_not_profiled() -> None:
    video, image = peak(SEEING), peak(SEEING, "--limit-mm-per-prompt.video=0")
    assert "1 image of 16,384 tokens" in image.basis
    assert image.bytes < video.bytes / 6
    images = seen(SEEING, "--limit-mm-per-prompt.image=0", version="0.23.0")
    assert images == seen(SEEING, version="0.23.0")


def test_sizes_in_the_limits_shrink_what_is_run_and_not_the_budget() -> None:
    flag = '--limit-mm-per-prompt={"video": 0, "image": {"count": 1, "width": 560, "height": 560}}'
    found, largest = (
        seen(SEEING, flags, version="0.23.0") for flags in (flag, "--limit-mm-per-prompt.video=0")
    )
    assert found.basis == largest.basis
    assert found.peak * 16384 == largest.peak * 400
    shorter = '--limit-mm-per-prompt={"video": {"count": 1, "num_frames": 4}}'
    assert seen(SEEING, shorter, version="0.23.0").peak * 7 == pytest.approx(
        seen(SEEING, version="0.23.0").peak * 2
    )


@pytest.mark.parametrize(
    "kwargs",
    [
        '{"max_pixels": 1003520}',
        '{"size": {"shortest_edge": 3136, "longest_edge": 1003520}}',
        '{"images_kwargs": {"max_pixels": 1003520}}',
    ],
)
def test_the_processor_may_be_told_to_make_images_smaller(kwargs: str) -> None:
    """1003520 pixels are 1280 squares of 28 x 28; a video has seven times as many."""
    found = seen(SEEING, "--mm-processor-kwargs", kwargs, version="0.23.0", gpu=SMALL)
    assert found.basis == "1 video of 8,960 tokens in the encoder"


def test_up_to_0_10_the_item_that_is_run_fits_the_batch_and_not_the_context() -> None:
    """vllm/v1/worker/gpu_model_runner.py of 0.8.5 asks for dummy data of max_num_tokens."""
    small = seen(SEEING, version="0.8.5", gpu=SMALL)
    assert small.basis == "1 video of 98,304 tokens in the encoder"
    assert small.peak == seen(SEEING, "--max-model-len=16384", version="0.8.5", gpu=SMALL).peak


def test_a_tower_that_nobody_knows_keeps_an_allowance() -> None:
    unknown = replace(model(SEEING), tower=None)
    found = estimate(unknown, version="0.19.0").terms[TermName.ACTIVATION]
    text = estimate(SEEING, "--language-model-only", version="0.19.0").terms[TermName.ACTIVATION]
    assert found.known is Known.ASSUMED
    assert found.bytes - text.bytes == pytest.approx(0.15 * GIB, abs=1)
    assert found.high - found.bytes > GIB


def test_the_first_engines_pass_is_only_the_end_of_a_band() -> None:
    """Qwen2.5-VL-3B on 0.7 peaked at 4.06 GiB, with images and a prompt of 32768 tokens."""
    found = estimate(
        "Qwen/Qwen2.5-VL-3B-Instruct", "--max-model-len=32768", version="0.7.3", gpu=SMALL
    ).terms[TermName.ACTIVATION]
    assert found.known is Known.ASSUMED
    assert found.low < 4.06 * GIB < found.high


def test_a_pass_that_was_not_measured_has_a_wide_band() -> None:
    found = peak("Qwen/Qwen2-VL-7B-Instruct", version="0.19.0")
    assert found.known is Known.ASSUMED
    assert found.high - found.low > 0.7 * found.bytes


NAMES = st.sampled_from(
    [SEEING, DEEP, NEWER, GEMMA, MISTRAL, "google/gemma-4-26B-A4B", "OpenGVLab/InternVL3-8B"]
)
VERSIONS = st.sampled_from(["0.8.0", "0.10.2", "0.11.0", "0.19.0", "0.33.0"])


@given(NAMES, VERSIONS, st.integers(1, 2**15), st.integers(1, 2**15))
def test_more_batched_tokens_never_shrink_the_pass(
    name: str, version: str, one: int, other: int
) -> None:
    few, many = (
        seen(name, f"--max-num-batched-tokens={tokens}", version=version)
        for tokens in sorted((one, other))
    )
    assert few.peak <= many.peak
    assert few.held <= many.held
    assert 0 <= few.low <= few.peak <= few.high


@given(NAMES, VERSIONS)
def test_more_ranks_never_need_more_each(name: str, version: str) -> None:
    peaks = [seen(name, version=version, tensor=tensor).peak for tensor in (1, 2, 4, 8)]
    assert peaks == sorted(peaks, reverse=True)
