"""Further families with experts: Ling, LongCat, Step 3, EXAONE MoE, Arctic, Aria, ERNIE 4.5 VL.

It must not build a plain layer: it says traits, and adds what the family has beside them.

    LongCat   two latent attentions and two dense MLPs in each layer; some experts are empty
    Step 3    q through a rank and a norm; one head of keys and values, whole on every rank

Sources: the modeling files of transformers 5.23.0; bailing_moe.py, step3_text.py of vLLM 0.33.0
and arctic.py of 0.28.0 for those that are code of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, FeedForward, Part, Split
from plimsoll.models.blocks.attention import Heads, gqa_mixer, mla, mla_mixer
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    assemble,
    decoder,
    feed_forward,
    layer_norms,
    layers_of,
    shape,
)
from plimsoll.models.blocks.parts import Tensors, experts, linear, loose, mlp, norm
from plimsoll.models.families.dense import attention_biases, windowed
from plimsoll.models.families.latent import latent_of
from plimsoll.models.families.sparse import first_dense, with_mtp

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

A = Part.ATTENTION


def bailing(f: Fields) -> Built:
    """Ling and Ring: shared experts; from version 2 on norms on the heads of q and k."""
    width = f.integer("moe_intermediate_size")
    shared = f.integer("moe_shared_expert_intermediate_size", default=width)
    m = Moe(f.integer("num_experts"), f.integer("num_experts_per_tok"), width,
            shared=shared * f.integer("num_shared_experts", default=0, low=0))  # fmt: skip
    bias = f.flag("use_bias")
    t = Traits(
        qkv_bias=bias or f.flag("use_qkv_bias"), o_bias=bias, mlp_bias=bias, moe=m,
        moe_at=first_dense(f), qk_norm="head" if f.flag("use_qk_norm") else "",
    )  # fmt: skip
    if f.flag("moe_router_enable_expert_bias"):
        t = replace(t, sparse_more=loose("mlp.gate.expert_bias", (m.count,), part=Part.ROUTER))
    return with_mtp(f, decoder(f, t))


def longcat(f: Fields) -> Built:
    """LongCat-Flash: a layer is two latent attentions with dense MLPs, and experts beside them."""
    latent = latent_of(f)
    hidden, wide = latent.hidden, f.integer("ffn_hidden_size", "intermediate_size")
    width = f.integer("expert_ffn_hidden_size", "moe_intermediate_size")
    count, per_token = f.integer("n_routed_experts"), f.integer("moe_topk", "num_experts_per_tok")
    empty = f.integer("zero_expert_num", default=0, low=0)
    tensors = experts(hidden, width, count)[1:]
    tensors += linear(
        "mlp.router.classifier", count + empty, hidden, Split.NONE, Part.ROUTER,
        bias=f.flag("router_bias"),
    )  # fmt: skip
    for number in range(2):
        tensors += mla(latent, f"self_attn.{number}")
        tensors += mlp(hidden, wide, prefix=f"mlps.{number}")
        tensors += norm(f"input_layernorm.{number}", hidden)
        tensors += norm(f"post_attention_layernorm.{number}", hidden)
    ff = FeedForward(wide, count, per_token, width)
    block = Block((mla_mixer(latent),) * 2, ff, tensors)
    layers = f.integer("num_layers", default=layers_of(f) // 2 or 1, high=10_000)
    return assemble(f, Traits(), hidden, latent.heads, lambda _: block, [0] * layers)


def exaone_moe(f: Fields) -> Built:
    """K-EXAONE: norms on the heads of q and k, three of four layers slide, shared experts."""
    width = f.integer("moe_intermediate_size")
    m = Moe(f.integer("num_experts"), f.integer("num_experts_per_tok"), width,
            shared=width * f.integer("num_shared_experts", default=1, low=0))  # fmt: skip
    chosen = f.raw("is_moe_layer")
    t = Traits(qk_norm="head", moe=m, moe_at=first_dense(f))
    if isinstance(chosen, list) and not f.has("mlp_layer_types"):
        t = replace(t, moe_at=lambda i: i < len(chosen) and chosen[i] is True)
    t = windowed(f, t, pattern=4)
    return with_mtp(f, decoder(f, t))


def step3(f: Fields) -> Built:
    """Step 3: queries through a rank, one head of keys and values, a shared expert."""
    heads = f.integer("num_attention_heads")
    hidden, dim = f.integer("hidden_size"), f.integer("head_dim")
    rank = f.integer("share_q_dim")
    width = f.integer("moe_intermediate_size")
    m = Moe(f.integer("moe_num_experts"), f.integer("moe_top_k"), width,
            shared=f.integer("share_expert_dim", default=width))  # fmt: skip
    said = f.text("moe_layers_enum")
    chosen = {int(word) for word in said.split(",") if word.isdecimal() and len(word) < 6}
    own = Heads(hidden, heads, 1, dim, dim)
    attention = linear("self_attn.qkv_proj", rank + 2 * dim, hidden, Split.NONE, A)
    attention += norm("self_attn.inter_norm", rank)
    attention += linear("self_attn.wq", heads * dim, rank, Split.COLUMN, A)
    attention += linear("self_attn.o_proj", hidden, heads * dim, Split.ROW, A)
    t, wide = Traits(moe=m), f.integer("intermediate_size")

    def make(sparse: bool) -> Block:
        feed, ff = feed_forward(t, hidden, wide, sparse=sparse)
        return Block((gqa_mixer(own),), ff, attention + feed + layer_norms(t, hidden))

    keys = [i in chosen if chosen else i > 0 for i in range(layers_of(f))]
    return assemble(f, t, hidden, heads, make, keys)


def arctic(f: Fields) -> Built:
    """Snowflake Arctic: a dense MLP as wide as the hidden size beside the experts."""
    heads = shape(f)
    hidden, width = heads.hidden, f.integer("intermediate_size")
    every = f.integer("moe_layer_frequency", default=2)
    beside: Tensors = ()
    if f.flag("use_residual", "parallel_attn_mlp_res"):
        beside = mlp(hidden, hidden, prefix="residual_mlp") + norm("residual_layernorm", hidden)
    m = Moe(f.integer("num_local_experts"), f.integer("num_experts_per_tok", default=2), width)
    t = Traits(moe=m, moe_at=lambda i: (i + 1) % every == 0, sparse_more=beside)
    return decoder(f, replace(t, width_at=lambda _: width))


def aria(f: Fields) -> Built:
    """Aria's text model: LLaMA with experts and shared ones in every layer."""
    width = f.integer("intermediate_size", "moe_intermediate_size")
    m = Moe(f.integer("moe_num_experts"), f.integer("moe_topk"), width,
            shared=width * f.integer("moe_num_shared_experts", default=2, low=0))  # fmt: skip
    return decoder(f, attention_biases(f, Traits(moe=m, mlp_bias=f.flag("mlp_bias"))))


def ernie_vl(f: Fields) -> Built:
    """ERNIE 4.5 VL: experts for text and, of another width, for images in the same layers."""
    widths, counts = f.raw("moe_intermediate_size"), f.raw("moe_num_experts")
    text, images = f.integers("moe_intermediate_size") or (1536, 512) if widths else (1536, 512)
    number = f.integers("moe_num_experts") if isinstance(counts, list) else None
    one, other = number or (f.integer("moe_num_experts", default=64),) * 2
    hidden = f.integer("hidden_size")
    first = f.integers("moe_layer_start_index") if isinstance(
        f.raw("moe_layer_start_index"), list
    ) else None  # fmt: skip
    start = min(first) if first else f.integer("moe_layer_start_index", default=1, low=0)
    m = Moe(one, f.integer("moe_k", default=6), text,
            shared=text * f.integer("moe_num_shared_experts", default=2, low=0))  # fmt: skip
    kinds = f.texts("mlp_layer_types")
    at = first_dense(f) if kinds else lambda i: i >= start
    bias = f.flag("use_bias")
    t = Traits(
        tied=True, qkv_bias=bias, o_bias=bias, mlp_bias=bias, moe=m, moe_at=at,
        sparse_more=experts(hidden, images, other, prefix="mlp.vision_moe")
        + loose("mlp.moe_statics.e_score_correction_bias", (2, one), part=Part.ROUTER),
    )  # fmt: skip
    return decoder(f, t)
