"""Dense families that are served less often: Arcee, Apertus, Persimmon, MiniCPM, TeleChat, Jais ...

It must not build a plain layer: it says traits, and adds what the family has beside them.

Sources: the modeling files of transformers 5.23.0; of those that are code of their own (Jais,
TeleChat, HyperCLOVA X) vLLM's, of the last release that has them. Those whose count could be held
against nothing are marked assumed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Part
from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder, shape
from plimsoll.models.blocks.parts import loose, norm
from plimsoll.models.families.dense import (
    attention_biases,
    llama,
    qwen2,
    qwen3,
    without_gate_bias,
)
from plimsoll.models.families.early import BIASED

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

_WITH_LLAMA, _WITH_QWEN2, _WITH_QWEN3 = 2.5, 2.6, 4.5
"""Versions of MiniCPM-V that changed the text model."""


def arcee(f: Fields) -> Built:
    """Arcee (AFM): LLaMA without a gate."""
    return decoder(f, attention_biases(f, Traits(gated=False, mlp_bias=f.flag("mlp_bias"))))


def apertus(f: Fields) -> Built:
    """Apertus: no gate, norms on the heads of q and k, an activation with two weights."""
    learned = loose("mlp.act_fn.alpha_p", (1,), part=Part.MLP) + loose(
        "mlp.act_fn.alpha_n", (1,), part=Part.MLP
    )
    t = Traits(gated=False, qk_norm="head", attention_more=learned)
    return decoder(f, attention_biases(f, t))


def persimmon(f: Fields) -> Built:
    """Persimmon: biases everywhere, no gate, norms with bias on the heads of q and k."""
    t = replace(BIASED, four_times=False)
    if f.flag("qk_layernorm", default=True):
        dim = shape(f).dim
        norms = norm("self_attn.q_norm", dim, bias=True) + norm("self_attn.k_norm", dim, bias=True)
        t = replace(t, attention_more=norms)
    return decoder(f, t)


def helium(f: Fields) -> Built:
    """Helium: LLaMA without a bias on o."""
    return decoder(f, Traits(qkv_bias=f.flag("attention_bias"), mlp_bias=f.flag("mlp_bias")))


def orion(f: Fields) -> Built:
    """Orion: LLaMA with norms that have a bias."""
    return decoder(f, Traits(norm_bias=True))


def minicpm(f: Fields) -> Built:
    """MiniCPM 1, 2 and 4: LLaMA, tied where the config says nothing; experts in MiniCPM-MoE."""
    t = Traits(tied=True)
    if f.integer("num_experts", default=0, low=0):
        width = f.integer("intermediate_size")
        t = replace(
            t, moe=Moe(f.integer("num_experts"), f.integer("num_experts_per_tok", default=2), width)
        )
    return decoder(f, t)


def telechat(f: Fields) -> Built:
    """TeleChat 2: biases on o and down only."""
    return replace(without_gate_bias(decoder(f, Traits(o_bias=True, mlp_bias=True))), assumed=True)


def hyperclovax(f: Fields) -> Built:
    """HyperCLOVA X: LLaMA, with norms after attention and MLP where ``use_post_norm`` says so."""
    norms = 4 if f.flag("use_post_norm") else 2
    t = Traits(norms=norms, mlp_bias=f.flag("mlp_bias"))
    return replace(decoder(f, attention_biases(f, t)), assumed=True)


def jais(f: Fields) -> Built:
    """Jais: GPT-2 with a gate, and with ALiBi where ``position_embedding_type`` says so."""
    positions = 0
    if f.text("position_embedding_type", default="learned") != "alibi":
        positions = f.integer("n_positions", "max_position_embeddings", default=1024)
    gated = f.text("activation_function", default="swiglu") == "swiglu"
    built = decoder(f, replace(BIASED, gated=gated, tied=True, positions=positions))
    return replace(built, assumed=True)


def jais2(f: Fields) -> Built:
    """Jais 2: biases everywhere, no gate, norms with bias."""
    bias = f.flag("attention_bias", default=True)
    t = replace(
        BIASED, four_times=False, qkv_bias=bias, o_bias=bias,
        mlp_bias=f.flag("mlp_bias", default=True),
    )  # fmt: skip
    return decoder(f, t)


def minicpm_v(f: Fields) -> Built:
    """The text model of MiniCPM-V, by its version: MiniCPM, LLaMA, Qwen 2 or Qwen 3."""
    version = f.raw("version")
    number = float(version) if isinstance(version, (int, float)) and 0 < version < 100 else 0.0
    if number == _WITH_QWEN2:
        return qwen2(f)
    text = llama if number < _WITH_QWEN3 else qwen3
    return replace((minicpm if number < _WITH_LLAMA else text)(f), assumed=True)
