"""Further vision towers: Idefics 3, GLM-4V, InternVL as transformers has it, Aria, ERNIE 4.5 VL ...

It must not know the text model but for its hidden size.

Sources: the modeling files of transformers 5.23.0; MiniCPM-V's own code for its resampler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Split
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.parts import Tensors, linear, loose
from plimsoll.models.blocks.vit import (
    P,
    V,
    basics,
    copies,
    patches,
    position_table,
    siglip,
    two_layers,
    vit_layer,
    vit_norm,
)
from plimsoll.models.senses.audio import soft_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _p_norm(name: str, width: int, *, bias: bool = True) -> Tensors:
    found = vit_norm(name, width, bias=bias)
    return sum((loose(f"projector.{t.name}", t.shape, part=P) for t in found), ())


def _filled(v: Fields, defaults: Mapping[str, object]) -> Fields:
    return Fields({**defaults, **v.data}, v.path, v.problems)


_IDEFICS3: Final = {
    "hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224,
    "patch_size": 32,
}  # fmt: skip


def _idefics3(top: Fields, v: Fields, text: int) -> Tensors:
    found, h = siglip(_filled(v, _IDEFICS3))
    scale = top.integer("scale_factor", default=2, high=64)
    return found + linear("projector.proj", text, h * scale * scale, Split.NONE, P)


def _aria(top: Fields, v: Fields, text: int) -> Tensors:
    found, h = siglip(_filled(v, _IDEFICS3))
    queries = top.raw("projector_patch_to_query_dict")
    numbers = [n for n in queries.values() if isinstance(n, int)] if isinstance(
        queries, dict
    ) else []  # fmt: skip
    rows = max([top.integer("max_value_projector_patch_to_query_dict", default=1), *numbers])
    found += loose("projector.query", (rows, h), part=P)
    for name in "qkv":
        found += linear(f"projector.{name}_proj", h, h, Split.NONE, P)
    found += linear("projector.in_proj", 3 * h, h, Split.NONE, P, bias=True)
    found += linear("projector.out_proj", h, h, Split.NONE, P, bias=True)
    found += linear("projector.linear", h, h, Split.NONE, P, bias=True)
    for name in ("layer_norm", "layer_norm_kv", "layer_norm_out"):
        found += _p_norm(name, h)
    found += linear("projector.linear_in", text, h, Split.NONE, P)
    return found + linear("projector.linear_out", text, text, Split.NONE, P)


def _glm4v(top: Fields, v: Fields, text: int) -> Tensors:
    h = v.integer("hidden_size", default=1536)
    count = v.integer("depth", default=24, high=1000)
    out = v.integer("out_hidden_size", default=text)
    wide = v.integer("intermediate_size", default=13696)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    bias = v.flag("attention_bias")
    frames = v.integer("temporal_patch_size", default=2, high=16)
    layer = vit_layer(h, out, bias=bias, mlp_bias=False, gated=True, norm_bias=False)
    found = patches(v, h, bias=True, frames=frames)
    found += position_table(_filled(v, {"image_size": 336}), h) + copies(layer, count)
    found += vit_norm("post_conv_layernorm", h, bias=False) + vit_norm(
        "post_layernorm", h, bias=False
    )
    found += loose("vision.downsample.weight", (out, h, merge, merge), part=V)
    found += loose("vision.downsample.bias", (out,), part=V)
    found += linear("projector.proj", out, out, Split.COLUMN, P)
    found += _p_norm("post_projection_norm", out)
    for name in ("gate_proj", "up_proj"):
        found += linear(f"projector.{name}", wide, out, Split.COLUMN, P)
    return found + linear("projector.down_proj", out, wide, Split.ROW, P)


def _internvl(top: Fields, v: Fields, text: int) -> Tensors:
    """InternVL as transformers has it: sizes in pairs, a bias on the way out alone."""
    pairs = {
        name: v.raw(name)[0] if isinstance(v.raw(name), list) and v.raw(name) else v.raw(name)
        for name in ("image_size", "patch_size")
    }
    defaults = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    named = {"image_size": 448, "patch_size": 14, **{k: n for k, n in pairs.items() if n}}
    v = _filled(Fields({**v.data, **named}, v.path, v.problems), defaults)
    h, width, count = basics(v)
    layer = vit_layer(h, width, qkv_bias=v.flag("attention_bias"))
    if v.flag("use_qk_norm"):
        layer += vit_norm("q_norm", h, bias=False) + vit_norm("k_norm", h, bias=False)
    layer += loose("vision.lambda_1", (h,), part=V) + loose("vision.lambda_2", (h,), part=V)
    found = loose("vision.cls_token", (h,), part=V) + patches(v, h, bias=True)
    found += position_table(v, h, 1) + copies(layer, count)
    ratio = max(1, round(1 / top.number("downsample_ratio", default=0.5)))
    wide = h * ratio * ratio
    return found + _p_norm("layer_norm", wide) + two_layers(text, wide)


def _ernie(top: Fields, v: Fields, text: int) -> Tensors:
    h = v.integer("hidden_size", "embed_dim", default=1280)
    width = v.integer("intermediate_size", default=int(h * v.number("mlp_ratio", default=4.0)))
    found = patches(v, h, bias=False)
    found += copies(vit_layer(h, width), v.integer("depth", default=32, high=1000))
    found += vit_norm("ln", h)
    merge = v.integer("spatial_merge_size", default=top.integer("spatial_conv_size", default=2))
    frames = v.integer("temporal_merge_size", default=top.integer("temporal_conv_size", default=2))
    wide = h * merge * merge
    for name, columns in (("spatial", wide), ("temporal", wide * frames)):
        found += linear(f"projector.{name}_1", wide, columns, Split.NONE, P, bias=True)
        found += linear(f"projector.{name}_2", wide, wide, Split.NONE, P, bias=True)
        found += _p_norm(name, wide)
    found += linear("projector.mlp", text, wide, Split.NONE, P, bias=True)
    return found + _p_norm("after_norm", text, bias=False)


_SIGLIP400: Final = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "image_size": 980,
    "patch_size": 14,
}  # fmt: skip


def _minicpmv(top: Fields, v: Fields, text: int) -> Tensors:
    """MiniCPM-V 2.5 to 4: SigLIP, and queries that look at it once."""
    v = _filled(v, _SIGLIP400)
    if top.flag("drop_vision_last_layer"):
        fewer = max(1, v.integer("num_hidden_layers", high=1000) - 1)
        v = Fields({**v.data, "num_hidden_layers": fewer}, v.path, v.problems)
    found, h = siglip(v)
    found += loose("projector.query", (top.integer("query_num", default=64), text), part=P)
    if h != text:
        found += linear("projector.kv_proj", text, h, Split.NONE, P)
    found += linear("projector.in_proj", 3 * text, text, Split.NONE, P, bias=True)
    found += linear("projector.out_proj", text, text, Split.NONE, P, bias=True)
    for name in ("ln_q", "ln_kv", "ln_post"):
        found += _p_norm(name, text)
    return found + loose("projector.proj", (text, text), part=P)


_MOBILENET: Final = 294_126_912
"""Elements of MobileNet V5 (300M): what Gemma 3n's two published checkpoints hold beside all that
transformers counts, the same in both."""


def _gemma3n(top: Fields, v: Fields, text: int) -> Tensors:
    """Gemma 3n: MobileNet V5, of which there is one size."""
    found = loose("vision.mobilenet", (_MOBILENET,), part=V)
    return found + soft_tokens(v, v.integer("hidden_size", default=2048), text)


FURTHER: Final[Mapping[str, Callable[[Fields, Fields, int], Tensors]]] = {
    **dict.fromkeys(("idefics3", "smolvlm"), _idefics3), "aria": _aria, "internvl": _internvl,
    **dict.fromkeys(("glm4v", "glm4v_moe"), _glm4v), "minicpmv": _minicpmv,
    "gemma3n": _gemma3n,
    **dict.fromkeys(("ernie4_5_vl_moe", "ernie4_5_moe_vl"), _ernie),
}  # fmt: skip
"""Builder of the tower by ``model_type`` of the whole model."""
