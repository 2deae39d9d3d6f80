"""Makers of one family whose layers keep a state: Mamba, Jamba, Falcon-H1, LFM2, Zamba 2.

Zamba 2   mamba 2 layers; in some of them first one of a few shared attention blocks, which
          every use adapts with low-rank tensors of its own and caches for itself
source    vLLM 0.33.0, vllm/model_executor/models/zamba2.py and lfm2_moe.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, FeedForward, MixerKind, Part, Split, Stage, Tensor
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    assemble,
    feed_forward,
    kinds_from,
    layer_norms,
    layers_of,
    shape,
)
from plimsoll.models.blocks.mixers import (
    Heads,
    Mamba1,
    Mamba2,
    gqa,
    gqa_mixer,
    mamba1,
    mamba1_mixer,
    mamba2,
    mamba2_mixer,
    short_conv,
    short_conv_mixer,
)
from plimsoll.models.blocks.parts import Tensors, linear, mlp, norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


def mamba(f: Fields) -> Built:
    """Mamba 1 and Falcon-Mamba: one norm and one mixer a layer."""
    hidden = f.integer("hidden_size")
    rank = f.raw("time_step_rank")
    m = Mamba1(
        hidden,
        f.integer("intermediate_size", default=hidden * f.integer("expand", default=2)),
        f.integer("state_size", default=16),
        f.integer("conv_kernel", default=4),
        rank if isinstance(rank, int) and 0 < rank < 10**6 else -(-hidden // 16),
        f.flag("use_bias"),
        f.flag("use_conv_bias", default=True),
    )
    block = Block((mamba1_mixer(m),), None, norm("norm", hidden) + mamba1(m))
    return assemble(f, Traits(tied=True), hidden, 0, lambda _: block, [0] * layers_of(f))


def mamba_two(f: Fields) -> Built:
    """Mamba 2 and Codestral Mamba."""
    hidden = f.integer("hidden_size")
    m = Mamba2(
        hidden,
        f.integer("num_heads"),
        f.integer("head_dim"),
        f.integer("state_size", default=128),
        f.integer("n_groups", default=8),
        f.integer("conv_kernel", default=4),
        f.flag("use_bias"),
        f.flag("use_bias"),
        f.flag("use_conv_bias", default=True),
    )
    block = Block((mamba2_mixer(m),), None, norm("norm", hidden) + mamba2(m))
    return assemble(f, Traits(), hidden, 0, lambda _: block, [0] * layers_of(f))


def jamba(f: Fields) -> Built:
    """Jamba: mamba 1 with attention every eighth layer and experts every second."""
    heads = shape(f)
    hidden, width = heads.hidden, f.integer("intermediate_size")
    m = Mamba1(
        hidden,
        hidden * f.integer("mamba_expand", default=2),
        f.integer("mamba_d_state", default=16),
        f.integer("mamba_d_conv", default=4),
        f.integer("mamba_dt_rank", default=-(-hidden // 16)),
        f.flag("mamba_proj_bias"),
        f.flag("mamba_conv_bias", default=True),
        norms=True,
    )
    count = f.integer("num_experts", default=16)
    t = Traits(moe=Moe(count, f.integer("num_experts_per_tok", default=2), width))
    a_every, a_at = (
        f.integer("attn_layer_period", default=8),
        f.integer("attn_layer_offset", default=4, low=0),
    )
    e_every, e_at = (
        f.integer("expert_layer_period", default=2),
        f.integer("expert_layer_offset", default=1, low=0),
    )

    def make(key: tuple[bool, bool]) -> Block:
        attention, sparse = key
        tensors, ff = feed_forward(t, hidden, width, sparse=sparse and count > 1)
        mixing = gqa(heads) if attention else mamba1(m, "mamba")
        mixer = gqa_mixer(heads) if attention else mamba1_mixer(m)
        return Block((mixer,), ff, mixing + tensors + layer_norms(t, hidden))

    keys = [(i % a_every == a_at, i % e_every == e_at) for i in range(layers_of(f))]
    return assemble(f, t, hidden, heads.heads, make, keys)


def falcon_h1(f: Fields) -> Built:
    """Falcon-H1: attention and mamba 2 side by side in every layer."""
    heads = shape(f, Traits(qkv_bias=f.flag("attention_bias"), o_bias=f.flag("attention_bias")))
    hidden, width = heads.hidden, f.integer("intermediate_size")
    m = Mamba2(
        hidden,
        f.integer("mamba_n_heads"),
        f.integer("mamba_d_head"),
        f.integer("mamba_d_state"),
        f.integer("mamba_n_groups", default=1),
        f.integer("mamba_d_conv", default=4),
        f.flag("mamba_proj_bias"),
        f.flag("projectors_bias"),
        f.flag("mamba_conv_bias", default=True),
        norm=f.flag("mamba_rms_norm", default=True),
    )
    block = Block(
        (gqa_mixer(heads), mamba2_mixer(m)),
        FeedForward(width),
        gqa(heads)
        + mamba2(m, "mamba")
        + mlp(hidden, width, bias=f.flag("mlp_bias"))
        + layer_norms(Traits(), hidden),
    )
    return assemble(f, Traits(), hidden, heads.heads, lambda _: block, [0] * layers_of(f))


def lfm2(f: Fields) -> Built:
    """LFM2: short convolutions with attention in some layers; a tied head."""
    heads = replace(shape(f), qk_norm="head")
    hidden = heads.hidden
    width = f.integer("block_ff_dim", "intermediate_size")
    if f.flag("block_auto_adjust_ff_dim", default=True):
        width = int(f.number("block_ffn_dim_multiplier", default=1.0) * int(2 * width / 3))
        multiple = f.integer("block_multiple_of", default=256)
        width = multiple * -(-width // multiple)
    kernel, bias = f.integer("conv_L_cache", default=3), f.flag("conv_bias")
    attention = set(f.integers("full_attn_idxs") or ())
    names = f.texts("layer_types")
    if names:
        attention = {i for i, name in enumerate(names) if name == "full_attention"}

    def make(key: bool) -> Block:
        mixing = gqa(heads) if key else short_conv(hidden, kernel, bias=bias)
        mixer = gqa_mixer(heads) if key else short_conv_mixer(hidden, kernel)
        tensors = mixing + mlp(hidden, width, prefix="feed_forward") + layer_norms(Traits(), hidden)
        return Block((mixer,), FeedForward(width), tensors)

    keys = [i in attention for i in range(layers_of(f))]
    return assemble(f, Traits(tied=True), hidden, heads.heads, make, keys)


def lfm2_moe(f: Fields) -> Built:
    """LFM2-MoE: short convolutions and attention; experts from the first few layers on."""
    heads = replace(shape(f), qk_norm="head")
    hidden, wide = heads.hidden, f.integer("intermediate_size")
    m = Moe(
        f.integer("num_experts"),
        f.integer("num_experts_per_tok"),
        f.integer("moe_intermediate_size"),
    )
    dense = f.integer("num_dense_layers", default=0, low=0)
    kernel, bias = f.integer("conv_L_cache", default=3), f.flag("conv_bias")
    kinds = kinds_from(f, layers_of(f))
    t = Traits(tied=f.flag("tie_embedding", default=True), moe=m)

    def make(key: tuple[MixerKind, bool]) -> Block:
        kind, sparse = key
        conv = kind is MixerKind.SHORT_CONV
        mixing = short_conv(hidden, kernel, bias=bias) if conv else gqa(heads)
        mixer = short_conv_mixer(hidden, kernel) if conv else gqa_mixer(heads)
        feed, ff = feed_forward(t, hidden, wide, sparse=sparse, prefix="feed_forward")
        return Block((mixer,), ff, mixing + feed + layer_norms(t, hidden))

    keys = [(kinds(i), i >= dense) for i in range(layers_of(f))]
    return assemble(f, t, hidden, heads.heads, make, keys)


def zamba2(f: Fields) -> Built:
    """Zamba 2. The shared blocks lie on every pipeline stage."""
    hidden, heads = f.integer("hidden_size"), f.integer("num_attention_heads")
    inner = hidden * f.integer("mamba_expand", default=2, high=100)
    m = Mamba2(
        hidden,
        f.integer("n_mamba_heads", default=8),
        f.integer("mamba_headdim", default=max(1, inner // f.integer("n_mamba_heads", default=8))),
        f.integer("mamba_d_state", default=64),
        f.integer("mamba_ngroups", default=1),
        f.integer("mamba_d_conv", default=4),
        f.flag("add_bias_linear"),
        f.flag("add_bias_linear"),
        f.flag("use_conv_bias", default=True),
    )
    wide = f.integer("attention_hidden_size", default=2 * hidden)
    dim = f.integer("attention_head_dim", default=max(1, wide // heads))
    shared_heads = Heads(wide, heads, f.integer("num_key_value_heads", default=heads), dim, dim)
    width, rank = f.integer("intermediate_size"), f.integer("adapter_rank", default=128)
    names = f.texts("layers_block_type") or ()
    chosen = set(f.integers("hybrid_layer_ids") or ())
    hybrid = [
        names[i] in ("hybrid", "g") if i < len(names) else i in chosen for i in range(layers_of(f))
    ]
    uses = sum(hybrid)
    shared = min(f.integer("num_mem_blocks", default=1), max(1, uses))
    bias = f.flag("add_bias_linear")
    state = norm("input_layernorm", hidden) + mamba2(m, "mamba")
    adapters = _adapter("feed_forward.gate_up_proj_adapter", rank, 2 * width, hidden)
    if f.flag("use_shared_attention_adapter"):
        for name in "qkv":
            adapters += _adapter(f"self_attn.linear_{name}_adapter", rank, wide, wide)
    into = linear("linear", hidden, hidden, Split.NONE, Part.OTHER)
    one = (
        gqa(shared_heads, "shared_transformer.self_attn")[:-1]
        + linear(
            "shared_transformer.self_attn.o_proj", hidden, heads * dim, Split.ROW, Part.ATTENTION
        )
        + mlp(hidden, width, bias=bias, prefix="shared_transformer.feed_forward")
        + norm("shared_transformer.input_layernorm", wide)
        + norm("shared_transformer.pre_ff_layernorm", hidden)
    )
    blocks: Tensors = ()
    for number in range(min(shared, 64)):
        blocks += tuple(
            Tensor(
                f"model.blocks.{number}.{t.name}",
                t.shape,
                Split.COLUMN if t.split is Split.KV_HEADS else t.split,
                t.part,
                linear=t.linear,
                stage=Stage.EVERY,
            )
            for t in one
        )

    def make(key: bool) -> Block:
        if not key:
            return Block((mamba2_mixer(m),), None, state)
        mixers = (gqa_mixer(shared_heads), mamba2_mixer(m))
        return Block(mixers, FeedForward(width), state + into + adapters)

    t = Traits(tied=True, more=blocks)
    return assemble(f, t, hidden, heads, make, hybrid)


def _adapter(name: str, rank: int, out: int, into: int) -> Tensors:
    return linear(f"{name}.0", rank, into, Split.COLUMN, Part.OTHER) + linear(
        f"{name}.1", out, rank, Split.COLUMN, Part.OTHER
    )
