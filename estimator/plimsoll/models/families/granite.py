"""Granite: dense, with experts, with states (Bamba too), and Granite Speech.

audio     a conformer: two MLPs, attention with relative positions, a gated convolution; a
          query transformer (Q-Former) to the text model; whole on every rank (vLLM 0.33.0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, FeedForward, MixerKind, Split
from plimsoll.models.blocks.decoder import (
    Built,
    Traits,
    assemble,
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
    attention_biases,
)
from plimsoll.models.blocks.mixers import Mamba2, gqa, gqa_mixer, mamba2, mamba2_mixer
from plimsoll.models.blocks.parts import Tensors, experts, linear, loose, mlp
from plimsoll.models.blocks.towers import A, P, audio_conv, audio_norm, copies

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

_STATES: Final = frozenset({MixerKind.MAMBA2, MixerKind.LINEAR})
"""What ``mamba`` in ``layer_types`` is called before and since transformers 5."""


GRANITE: Final = Family(traits=Traits(tied=True), mlp_bias=MLP_BIAS, attention_bias=ATTENTION_BIAS)
"""Granite: LLaMA with a tied head by default."""
GRANITE_MOE: Final = Family(
    traits=Traits(tied=True),
    attention_bias=ATTENTION_BIAS,
    moe=Routed(
        count=Size("num_local_experts"),
        per_token=Size("num_experts_per_tok"),
        width=Size("intermediate_size"),
        shared=Size("shared_intermediate_size", default=0, low=0),
    ),
)
"""GraniteMoE: tied; a shared expert in GraniteMoeShared."""


def _granite_state(f: Fields, hidden: int) -> Mamba2:
    """Mamba 2 from the fields of Granite 4 and Bamba."""
    heads = f.integer("mamba_n_heads", default=128)
    inner = hidden * f.integer("mamba_expand", default=2)
    given = f.raw("mamba_d_head")
    dim = max(1, inner // heads) if given in (None, "auto") else f.integer("mamba_d_head")
    return Mamba2(
        hidden,
        heads,
        dim,
        f.integer("mamba_d_state", default=256),
        f.integer("mamba_n_groups", default=1),
        f.integer("mamba_d_conv", default=4),
        f.flag("mamba_proj_bias"),
        f.flag("mamba_proj_bias"),
        f.flag("mamba_conv_bias", default=True),
    )


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
        mixing = gqa(heads) if full else mamba2(state, "mamba")
        mixer = gqa_mixer(heads) if full else mamba2_mixer(state)
        tensors = mixing + mlp(hidden, width, bias=bias, prefix="feed_forward")
        return Block((mixer,), FeedForward(width), tensors + layer_norms(Traits(), hidden))

    keys = [i in attention for i in range(layers_of(f))]
    return assemble(f, Traits(), hidden, heads.heads, make, keys)


def _conformer(a: Fields) -> Tensors:
    """Granite's conformer, with a head in its middle."""
    h = a.integer("hidden_dim", default=1024)
    inner = a.integer("num_heads", default=8) * a.integer("dim_head", default=128)
    wide = h * a.integer("feedforward_mult", default=4, high=1000)
    conv = h * a.integer("conv_expansion_factor", default=2, high=1000)
    out = a.integer("output_dim", default=42)
    layer: Tensors = ()
    for name in ("ff1", "ff2"):
        layer += audio_norm(f"audio.{name}.pre_norm", h)
        layer += linear(f"audio.{name}.up_proj", wide, h, Split.NONE, A, bias=True)
        layer += linear(f"audio.{name}.down_proj", h, wide, Split.NONE, A, bias=True)
    layer += audio_norm("audio.attn.pre_norm", h) + linear(
        "audio.attn.to_q", inner, h, Split.NONE, A
    )
    layer += linear("audio.attn.to_kv", 2 * inner, h, Split.NONE, A)
    layer += linear("audio.attn.to_out", h, inner, Split.NONE, A, bias=True)
    rows = 2 * a.integer("max_pos_emb", default=512) + 1
    dim = a.integer("dim_head", default=128)
    layer += loose("audio.attn.rel_pos_emb.weight", (rows, dim), part=A)
    layer += audio_norm("audio.conv.norm", h) + audio_conv("audio.conv.up_conv", 2 * conv, h, 1)
    kernel = a.integer("conv_kernel_size", default=15, high=1000)
    layer += loose("audio.conv.depth_conv.weight", (conv, 1, kernel), part=A)
    layer += audio_norm("audio.conv.batch_norm", conv) + audio_conv(
        "audio.conv.down_conv", h, conv, 1
    )
    layer += audio_norm("audio.post_norm", h)
    tensors = linear(
        "audio.input_linear", h, a.integer("input_dim", default=160), Split.NONE, A, bias=True
    )
    tensors += copies(layer, a.integer("num_layers", default=10, high=1000))
    tensors += linear("audio.out", out, h, Split.NONE, A, bias=True)
    return tensors + linear("audio.out_mid", h, out, Split.NONE, A, bias=True)


def _q_former(q: Fields, queries: int) -> Tensors:
    """A query transformer: BERT's layers, every n-th with cross attention."""
    h, width = q.integer("hidden_size", default=768), q.integer("intermediate_size", default=3072)
    count = q.integer("num_hidden_layers", default=12, high=1000)
    every = q.integer("cross_attention_frequency", default=2)
    into = q.integer("encoder_hidden_size", default=1408)

    def attention(name: str, source: int) -> Tensors:
        tensors: Tensors = ()
        for word, columns in (("query", h), ("key", source), ("value", source), ("dense", h)):
            tensors += linear(f"projector.{name}.{word}", h, columns, Split.NONE, P, bias=True)
        return tensors + audio_norm(f"projector.{name}.norm", h, P)

    layer = attention("self", h)
    layer += linear("projector.up", width, h, Split.NONE, P, bias=True)
    layer += linear("projector.down", h, width, Split.NONE, P, bias=True)
    layer += audio_norm("projector.norm", h, P)
    tensors = loose("projector.query", (1, queries, h), part=P) + audio_norm(
        "projector.layernorm", h, P
    )
    return tensors + copies(layer, count) + copies(attention("cross", into), -(-count // every))


def granite_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Granite Speech: the audio tower and its projector."""
    q = top.section("projector_config") or top.empty()
    window = top.integer("window_size", default=15, high=10_000)
    queries = window // top.integer("downsample_rate", default=5, high=10_000)
    tensors = _conformer(a) + _q_former(q, max(1, queries))
    h = q.integer("hidden_size", default=768)
    return tensors + linear("projector.linear", text, h, Split.NONE, P, bias=True)
