"""The early dense families, each with its own spelling: GPT-2, OPT, BLOOM, Falcon, Phi, ChatGLM ...

It must not build a plain layer: it says traits, and adds what the family has beside them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.blocks.decoder import Built, Traits, decoder, shape

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

BIASED: Final = Traits(
    norm_bias=True, gated=False, four_times=True, qkv_bias=True, o_bias=True, mlp_bias=True
)
"""A decoder of GPT-2's kind: biases everywhere, no gate, four times the width inside."""


def chatglm(f: Fields) -> Built:
    """ChatGLM 2 to 4: grouped queries with biases on q, k, v."""
    return decoder(f, Traits(qkv_bias=f.flag("add_qkv_bias", default=True)))


def phi(f: Fields) -> Built:
    """Phi 1.5 and 2: biases everywhere, the head too; one norm."""
    return decoder(f, replace(BIASED, norms=1, four_times=False, head_bias=True))


def phi3small(f: Fields) -> Built:
    """Phi-3-small: biases everywhere, gate and up in one, tied."""
    width = f.integer("ff_intermediate_size")
    t = Traits(norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True, tied=True,
               width_at=lambda _: width)  # fmt: skip
    return decoder(f, t)


def gpt2(f: Fields) -> Built:
    """GPT-2: learned positions, biases everywhere, tied."""
    positions = f.integer("n_positions", "max_position_embeddings", default=1024)
    return decoder(f, replace(BIASED, tied=True, positions=positions))


def gpt_bigcode(f: Fields) -> Built:
    """StarCoder: GPT-2 with one head of keys and values, unless ``multi_query`` is off."""
    positions = f.integer("n_positions", "max_position_embeddings", default=1024)
    kv = 1 if f.flag("multi_query", default=True) else 0
    return decoder(f, replace(BIASED, tied=True, positions=positions, kv_heads=kv))


def gpt_neox(f: Fields) -> Built:
    """GPT-NeoX and Pythia: biases everywhere, no gate."""
    bias = f.flag("attention_bias", default=True)
    return decoder(f, replace(BIASED, qkv_bias=bias, o_bias=bias))


def gptj(f: Fields) -> Built:
    """GPT-J: one norm, biases in the MLP and the head."""
    return decoder(f, replace(BIASED, norms=1, qkv_bias=False, o_bias=False, head_bias=True))


def opt(f: Fields) -> Built:
    """OPT: learned positions (two more rows than the context), biases everywhere, tied."""
    hidden = f.integer("hidden_size")
    narrow = f.integer("word_embed_proj_dim", default=hidden)
    bias = f.flag("enable_bias", default=True)
    t = replace(
        BIASED, four_times=False, tied=True, qkv_bias=bias, o_bias=bias, mlp_bias=bias,
        norm_weight=f.flag("layer_norm_elementwise_affine", default=True),
        positions=f.integer("max_position_embeddings", default=2048) + 2,
        embed_dim=narrow if narrow != hidden else 0,
        final_norm=f.flag("do_layer_norm_before", default=True),
    )  # fmt: skip
    return decoder(f, t)


def bloom(f: Fields) -> Built:
    """BLOOM: a norm after the embedding, biases everywhere, tied."""
    return decoder(f, replace(BIASED, tied=True, embed_norm=True))


def falcon(f: Fields) -> Built:
    """Falcon: no gate; the new decoder has two norms and grouped queries, the old ones one each."""
    new, bias = f.flag("new_decoder_architecture"), f.flag("bias")
    one_norm = not new and f.flag("parallel_attn", default=True)
    t = replace(
        BIASED, norms=1 if one_norm else 2, qkv_bias=bias, o_bias=bias, mlp_bias=bias, tied=True
    )
    if not new:  # num_kv_heads counts for the new decoder alone, whatever it says
        kv = 1 if f.flag("multi_query", default=True) else shape(f).heads
        t = replace(t, heads_of=lambda _: replace(shape(f, t), kv=kv))
    return decoder(f, t)


def mpt(f: Fields) -> Built:
    """MPT: no biases, no gate, tied."""
    width = f.integer("hidden_size", "d_model") * f.integer("expansion_ratio", default=4)
    return decoder(f, Traits(gated=False, tied=True, width_at=lambda _: width))


def qwen1(f: Fields) -> Built:
    """Qwen (1): biases on q, k, v; ``intermediate_size`` counts gate and up together."""
    half = f.integer("intermediate_size") // 2
    return decoder(f, Traits(qkv_bias=True, width_at=lambda _: half))
