"""Names of published checkpoints, each in its place: layer, end, tower, further layers, nothing."""

from __future__ import annotations

import pytest

from plimsoll.models.architecture import Part, Split
from plimsoll.models.checkpoint.names import (
    Home,
    kind_in_layer,
    kind_in_tower,
    kind_outside,
    place,
    spelt,
)


@pytest.mark.parametrize(
    ("name", "home", "layer", "rest"),
    [
        ("model.layers.3.self_attn.q_proj.weight", Home.LAYER, 3, "self_attn.q_proj.weight"),
        ("model.layers.61.self_attn.q_proj.weight", Home.FURTHER, 61, "self_attn.q_proj.weight"),
        ("language_model.model.layers.0.mlp.up_proj.weight", Home.LAYER, 0, "mlp.up_proj.weight"),
        (
            "model.language_model.layers.7.input_layernorm.weight",
            Home.LAYER,
            7,
            "input_layernorm.weight",
        ),
        ("transformer.h.2.attn.c_attn.weight", Home.LAYER, 2, "self_attn.c_attn.weight"),
        ("transformer.h.2.attn.c_attn.bias", Home.LAYER, 2, "self_attn.c_attn.bias"),
        ("transformer.h.2.attn.bias", Home.NOTHING, -1, "transformer.h.2.attn.bias"),
        ("gpt_neox.layers.1.attention.dense.weight", Home.LAYER, 1, "self_attn.dense.weight"),
        ("gpt_neox.layers.1.attention.masked_bias", Home.NOTHING, -1, None),
        ("backbone.layers.5.mixer.in_proj.weight", Home.LAYER, 5, "mixer.in_proj.weight"),
        (
            "model.layers.1.block_sparse_moe.experts.7.w2.weight",
            Home.LAYER,
            1,
            "mlp.experts.down_proj.weight",
        ),
        (
            "model.layers.1.mlp.shared_expert.up_proj.weight",
            Home.LAYER,
            1,
            "mlp.shared_experts.up_proj.weight",
        ),
        ("model.layers.1.mlp.gate.e_score_correction_bias", Home.NOTHING, -1, None),
        ("model.layers.1.mlp.moe_statics.e_score_correction_bias", Home.LAYER, 1, None),
        ("model.layers.1.self_attn.k_scale", Home.NOTHING, -1, None),
        ("model.layers.1.self_attn.rotary_emb.inv_freq", Home.NOTHING, -1, None),
        ("model.layers.1.mlp.experts.gate_up_proj_input_scale", Home.NOTHING, -1, None),
        ("visual.blocks.0.attn.qkv.weight", Home.TOWER, -1, None),
        ("model.visual.merger.linear_fc1.weight", Home.TOWER, -1, None),
        ("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", Home.TOWER, -1, None),
        ("multi_modal_projector.linear_1.weight", Home.TOWER, -1, None),
        ("vision_model.encoder.layers.3.mlp.fc1.weight", Home.TOWER, -1, None),
        ("mlp1.0.weight", Home.TOWER, -1, None),
        ("image_newline", Home.TOWER, -1, None),
        ("mtp.layers.0.mlp.up_proj.weight", Home.FURTHER, 0, "mlp.up_proj.weight"),
        ("model.mtp_layers.0.mlp.up_proj.weight", Home.FURTHER, 0, None),
        ("model.embed_tokens.weight", Home.OUTSIDE, -1, "model.embed_tokens.weight"),
        ("transformer.wte.weight", Home.OUTSIDE, -1, "model.embed_tokens.weight"),
        ("backbone.embeddings.weight", Home.OUTSIDE, -1, "model.embed_tokens.weight"),
        ("gpt_neox.final_layer_norm.bias", Home.OUTSIDE, -1, "model.norm.bias"),
        ("embed_out.weight", Home.OUTSIDE, -1, "lm_head.weight"),
        ("language_model.lm_head.weight", Home.OUTSIDE, -1, "lm_head.weight"),
    ],
)
def test_every_published_name_has_its_place(
    name: str, home: Home, layer: int, rest: str | None
) -> None:
    found = place(name, 61)
    assert found.home is home
    if home is not Home.FURTHER or rest:
        assert rest is None or (found.layer, found.rest) == (layer, rest)


@pytest.mark.parametrize(
    ("name", "split", "part"),
    [
        ("self_attn.q_proj.weight", Split.COLUMN, Part.ATTENTION),
        ("self_attn.k_proj.bias", Split.KV_HEADS, Part.ATTENTION),
        ("self_attn.o_proj.weight", Split.ROW, Part.ATTENTION),
        ("self_attn.o_proj.bias", Split.NONE, Part.ATTENTION),
        ("self_attn.kv_a_proj_with_mqa.weight", Split.NONE, Part.ATTENTION),
        ("self_attn.kv_b_proj.weight", Split.COLUMN, Part.ATTENTION),
        ("self_attn.indexer.wq_b.weight", Split.NONE, Part.ATTENTION),
        ("self_attn.sinks", Split.COLUMN, Part.ATTENTION),
        ("self_attn.q_norm.weight", Split.NONE, Part.NORM),
        ("mlp.gate.weight", Split.NONE, Part.ROUTER),
        ("mlp.gate_proj.weight", Split.COLUMN, Part.MLP),
        ("mlp.experts.down_proj.weight", Split.EXPERT_ROW, Part.EXPERTS),
        ("mlp.experts.gate_up_proj.weight", Split.EXPERT_COLUMN, Part.EXPERTS),
        ("mlp.shared_experts.down_proj.weight", Split.ROW, Part.MLP),
        ("mlp.shared_expert_gate.weight", Split.NONE, Part.ROUTER),
        ("mixer.A_log", Split.COLUMN, Part.MIXER),
        ("mixer.conv1d.weight", Split.COLUMN, Part.MIXER),
        ("mamba.x_proj.weight", Split.ROW, Part.MIXER),
        ("linear_attn.in_proj_qkvz.weight", Split.COLUMN, Part.MIXER),
        ("input_layernorm.weight", Split.NONE, Part.NORM),
    ],
)
def test_how_an_engine_cuts_each_tensor_of_a_layer(name: str, split: Split, part: Part) -> None:
    kind = kind_in_layer(spelt(name))
    assert (kind.split, kind.part) == (split, part)
    assert kind.known


def test_a_name_that_says_nothing_lies_whole_and_is_not_known() -> None:
    kind = kind_in_layer("oddity.weight")
    assert kind.split is Split.NONE
    assert not kind.known
    assert not kind_outside("strange.weight").known
    assert kind_outside("lm_head.weight").split is Split.VOCAB


def test_a_tower_is_cut_only_if_the_engine_cuts_it() -> None:
    name = "visual.blocks.0.mlp.fc1.weight"
    assert kind_in_tower(name, cut=True, cut_projector=True).split is Split.COLUMN
    assert kind_in_tower(name, cut=False, cut_projector=True).split is Split.NONE
    patch = "visual.patch_embed.proj.weight"
    assert kind_in_tower(patch, cut=True, cut_projector=True).split is Split.NONE
    audio = "audio_tower.layers.0.fc1.weight"
    assert kind_in_tower(audio, cut=False, cut_projector=False).part is Part.AUDIO
