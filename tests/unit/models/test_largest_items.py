"""What vision towers make of their largest items, against published processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.errors import Invalid
from plimsoll.models.catalogue import load
from plimsoll.models.families.by_type import largest_item

if TYPE_CHECKING:
    from plimsoll.models.architecture import Tower

_SIGLIP: dict[str, Any] = {"hidden_size": 1152, "intermediate_size": 4304, "image_size": 896}


def of(name: str) -> Tower:
    entry = load().find(name)
    assert entry is not None
    assert entry.architecture.tower is not None, name
    return entry.architecture.tower


@pytest.mark.parametrize(
    ("name", "tokens", "patches", "patch"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", 16384, 65536, 3 * 2 * 14 * 14),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 16384, 65536, 3 * 2 * 14 * 14),
        ("Qwen/Qwen3-VL-8B-Instruct", 16384, 65536, 3 * 2 * 16 * 16),
        ("Qwen/Qwen3.5-27B", 16384, 65536, 3 * 2 * 16 * 16),
        ("google/gemma-3-4b-it", 256, 64 * 64, 3 * 14 * 14),
        ("google/gemma-4-26B-A4B", 280, 2520, 3 * 16 * 16),
        ("google/paligemma2-3b-pt-224", 256, 256, 3 * 14 * 14),
        ("llava-hf/llava-1.5-7b-hf", 576, 577, 3 * 14 * 14),
        # the whole image and a grid of 2 x 2, a newline after each of 48 rows
        ("llava-hf/llava-v1.6-mistral-7b-hf", 5 * 576 + 48, 5 * 577, 3 * 14 * 14),
        ("mistral-community/pixtral-12b", 64 * 64, 64 * 64, 3 * 16 * 16),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 55 * 55, 110 * 110, 3 * 14 * 14),
        # 16 tiles and the whole image
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 17 * 144, 17 * 577, 3 * 14 * 14),
        ("microsoft/Phi-3-vision-128k-instruct", 17 * 144 + 1 + 17 * 12, 17 * 577, 3 * 14 * 14),
        # 12 tiles and the whole image
        ("OpenGVLab/InternVL3-8B", 13 * 256, 13 * 1025, 3 * 14 * 14),
        ("moonshotai/Kimi-K2.5", 4096, 16384, 3 * 14 * 14),
    ],
)
def test_the_largest_image_is_the_published_processors(
    name: str, tokens: int, patches: int, patch: int
) -> None:
    found = of(name)
    assert (found.tokens, found.patches, found.patch) == (tokens, patches, patch)


def test_deepstack_widens_the_output() -> None:
    assert of("Qwen/Qwen3-VL-8B-Instruct").width == 4 * 4096
    assert of("Qwen/Qwen3-VL-8B-Instruct").levels == 3
    assert of("Qwen/Qwen3.5-27B").width == 5120


def test_only_some_text_models_of_internvl_see_videos() -> None:
    assert of("OpenGVLab/InternVL3-8B").videos
    assert not of("OpenGVLab/InternVL2_5-2B").videos
    assert of("google/gemma-4-26B-A4B").videos
    assert not of("google/gemma-3-4b-it").videos


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gemma3"},
        {"model_type": "nobodys_vl", "vision_config": _SIGLIP},
    ],
)
def test_a_tower_that_is_missing_or_unknown_is_none(config: dict[str, Any]) -> None:
    assert largest_item(config, 4096) is None


def test_a_grid_that_is_no_grid_is_passed_over() -> None:
    config = {
        "model_type": "llava_next",
        "vision_config": _SIGLIP | {"image_size": 336},
        "image_grid_pinpoints": [[336], "x", [0, 1], [1008, 672], [672, 672]],
    }
    found = largest_item(config, 4096)
    assert found is not None
    assert found.tokens == 7 * 576 + 3 * 24


def test_a_mistyped_tower_is_named_field_by_field() -> None:
    with pytest.raises(Invalid) as caught:
        largest_item({"model_type": "gemma3", "vision_config": {"hidden_size": "wide"}}, 4096)
    said = [problem.path for problem in caught.value.problems]
    assert said == [
        "config.json: vision_config: hidden_size",
        "config.json: vision_config: intermediate_size",
    ]
