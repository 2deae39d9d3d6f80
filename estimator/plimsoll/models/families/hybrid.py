"""Families that mix attention with states, or layers of different make: layer by layer.

It must not know a config beyond these families' own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from plimsoll.models.architecture import Block, FeedForward, Mixer, MixerKind, Part, Split
from plimsoll.models.blocks.attention import gqa, gqa_mixer
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
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.parts import Tensors, experts, linear, mlp, norm
from plimsoll.models.blocks.state import (
    Mamba1,
    Mamba2,
    mamba1,
    mamba1_mixer,
    mamba2,
    mamba2_mixer,
    short_conv,
    short_conv_mixer,
)
from plimsoll.models.families.dense import attention_biases

_LETTERS: Final = {
    "mamba": "M", "attention": "*", "mlp": "-", "moe": "E",
    "linear_attention": "M", "full_attention": "*",
}  # fmt: skip
"""Nemotron-H's layers by name, as its own code and as transformers (from version 5 on) has it."""
_STATES: Final = frozenset({MixerKind.MAMBA2, MixerKind.LINEAR})
"""What ``mamba`` in ``layer_types`` is called before and since transformers 5."""


def mamba(f: Fields) -> Built:
    """Mamba 1 and Falcon-Mamba: one norm and one mixer a layer."""
    hidden = f.integer("hidden_size")
    rank = f.raw("time_step_rank")
    m = Mamba1(
        hidden, f.integer("intermediate_size", default=hidden * f.integer("expand", default=2)),
        f.integer("state_size", default=16), f.integer("conv_kernel", default=4),
        rank if isinstance(rank, int) and 0 < rank < 10**6 else -(-hidden // 16),
        f.flag("use_bias"), f.flag("use_conv_bias", default=True),
    )  # fmt: skip
    block = Block((mamba1_mixer(m),), None, norm("norm", hidden) + mamba1(m))
    return assemble(f, Traits(tied=True), hidden, 0, lambda _: block, [0] * layers_of(f))


def mamba_two(f: Fields) -> Built:
    """Mamba 2 and Codestral Mamba."""
    hidden = f.integer("hidden_size")
    m = Mamba2(
        hidden, f.integer("num_heads"), f.integer("head_dim"), f.integer("state_size", default=128),
        f.integer("n_groups", default=8), f.integer("conv_kernel", default=4), f.flag("use_bias"),
        f.flag("use_bias"), f.flag("use_conv_bias", default=True),
    )  # fmt: skip
    block = Block((mamba2_mixer(m),), None, norm("norm", hidden) + mamba2(m))
    return assemble(f, Traits(), hidden, 0, lambda _: block, [0] * layers_of(f))


def jamba(f: Fields) -> Built:
    """Jamba: mamba 1 with attention every eighth layer and experts every second."""
    heads = shape(f)
    hidden, width = heads.hidden, f.integer("intermediate_size")
    m = Mamba1(
        hidden, hidden * f.integer("mamba_expand", default=2),
        f.integer("mamba_d_state", default=16),
        f.integer("mamba_d_conv", default=4), f.integer("mamba_dt_rank", default=-(-hidden // 16)),
        f.flag("mamba_proj_bias"), f.flag("mamba_conv_bias", default=True), norms=True,
    )  # fmt: skip
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
        own = gqa(heads) if attention else mamba1(m, "mamba")
        mixer = gqa_mixer(heads) if attention else mamba1_mixer(m)
        return Block((mixer,), ff, own + tensors + layer_norms(t, hidden))

    keys = [(i % a_every == a_at, i % e_every == e_at) for i in range(layers_of(f))]
    return assemble(f, t, hidden, heads.heads, make, keys)


def nemotron_h(f: Fields) -> Built:
    """Nemotron-H and Nemotron 3: each layer is one of mamba 2, attention, MLP or experts."""
    heads = shape(f, Traits(qkv_bias=f.flag("attention_bias"), o_bias=f.flag("attention_bias")))
    hidden = heads.hidden
    m = Mamba2(
        hidden, f.integer("mamba_num_heads"), f.integer("mamba_head_dim"),
        f.integer("ssm_state_size", default=128), f.integer("n_groups", default=8),
        f.integer("conv_kernel", default=4), f.flag("use_bias"), f.flag("use_bias"),
        f.flag("use_conv_bias", default=True), state_dtype=f.text("mamba_ssm_cache_dtype"),
    )  # fmt: skip
    width = f.integer("intermediate_size", default=hidden)
    pattern = _letters(f, "hybrid_override_pattern", "layers_block_type")
    if not pattern:
        f.wrong("hybrid_override_pattern", None, "a letter for each layer: M, *, - or E")
    moe = None
    if "E" in pattern:
        moe = Moe(
            f.integer("n_routed_experts"), f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"),
            shared=f.integer("moe_shared_expert_intermediate_size", default=0, low=0)
            * f.integer("n_shared_experts", default=1, low=0),
            gated=False, latent=f.optional("moe_latent_size") or 0,
        )  # fmt: skip

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
        own = Traits(moe=moe, gated=False, mlp_bias=f.flag("mlp_bias"))
        tensors, ff = feed_forward(own, hidden, width, sparse=key == "E", prefix="mixer")
        if key == "E" and moe is not None and moe.latent:
            for name, rows, columns in (
                ("mixer.fc1_latent_proj", moe.latent, hidden),
                ("mixer.fc2_latent_proj", hidden, moe.latent),
            ):
                tensors += linear(name, rows, columns, Split.NONE, Part.MLP, bias=own.mlp_bias)
        return Block((), ff, first + tensors)

    built = assemble(f, Traits(), hidden, heads.heads, make, list(pattern))
    if not f.integer("num_nextn_predict_layers", default=0, low=0, high=16):
        return built
    further = _letters(f, "mtp_hybrid_override_pattern", "mtp_layers_block_type")
    layers = [make(key) for key in further]
    return replace(
        built,
        extra=sum((layer.tensors for layer in layers), ())
        + norm("enorm", hidden) + norm("hnorm", hidden) + norm("final_layernorm", hidden)
        + linear("eh_proj", hidden, 2 * hidden, Split.NONE, Part.OTHER),
    )  # fmt: skip


def _letters(f: Fields, name: str, names: str) -> str:
    """Nemotron-H's layers as letters, from either of its two spellings."""
    words = f.texts(names) or ()
    pattern = f.text(name) or "".join(_LETTERS.get(word, "?") for word in words)
    if set(pattern) - set(_LETTERS.values()):
        f.wrong(name, pattern, "letters M (mamba), * (attention), - (MLP) and E (experts)")
    return pattern


def falcon_h1(f: Fields) -> Built:
    """Falcon-H1: attention and mamba 2 side by side in every layer."""
    heads = shape(f, Traits(qkv_bias=f.flag("attention_bias"), o_bias=f.flag("attention_bias")))
    hidden, width = heads.hidden, f.integer("intermediate_size")
    m = Mamba2(
        hidden, f.integer("mamba_n_heads"), f.integer("mamba_d_head"),
        f.integer("mamba_d_state"), f.integer("mamba_n_groups", default=1),
        f.integer("mamba_d_conv", default=4), f.flag("mamba_proj_bias"), f.flag("projectors_bias"),
        f.flag("mamba_conv_bias", default=True), norm=f.flag("mamba_rms_norm", default=True),
    )  # fmt: skip
    block = Block(
        (gqa_mixer(heads), mamba2_mixer(m)), FeedForward(width),
        gqa(heads) + mamba2(m, "mamba") + mlp(hidden, width, bias=f.flag("mlp_bias"))
        + layer_norms(Traits(), hidden),
    )  # fmt: skip
    return assemble(f, Traits(), hidden, heads.heads, lambda _: block, [0] * layers_of(f))


def _granite_state(f: Fields, hidden: int) -> Mamba2:
    """Mamba 2 from the fields of Granite 4 and Bamba."""
    heads = f.integer("mamba_n_heads", default=128)
    inner = hidden * f.integer("mamba_expand", default=2)
    given = f.raw("mamba_d_head")
    dim = max(1, inner // heads) if given in (None, "auto") else f.integer("mamba_d_head")
    return Mamba2(
        hidden, heads, dim, f.integer("mamba_d_state", default=256),
        f.integer("mamba_n_groups", default=1), f.integer("mamba_d_conv", default=4),
        f.flag("mamba_proj_bias"), f.flag("mamba_proj_bias"),
        f.flag("mamba_conv_bias", default=True),
    )  # fmt: skip


def granite_hybrid(f: Fields) -> Built:
    """Granite 4: mamba 2 and attention layers; experts and a shared MLP in each."""
    heads = shape(f, attention_biases(f, Traits()))
    hidden, count = heads.hidden, layers_of(f)
    shared = f.integer("shared_intermediate_size", "intermediate_size")
    number = f.integer("num_local_experts", default=0, low=0)
    kinds = [kinds_from(f, count)(i) for i in range(count)]
    state = _granite_state(f, hidden) if _STATES & set(kinds) else None
    sparse: Tensors = ()
    ff = FeedForward(shared)
    if number:
        width, top = f.integer("intermediate_size"), f.integer("num_experts_per_tok", default=1)
        sparse = experts(hidden, width, number)
        ff = FeedForward(0, number, top, width, shared)
    feed = sparse + mlp(hidden, shared, prefix="shared_mlp")

    def make(key: MixerKind) -> Block:
        if key in _STATES and state is not None:
            tensors, mixer = mamba2(state, "mamba"), mamba2_mixer(state)
        else:
            tensors, mixer = gqa(heads), gqa_mixer(heads)
        return Block((mixer,), ff, tensors + feed + layer_norms(Traits(), hidden))

    return assemble(f, Traits(tied=True), hidden, heads.heads, make, kinds)


def bamba(f: Fields) -> Built:
    """Bamba: mamba 2, attention in the layers of ``attn_layer_indices``, a dense MLP in each."""
    heads = shape(f, attention_biases(f, Traits()))
    hidden, width, bias = heads.hidden, f.integer("intermediate_size"), f.flag("mlp_bias")
    state, attention = _granite_state(f, hidden), f.integers("attn_layer_indices") or ()

    def make(full: bool) -> Block:
        own = gqa(heads) if full else mamba2(state, "mamba")
        mixer = gqa_mixer(heads) if full else mamba2_mixer(state)
        tensors = own + mlp(hidden, width, bias=bias, prefix="feed_forward")
        return Block((mixer,), FeedForward(width), tensors + layer_norms(Traits(), hidden))

    keys = [i in attention for i in range(layers_of(f))]
    return assemble(f, Traits(), hidden, heads.heads, make, keys)


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
        own = gqa(heads) if key else short_conv(hidden, kernel, bias=bias)
        mixer = gqa_mixer(heads) if key else short_conv_mixer(hidden, kernel)
        tensors = own + mlp(hidden, width, prefix="feed_forward") + layer_norms(Traits(), hidden)
        return Block((mixer,), FeedForward(width), tensors)

    keys = [i in attention for i in range(layers_of(f))]
    return assemble(f, Traits(tied=True), hidden, heads.heads, make, keys)


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
            own = replace(heads, kv=max(1, heads.heads // group))
            tensors += gqa(own) + norm("input_layernorm", hidden)
            mixers = (gqa_mixer(own),)
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
