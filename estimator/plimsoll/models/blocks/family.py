"""A family of decoders as a row: what sets it apart from LLaMA, and which fields of a config tell.

Nothing here knows a model type. Fields that several makers share are read by functions: windows,
biases, latent attention, experts, MTP. A family whose layers follow from more than its fields one
by one is a function instead, in the module of its maker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, MixerKind, Part, Split
from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder, kinds_from, layers_of, shape
from plimsoll.models.blocks.mixers import Heads, Latent
from plimsoll.models.blocks.parts import linear, loose, norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.blocks.fields import Fields


def windowed(f: Fields, t: Traits, *, default_window: int = 0, pattern: int = 0) -> Traits:
    """With sliding layers as the config says."""
    window = f.integer("sliding_window", default=default_window, low=0)
    if not window:
        return t
    return replace(t, window=window, kinds=kinds_from(f, layers_of(f), default_pattern=pattern))


def all_sliding(f: Fields, t: Traits) -> Traits:
    """Every layer slides if the config has a window and does not switch it off."""
    window = f.integer("sliding_window", default=0, low=0)
    if not window or not f.flag("use_sliding_window", default=True):
        return t
    if f.has("layer_types"):
        return windowed(f, t)
    return replace(t, window=window, kinds=lambda _: MixerKind.SLIDING)


def attention_biases(f: Fields, t: Traits) -> Traits:
    """With biases on q, k, v and o if ``attention_bias`` says so."""
    bias = f.flag("attention_bias")
    return replace(t, qkv_bias=bias, o_bias=bias)


def without_gate_bias(built: Built) -> Built:
    """Gate and up without their biases; like layers stay one block."""
    without = ("mlp.gate_proj.bias", "mlp.up_proj.bias")
    by_block: dict[int, Block] = {}
    for block in built.blocks:
        kept = tuple(t for t in block.tensors if t.name not in without)
        by_block.setdefault(id(block), replace(block, tensors=kept))
    return replace(built, blocks=tuple(by_block[id(block)] for block in built.blocks))


def latent_of(f: Fields, *, gate: bool = False) -> Latent:
    """The shape of latent attention from DeepSeek's fields. gate: an output gate."""
    heads = shape(f)
    return Latent(
        hidden=heads.hidden,
        heads=heads.heads,
        q_rank=f.optional("q_lora_rank") or 0,
        kv_rank=f.integer("kv_lora_rank"),
        nope=f.integer("qk_nope_head_dim"),
        rope=f.integer("qk_rope_head_dim"),
        v_dim=f.integer("v_head_dim", default=max(1, heads.hidden // heads.heads)),
        bias=f.flag("attention_bias"),
        index_heads=f.optional("index_n_heads") or 0,
        index_dim=f.optional("index_head_dim") or 0,
        gate=gate,
    )


def heads_by_kind(full: Heads, sliding: Heads) -> Callable[[MixerKind], Heads]:
    """Another attention shape for sliding layers."""
    return lambda kind: sliding if kind is MixerKind.SLIDING else full


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
        f.integer("n_routed_experts"),
        f.integer("num_experts_per_tok"),
        width,
        shared=width * f.integer("n_shared_experts", default=0, low=0),
    )


def with_mtp(f: Fields, built: Built, *, copies: bool = False) -> Built:
    """With the layers for predicting further tokens, which are stored and not served.

    Each is one more layer like the last, a projection of twice the hidden size, and norms.
    copies: the embedding and the head are stored with it once more.
    """
    number = f.integer(
        "num_nextn_predict_layers",
        "num_nextn_predict_layers_in_checkpoint",
        "mtp_num_hidden_layers",
        default=0,
        low=0,
        high=16,
    )
    if not number:
        return built
    hidden, vocab = built.hidden, built.vocab
    further = (
        norm("enorm", hidden)
        + norm("hnorm", hidden)
        + norm("shared_head.norm", hidden)
        + linear("eh_proj", hidden, 2 * hidden, Split.NONE, Part.OTHER)
    )
    if copies:
        further += linear("shared_head.head", vocab, hidden, Split.VOCAB, Part.HEAD)
        further += loose("embed_tokens.weight", (vocab, hidden), Split.VOCAB, Part.EMBEDDING)
    kind = built.blocks[-1].mixers[0].kind
    like = {block for block in built.blocks[-8:] if block.mixers[0].kind is kind}
    layer = max(like, key=lambda block: block.parameters)
    return replace(built, extra=(layer.tensors + further) * number)


class Switch:
    """A flag of a config. names: of its field, tried in turn; default: if none is there."""

    __slots__ = ("default", "names")

    def __init__(self, *names: str, default: bool = False) -> None:
        self.names, self.default = names, default

    def of(self, f: Fields) -> bool:
        """What a config says."""
        return f.flag(*self.names, default=self.default)


class Size:
    """A number of a config. names: of its field, tried in turn; default: if none is there."""

    __slots__ = ("default", "low", "names")

    def __init__(self, *names: str, default: int | None = None, low: int = 1) -> None:
        self.names, self.default, self.low = names, default, low

    def of(self, f: Fields) -> int:
        """What a config says; a problem of the config if it says nothing and has no default."""
        return f.integer(*self.names, default=self.default, low=self.low)


ATTENTION_BIAS: Final = Switch("attention_bias")
MLP_BIAS: Final = Switch("mlp_bias")


@dataclass(frozen=True, kw_only=True, slots=True)
class Routed:
    """Where a config says its experts.

    count, per_token, width: of the routed experts.
    shared: width of a shared expert; None: that of a routed one, if `shared_count` is given.
    shared_count: number of shared experts; None: one, if `shared` is given.
    shared_gate: a gate in front of them. bias, router_bias: of experts and router.
    """

    count: Size
    per_token: Size
    width: Size
    shared: Size | None = None
    shared_count: Size | None = None
    shared_gate: bool = False
    bias: bool = False
    router_bias: bool = False

    def __call__(self, f: Fields) -> Moe:
        """The experts of a config."""
        count, per_token, width = self.count.of(f), self.per_token.of(f), self.width.of(f)
        shared = 0
        if self.shared is not None or self.shared_count is not None:
            each = width if self.shared is None else self.shared.of(f)
            shared = each * (1 if self.shared_count is None else self.shared_count.of(f))
        return Moe(
            count,
            per_token,
            width,
            shared=shared,
            shared_gate=self.shared_gate,
            bias=self.bias,
            router_bias=self.router_bias,
        )


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of decoders; called with the fields of a config it builds one.

    traits: what holds for every model of the family.
    qkv_bias: whether q, k and v have biases; attention_bias: o too; mlp_bias: the MLP;
        bias: all of these; head_bias: lm_head.
    qk_norm: whether the norms on q and k that `traits` names are there.
    positions: rows of the learned position embedding.
    latent: the shape of latent attention.
    moe, moe_at: its experts, and which layers have them (None: all).
    slides: which layers slide.
    mtp: layers that predict further tokens are stored if the config counts some.
    """

    traits: Traits = Traits()  # noqa: RUF009 - frozen
    qkv_bias: Switch | None = None
    attention_bias: Switch | None = None
    mlp_bias: Switch | None = None
    bias: Switch | None = None
    head_bias: Switch | None = None
    qk_norm: Switch | None = None
    positions: Size | None = None
    latent: Callable[[Fields], Latent] | None = None
    moe: Callable[[Fields], Moe] | None = None
    moe_at: Callable[[Fields], Callable[[int], bool]] | None = None
    slides: Callable[[Fields, Traits], Traits] | None = None
    mtp: bool = False

    def __call__(self, f: Fields) -> Built:
        """The decoder of a config. Raises `plimsoll.errors.Invalid` with each wrong field."""
        built = decoder(f, self._traits(f))
        return with_mtp(f, built) if self.mtp else built

    def _traits(self, f: Fields) -> Traits:
        t = self.traits
        if self.latent is not None:
            t = replace(t, latent=self.latent(f))
        if self.moe is not None:
            t = replace(t, moe=self.moe(f))
        if self.moe_at is not None:
            t = replace(t, moe_at=self.moe_at(f))
        if self.mlp_bias is not None:
            t = replace(t, mlp_bias=self.mlp_bias.of(f))
        if self.bias is not None:
            everywhere = self.bias.of(f)
            t = replace(t, qkv_bias=everywhere, o_bias=everywhere, mlp_bias=everywhere)
        if self.qkv_bias is not None:
            t = replace(t, qkv_bias=self.qkv_bias.of(f))
        if self.attention_bias is not None:
            both = self.attention_bias.of(f)
            t = replace(t, qkv_bias=both, o_bias=both)
        if self.head_bias is not None:
            t = replace(t, head_bias=self.head_bias.of(f))
        if self.qk_norm is not None and not self.qk_norm.of(f):
            t = replace(t, qk_norm="")
        if self.positions is not None:
            t = replace(t, positions=self.positions.of(f))
        return t if self.slides is None else self.slides(f, t)
