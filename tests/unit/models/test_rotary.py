"""The size of rotary tables, which measured weights contain."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.models.rotary import rotary_elements
from plimsoll.units import GIB

LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32}


def test_llama_3_1_keeps_32_mib_and_llama_3_two() -> None:
    long = {**LLAMA, "max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3"}}
    assert rotary_elements(long) * 2 == 32 << 20
    assert rotary_elements({**LLAMA, "max_position_embeddings": 8192}) * 2 == 2 << 20


def test_gemma_3_keeps_more_than_half_a_gib() -> None:
    config = {
        "model_type": "gemma3_text",
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    assert rotary_elements(config) * 2 / GIB == 0.5625


@pytest.mark.parametrize(
    ("changes", "elements"),
    [
        (
            {
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4,
                    "original_max_position_embeddings": 1000,
                }
            },
            4000 * 128,
        ),
        (
            {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 500}},
            2500 * 128,
        ),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}, 8000 * 128),
        ({"partial_rotary_factor": 0.25}, 2000 * 32),
        ({"rotary_dim": 64}, 2000 * 64),
        ({"qk_rope_head_dim": 64}, 2000 * 64),
        ({"model_type": "gpt2"}, 0),
        (
            {
                "rope_parameters": {
                    "full_attention": {"partial_rotary_factor": 0.25},
                    "sliding_attention": {"rope_type": "default"},
                }
            },
            2000 * 32 + 2000 * 128,
        ),
        ({"max_position_embeddings": None}, -1),
        ({"rope_scaling": "linear"}, -1),
    ],
)
def test_every_kind_of_scaling_has_its_own_length(changes: dict[str, Any], elements: int) -> None:
    assert rotary_elements({**LLAMA, "max_position_embeddings": 2000, **changes}) == elements


VALUES = st.none() | st.booleans() | st.integers(-5, 10**12) | st.text(max_size=5) | st.floats()


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "max_position_embeddings",
                "head_dim",
                "rope_scaling",
                "rotary_dim",
                "partial_rotary_factor",
                "hidden_size",
                "num_attention_heads",
            ]
        ),
        VALUES | st.dictionaries(st.sampled_from(["factor", "type", "rope_type"]), VALUES),
    )
)
def test_no_config_breaks_it(config: dict[str, Any]) -> None:
    assert rotary_elements(config) >= -1


@pytest.mark.parametrize(
    ("model_type", "times"), [("gemma3", 8), ("qwen2_5_vl", 4), ("qwen3_vl", 4), ("llava", 1)]
)
def test_a_multimodal_config_without_its_rope_takes_that_of_the_published_models(
    model_type: str, times: int
) -> None:
    config = {**LLAMA, "max_position_embeddings": 2000}
    assert rotary_elements(config, model_type) == times * 2000 * 128


def test_gemma_4_turns_whole_heads_where_it_rotates_a_share_of_them() -> None:
    config = {
        "model_type": "gemma4_text",
        "head_dim": 256,
        "global_head_dim": 512,
        "num_attention_heads": 8,
        "hidden_size": 2560,
        "max_position_embeddings": 131072,
        "rope_parameters": {
            "full_attention": {"partial_rotary_factor": 0.25, "rope_type": "proportional"},
            "sliding_attention": {"rope_type": "default"},
        },
    }
    assert rotary_elements(config) == 131072 * (512 + 256)
