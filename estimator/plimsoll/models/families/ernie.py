"""ERNIE 4.5: dense, with experts, and with experts for images too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Part, Split
from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder, layers_of
from plimsoll.models.blocks.family import Family, Switch, first_dense
from plimsoll.models.blocks.parts import Tensors, experts, linear, loose
from plimsoll.models.blocks.towers import P, copies, patches, projector_norm, vit_layer, vit_norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


ERNIE: Final = Family(traits=Traits(tied=True), bias=Switch("use_bias"))
"""ERNIE 4.5: tied."""


def ernie_moe(f: Fields) -> Built:
    """ERNIE 4.5 MoE: experts in every ``moe_layer_interval``-th layer of a range."""
    width = f.integer("moe_intermediate_size")
    first = f.integer("moe_layer_start_index", default=1, low=0)
    last = f.integer("moe_layer_end_index", default=layers_of(f) - 1, low=0)
    every = f.integer("moe_layer_interval", default=1)
    shared = f.integer("moe_num_shared_experts", default=0, low=0)
    m = Moe(
        f.integer("moe_num_experts"),
        f.integer("moe_k", "num_experts_per_tok", default=2),
        width,
        shared=width * shared,
    )
    routing = loose("mlp.moe_statics.e_score_correction_bias", (1, m.count), part=Part.ROUTER)
    bias = f.flag("use_bias")
    t = Traits(
        tied=True,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        head_bias=bias,
        moe=m,
        moe_at=lambda i: (i + 1) % every == 0 and first <= i <= last,
        sparse_more=routing,
    )
    return decoder(f, t)


def _pair(f: Fields, name: str) -> tuple[int, int] | None:
    """One number for text and one for images; None if they are missing or others than two."""
    numbers = f.integers(name) or ()
    if len(numbers) not in (0, 2):
        f.wrong(name, f.raw(name), "two integers, for text and for images")
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def ernie_vl(f: Fields) -> Built:
    """ERNIE 4.5 VL: experts for text and, of another width, for images in the same layers."""
    widths, counts = f.raw("moe_intermediate_size"), f.raw("moe_num_experts")
    text, images = _pair(f, "moe_intermediate_size") or (1536, 512) if widths else (1536, 512)
    number = _pair(f, "moe_num_experts") if isinstance(counts, list) else None
    one, other = number or (f.integer("moe_num_experts", default=64),) * 2
    hidden = f.integer("hidden_size")
    first = (
        f.integers("moe_layer_start_index")
        if isinstance(f.raw("moe_layer_start_index"), list)
        else None
    )
    start = min(first) if first else f.integer("moe_layer_start_index", default=1, low=0)
    m = Moe(
        one,
        f.integer("moe_k", default=6),
        text,
        shared=text * f.integer("moe_num_shared_experts", default=2, low=0),
    )
    kinds = f.texts("mlp_layer_types")
    at = first_dense(f) if kinds else lambda i: i >= start
    bias = f.flag("use_bias")
    t = Traits(
        tied=True,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        moe=m,
        moe_at=at,
        sparse_more=experts(hidden, images, other, prefix="mlp.vision_moe")
        + loose("mlp.moe_statics.e_score_correction_bias", (2, one), part=Part.ROUTER),
    )
    return decoder(f, t)


def ernie_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """ERNIE 4.5 VL: the vision tower and its projector."""
    h = v.integer("hidden_size", "embed_dim", default=1280)
    width = v.integer("intermediate_size", default=int(h * v.number("mlp_ratio", default=4.0)))
    tensors = patches(v, h, bias=False)
    tensors += copies(vit_layer(h, width), v.integer("depth", default=32, high=1000))
    tensors += vit_norm("ln", h)
    merge = v.integer("spatial_merge_size", default=top.integer("spatial_conv_size", default=2))
    frames = v.integer("temporal_merge_size", default=top.integer("temporal_conv_size", default=2))
    wide = h * merge * merge
    for name, columns in (("spatial", wide), ("temporal", wide * frames)):
        tensors += linear(f"projector.{name}_1", wide, columns, Split.NONE, P, bias=True)
        tensors += linear(f"projector.{name}_2", wide, wide, Split.NONE, P, bias=True)
        tensors += projector_norm(name, wide)
    tensors += linear("projector.mlp", text, wide, Split.NONE, P, bias=True)
    return tensors + projector_norm("after_norm", text, bias=False)
