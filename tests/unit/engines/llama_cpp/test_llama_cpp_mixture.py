"""Formats of nominal files: llama-quantize's own choices, and the sizes that follow."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import LLAMA_8B, LLAMA_70B, moe
from plimsoll.engines.llama_cpp.files import (
    BLOCKS,
    FILE_TYPES,
    ModelToQuantize,
    TensorRole,
    file_type,
    from_header,
    has_header,
    row_bytes,
    tensor_type,
    weights,
)
from plimsoll.engines.llama_cpp.memory import HOST, devices
from plimsoll.models.files import HeaderTensor

LLAMA = ModelToQuantize(layers=32, attentions=32, gqa=4, experts=0, tied=False)


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    gguf = pytest.importorskip("gguf")
    for kind, (elements, each) in gguf.GGML_QUANT_SIZES.items():
        if kind.name.lower() in BLOCKS:
            assert BLOCKS[kind.name.lower()] == (elements, each)


@pytest.mark.parametrize("word", ["Q4_K_M", "q4_k", "q4_k_m", " Q4_K_M "])
def test_a_file_type_is_known_in_every_spelling(word: str) -> None:
    assert file_type(word) == "q4_k_m"
    assert file_type("awq") is None


def test_a_medium_file_gives_values_more_bits_at_both_ends_and_in_every_third_layer() -> None:
    found = [
        tensor_type("q4_k_m", TensorRole.ATTENTION_V, 4096, LLAMA, layer, layer)
        for layer in range(32)
    ]
    more = [layer for layer, name in enumerate(found) if name == "q6_k"]
    assert more == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


def test_norms_and_routers_are_never_quantized() -> None:
    assert all(tensor_type(file, TensorRole.KEPT, 4096, LLAMA) == "f32" for file in FILE_TYPES)


def test_a_row_that_is_no_whole_number_of_blocks_falls_back() -> None:
    assert tensor_type("q4_k_m", TensorRole.OTHER, 4096 + 32, LLAMA) == "q5_0"
    assert tensor_type("q6_k", TensorRole.FFN_UP, 4096 + 32, LLAMA) == "q8_0"
    assert tensor_type("q4_k_m", TensorRole.OTHER, 100, LLAMA) == "f16"


def test_a_tied_embedding_is_quantized_as_the_output() -> None:
    tied = ModelToQuantize(32, 32, 4, 0, tied=True)
    assert tensor_type("q4_k_m", TensorRole.EMBEDDING, 4096, tied) == "q6_k"
    assert tensor_type("q4_k_m", TensorRole.EMBEDDING, 4096, LLAMA) == "q4_k"


def test_eight_experts_give_keys_and_values_eight_bits() -> None:
    mixtral = ModelToQuantize(32, 32, 4, 8, False)
    assert tensor_type("q4_k_m", TensorRole.ATTENTION_K, 4096, mixtral) == "q8_0"
    assert tensor_type("q3_k_m", TensorRole.ATTENTION_OUT, 4096, mixtral) == "q5_k"


def test_mxfp4_files_pack_experts_only() -> None:
    assert tensor_type("mxfp4_moe", TensorRole.FFN_UP, 2880, LLAMA, stacked=True) == "mxfp4"
    assert tensor_type("mxfp4_moe", TensorRole.ATTENTION_Q, 2880, LLAMA) == "q8_0"


@pytest.mark.parametrize(
    ("file", "bits"),
    [
        ("q8_0", 8.50),
        ("q6_k", 6.56),
        ("q5_k_m", 5.67),
        ("q4_k_m", 4.83),
        ("q3_k_m", 3.89),
        ("iq4_xs", 4.28),
        ("q2_k", 3.16),
        ("f16", 16.0),
    ],
)
def test_bits_per_weight_are_those_that_are_published(file: str, bits: float) -> None:
    """``llama-quantize`` of Llama-3.1-8B: 8.50, 6.56, 5.70, 4.89, 4.00, 4.45, 3.16 with the
    embedding; here of a model like it, within 0.25 bits.
    """
    held = weights(LLAMA_8B, file)
    total = sum(held.layers) + held.output + held.embedding
    assert total * 8 / LLAMA_8B.parameters == pytest.approx(bits, abs=0.25)


@given(st.sampled_from(FILE_TYPES), st.sampled_from([LLAMA_8B, LLAMA_70B, moe()]))
def test_no_file_is_larger_than_one_of_32_bits(file: str, model: object) -> None:
    held = weights(model, file)  # type: ignore[arg-type]
    whole = weights(model, "f32")  # type: ignore[arg-type]
    assert 0 < sum(held.layers) <= sum(whole.layers)
    assert 0 < held.output <= whole.output


@given(
    st.integers(1, 100),
    st.integers(0, 120),
    st.integers(1, 8),
    st.lists(st.integers(0, 9), max_size=8),
    st.booleans(),
)
def test_every_layer_lies_on_one_gpu_or_in_main_memory_in_order(
    layers: int, gpu_layers: int, gpus: int, shares: list[int], output_first: bool
) -> None:
    where = devices(layers, gpu_layers, gpus, tuple(map(Fraction, shares)), output_first)
    held = [gpu for gpu in where if gpu != HOST]
    assert len(where) == layers + 1
    assert held == sorted(held)
    assert len(held) == min(gpu_layers, layers + 1)
    assert all(0 <= gpu < gpus for gpu in held)


def test_a_row_is_whole_blocks() -> None:
    assert row_bytes("q8_0", 128) == 136
    assert row_bytes("q4_k", 256) == 144
    assert row_bytes("f16", 3) == 6


def held(name: str, size: int) -> HeaderTensor:
    """A tensor of so many bytes, one byte an element."""
    return HeaderTensor(name, (size,), "I8", size)


HEADER = (
    held("token_embd.weight", 1000),
    held("blk.0.attn_q.weight", 256),
    held("blk.0.ffn_up_exps.weight", 512),
    held("blk.1.attn_q.weight", 128),
    held("blk.1.ffn_up_exps.weight", 1),
    held("blk.2.nextn.eh_proj.weight", 4096),
    held("output_norm.weight", 128),
    held("v.blk.0.attn_q.weight", 384),
)


def test_a_header_gives_each_part_its_own_bytes_padded() -> None:
    found = from_header(HEADER, layers=2)
    assert found.layers == (256, 128)
    assert (found.experts, found.largest_expert) == ((512, 128), 512)
    assert found.embedding == 1024
    assert found.projector == 384


def test_without_an_output_of_its_own_the_embedding_is_loaded_twice() -> None:
    assert from_header(HEADER, layers=2).output == 128 + 1024
    untied = from_header((*HEADER, held("output.weight", 640)), layers=2)
    assert untied.output == 128 + 640


def test_a_model_with_a_header_weighs_what_its_file_says() -> None:
    model = replace(LLAMA_8B, stored=HEADER)
    assert has_header(model)
    assert not has_header(LLAMA_8B)
    assert weights(model, "q4_k_m") == from_header(HEADER, 32)
