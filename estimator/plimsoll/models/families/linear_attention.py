"""Families with linear attention in most layers: delta nets, Kimi delta, lightning attention.

It must not know a config beyond these families' own fields.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, MixerKind, Part, Split
from plimsoll.models.blocks.attention import gqa, gqa_mixer, mla, mla_mixer
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
from plimsoll.models.blocks.parts import Tensors, linear, norm
from plimsoll.models.blocks.state import (
    DeltaNet,
    KimiDelta,
    delta_net,
    delta_net_mixer,
    kimi_delta,
    kimi_delta_mixer,
    lightning,
    lightning_mixer,
)
from plimsoll.models.families.dense import attention_biases
from plimsoll.models.families.latent import latent_of
from plimsoll.models.families.sparse import first_dense, qwen_moe_at, with_mtp

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


def qwen_next(f: Fields) -> Built:
    """Qwen3-Next, Qwen3.5 and 3.6: gated delta nets, every fourth layer gated attention."""
    heads = replace(
        shape(f, attention_biases(f, Traits())), qk_norm="head",
        gate=f.flag("attn_output_gate", default=True),
    )  # fmt: skip
    hidden = heads.hidden
    d = DeltaNet(
        hidden, f.integer("linear_num_key_heads", default=16),
        f.integer("linear_key_head_dim", default=128),
        f.integer("linear_num_value_heads", default=32),
        f.integer("linear_value_head_dim", default=128),
        f.integer("linear_conv_kernel_dim", default=4),
        f.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype"),
        fused=f.text("model_type") == "qwen3_next",
    )  # fmt: skip
    moe, width = None, f.integer("intermediate_size", default=1)
    if f.has("num_experts", "num_local_experts"):
        moe = Moe(
            f.integer("num_experts", "num_local_experts"), f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"),
            shared=f.integer("shared_expert_intermediate_size", default=0, low=0),
            shared_gate=True,
        )  # fmt: skip
    t = Traits(moe=moe)
    every = f.integer("full_attention_interval", default=4)
    kinds = kinds_from(f, layers_of(f))
    named = f.has("layer_types")
    at = qwen_moe_at(f)

    def make(key: tuple[bool, bool]) -> Block:
        full, sparse = key
        own = gqa(heads) if full else delta_net(d)
        mixer = gqa_mixer(heads) if full else delta_net_mixer(d)
        tensors, ff = feed_forward(t, hidden, width, sparse=sparse)
        return Block((mixer,), ff, own + tensors + layer_norms(t, hidden))

    keys = [
        (
            kinds(i) is MixerKind.FULL if named else (i + 1) % every == 0,
            moe is not None and at(i),
        )
        for i in range(layers_of(f))
    ]
    return with_mtp(f, assemble(f, t, hidden, heads.heads, make, keys))


def minimax_text(f: Fields) -> Built:
    """MiniMax-Text-01: lightning attention, every eighth layer softmax; experts everywhere."""
    heads = shape(f)
    t = Traits(moe=Moe(f.integer("num_local_experts"), f.integer("num_experts_per_tok"),
                       f.integer("intermediate_size")))  # fmt: skip
    kinds = f.integers("attn_type_list") or ()

    def make(key: bool) -> Block:
        tensors, ff = feed_forward(t, heads.hidden, 1, sparse=True)
        own = gqa(heads) if key else lightning(heads.hidden, heads.heads, heads.dim)
        mixer = gqa_mixer(heads) if key else lightning_mixer(heads.heads, heads.dim)
        return Block((mixer,), ff, own + tensors + layer_norms(t, heads.hidden))

    count = layers_of(f)
    names = kinds_from(f, count)
    named = f.has("layer_types")
    keys = [
        names(i) is MixerKind.FULL if named else bool(i < len(kinds) and kinds[i])
        for i in range(count)
    ]
    return assemble(f, t, heads.hidden, heads.heads, make, keys)


def kimi_linear(f: Fields) -> Built:
    """Kimi Linear and K3: Kimi delta attention, latent attention in some layers, experts.

    K3's residual attention over blocks (``attn_res_block_size``) is not counted: what is made
    with it is marked as assumed.
    """
    linear_config = f.section("linear_attn_config") or f
    hidden, wide = f.integer("hidden_size"), f.integer("intermediate_size")
    delta = KimiDelta(
        hidden, linear_config.integer("linear_num_heads", "num_heads", default=32),
        linear_config.integer("linear_head_dim", "head_dim", default=128),
        linear_config.integer("linear_conv_kernel_dim", "short_conv_kernel_size", default=4),
        linear_config.flag("use_full_rank_gate"),
    )  # fmt: skip
    latent = latent_of(f, gate=f.flag("mla_use_output_gate"))
    width, inner = (
        f.integer("moe_intermediate_size"),
        f.integer("routed_expert_hidden_size", default=0, low=0),
    )
    m = Moe(
        f.integer("num_experts", "num_local_experts"),
        f.integer("num_experts_per_token", "num_experts_per_tok"), width, latent=inner,
        shared=width * f.integer("num_shared_experts", "n_shared_experts", default=1, low=0),
    )  # fmt: skip
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
        own = mla(latent) if latent_layer else kimi_delta(delta)
        mixer = mla_mixer(latent) if latent_layer else kimi_delta_mixer(delta)
        tensors, ff = feed_forward(t, hidden, wide, sparse=sparse)
        return Block((mixer,), ff, own + tensors + layer_norms(t, hidden))

    sparse_at = first_dense(f) if f.has("mlp_layer_types") else lambda i: i >= first
    keys = [(full(i), sparse_at(i)) for i in range(layers_of(f))]
    built = assemble(f, t, hidden, latent.heads, make, keys)
    return replace(built, assumed=f.has("attn_res_block_size"))
