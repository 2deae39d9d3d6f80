"""Kimi: delta attention beside latent attention; MoonViT.

MoonViT is taken to lie whole on every rank: nothing was measured there, and whole is the larger
need.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, MixerKind, Part, Split, Tensor, Tower
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    assemble,
    feed_forward,
    kinds_from,
    layer_norms,
    layers_of,
)
from plimsoll.models.blocks.family import first_dense, latent_of
from plimsoll.models.blocks.mixers import KimiDelta, kimi_delta, kimi_delta_mixer, mla, mla_mixer
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm
from plimsoll.models.blocks.towers import CHANNELS, P, V, copies, patches, vit_layer, vit_norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

_KIMI_PATCHES: Final = 4096
_KIMI_K2_PATCHES: Final = 16384


def kimi_linear(f: Fields) -> Built:
    """Kimi Linear and K3: Kimi delta attention, latent attention in some layers, experts.

    K3's residual attention over blocks (``attn_res_block_size``) is not counted: what is made
    with it is marked as assumed.
    """
    linear_config = f.section("linear_attn_config") or f
    hidden, wide = f.integer("hidden_size"), f.integer("intermediate_size")
    delta = KimiDelta(
        hidden,
        linear_config.integer("linear_num_heads", "num_heads", default=32),
        linear_config.integer("linear_head_dim", "head_dim", default=128),
        linear_config.integer("linear_conv_kernel_dim", "short_conv_kernel_size", default=4),
        linear_config.flag("use_full_rank_gate"),
    )
    latent = latent_of(f, gate=f.flag("mla_use_output_gate"))
    width, inner = (
        f.integer("moe_intermediate_size"),
        f.integer("routed_expert_hidden_size", default=0, low=0),
    )
    m = Moe(
        f.integer("num_experts", "num_local_experts"),
        f.integer("num_experts_per_token", "num_experts_per_tok"),
        width,
        latent=inner,
        shared=width * f.integer("num_shared_experts", "n_shared_experts", default=1, low=0),
    )
    through: Tensors = ()
    if inner:
        through = linear("mlp.latent_down_proj", inner, hidden, Split.NONE, Part.MLP)
        through += linear("mlp.latent_up_proj", hidden, inner, Split.NONE, Part.MLP)
        if f.flag("latent_moe_use_norm"):
            through += norm("mlp.latent_norm", inner)
    t = Traits(moe=m, sparse_more=through)
    first = f.integer("first_k_dense_replace", default=1, low=0)
    numbered = linear_config.integers("full_attn_layers")
    kinds = kinds_from(f, layers_of(f))

    def full(index: int) -> bool:
        return index + 1 in numbered if numbered else kinds(index) is MixerKind.FULL

    def make(key: tuple[bool, bool]) -> Block:
        latent_layer, sparse = key
        mixing = mla(latent) if latent_layer else kimi_delta(delta)
        mixer = mla_mixer(latent) if latent_layer else kimi_delta_mixer(delta)
        tensors, ff = feed_forward(t, hidden, wide, sparse=sparse)
        return Block((mixer,), ff, mixing + tensors + layer_norms(t, hidden))

    sparse_at = first_dense(f) if f.has("mlp_layer_types") else lambda i: i >= first
    keys = [(full(i), sparse_at(i)) for i in range(layers_of(f))]
    built = assemble(f, t, hidden, latent.heads, make, keys)
    return replace(built, assumed=f.has("attn_res_block_size"))


def moonvit_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """MoonViT (Kimi): the vision tower and its projector."""
    h = v.integer("vt_hidden_size", "hidden_size", default=1152)
    width = v.integer("vt_intermediate_size", "intermediate_size", default=4304)
    count = v.integer("vt_num_hidden_layers", "num_hidden_layers", default=27, high=1000)
    rows = v.integer("init_pos_emb_height", default=64) * v.integer(
        "init_pos_emb_width", default=64
    )
    tensors = patches(v, h, bias=True) + loose("vision.pos_emb", (rows, h), part=V)
    tensors += copies(vit_layer(h, width), count) + vit_norm("final_layernorm", h)
    tensors += tuple(
        Tensor(t.name, t.shape, Split.NONE, P) for t in norm("projector.pre_norm", h, bias=True)
    )
    wide = 4 * h
    tensors += linear("projector.linear_1", wide, wide, Split.NONE, P, bias=True)
    return tensors + linear("projector.linear_2", text, wide, Split.NONE, P, bias=True)


def moonvit_largest(top: Fields, v: Fields, text: int) -> Tower:
    """MoonViT (Kimi): the tower and its largest item."""
    patches = _KIMI_PATCHES if top.text("model_type") == "kimi_vl" else _KIMI_K2_PATCHES
    edge = v.integer("patch_size", default=14, high=1024)
    return Tower(
        "moonvit",
        v.integer("vt_hidden_size", "hidden_size", default=1152),
        v.integer("vt_intermediate_size", "intermediate_size", default=4304),
        CHANNELS * edge * edge,
        text,
        patches // 4,
        patches,
    )
