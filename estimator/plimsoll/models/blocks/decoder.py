"""The decoder that nearly every family is a variant of: embedding, layers, final norm, head.

Nothing here knows a model type; `plimsoll.models.families.by_type` has those.

    layer    norms, attention (or a state mixer), dense or expert feed-forward
    outside  embedding on the first stage; final norm and lm_head on the last
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from plimsoll.models.architecture import (
    Block,
    FeedForward,
    Mixer,
    MixerKind,
    Part,
    Split,
    Stage,
    Tensor,
)
from plimsoll.models.blocks.fields import MAX_LAYERS, Fields
from plimsoll.models.blocks.mixers import Heads, Latent, QkNorm, gqa, gqa_mixer, mla, mla_mixer
from plimsoll.models.blocks.parts import Tensors, experts, linear, loose, mlp, norm

K = TypeVar("K", bound=Hashable)

KIND_NAMES: Final = {
    "full_attention": MixerKind.FULL,
    "attention": MixerKind.FULL,
    "sliding_attention": MixerKind.SLIDING,
    "chunked_attention": MixerKind.CHUNKED,
    "linear_attention": MixerKind.LINEAR,
    "mamba": MixerKind.MAMBA2,
    "conv": MixerKind.SHORT_CONV,
}
"""Names in ``layer_types``."""
NORM_NAMES: Final = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "post_feedforward_layernorm_1",
    "post_feedforward_layernorm_2",
    "pre_feedforward_layernorm_2",
)
"""A layer's norms over the hidden size, in the order in which families have them."""


@dataclass(frozen=True, slots=True)
class Moe:
    """Experts of a layer. shared: width of the shared experts, all together; 0 for none.

    shared_gate: a gate in front of them. latent: width that the experts read and write, if it
    is not the hidden size. bias, router_bias: of experts and router.
    """

    count: int
    per_token: int
    width: int
    shared: int = 0
    shared_gate: bool = False
    bias: bool = False
    router_bias: bool = False
    gated: bool = True
    latent: int = 0


@dataclass(frozen=True)
class Traits:
    """What sets a family apart from LLaMA.

    norms: norms of a layer over the hidden size; norm_weight False: norms without parameters.
    kv_heads: heads of keys and values if the config does not say it; 0: as many as queries.
    tied: what a config that does not say ``tie_word_embeddings`` means.
    positions: rows of a learned position embedding. embed_norm: a norm after the embedding.
    window: of sliding or chunked layers. kinds: what each layer's mixer is, for a layer number.
    moe_at: whether a layer has experts, for a layer number.
    heads_of: shape of the attention of a layer of a kind, if it depends on it.
    indexed: whether a layer has a sparse-attention indexer of its own, for a layer number.
    width_at: width of a layer's dense feed-forward, for a layer number. four_times: four times
        the hidden size if the config does not say it.
    attention_more, sparse_more: further tensors of each attention, and of each layer with
    experts. more: further tensors outside the layers.
    """

    norms: int = 2
    norm_bias: bool = False
    norm_weight: bool = True
    final_norm: bool = True
    gated: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: QkNorm = ""
    gate: bool = False
    sinks: bool = False
    kv_heads: int = 0
    tied: bool = False
    positions: int = 0
    embed_norm: bool = False
    embed_dim: int = 0
    window: int = 0
    kinds: Callable[[int], MixerKind] = lambda _: MixerKind.FULL
    moe: Moe | None = None
    moe_at: Callable[[int], bool] = lambda _: True
    latent: Latent | None = None
    heads_of: Callable[[MixerKind], Heads] | None = None
    shares_kv: Callable[[int], bool] = lambda _: False
    indexed: Callable[[int], bool] = lambda _: True
    width_at: Callable[[int], int] | None = None
    four_times: bool = False
    dense_beside_moe: bool = False
    attention_more: Tensors = ()
    sparse_more: Tensors = ()
    more: Tensors = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """What sets one layer apart from another of the same model; equal ones share a block."""

    kind: MixerKind
    width: int
    sparse: bool = False
    shares: bool = False
    indexed: bool = True


@dataclass(frozen=True)
class Built:
    """A decoder. extra: tensors stored and not served. assumed: parts of it are not known."""

    blocks: tuple[Block, ...]
    outside: Tensors
    heads: int
    hidden: int
    vocab: int
    tied: bool
    extra: Tensors = ()
    assumed: bool = False


Builder = Callable[[Fields], Built]
"""Makes a decoder from the fields of a config."""


def shape(f: Fields, traits: Traits | None = None) -> Heads:
    """Attention shape from the usual fields."""
    t = traits or Traits()
    hidden = f.integer("hidden_size", "n_embd", "d_model", "dim")
    heads = f.integer("num_attention_heads", "n_head", "n_heads")
    kv = f.integer(
        "num_key_value_heads", "num_kv_heads", "multi_query_group_num", default=t.kv_heads or heads
    )
    if kv > heads:
        f.wrong("num_key_value_heads", kv, f"at most num_attention_heads, {heads}")
    dim = f.integer(
        "head_dim", "attention_head_dim", "kv_channels", default=max(1, hidden // max(1, heads))
    )
    return Heads(
        hidden, heads, kv, dim, dim, t.qkv_bias, t.o_bias, t.qk_norm, t.gate, sinks=t.sinks
    )


def layers_of(f: Fields) -> int:
    """Number of layers."""
    return f.integer("num_hidden_layers", "n_layer", "n_layers", "num_layers", high=MAX_LAYERS)


def decoder(f: Fields, t: Traits) -> Built:
    """Build a decoder of these traits."""
    heads = shape(f, t)
    count = layers_of(f)
    default = 4 * heads.hidden if t.four_times else None
    if t.moe is not None and all(map(t.moe_at, range(count))):
        default = 1
    width = (
        1
        if t.width_at
        else f.integer(
            "intermediate_size",
            "ffn_dim",
            "n_inner",
            "ffn_hidden_size",
            "hidden_dim",
            default=default,
        )
    )
    f.stop_if_wrong()
    layers = [
        Layer(
            t.kinds(index),
            t.width_at(index) if t.width_at else width,
            sparse=t.moe is not None and t.moe_at(index),
            shares=t.shares_kv(index),
            indexed=t.indexed(index),
        )
        for index in range(count)
    ]
    return assemble(f, t, heads.hidden, heads.heads, lambda layer: _block(t, heads, layer), layers)


def assemble(
    f: Fields,
    t: Traits,
    hidden: int,
    heads: int,
    make: Callable[[K], Block],
    keys: Sequence[K],
) -> Built:
    """A model of layers made by key: equal keys share a block.

    Raises `plimsoll.errors.Invalid` for more layers than are believed, wherever they were read.
    """
    if len(keys) > MAX_LAYERS:
        f.wrong("num_hidden_layers", len(keys), f"at most {MAX_LAYERS} layers")
    vocab = f.integer("vocab_size", "padded_vocab_size")
    tied = f.flag("tie_word_embeddings", default=t.tied)
    f.stop_if_wrong()
    by_key: dict[K, Block] = {}
    blocks = []
    for key in keys:
        block = by_key.get(key)
        if block is None:
            block = by_key[key] = make(key)
        blocks.append(block)
    f.stop_if_wrong()
    return Built(
        tuple(blocks), ends(hidden, vocab, t, tied=tied) + t.more, heads, hidden, vocab, tied
    )


def _block(t: Traits, heads: Heads, layer: Layer) -> Block:
    mixer: Mixer
    if t.latent is not None:
        latent = t.latent if layer.indexed else replace(t.latent, index_heads=0)
        tensors, mixer = mla(latent), mla_mixer(latent)
    else:
        shape_here = t.heads_of(layer.kind) if t.heads_of else heads
        if not layer.indexed:
            shape_here = replace(shape_here, index_heads=0)
        window = t.window if layer.kind in (MixerKind.SLIDING, MixerKind.CHUNKED) else 0
        tensors = gqa(shape_here, shares=layer.shares)
        mixer = gqa_mixer(shape_here, layer.kind, window, shares=layer.shares)
    feed, ff = feed_forward(t, heads.hidden, layer.width, sparse=layer.sparse)
    tensors += t.attention_more + feed + layer_norms(t, heads.hidden)
    return Block((mixer,), ff, tensors)


def layer_norms(t: Traits, hidden: int) -> Tensors:
    """The norms of a layer over the hidden size."""
    if not t.norm_weight:
        return ()
    tensors: Tensors = ()
    for name in NORM_NAMES[: t.norms]:
        tensors += norm(name, hidden, bias=t.norm_bias)
    return tensors


def feed_forward(
    t: Traits, hidden: int, width: int, *, sparse: bool, prefix: str = "mlp"
) -> tuple[Tensors, FeedForward]:
    """Dense, or experts with what is shared among them."""
    m = t.moe
    if not sparse or m is None:
        dense = mlp(hidden, width, gated=t.gated, bias=t.mlp_bias, prefix=prefix)
        return dense, FeedForward(width, gated=t.gated)
    tensors = experts(
        hidden,
        m.width,
        m.count,
        gated=m.gated,
        bias=m.bias,
        router_bias=m.router_bias,
        into=m.latent,
        prefix="" if t.dense_beside_moe else prefix,
    )
    if m.shared:
        tensors += mlp(
            hidden, m.shared, gated=m.gated, bias=t.mlp_bias, prefix=f"{prefix}.shared_experts"
        )
    tensors += t.sparse_more
    if m.shared_gate:
        tensors += linear(f"{prefix}.shared_expert_gate", 1, hidden, Split.NONE, Part.ROUTER)
    if not t.dense_beside_moe:
        width = 0
    else:
        tensors += mlp(hidden, width, gated=t.gated, bias=t.mlp_bias, prefix=prefix)
    return tensors, FeedForward(width, m.count, m.per_token, m.width, m.shared, m.gated)


def ends(hidden: int, vocab: int, t: Traits, *, tied: bool) -> Tensors:
    """Embedding, positions, final norm and head."""
    wide = t.embed_dim or hidden
    tensors: Tensors = (
        Tensor("model.embed_tokens.weight", (vocab, wide), Split.VOCAB, Part.EMBEDDING),
    )
    if t.positions:
        tensors += loose("model.embed_positions.weight", (t.positions, hidden), part=Part.EMBEDDING)
    if t.embed_norm:
        tensors += norm("model.embed_norm", hidden, bias=t.norm_bias)
    if wide != hidden:
        tensors += linear("model.project_in", hidden, wide, Split.NONE, Part.OTHER)
        tensors += linear(
            "model.project_out", wide, hidden, Split.NONE, Part.OTHER, stage=Stage.LAST
        )
    if t.final_norm and t.norm_weight:
        tensors += norm("model.norm", hidden, bias=t.norm_bias, stage=Stage.LAST)
    if not tied:
        tensors += linear(
            "lm_head", vocab, wide, Split.VOCAB, Part.HEAD, bias=t.head_bias, stage=Stage.LAST
        )
    elif t.head_bias:
        tensors += loose("lm_head.bias", (vocab,), Split.VOCAB, Part.HEAD, stage=Stage.LAST)
    return tensors


def kinds_from(f: Fields, count: int, *, default_pattern: int = 0) -> Callable[[int], MixerKind]:
    """What each layer is: by ``layer_types``, else by a pattern in which every n-th is full."""
    names = f.texts("layer_types")
    if names:
        if len(names) < count or set(names) - KIND_NAMES.keys():
            f.wrong(
                "layer_types",
                [*dict.fromkeys(names)],
                f"for each of the {count} layers one of {', '.join(KIND_NAMES)}",
            )
            return lambda _: MixerKind.FULL
        return lambda i: KIND_NAMES[names[i]]
    given = f.raw("sliding_window_pattern")
    pattern = given if isinstance(given, int) and 0 < given <= count else default_pattern
    if isinstance(given, str) and given and set(given) <= {"L", "G"}:
        letters = given
        return lambda i: MixerKind.SLIDING if letters[i % len(letters)] == "L" else MixerKind.FULL
    if pattern:
        return lambda i: MixerKind.FULL if (i + 1) % pattern == 0 else MixerKind.SLIDING
    return lambda _: MixerKind.FULL
