"""Makers of one family with experts: OLMoE, DBRX, gpt-oss, Hunyuan, Grok, Ling, LongCat, Step ...

    LongCat   two latent attentions and two dense MLPs in each layer; some experts are empty
    Step 3    q through a rank and a norm; one head of keys and values, whole on every rank

Sources: the modeling files of transformers 5.23.0; bailing_moe.py, step3_text.py of vLLM 0.33.0
and arctic.py of 0.28.0 for those that are code of their own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, FeedForward, MixerKind, Part, Split
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
from plimsoll.models.blocks.family import (
    ATTENTION_BIAS,
    MLP_BIAS,
    Family,
    Routed,
    Size,
    Switch,
    attention_biases,
    deepseek_moe,
    first_dense,
    heads_by_kind,
    latent_of,
    windowed,
    with_mtp,
)
from plimsoll.models.blocks.fields import MAX_LAYERS, Fields
from plimsoll.models.blocks.mixers import Heads, gqa_mixer, mla, mla_mixer
from plimsoll.models.blocks.parts import Tensors, experts, linear, loose, mlp, norm

if TYPE_CHECKING:
    from collections.abc import Callable

A = Part.ATTENTION


def dense_at_first(f: Fields) -> Callable[[int], bool]:
    """Which layers have experts: as the config says, else all but the first."""
    if f.texts("mlp_layer_types") or f.has("first_k_dense_replace"):
        return first_dense(f)
    return lambda i: i > 0


PHI_MOE: Final = Family(
    traits=Traits(norm_bias=True),
    attention_bias=ATTENTION_BIAS,
    head_bias=Switch("lm_head_bias"),
    moe=Routed(
        count=Size("num_local_experts"),
        per_token=Size("num_experts_per_tok", default=2),
        width=Size("intermediate_size"),
    ),
)
"""Phi-3.5-MoE: Mixtral with biases in attention and head, and norms with bias."""
OLMOE: Final = Family(
    traits=Traits(qk_norm="whole"),
    attention_bias=ATTENTION_BIAS,
    moe=Routed(
        count=Size("num_experts", "num_local_experts"),
        per_token=Size("num_experts_per_tok"),
        width=Size("intermediate_size"),
    ),
)
"""OLMoE: norms over all of q and k."""
GPT_OSS: Final = Family(
    traits=Traits(sinks=True),
    attention_bias=Switch("attention_bias", default=True),
    moe=Routed(
        count=Size("num_local_experts", "num_experts"),
        per_token=Size("num_experts_per_tok", "experts_per_token"),
        width=Size("intermediate_size"),
        bias=True,
        router_bias=True,
    ),
    slides=partial(windowed, default_window=128, pattern=2),
)
"""gpt-oss: biases everywhere, sinks, every other layer slides."""
HUNYUAN: Final = Family(
    traits=Traits(tied=True, qk_norm="head"),
    attention_bias=ATTENTION_BIAS,
    qk_norm=Switch("use_qk_norm", default=True),
    moe=Routed(
        count=Size("num_experts", "num_local_experts"),
        per_token=Size("moe_topk", "num_experts_per_tok", default=1),
        width=Size("moe_intermediate_size", "intermediate_size"),
        shared=Size("intermediate_size"),
        shared_count=Size("num_shared_expert", default=1, low=0),
    ),
)
"""Hunyuan-A13B: norms on q and k, a shared expert, tied."""
DOTS1: Final = Family(
    traits=Traits(qk_norm="head"), qkv_bias=ATTENTION_BIAS, moe=deepseek_moe, moe_at=first_dense
)
"""dots.llm1: DeepSeek-MoE with norms on the heads of q and k."""
HY3: Final = Family(
    traits=Traits(qk_norm="head"),
    attention_bias=ATTENTION_BIAS,
    mlp_bias=MLP_BIAS,
    moe=Routed(
        count=Size("num_experts", "num_local_experts"),
        per_token=Size("num_experts_per_tok"),
        width=Size("moe_intermediate_size", "expert_hidden_dim"),
        shared_count=Size("num_shared_experts", default=1, low=0),
    ),
    moe_at=dense_at_first,
    mtp=True,
)
"""Hy3: norms on the heads of q and k, a shared expert, a dense first layer."""
GROK: Final = Family(
    traits=Traits(tied=True, norms=4),
    moe=Routed(
        count=Size("num_local_experts", "num_experts"),
        per_token=Size("num_experts_per_tok", default=2),
        width=Size("moe_intermediate_size", "intermediate_size"),
    ),
)
"""Grok-1: four norms, experts in every layer, tied."""
ARIA: Final = Family(
    attention_bias=ATTENTION_BIAS,
    mlp_bias=MLP_BIAS,
    moe=Routed(
        count=Size("moe_num_experts"),
        per_token=Size("moe_topk"),
        width=Size("intermediate_size", "moe_intermediate_size"),
        shared_count=Size("moe_num_shared_experts", default=2, low=0),
    ),
)
"""Aria's text model: LLaMA with experts and shared ones in every layer."""


def dbrx(f: Fields) -> Built:
    """DBRX: norms without bias, experts and heads described in sections of their own."""
    ffn = f.section("ffn_config") or f.empty()
    m = Moe(
        ffn.integer("moe_num_experts"), ffn.integer("moe_top_k"), ffn.integer("ffn_hidden_size")
    )
    attention = f.section("attn_config")
    kv = attention.integer("kv_n_heads", default=1) if attention is not None else 0
    return decoder(f, Traits(moe=m, kv_heads=kv))


def bailing(f: Fields) -> Built:
    """Ling and Ring: shared experts; from version 2 on norms on the heads of q and k."""
    width = f.integer("moe_intermediate_size")
    shared = f.integer("moe_shared_expert_intermediate_size", default=width)
    m = Moe(
        f.integer("num_experts"),
        f.integer("num_experts_per_tok"),
        width,
        shared=shared * f.integer("num_shared_experts", default=0, low=0),
    )
    bias = f.flag("use_bias")
    t = Traits(
        qkv_bias=bias or f.flag("use_qkv_bias"),
        o_bias=bias,
        mlp_bias=bias,
        moe=m,
        moe_at=first_dense(f),
        qk_norm="head" if f.flag("use_qk_norm") else "",
    )
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
        "mlp.router.classifier",
        count + empty,
        hidden,
        Split.NONE,
        Part.ROUTER,
        bias=f.flag("router_bias"),
    )
    for number in range(2):
        tensors += mla(latent, f"self_attn.{number}")
        tensors += mlp(hidden, wide, prefix=f"mlps.{number}")
        tensors += norm(f"input_layernorm.{number}", hidden)
        tensors += norm(f"post_attention_layernorm.{number}", hidden)
    ff = FeedForward(wide, count, per_token, width)
    block = Block((mla_mixer(latent),) * 2, ff, tensors)
    layers = f.integer("num_layers", default=layers_of(f) // 2 or 1, high=MAX_LAYERS)
    return assemble(f, Traits(), hidden, latent.heads, lambda _: block, [0] * layers)


def exaone_moe(f: Fields) -> Built:
    """K-EXAONE: norms on the heads of q and k, three of four layers slide, shared experts."""
    width = f.integer("moe_intermediate_size")
    m = Moe(
        f.integer("num_experts"),
        f.integer("num_experts_per_tok"),
        width,
        shared=width * f.integer("num_shared_experts", default=1, low=0),
    )
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
    m = Moe(
        f.integer("moe_num_experts"),
        f.integer("moe_top_k"),
        width,
        shared=f.integer("share_expert_dim", default=width),
    )
    numbers = f.text("moe_layers_enum")
    chosen = {int(word) for word in numbers.split(",") if word.isdecimal() and len(word) < 6}
    own_heads = Heads(hidden, heads, 1, dim, dim)
    attention = linear("self_attn.qkv_proj", rank + 2 * dim, hidden, Split.NONE, A)
    attention += norm("self_attn.inter_norm", rank)
    attention += linear("self_attn.wq", heads * dim, rank, Split.COLUMN, A)
    attention += linear("self_attn.o_proj", hidden, heads * dim, Split.ROW, A)
    t, wide = Traits(moe=m), f.integer("intermediate_size")

    def make(sparse: bool) -> Block:
        feed, ff = feed_forward(t, hidden, wide, sparse=sparse)
        return Block((gqa_mixer(own_heads),), ff, attention + feed + layer_norms(t, hidden))

    keys = [i in chosen if chosen else i > 0 for i in range(layers_of(f))]
    return assemble(f, t, hidden, heads, make, keys)


def step3_5(f: Fields) -> Built:
    """Step 3.5 and 3.7: sliding and full layers of different heads, a shared expert."""
    t = Traits(qk_norm="head")
    full = replace(shape(f, t), head_gate=True)
    other = f.section("attention_other_setting")
    sliding = replace(full, heads=f.integer("num_sliding_attention_heads", default=full.heads))
    if other is not None:
        sliding = replace(
            full,
            heads=other.integer("num_attention_heads", default=full.heads),
            kv=other.integer("num_attention_groups", "num_key_value_heads", default=full.kv),
        )
    width = f.integer("moe_intermediate_size")
    m = Moe(
        f.integer("moe_num_experts", "n_routed_experts", "num_experts"),
        f.integer("moe_top_k", "num_experts_per_tok"),
        width,
        shared=f.integer("share_expert_dim", default=width),
    )
    first = f.integer("first_k_dense_replace", default=3, low=0)
    named = f.has("mlp_layer_types")
    t = replace(
        t,
        moe=m,
        moe_at=first_dense(f) if named else lambda i: i >= first,
        heads_of=heads_by_kind(full, sliding),
        window=f.integer("sliding_window", default=512),
        kinds=kinds_from(f, layers_of(f)),
    )
    return decoder(f, t)


def mimo_v2(f: Fields) -> Built:
    """MiMo-V2: sliding and full layers of different attention shapes.

    transformers writes ``layer_types`` and no shape of sliding layers: they have twice the heads
    of keys and values there, and sinks.
    """
    named = f.has("layer_types")
    biased = attention_biases(f, Traits())
    full = shape(f, replace(biased, o_bias=False))
    v_dim = f.integer("v_head_dim", default=full.dim)
    full = replace(full, v_dim=v_dim, sinks=f.flag("add_full_attention_sink_bias"))
    sliding = replace(
        full,
        heads=f.integer("swa_num_attention_heads", default=full.heads),
        kv=f.integer("swa_num_key_value_heads", default=full.kv * (2 if named else 1)),
        dim=f.integer("swa_head_dim", default=full.dim),
        v_dim=f.integer("swa_v_head_dim", default=v_dim),
        sinks=f.flag("add_swa_attention_sink_bias", default=named),
    )
    pattern = f.integers("hybrid_layer_pattern") or ()
    by_name = kinds_from(f, layers_of(f))
    m = Moe(
        f.integer("n_routed_experts"),
        f.integer("num_experts_per_tok"),
        f.integer("moe_intermediate_size"),
    )
    t = Traits(
        moe=m,
        moe_at=first_dense(f),
        window=f.integer("sliding_window", default=128),
        kinds=by_name
        if named
        else lambda i: MixerKind.SLIDING if i < len(pattern) and pattern[i] else MixerKind.FULL,
        heads_of=heads_by_kind(full, sliding),
    )
    return decoder(f, t)


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
