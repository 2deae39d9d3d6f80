"""A family of decoders as a row: what sets it apart from LLaMA, and which fields of a config tell.

Nothing here knows a model type. A family whose layers follow from more than its fields one by one
is a function instead, in the module of its maker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder
from plimsoll.models.blocks.readings import with_mtp

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.blocks.attention import Latent
    from plimsoll.models.blocks.fields import Fields


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
