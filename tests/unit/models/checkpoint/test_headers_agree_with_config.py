"""A model's config and its headers give the same need per GPU, family by family.

The checkpoints are written with the names of the published ones (`checkpoint_files`); weights are
compared on every rank of TP 1, 2 and 4, with pipeline stages and expert parallelism.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import checkpoint_files
from checkpoint_files import Maker, Tensors, base
from configs import LATENT
from plimsoll.engines.base import Parallelism
from plimsoll.engines.layers.sharding import stage_weights
from plimsoll.models.checkpoint.profile import from_profile
from plimsoll.models.checkpoint.source import local_profile
from plimsoll.models.config import architecture
from plimsoll.models.storage import stored_bytes

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

Family = tuple[dict[str, Any], Callable[[dict[str, Any], Maker], Tensors], Maker]

VISION: Final = {
    "model_type": "siglip_vision_model",
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
HEAD: Final = ("lm_head",)


def _compressed(**weights: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights}
    return {
        "quant_method": "compressed-tensors",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


def _families() -> dict[str, Family]:
    fp8_block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    mxfp4 = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    }
    nvfp4 = {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "ignore": ["lm_head", "model.layers.0*", "model.layers.2.self_attn*"],
    }
    moe = {"num_experts_per_tok": 2, "head_dim": 64}
    gemma = base("gemma3_text", head_dim=64, tie_word_embeddings=True)
    qwen_vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 100,
        "patch_size": 14,
        "out_hidden_size": 256,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_chans": 3,
    }
    hybrid = base(
        "nemotron_h",
        head_dim=32,
        num_hidden_layers=4,
        mamba_num_heads=8,
        mamba_head_dim=32,
        ssm_state_size=16,
        n_groups=2,
        conv_kernel=4,
        hybrid_override_pattern="M-*M",
        use_conv_bias=True,
    )
    integers = {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": True}
    nvfp4_packed = {"num_bits": 4, "type": "float", "group_size": 16}

    def quantized(kind: str, quantization: dict[str, Any]) -> dict[str, Any]:
        return base(kind, quantization_config=quantization)

    return {
        "llama": (base("llama"), checkpoint_files.dense, Maker()),
        "qwen2, tied": (base("qwen2", tie_word_embeddings=True), checkpoint_files.dense, Maker()),
        "qwen3": (base("qwen3", head_dim=64), checkpoint_files.dense, Maker()),
        "phi3": (base("phi3"), checkpoint_files.phi3, Maker()),
        "qwen3-moe": (
            base("qwen3_moe", num_experts=8, moe_intermediate_size=128, **moe),
            checkpoint_files.qwen3_moe,
            Maker(),
        ),
        "mixtral": (base("mixtral", num_local_experts=4), checkpoint_files.mixtral, Maker()),
        "llama 4": (
            base("llama4_text", num_local_experts=4, head_dim=32, interleave_moe_layer_step=1),
            checkpoint_files.llama4,
            Maker(),
        ),
        "deepseek v3, fp8 blocks": (
            base(
                "deepseek_v3", quantization_config=fp8_block, num_nextn_predict_layers=1, **LATENT
            ),
            checkpoint_files.deepseek_v3,
            Maker("fp8_block", ("lm_head",)),
        ),
        "gpt-oss, mxfp4": (
            base(
                "gpt_oss",
                num_local_experts=4,
                attention_bias=True,
                quantization_config=mxfp4,
                **moe,
            ),
            checkpoint_files.gpt_oss,
            Maker(),
        ),
        "nemotron-h": (hybrid, checkpoint_files.nemotron_h, Maker()),
        "gemma 3": (
            {
                "model_type": "gemma3",
                "torch_dtype": "bfloat16",
                "text_config": gemma,
                "vision_config": VISION,
            },
            checkpoint_files.gemma3,
            Maker(),
        ),
        "qwen2.5-vl": (
            base("qwen2_5_vl", vision_config=qwen_vision),
            checkpoint_files.qwen25_vl,
            Maker(),
        ),
        "awq": (
            quantized(
                "llama", {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
            ),
            checkpoint_files.dense,
            Maker("awq", HEAD),
        ),
        "gptq": (
            quantized("qwen2", {"quant_method": "gptq", "bits": 4, "group_size": 128}),
            checkpoint_files.dense,
            Maker("gptq", HEAD),
        ),
        "fp8, one scale": (
            quantized("llama", {"quant_method": "fp8", "activation_scheme": "static"}),
            checkpoint_files.dense,
            Maker("fp8_tensor", HEAD),
        ),
        "compressed-tensors, fp8 per channel": (
            quantized("llama", _compressed(num_bits=8, type="float", strategy="channel")),
            checkpoint_files.dense,
            Maker("fp8_channel", HEAD),
        ),
        "compressed-tensors, int8": (
            quantized("llama", _compressed(num_bits=8, type="int", strategy="channel")),
            checkpoint_files.dense,
            Maker("int8", HEAD),
        ),
        "compressed-tensors, w4a16": (
            quantized("llama", _compressed(**integers)),
            checkpoint_files.dense,
            Maker("pack_quantized", HEAD),
        ),
        "compressed-tensors, nvfp4": (
            quantized("qwen3", _compressed(**nvfp4_packed)),
            checkpoint_files.dense,
            Maker("nvfp4_packed", HEAD),
        ),
        "modelopt nvfp4 that leaves layers alone": (
            quantized("llama", nvfp4),
            checkpoint_files.dense,
            Maker("nvfp4", ("lm_head", "layers.0.", "layers.2.self_attn")),
        ),
        "bitsandbytes": (
            quantized("llama", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
            checkpoint_files.dense,
            Maker("nf4", HEAD),
        ),
    }


SPLITS: Final = tuple(
    Parallelism(tensor, stages, 1, expert)
    for tensor in (1, 2, 4)
    for stages in (1, 2)
    for expert in (False, True)
)


def from_headers(
    config: dict[str, Any], tensors: Tensors, shards: int = 3
) -> tuple[Architecture, dict[str, Any], tuple[str, ...]]:
    """What the headers of a checkpoint give: architecture, profile and notes."""
    with tempfile.TemporaryDirectory() as folder:
        at = checkpoint_files.write(Path(folder) / "model", config, tensors, shards=shards)
        profile, notes = local_profile(str(at))
    return from_profile(profile), profile, notes


@pytest.mark.parametrize("family", _families())
def test_headers_and_config_need_the_same_on_every_rank(family: str) -> None:
    config, make, maker = _families()[family]
    known = architecture(config)
    read, profile, notes = from_headers(config, make(config, maker))
    for split in SPLITS:
        assert stage_weights(read, "bfloat16", "", split) == stage_weights(
            known, "bfloat16", "", split
        ), split
    assert read.parameters == known.parameters
    assert not notes
    assert set(profile["checkpoint"]) == {"tensors", "bytes"}
    assert not read.assumed


@pytest.mark.parametrize("family", sorted(set(_families()) - {"gemma 3"}))
def test_one_odd_tensor_in_a_layer_does_not_move_the_others(family: str) -> None:
    config, make, maker = _families()[family]
    tensors = dict(make(config, maker))
    way = next(m[1] for name in tensors if (m := re.match(r"(.*layers\.)1\.", name)))
    known = architecture(config)
    for number in range(len(known.blocks)):
        tensors[f"{way}{number}.oddity.weight"] = ("BF16", (256,))
    read, profile, notes = from_headers(config, tensors)
    for tensor in (1, 2, 4):
        for expert in (False, True):
            split = Parallelism(tensor, 1, 1, expert)
            more = len(known.blocks) * 512
            (want,), (got,) = (stage_weights(a, "bfloat16", "", split) for a in (known, read))
            assert got == want + more, split
    assert read.assumed
    assert profile["checkpoint"]["assumed"] == ["oddity.weight"]
    assert any("oddity.weight" in note and "whole on every GPU" in note for note in notes)


@settings(max_examples=25, deadline=None)
@given(
    hidden=st.integers(1, 6).map(lambda n: n * 128),
    width=st.integers(1, 8).map(lambda n: n * 128),
    groups=st.sampled_from([(8, 8), (8, 2), (8, 1), (4, 4), (16, 4)]),
    layers=st.integers(1, 4),
    vocab=st.integers(50, 2000),
    kind=st.sampled_from(["llama", "qwen2", "qwen3"]),
    packing=st.sampled_from(["", "awq", "gptq", "fp8_block"]),
    tied=st.booleans(),
    tensor=st.sampled_from([1, 2, 4]),
)
def test_headers_and_config_agree_whatever_the_shapes(
    hidden: int,
    width: int,
    groups: tuple[int, int],
    layers: int,
    vocab: int,
    kind: str,
    packing: str,
    tied: bool,
    tensor: int,
) -> None:
    config = base(
        kind,
        hidden_size=hidden,
        intermediate_size=width,
        num_attention_heads=groups[0],
        num_key_value_heads=groups[1],
        num_hidden_layers=layers,
        vocab_size=vocab,
        head_dim=128,
        tie_word_embeddings=tied,
    )
    said: dict[str, dict[str, Any]] = {
        "awq": {"quant_method": "awq", "bits": 4},
        "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
        "fp8_block": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }
    if packing:
        config["quantization_config"] = said[packing]
    read, _, _ = from_headers(
        config, checkpoint_files.dense(config, Maker(packing, HEAD)), shards=1
    )
    split = Parallelism(tensor)
    assert stage_weights(read, "bfloat16", "", split) == stage_weights(
        architecture(config), "bfloat16", "", split
    )


@settings(max_examples=15, deadline=None)
@given(
    experts=st.integers(1, 12),
    width=st.integers(1, 4).map(lambda n: n * 64),
    first=st.integers(0, 2),
    shared=st.integers(1, 2),
    tensor=st.sampled_from([1, 2, 4]),
    expert=st.booleans(),
)
def test_headers_and_config_agree_on_latent_attention_and_experts(
    experts: int, width: int, first: int, shared: int, tensor: int, expert: bool
) -> None:
    more = (
        LATENT
        | {"num_nextn_predict_layers": 1}
        | {
            "n_routed_experts": experts,
            "moe_intermediate_size": width,
            "first_k_dense_replace": first,
            "n_shared_experts": shared,
        }
    )
    config = base("deepseek_v3", **more)
    read, _, _ = from_headers(config, checkpoint_files.deepseek_v3(config, Maker()), shards=1)
    split = Parallelism(tensor, 1, 1, expert)
    assert stage_weights(read, "bfloat16", "", split) == stage_weights(
        architecture(config), "bfloat16", "", split
    )


def test_a_checkpoint_that_packs_other_layers_than_its_config_says_counts_as_it_is() -> None:
    said = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
    config = base("llama", quantization_config=said)
    truth = base(
        "llama", quantization_config={**said, "ignore": ["lm_head", "model.layers.1.mlp*"]}
    )
    maker = Maker("nvfp4", ("lm_head", "layers.1.mlp"))
    read, profile, notes = from_headers(config, checkpoint_files.dense(config, maker))
    split = Parallelism(2)
    assert stage_weights(read, "bfloat16", "", split) == stage_weights(
        architecture(truth), "bfloat16", "", split
    )
    assert [entry["layers"] for entry in profile["checkpoint"]["layers"]] == ["1"]
    assert "1 of 3 layers hold other tensors than the config says: the headers count" in notes


def test_a_checkpoint_whose_config_says_nothing_of_its_quantization_counts_as_packed() -> None:
    config = base("llama")
    said = {"quant_method": "awq", "bits": 4, "group_size": 128}
    read, profile, _ = from_headers(config, checkpoint_files.dense(config, Maker("awq", HEAD)))
    split = Parallelism(2)
    assert stage_weights(read, "bfloat16", "", split) == stage_weights(
        architecture(config | {"quantization_config": said}), "bfloat16", "", split
    )
    assert profile["checkpoint"]["quantization"] == ["w4a16", ["w4a16", 4, 128, 1, 2, 4]]
    assert "layers" not in profile["checkpoint"]


def test_a_family_that_nobody_knows_takes_its_biases_and_norms_from_the_headers() -> None:
    config = base("brand_new_model")
    like = base("qwen2")
    read, _, _ = from_headers(config, checkpoint_files.dense(like, Maker()))
    split = Parallelism(4)
    assert stage_weights(read, "bfloat16", "", split) == stage_weights(
        architecture(like), "bfloat16", "", split
    )
    assert read.assumed


def test_an_lm_head_that_is_the_embedding_is_not_loaded_twice() -> None:
    config = base("llama", tie_word_embeddings=True)
    untied = base("llama", tie_word_embeddings=False)
    read, _, notes = from_headers(config, checkpoint_files.dense(untied, Maker()))
    assert read.parameters == architecture(config).parameters
    assert any("lm_head is stored though it is the embedding" in note for note in notes)


def test_a_tower_that_is_in_no_file_counts_as_the_config_says() -> None:
    config, _, maker = _families()["gemma 3"]
    only_text = checkpoint_files.dense(config["text_config"], maker, way="language_model.model.")
    read, _, notes = from_headers(config, only_text)
    assert read.parameters == architecture(config).parameters
    assert any("tower" in note and "as the config says" in note for note in notes)


def test_the_layers_for_further_tokens_are_stored_and_not_served() -> None:
    config, make, maker = _families()["deepseek v3, fp8 blocks"]
    read, _, _ = from_headers(config, make(config, maker))
    without = base("deepseek_v3", num_nextn_predict_layers=0, **LATENT)
    read_without, _, _ = from_headers(without, checkpoint_files.deepseek_v3(without, Maker()))
    assert read.parameters == read_without.parameters
    assert read.extra
    assert not read_without.extra


def test_a_config_without_a_dtype_has_the_one_that_most_weights_have() -> None:
    config = base("llama")
    del config["torch_dtype"]
    tensors = {
        name: ("F16", shape)
        for name, (_, shape) in checkpoint_files.dense(base("llama"), Maker()).items()
    }
    read, _, _ = from_headers(config, tensors)
    assert read.dtype == "float16"


WIDE: Final = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}


@pytest.mark.parametrize(
    "packing",
    [
        "",
        "awq",
        "gptq",
        "fp8_block",
        "fp8_channel",
        "fp8_tensor",
        "int8",
        "pack_quantized",
        "nvfp4",
        "nvfp4_packed",
        "nf4",
    ],
)
def test_what_is_read_has_the_bytes_of_the_files_whatever_the_config_says(packing: str) -> None:
    config = base("llama", **WIDE)
    tensors = checkpoint_files.dense(config, Maker(packing, HEAD))
    read, profile, _ = from_headers(config, tensors)
    assert profile["checkpoint"]["bytes"] == checkpoint_files.size_of(tensors)
    assert stored_bytes(read) == pytest.approx(checkpoint_files.size_of(tensors), rel=0.001)
    assert read.parameters == architecture(config).parameters


def test_layers_of_different_precision_count_each_as_it_is() -> None:
    layers = {
        f"model.layers.{i}.{m}": {"quant_algo": "FP8" if i == 0 else "NVFP4"}
        for i in range(3)
        for m in ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    }
    said = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    config = base("llama", quantization_config=said, **WIDE)
    kept = ("lm_head", "self_attn")
    tensors = checkpoint_files.dense(config, Maker("nvfp4", kept))
    eight = checkpoint_files.dense(config, Maker("fp8_tensor", kept))
    tensors = {name: t for name, t in tensors.items() if ".layers.0." not in name} | {
        name: t for name, t in eight.items() if ".layers.0." in name
    }
    read, profile, notes = from_headers(config, tensors)
    assert stored_bytes(read) == pytest.approx(checkpoint_files.size_of(tensors), rel=0.0001)
    assert [entry["layers"] for entry in profile["checkpoint"]["layers"]] == ["0"]
    assert notes == ("1 of 3 layers hold other tensors than the config says: the headers count",)


def test_a_tower_of_another_size_than_the_config_says_counts_as_it_is() -> None:
    config, make, _ = _families()["gemma 3"]
    larger = config | {"vision_config": VISION | {"intermediate_size": 256}}
    read, _, notes = from_headers(config, make(larger, Maker()))
    assert read.parameters == architecture(larger).parameters
    assert "tower hold other tensors than the config says" in notes[0]
    for tensor in (1, 2, 4):
        (want,), (got,) = (
            stage_weights(a, "bfloat16", "", Parallelism(tensor))
            for a in (architecture(larger), read)
        )
        assert got == pytest.approx(want, abs=4096)
