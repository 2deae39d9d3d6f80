"""Dense families that differ from LLaMA in a few traits: GPT-2 to OLMo 3, Phi to EXAONE.

Sources: the modeling files of transformers 5.23.0; of those that are code of their own (Jais,
TeleChat, HyperCLOVA X) vLLM's, of the last release that has them. Those whose count could be held
against nothing are marked assumed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Part, Split, Stage
from plimsoll.models.blocks.decoder import Built, Traits, decoder, shape
from plimsoll.models.blocks.family import (
    ATTENTION_BIAS,
    MLP_BIAS,
    Family,
    Size,
    Switch,
    all_sliding,
    attention_biases,
    windowed,
    without_gate_bias,
)
from plimsoll.models.blocks.parts import linear, loose, norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

BIASED: Final = Traits(
    norm_bias=True, gated=False, four_times=True, qkv_bias=True, o_bias=True, mlp_bias=True
)
"""A decoder of GPT-2's kind: biases everywhere, no gate, four times the width inside."""


POSITIONS: Final = Size("n_positions", "max_position_embeddings", default=1024)
PHI: Final = Family(traits=replace(BIASED, norms=1, four_times=False, head_bias=True))
"""Phi 1.5 and 2: biases everywhere, the head too; one norm."""
GPT2: Final = Family(traits=replace(BIASED, tied=True), positions=POSITIONS)
"""GPT-2: learned positions, biases everywhere, tied."""
GPT_NEOX: Final = Family(traits=BIASED, attention_bias=Switch("attention_bias", default=True))
"""GPT-NeoX and Pythia: biases everywhere, no gate."""
GPTJ: Final = Family(traits=replace(BIASED, norms=1, qkv_bias=False, o_bias=False, head_bias=True))
"""GPT-J: one norm, biases in the MLP and the head."""
BLOOM: Final = Family(traits=replace(BIASED, tied=True, embed_norm=True))
"""BLOOM: a norm after the embedding, biases everywhere, tied."""
INTERNLM: Final = Family(attention_bias=Switch("bias"))
"""InternLM 1 and 2: LLaMA with biases on q, k, v and o if ``bias`` says so."""
SMOLLM3: Final = Family(traits=Traits(tied=True), mlp_bias=MLP_BIAS, attention_bias=ATTENTION_BIAS)
"""SmolLM3: LLaMA with a tied head by default."""
HUNYUAN_DENSE: Final = Family(traits=Traits(qk_norm="head"), attention_bias=ATTENTION_BIAS)
"""Hunyuan (dense): norms on the heads of q and k."""
PHI3: Final = Family(slides=all_sliding)
"""Phi-3 and 4: LLaMA with fused projections."""
OLMO: Final = Family(traits=Traits(norm_weight=False), attention_bias=ATTENTION_BIAS)
"""OLMo: norms without parameters."""
OLMO2: Final = Family(traits=Traits(qk_norm="whole"), attention_bias=ATTENTION_BIAS)
"""OLMo 2: norms over all of q and k."""
OLMO3: Final = Family(
    traits=Traits(qk_norm="whole"),
    attention_bias=ATTENTION_BIAS,
    slides=partial(windowed, pattern=4),
)
"""OLMo 3: OLMo 2 with three of four layers sliding."""
COHERE: Final = Family(
    traits=Traits(norms=1, tied=True, qk_norm="per-head"),
    attention_bias=ATTENTION_BIAS,
    qk_norm=Switch("use_qk_norm"),
)
"""Command R: one norm, parallel, tied; Plus has a norm for each head of q and k."""
COHERE2: Final = Family(
    traits=Traits(norms=1, tied=True),
    attention_bias=ATTENTION_BIAS,
    slides=partial(windowed, pattern=4),
)
"""Command A and R7B: one norm, tied, three of four layers slide."""
STARCODER2: Final = Family(
    traits=Traits(norm_bias=True, gated=False, tied=True),
    bias=Switch("use_bias", default=True),
    slides=all_sliding,
)
"""StarCoder2: biases everywhere, no gate, sliding."""
EXAONE4: Final = Family(traits=Traits(qk_norm="head"), slides=partial(windowed, pattern=4))
"""EXAONE 4: norms on the heads of q and k; some layers slide."""
ARCEE: Final = Family(traits=Traits(gated=False), mlp_bias=MLP_BIAS, attention_bias=ATTENTION_BIAS)
"""Arcee (AFM): LLaMA without a gate."""
APERTUS: Final = Family(
    traits=Traits(
        gated=False,
        qk_norm="head",
        attention_more=loose("mlp.act_fn.alpha_p", (1,), part=Part.MLP)
        + loose("mlp.act_fn.alpha_n", (1,), part=Part.MLP),
    ),
    attention_bias=ATTENTION_BIAS,
)
"""Apertus: no gate, norms on the heads of q and k, an activation with two weights."""
HELIUM: Final = Family(mlp_bias=MLP_BIAS, qkv_bias=ATTENTION_BIAS)
"""Helium: LLaMA without a bias on o."""
ORION: Final = Family(traits=Traits(norm_bias=True))
"""Orion: LLaMA with norms that have a bias."""
JAIS2: Final = Family(
    traits=replace(BIASED, four_times=False),
    attention_bias=Switch("attention_bias", default=True),
    mlp_bias=Switch("mlp_bias", default=True),
)
"""Jais 2: biases everywhere, no gate, norms with bias."""


def phi3small(f: Fields) -> Built:
    """Phi-3-small: biases everywhere, gate and up in one, tied."""
    width = f.integer("ff_intermediate_size")
    t = Traits(
        norm_bias=True,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        tied=True,
        width_at=lambda _: width,
    )
    return decoder(f, t)


def gpt_bigcode(f: Fields) -> Built:
    """StarCoder: GPT-2 with one head of keys and values, unless ``multi_query`` is off."""
    positions = f.integer("n_positions", "max_position_embeddings", default=1024)
    kv = 1 if f.flag("multi_query", default=True) else 0
    return decoder(f, replace(BIASED, tied=True, positions=positions, kv_heads=kv))


def opt(f: Fields) -> Built:
    """OPT: learned positions (two more rows than the context), biases everywhere, tied."""
    hidden = f.integer("hidden_size")
    narrow = f.integer("word_embed_proj_dim", default=hidden)
    bias = f.flag("enable_bias", default=True)
    t = replace(
        BIASED,
        four_times=False,
        tied=True,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        norm_weight=f.flag("layer_norm_elementwise_affine", default=True),
        positions=f.integer("max_position_embeddings", default=2048) + 2,
        embed_dim=narrow if narrow != hidden else 0,
        final_norm=f.flag("do_layer_norm_before", default=True),
    )
    return decoder(f, t)


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


def stablelm(f: Fields) -> Built:
    """StableLM: norms with bias; parallel ones have one; norms for each head."""
    parallel = f.flag("use_parallel_residual")
    t = Traits(
        norms=1 if parallel else 2,
        norm_bias=True,
        qkv_bias=f.flag("use_qkv_bias"),
        qk_norm="per-head" if f.flag("qk_layernorm") else "",
    )
    return decoder(f, t)


def mimo(f: Fields) -> Built:
    """MiMo: Qwen2's layers; its MTP layer is stored and not served."""
    built = decoder(f, Traits(qkv_bias=f.flag("attention_bias", default=True)))
    hidden = built.hidden
    mtp = (
        norm("mtp.token_layernorm", hidden)
        + norm("mtp.hidden_layernorm", hidden)
        + norm("mtp.final_layernorm", hidden)
        + linear("mtp.input_proj", hidden, 2 * hidden, Split.NONE, Part.OTHER, stage=Stage.LAST)
    )
    number = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return replace(built, extra=(built.blocks[0].tensors + mtp) * number)


def persimmon(f: Fields) -> Built:
    """Persimmon: biases everywhere, no gate, norms with bias on the heads of q and k."""
    t = replace(BIASED, four_times=False)
    if f.flag("qk_layernorm", default=True):
        dim = shape(f).dim
        norms = norm("self_attn.q_norm", dim, bias=True) + norm("self_attn.k_norm", dim, bias=True)
        t = replace(t, attention_more=norms)
    return decoder(f, t)


def telechat(f: Fields) -> Built:
    """TeleChat 2: biases on o and down only."""
    return replace(without_gate_bias(decoder(f, Traits(o_bias=True, mlp_bias=True))), assumed=True)


def hyperclovax(f: Fields) -> Built:
    """HyperCLOVA X: LLaMA, with norms after attention and MLP if ``use_post_norm`` says so."""
    norms = 4 if f.flag("use_post_norm") else 2
    t = Traits(norms=norms, mlp_bias=f.flag("mlp_bias"))
    return replace(decoder(f, attention_biases(f, t)), assumed=True)


def jais(f: Fields) -> Built:
    """Jais: GPT-2 with a gate, and with ALiBi if ``position_embedding_type`` says so."""
    positions = 0
    if f.text("position_embedding_type", default="learned") != "alibi":
        positions = f.integer("n_positions", "max_position_embeddings", default=1024)
    gated = f.text("activation_function", default="swiglu") == "swiglu"
    built = decoder(f, replace(BIASED, gated=gated, tied=True, positions=positions))
    return replace(built, assumed=True)
