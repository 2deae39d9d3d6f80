"""MiniMax: lightning attention, M2, and M3 with sparse attention and a tower."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, MixerKind, Split
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    assemble,
    decoder,
    feed_forward,
    kinds_from,
    layer_norms,
    layers_of,
    shape,
)
from plimsoll.models.blocks.family import first_dense
from plimsoll.models.blocks.mixers import QkNorm, gqa, gqa_mixer, lightning, lightning_mixer
from plimsoll.models.blocks.parts import Tensors, linear
from plimsoll.models.blocks.towers import P, basics, copies, patches, vit_layer, vit_norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


def minimax_text(f: Fields) -> Built:
    """MiniMax-Text-01: lightning attention, every eighth layer softmax; experts everywhere."""
    heads = shape(f)
    t = Traits(
        moe=Moe(
            f.integer("num_local_experts"),
            f.integer("num_experts_per_tok"),
            f.integer("intermediate_size"),
        )
    )
    kinds = f.integers("attn_type_list") or ()

    def make(key: bool) -> Block:
        tensors, ff = feed_forward(t, heads.hidden, 1, sparse=True)
        mixing = gqa(heads) if key else lightning(heads.hidden, heads.heads, heads.dim)
        mixer = gqa_mixer(heads) if key else lightning_mixer(heads.heads, heads.dim)
        return Block((mixer,), ff, mixing + tensors + layer_norms(t, heads.hidden))

    count = layers_of(f)
    names = kinds_from(f, count)
    named = f.has("layer_types")
    keys = [
        names(i) is MixerKind.FULL if named else bool(i < len(kinds) and kinds[i])
        for i in range(count)
    ]
    return assemble(f, t, heads.hidden, heads.heads, make, keys)


def minimax_m2(f: Fields) -> Built:
    """MiniMax M2: norms over all of q and k, sigmoid routing with a bias."""
    m = Moe(
        f.integer("num_local_experts"),
        f.integer("num_experts_per_tok"),
        f.integer("intermediate_size"),
    )
    whole = f.text("qk_norm_type", default="per_layer") == "per_layer"
    norms: QkNorm = ""
    if f.flag("use_qk_norm", default=True):
        norms = "whole" if whole else "head"
    return decoder(f, Traits(qk_norm=norms, moe=m))


def minimax_m3(f: Fields) -> Built:
    """MiniMax M3: norms on each head of q and k, dense layers first, a shared expert."""
    width = f.integer("moe_intermediate_size", "intermediate_size")
    m = Moe(
        f.integer("num_local_experts"),
        f.integer("num_experts_per_tok"),
        width,
        shared=f.integer("shared_intermediate_size", default=0, low=0)
        * f.integer("n_shared_experts", default=1, low=0),
    )
    dense = f.integer("dense_intermediate_size", default=width)
    t = Traits(qk_norm="head", moe=m, moe_at=first_dense(f), width_at=lambda _: dense)
    index = f.section("sparse_attention_config")
    if index is not None:
        indexing = replace(
            shape(f, t),
            index_heads=index.integer("sparse_num_index_heads", default=4),
            index_dim=index.integer("sparse_index_dim", default=128),
        )
        at = index.integers("sparse_attention_freq") or ()
        t = replace(t, heads_of=lambda _: indexing, indexed=lambda i: i < len(at) and at[i] != 0)
    return decoder(f, t)


def minimax_m3_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """MiniMax M3: the vision tower and its projector."""
    h, width, count = basics(v)
    frames = 2
    out = top.integer("projector_hidden_size", default=text)
    tensors = patches(v, h, bias=False, frames=frames) + vit_norm("pre_layernorm", h)
    tensors += copies(vit_layer(h, width), count)
    for number, (rows, columns) in enumerate(
        ((out, h), (out, out), (out, 4 * out), (out, out)), start=1
    ):
        tensors += linear(f"projector.linear_{number}", rows, columns, Split.NONE, P, bias=True)
    return tensors
