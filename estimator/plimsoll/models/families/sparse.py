"""Families with experts: which layers have them, how wide they are, what is shared.

It must not build a plain layer: it says traits, and adds what the family has beside them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import MixerKind, Part, Split
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    decoder,
    layers_of,
    shape,
)
from plimsoll.models.blocks.parts import linear, loose, norm
from plimsoll.models.families.dense import (
    all_sliding,
    attention_biases,
    qwen_sliding,
    windowed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.blocks.fields import Fields


def first_dense(f: Fields) -> Callable[[int], bool]:
    """Which layers have experts: ``mlp_layer_types``, as transformers writes it from version 5 on,
    or DeepSeek's rule: from ``first_k_dense_replace`` on, every ``moe_layer_freq``-th.
    """
    kinds = f.texts("mlp_layer_types")
    if kinds:
        return lambda i: i >= len(kinds) or kinds[i] != "dense"
    pattern = f.integers("moe_layer_freq") if isinstance(f.raw("moe_layer_freq"), list) else None
    if pattern:
        return lambda i: bool(pattern[i]) if i < len(pattern) else True
    first = f.integer("first_k_dense_replace", default=0, low=0)
    every = f.integer("moe_layer_freq", default=1)
    return lambda i: i >= first and i % every == 0


def deepseek_moe(f: Fields) -> Moe:
    """Experts from DeepSeek's fields: every shared expert is as wide as a routed one."""
    width = f.integer("moe_intermediate_size")
    return Moe(
        f.integer("n_routed_experts"), f.integer("num_experts_per_tok"), width,
        shared=width * f.integer("n_shared_experts", default=0, low=0),
    )  # fmt: skip


def mixtral(f: Fields) -> Built:
    """Mixtral."""
    m = Moe(f.integer("num_local_experts"), f.integer("num_experts_per_tok", default=2),
            f.integer("intermediate_size"))  # fmt: skip
    return decoder(f, all_sliding(f, Traits(moe=m)))


def phimoe(f: Fields) -> Built:
    """Phi-3.5-MoE: Mixtral with biases in attention and head, and norms with bias."""
    bias = f.flag("attention_bias")
    m = Moe(f.integer("num_local_experts"), f.integer("num_experts_per_tok", default=2),
            f.integer("intermediate_size"))  # fmt: skip
    t = Traits(moe=m, norm_bias=True, qkv_bias=bias, o_bias=bias, head_bias=f.flag("lm_head_bias"))
    return decoder(f, t)


def qwen_moe_at(f: Fields) -> Callable[[int], bool]:
    """Qwen's rule: ``mlp_only_layers`` and ``decoder_sparse_step``."""
    only = set(f.integers("mlp_only_layers") or ())
    step = f.integer("decoder_sparse_step", default=1)
    return lambda i: i not in only and (i + 1) % step == 0


def qwen2_moe(f: Fields) -> Built:
    """Qwen1.5-MoE and Qwen2-MoE: a gated shared expert."""
    m = Moe(f.integer("num_experts", "num_local_experts"), f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"),
            shared=f.integer("shared_expert_intermediate_size", default=0, low=0),
            shared_gate=True)  # fmt: skip
    return decoder(
        f,
        qwen_sliding(
            f, Traits(qkv_bias=f.flag("qkv_bias", default=True), moe=m, moe_at=qwen_moe_at(f))
        ),
    )


def qwen3_moe(f: Fields) -> Built:
    """Qwen3-MoE."""
    m = Moe(f.integer("num_experts", "num_local_experts"), f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"))  # fmt: skip
    t = Traits(qk_norm="head", moe=m, moe_at=qwen_moe_at(f))
    return decoder(f, qwen_sliding(f, attention_biases(f, t)))


def olmoe(f: Fields) -> Built:
    """OLMoE: norms over all of q and k."""
    m = Moe(f.integer("num_experts", "num_local_experts"), f.integer("num_experts_per_tok"),
            f.integer("intermediate_size"))  # fmt: skip
    return decoder(f, attention_biases(f, Traits(qk_norm="whole", moe=m)))


def dbrx(f: Fields) -> Built:
    """DBRX: norms without bias, experts and heads described in sections of their own."""
    ffn = f.section("ffn_config") or f.empty()
    m = Moe(ffn.integer("moe_num_experts"), ffn.integer("moe_top_k"),
            ffn.integer("ffn_hidden_size"))  # fmt: skip
    attention = f.section("attn_config")
    kv = attention.integer("kv_n_heads", default=1) if attention is not None else 0
    return decoder(f, Traits(moe=m, kv_heads=kv))


def granitemoe(f: Fields) -> Built:
    """GraniteMoE: tied; a shared expert in GraniteMoeShared."""
    m = Moe(f.integer("num_local_experts"), f.integer("num_experts_per_tok"),
            f.integer("intermediate_size"),
            shared=f.integer("shared_intermediate_size", default=0, low=0))  # fmt: skip
    return decoder(f, attention_biases(f, Traits(tied=True, moe=m)))


def gpt_oss(f: Fields) -> Built:
    """gpt-oss: biases everywhere, sinks, every other layer slides."""
    bias = f.flag("attention_bias", default=True)
    m = Moe(f.integer("num_local_experts", "num_experts"),
            f.integer("num_experts_per_tok", "experts_per_token"),
            f.integer("intermediate_size"), bias=True, router_bias=True)  # fmt: skip
    t = Traits(qkv_bias=bias, o_bias=bias, sinks=True, moe=m)
    return decoder(f, windowed(f, t, default_window=128, pattern=2))


def llama4(f: Fields) -> Built:
    """Llama 4: three of four layers look back over a chunk only; experts in some layers."""
    step = f.integer("interleave_moe_layer_step", default=1)
    chosen = f.integers("moe_layers")
    width = f.integer("intermediate_size", default=8192)
    dense = f.integer("intermediate_size_mlp", default=16384)
    m = Moe(f.integer("num_local_experts", default=16), f.integer("num_experts_per_tok", default=1),
            width, shared=width)  # fmt: skip
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


def glm4_moe(f: Fields) -> Built:
    """GLM-4.5 and 4.6."""
    t = Traits(qkv_bias=f.flag("attention_bias"), moe=deepseek_moe(f), moe_at=first_dense(f),
               qk_norm="head" if f.flag("use_qk_norm") else "")  # fmt: skip
    return with_mtp(f, decoder(f, t))


def ernie_moe(f: Fields) -> Built:
    """ERNIE 4.5 MoE: experts in every ``moe_layer_interval``-th layer of a range."""
    width = f.integer("moe_intermediate_size")
    first = f.integer("moe_layer_start_index", default=1, low=0)
    last = f.integer("moe_layer_end_index", default=layers_of(f) - 1, low=0)
    every = f.integer("moe_layer_interval", default=1)
    shared = f.integer("moe_num_shared_experts", default=0, low=0)
    m = Moe(f.integer("moe_num_experts"), f.integer("moe_k", "num_experts_per_tok", default=2),
            width, shared=width * shared)  # fmt: skip
    routing = loose("mlp.moe_statics.e_score_correction_bias", (1, m.count), part=Part.ROUTER)
    bias = f.flag("use_bias")
    t = Traits(
        tied=True, qkv_bias=bias, o_bias=bias, mlp_bias=bias, head_bias=bias, moe=m,
        moe_at=lambda i: (i + 1) % every == 0 and first <= i <= last,
        sparse_more=routing,
    )  # fmt: skip
    return decoder(f, t)


def minimax_m2(f: Fields) -> Built:
    """MiniMax M2: norms over all of q and k, sigmoid routing with a bias."""
    m = Moe(f.integer("num_local_experts"), f.integer("num_experts_per_tok"),
            f.integer("intermediate_size"))  # fmt: skip
    whole = f.text("qk_norm_type", default="per_layer") == "per_layer"
    norms = ("whole" if whole else "head") if f.flag("use_qk_norm", default=True) else ""
    return decoder(f, Traits(qk_norm=norms, moe=m))


def minimax_m3(f: Fields) -> Built:
    """MiniMax M3: norms on each head of q and k, dense layers first, a shared expert."""
    width = f.integer("moe_intermediate_size", "intermediate_size")
    m = Moe(f.integer("num_local_experts"), f.integer("num_experts_per_tok"), width,
            shared=f.integer("shared_intermediate_size", default=0, low=0)
            * f.integer("n_shared_experts", default=1, low=0))  # fmt: skip
    dense = f.integer("dense_intermediate_size", default=width)
    t = Traits(qk_norm="head", moe=m, moe_at=first_dense(f), width_at=lambda _: dense)
    index = f.section("sparse_attention_config")
    if index is not None:
        own = replace(
            shape(f, t), index_heads=index.integer("sparse_num_index_heads", default=4),
            index_dim=index.integer("sparse_index_dim", default=128),
        )  # fmt: skip
        at = index.integers("sparse_attention_freq") or ()
        t = replace(t, heads_of=lambda _: own, indexed=lambda i: i < len(at) and at[i] != 0)
    return decoder(f, t)


def hunyuan(f: Fields) -> Built:
    """Hunyuan-A13B: norms on q and k, a shared expert, tied."""
    width = f.integer("moe_intermediate_size", "intermediate_size")
    m = Moe(f.integer("num_experts", "num_local_experts"),
            f.integer("moe_topk", "num_experts_per_tok", default=1), width,
            shared=f.integer("intermediate_size")
            * f.integer("num_shared_expert", default=1, low=0))  # fmt: skip
    norms = "head" if f.flag("use_qk_norm", default=True) else ""
    return decoder(f, attention_biases(f, Traits(tied=True, qk_norm=norms, moe=m)))


def deepseek(f: Fields) -> Built:
    """DeepSeek-MoE (the first): grouped queries, shared experts, a dense first layer."""
    return decoder(f, Traits(moe=deepseek_moe(f), moe_at=first_dense(f)))


def dots1(f: Fields) -> Built:
    """dots.llm1: DeepSeek-MoE with norms on the heads of q and k."""
    t = Traits(qk_norm="head", moe=deepseek_moe(f), moe_at=first_dense(f))
    return decoder(f, replace(t, qkv_bias=f.flag("attention_bias")))


def with_mtp(f: Fields, built: Built, *, copies: bool = False) -> Built:
    """With the layers for predicting further tokens, which are stored and not served.

    Each is one more layer like the last, a projection of twice the hidden size, and norms.
    copies: the embedding and the head are stored with it once more.
    """
    number = f.integer(
        "num_nextn_predict_layers", "num_nextn_predict_layers_in_checkpoint",
        "mtp_num_hidden_layers", default=0, low=0, high=16,
    )  # fmt: skip
    if not number:
        return built
    hidden, vocab = built.hidden, built.vocab
    own = (
        norm("enorm", hidden) + norm("hnorm", hidden) + norm("shared_head.norm", hidden)
        + linear("eh_proj", hidden, 2 * hidden, Split.NONE, Part.OTHER)
    )  # fmt: skip
    if copies:
        own += linear("shared_head.head", vocab, hidden, Split.VOCAB, Part.HEAD)
        own += loose("embed_tokens.weight", (vocab, hidden), Split.VOCAB, Part.EMBEDDING)
    kind = built.blocks[-1].mixers[0].kind
    like = {block for block in built.blocks[-8:] if block.mixers[0].kind is kind}
    layer = max(like, key=lambda block: block.parameters)
    return replace(built, extra=(layer.tensors + own) * number)


def grok(f: Fields) -> Built:
    """Grok-1: four norms, experts in every layer, tied."""
    m = Moe(f.integer("num_local_experts", "num_experts"),
            f.integer("num_experts_per_tok", default=2),
            f.integer("moe_intermediate_size", "intermediate_size"))  # fmt: skip
    return decoder(f, Traits(tied=True, norms=4, moe=m))
