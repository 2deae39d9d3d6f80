"""LLaMA and what is built like it; Llama 3.2 Vision and Llama 4 with their towers.

The tower of Llama 3.2 Vision is taken to lie whole on every rank: nothing was measured there, and
whole is the larger need. Llama 4's is cut: that was read off measured weights at TP 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, MixerKind, Part, Split, Tower
from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder, shape
from plimsoll.models.blocks.family import all_sliding, attention_biases
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm
from plimsoll.models.blocks.towers import (
    CHANNELS,
    P,
    V,
    basics,
    copies,
    one_size,
    patches,
    patches_on_edge,
    position_table,
    vit_layer,
    vit_norm,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.blocks.fields import Fields

LLAMA4_VISION: Final = {
    "hidden_size": 1408,
    "intermediate_size": 5632,
    "num_hidden_layers": 34,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}


def llama(f: Fields) -> Built:
    """LLaMA, Mistral, Granite, SmolLM3, Yi, Seed-OSS ..."""
    bias = f.flag("attention_bias", "qkv_bias")
    t = Traits(
        qkv_bias=bias,
        o_bias=f.flag("attention_out_bias", default=bias),
        mlp_bias=f.flag("mlp_bias"),
    )
    return decoder(f, all_sliding(f, t))


def mllama(f: Fields) -> Built:
    """Llama 3.2 Vision: cross-attention layers among LLaMA's, eight more embeddings."""
    t = Traits()
    heads = shape(f, t)
    cross = set(f.integers("cross_attention_layers") or ())
    built = decoder(
        f, replace(t, kinds=lambda i: MixerKind.CROSS if i in cross else MixerKind.FULL)
    )
    crossing: dict[int, Block] = {}
    blocks = []
    for block in built.blocks:
        if block.mixers[0].kind is MixerKind.CROSS:
            if id(block) not in crossing:
                crossing[id(block)] = _crossing(block, heads.dim)
            block = crossing[id(block)]
        blocks.append(block)
    wider = tuple(
        replace(x, shape=(x.shape[0] + 8, x.shape[1])) if x.part is Part.EMBEDDING else x
        for x in built.outside
    )
    return replace(built, blocks=tuple(blocks), outside=wider)


def _crossing(block: Block, dim: int) -> Block:
    """The block as a cross-attention layer: other names, norms on the heads, two gates."""
    renamed = tuple(
        replace(t, name=t.name.replace("self_attn.", "cross_attn.", 1)) for t in block.tensors
    )
    gates = (
        norm("cross_attn.q_norm", dim)
        + norm("cross_attn.k_norm", dim)
        + loose("cross_attn_attn_gate", (1,))
        + loose("cross_attn_mlp_gate", (1,))
    )
    return replace(block, tensors=renamed + gates)


def llama4(f: Fields) -> Built:
    """Llama 4: three of four layers look back over a chunk only; experts in some layers."""
    step = f.integer("interleave_moe_layer_step", default=1)
    chosen = f.integers("moe_layers")
    width = f.integer("intermediate_size", default=8192)
    dense = f.integer("intermediate_size_mlp", default=16384)
    m = Moe(
        f.integer("num_local_experts", default=16),
        f.integer("num_experts_per_tok", default=1),
        width,
        shared=width,
    )
    chunk = f.integer("attention_chunk_size", default=8192, low=0)
    rope = f.integers("no_rope_layers")

    def kind(index: int) -> MixerKind:
        full = rope[index] == 0 if rope and index < len(rope) else (index + 1) % 4 == 0
        return MixerKind.FULL if full or not chunk else MixerKind.CHUNKED

    at: Callable[[int], bool] = (
        (lambda i: i in set(chosen)) if chosen else (lambda i: (i + 1) % step == 0)
    )
    t = Traits(moe=m, moe_at=at, window=chunk, kinds=kind, width_at=lambda _: dense)
    return decoder(f, attention_biases(f, t))


def mllama_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Llama 3.2 Vision: the vision tower and its projector."""
    h = v.integer("hidden_size", default=1280)
    width = v.integer("intermediate_size", default=5120)
    count = v.integer("num_hidden_layers", default=32, high=1000)
    deep = v.integer("num_global_layers", default=8, high=1000)
    size, patch = v.integer("image_size", default=448), v.integer("patch_size", default=14)
    tiles = v.integer("max_num_tiles", default=4, high=64)
    ratios = v.raw("supported_aspect_ratios")
    ids = (len(ratios) if isinstance(ratios, list) else 8) + 1
    rows = (size // patch) ** 2 + 1
    layer = vit_layer(h, width, bias=False, whole=True)
    gates = loose("vision.gate_attn", (1,), part=V) + loose("vision.gate_ffn", (1,), part=V)
    tensors = loose("vision.class_embedding", (h,), part=V) + patches(v, h, bias=False)
    tensors += loose("vision.gated_positional_embedding", (rows, h), part=V)
    tensors += loose("vision.tile_embedding", (ids, tiles * rows * h), part=V)
    tensors += loose("vision.gates", (3,), part=V)
    for name in ("pre_tile", "post_tile"):
        tensors += loose(f"vision.{name}_embedding", (ids, tiles * h), part=V)
    tensors += vit_norm("layernorm_pre", h) + vit_norm("layernorm_post", h)
    tensors += copies(layer, count) + copies(layer + gates, deep)
    out = v.integer("vision_output_dim", default=7680)
    return tensors + linear("projector.linear", text, out, Split.NONE, P, bias=True)


def mllama_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Llama 3.2 Vision: the tower and its largest item, all tiles, rows padded to 8."""
    size, patch = v.integer("image_size", default=448), v.integer("patch_size", default=14)
    h, width = v.integer("hidden_size", default=1280), v.integer("intermediate_size", default=5120)
    rows = -(-((size // patch) ** 2 + 1) // 8) * 8 * v.integer("max_num_tiles", default=4, high=64)
    return Tower("mllama", h, width, CHANNELS * patch * patch, text, rows, rows)


def llama4_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Llama 4: the vision tower and its projector."""
    h, width, count = basics(v)
    into = v.integer("projector_input_dim", default=4096)
    out = v.integer("projector_output_dim", default=4096)
    tensors = loose("vision.class_embedding", (h,), part=V) + patches(v, h, bias=False)
    tensors += (
        position_table(v, h, 1) + vit_norm("layernorm_pre", h) + vit_norm("layernorm_post", h)
    )
    tensors += copies(vit_layer(h, width), count)
    tensors += linear("vision.adapter.fc1", into, width, Split.COLUMN, V)
    tensors += linear("vision.adapter.fc2", out, into, Split.ROW, V)
    return tensors + linear(
        "projector.linear_1", text, v.integer("vision_output_dim", default=4096), Split.NONE, P
    )


def llama4_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Llama 4: the tower and its largest item."""
    tiles = top.integer("max_patches", default=16, high=256) + 1
    tokens = round(patches_on_edge(v) ** 2 * v.number("pixel_shuffle_ratio", default=0.5) ** 2)
    return one_size("llama4", v, text, tiles * tokens, tiles * (patches_on_edge(v) ** 2 + 1))
