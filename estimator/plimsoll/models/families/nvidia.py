"""NVIDIA: Nemotron, Nemotron-H with states, Nemotron-NAS with layers of many shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from plimsoll.models.architecture import Block, FeedForward, Mixer, Part, Split
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    assemble,
    feed_forward,
    layers_of,
    shape,
)
from plimsoll.models.blocks.family import ATTENTION_BIAS, MLP_BIAS, Family
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.mixers import Mamba2, gqa, gqa_mixer, mamba2, mamba2_mixer
from plimsoll.models.blocks.parts import Tensors, linear, mlp, norm

_LETTERS: Final = {
    "mamba": "M",
    "attention": "*",
    "mlp": "-",
    "moe": "E",
    "linear_attention": "M",
    "full_attention": "*",
}
"""Nemotron-H's layers by name, as its own code and as transformers (from version 5 on) has it."""


NEMOTRON: Final = Family(
    traits=Traits(norm_bias=True, gated=False), mlp_bias=MLP_BIAS, attention_bias=ATTENTION_BIAS
)
"""Nemotron 3/4 and Minitron: norms with bias, no gate."""


def nemotron_h(f: Fields) -> Built:
    """Nemotron-H and Nemotron 3: each layer is one of mamba 2, attention, MLP or experts."""
    heads = shape(f, Traits(qkv_bias=f.flag("attention_bias"), o_bias=f.flag("attention_bias")))
    hidden = heads.hidden
    m = Mamba2(
        hidden,
        f.integer("mamba_num_heads"),
        f.integer("mamba_head_dim"),
        f.integer("ssm_state_size", default=128),
        f.integer("n_groups", default=8),
        f.integer("conv_kernel", default=4),
        f.flag("use_bias"),
        f.flag("use_bias"),
        f.flag("use_conv_bias", default=True),
        state_dtype=f.text("mamba_ssm_cache_dtype"),
    )
    width = f.integer("intermediate_size", default=hidden)
    pattern = _letters(f, "hybrid_override_pattern", "layers_block_type")
    if not pattern:
        f.wrong("hybrid_override_pattern", None, "a letter for each layer: M, *, - or E")
    moe = None
    if "E" in pattern:
        moe = Moe(
            f.integer("n_routed_experts"),
            f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"),
            shared=f.integer("moe_shared_expert_intermediate_size", default=0, low=0)
            * f.integer("n_shared_experts", default=1, low=0),
            gated=False,
            latent=f.optional("moe_latent_size") or 0,
        )

    if f.has("num_hidden_layers") and layers_of(f) != len(pattern):
        f.wrong(
            "num_hidden_layers", f.raw("num_hidden_layers"), f"{len(pattern)}, as in the pattern"
        )

    def make(key: str) -> Block:
        first = norm("norm", hidden)
        if key == "M":
            return Block((mamba2_mixer(m),), None, first + mamba2(m))
        if key == "*":
            return Block((gqa_mixer(heads),), None, first + gqa(heads, "mixer"))
        traits = Traits(moe=moe, gated=False, mlp_bias=f.flag("mlp_bias"))
        tensors, ff = feed_forward(traits, hidden, width, sparse=key == "E", prefix="mixer")
        if key == "E" and moe is not None and moe.latent:
            for name, rows, columns in (
                ("mixer.fc1_latent_proj", moe.latent, hidden),
                ("mixer.fc2_latent_proj", hidden, moe.latent),
            ):
                tensors += linear(name, rows, columns, Split.NONE, Part.MLP, bias=traits.mlp_bias)
        return Block((), ff, first + tensors)

    built = assemble(f, Traits(), hidden, heads.heads, make, list(pattern))
    if not f.integer("num_nextn_predict_layers", default=0, low=0, high=16):
        return built
    further = _letters(f, "mtp_hybrid_override_pattern", "mtp_layers_block_type")
    layers = [make(key) for key in further]
    return replace(
        built,
        extra=sum((layer.tensors for layer in layers), ())
        + norm("enorm", hidden)
        + norm("hnorm", hidden)
        + norm("final_layernorm", hidden)
        + linear("eh_proj", hidden, 2 * hidden, Split.NONE, Part.OTHER),
    )


def _letters(f: Fields, name: str, names: str) -> str:
    """Nemotron-H's layers as letters, from either of its two spellings."""
    words = f.texts(names) or ()
    pattern = f.text(name) or "".join(_LETTERS.get(word, "?") for word in words)
    if set(pattern) - set(_LETTERS.values()):
        f.wrong(name, pattern, "letters M (mamba), * (attention), - (MLP) and E (experts)")
    return pattern


def nemotron_nas(f: Fields) -> Built:
    """Nemotron-NAS (Llama-Nemotron Super, Ultra): each layer's attention and width of its own."""
    heads = shape(f)
    configs = f.raw("block_configs")
    keys = []
    for index, given in enumerate(configs if isinstance(configs, list) else []):
        inner = given if isinstance(given, Mapping) else {}
        block = Fields(inner, f"{f.path}: block_configs[{index}]", f.problems)
        attention, ffn = block.section("attention"), block.section("ffn")
        group = 0
        if attention is not None and not attention.flag("no_op"):
            group = (
                -1
                if attention.flag("replace_with_linear")
                else attention.integer("n_heads_in_group")
            )
        mult = 0.0
        if ffn is not None and not ffn.flag("no_op"):
            mult = -1.0 if ffn.flag("replace_with_linear") else ffn.number("ffn_mult", default=1.0)
        keys.append((group, mult))
    if not keys:
        f.wrong("block_configs", configs, "a list with one entry for each layer")
    hidden = heads.hidden

    def make(key: tuple[int, float]) -> Block:
        group, mult = key
        tensors: Tensors = ()
        mixers: tuple[Mixer, ...] = ()
        ff = None
        if group > 0:
            grouped = replace(heads, kv=max(1, heads.heads // group))
            tensors += gqa(grouped) + norm("input_layernorm", hidden)
            mixers = (gqa_mixer(grouped),)
        elif group < 0:
            tensors += linear("self_attn.linear_attn", hidden, hidden, Split.NONE, Part.ATTENTION)
            tensors += norm("input_layernorm", hidden)
        if mult > 0:
            width = -(-int(2 * mult * hidden / 3) // 256) * 256
            tensors += mlp(hidden, width) + norm("post_attention_layernorm", hidden)
            ff = FeedForward(width)
        elif mult < 0:
            tensors += linear("mlp.linear_mlp", hidden, hidden, Split.NONE, Part.MLP)
            tensors += norm("post_attention_layernorm", hidden)
        return Block(mixers, ff, tensors)

    return assemble(f, Traits(), hidden, heads.heads, make, keys)
