"""Further families that mix attention with states: Zamba 2 and LFM2-MoE.

It must not know a config beyond these families' own fields.

    Zamba 2   mamba 2 layers; in some of them first one of a few shared attention blocks, which
              every use adapts with low-rank tensors of its own and caches for itself
    source    vLLM 0.33.0, vllm/model_executor/models/zamba2.py and lfm2_moe.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, FeedForward, MixerKind, Part, Split, Stage, Tensor
from plimsoll.models.blocks.attention import Heads, gqa, gqa_mixer
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
from plimsoll.models.blocks.parts import Tensors, linear, mlp, norm
from plimsoll.models.blocks.state import (
    Mamba2,
    mamba2,
    mamba2_mixer,
    short_conv,
    short_conv_mixer,
)

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


def lfm2_moe(f: Fields) -> Built:
    """LFM2-MoE: short convolutions and attention; experts from the first few layers on."""
    heads = replace(shape(f), qk_norm="head")
    hidden, wide = heads.hidden, f.integer("intermediate_size")
    m = Moe(f.integer("num_experts"), f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"))  # fmt: skip
    dense = f.integer("num_dense_layers", default=0, low=0)
    kernel, bias = f.integer("conv_L_cache", default=3), f.flag("conv_bias")
    kinds = kinds_from(f, layers_of(f))
    t = Traits(tied=f.flag("tie_embedding", default=True), moe=m)

    def make(key: tuple[MixerKind, bool]) -> Block:
        kind, sparse = key
        conv = kind is MixerKind.SHORT_CONV
        own = short_conv(hidden, kernel, bias=bias) if conv else gqa(heads)
        mixer = short_conv_mixer(hidden, kernel) if conv else gqa_mixer(heads)
        feed, ff = feed_forward(t, hidden, wide, sparse=sparse, prefix="feed_forward")
        return Block((mixer,), ff, own + feed + layer_norms(t, hidden))

    keys = [(kinds(i), i >= dense) for i in range(layers_of(f))]
    return assemble(f, t, hidden, heads.heads, make, keys)


def zamba2(f: Fields) -> Built:
    """Zamba 2. The shared blocks lie on every pipeline stage."""
    hidden, heads = f.integer("hidden_size"), f.integer("num_attention_heads")
    inner = hidden * f.integer("mamba_expand", default=2, high=100)
    m = Mamba2(
        hidden, f.integer("n_mamba_heads", default=8),
        f.integer("mamba_headdim", default=max(1, inner // f.integer("n_mamba_heads", default=8))),
        f.integer("mamba_d_state", default=64), f.integer("mamba_ngroups", default=1),
        f.integer("mamba_d_conv", default=4), f.flag("add_bias_linear"), f.flag("add_bias_linear"),
        f.flag("use_conv_bias", default=True),
    )  # fmt: skip
    wide = f.integer("attention_hidden_size", default=2 * hidden)
    dim = f.integer("attention_head_dim", default=max(1, wide // heads))
    own = Heads(wide, heads, f.integer("num_key_value_heads", default=heads), dim, dim)
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
        gqa(own, "shared_transformer.self_attn")[:-1]
        + linear("shared_transformer.self_attn.o_proj", hidden, heads * dim, Split.ROW,
                 Part.ATTENTION)
        + mlp(hidden, width, bias=bias, prefix="shared_transformer.feed_forward")
        + norm("shared_transformer.input_layernorm", wide)
        + norm("shared_transformer.pre_ff_layernorm", hidden)
    )  # fmt: skip
    blocks: Tensors = ()
    for number in range(min(shared, 64)):
        blocks += tuple(
            Tensor(
                f"model.blocks.{number}.{t.name}", t.shape,
                Split.COLUMN if t.split is Split.KV_HEADS else t.split, t.part,
                linear=t.linear, stage=Stage.EVERY,
            )
            for t in one
        )  # fmt: skip

    def make(key: bool) -> Block:
        if not key:
            return Block((mamba2_mixer(m),), None, state)
        mixers = (gqa_mixer(own), mamba2_mixer(m))
        return Block(mixers, FeedForward(width), state + into + adapters)

    t = Traits(tied=True, more=blocks)
    return assemble(f, t, hidden, heads, make, hybrid)


def _adapter(name: str, rank: int, out: int, into: int) -> Tensors:
    return linear(f"{name}.0", rank, into, Split.COLUMN, Part.OTHER) + linear(
        f"{name}.1", out, rank, Split.COLUMN, Part.OTHER
    )
