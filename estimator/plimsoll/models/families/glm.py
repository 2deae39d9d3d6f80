"""GLM: ChatGLM, GLM-4 and what sees, GLM-4.5 with experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.models.architecture import Split
from plimsoll.models.blocks.decoder import Built, Traits, decoder
from plimsoll.models.blocks.parts import Tensors, linear, loose
from plimsoll.models.blocks.readings import deepseek_moe, first_dense, with_mtp
from plimsoll.models.blocks.vit import (
    P,
    V,
    copies,
    filled,
    patches,
    position_table,
    projector_norm,
    vit_layer,
    vit_norm,
)

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


def chatglm(f: Fields) -> Built:
    """ChatGLM 2 to 4: grouped queries with biases on q, k, v."""
    return decoder(f, Traits(qkv_bias=f.flag("add_qkv_bias", default=True)))


def glm(f: Fields) -> Built:
    """GLM-4: biases on q, k, v."""
    return decoder(f, Traits(qkv_bias=f.flag("attention_bias")))


def glm4(f: Fields) -> Built:
    """GLM-4-0414: four norms."""
    return decoder(f, Traits(norms=4, qkv_bias=f.flag("attention_bias")))


def glm4_moe(f: Fields) -> Built:
    """GLM-4.5 and 4.6."""
    t = Traits(qkv_bias=f.flag("attention_bias"), moe=deepseek_moe(f), moe_at=first_dense(f),
               qk_norm="head" if f.flag("use_qk_norm") else "")  # fmt: skip
    return with_mtp(f, decoder(f, t))


def glm4v_vision(top: Fields, v: Fields, text: int) -> Tensors:
    h = v.integer("hidden_size", default=1536)
    count = v.integer("depth", default=24, high=1000)
    out = v.integer("out_hidden_size", default=text)
    wide = v.integer("intermediate_size", default=13696)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    bias = v.flag("attention_bias")
    frames = v.integer("temporal_patch_size", default=2, high=16)
    layer = vit_layer(h, out, bias=bias, mlp_bias=False, gated=True, norm_bias=False)
    found = patches(v, h, bias=True, frames=frames)
    found += position_table(filled(v, {"image_size": 336}), h) + copies(layer, count)
    found += vit_norm("post_conv_layernorm", h, bias=False) + vit_norm(
        "post_layernorm", h, bias=False
    )
    found += loose("vision.downsample.weight", (out, h, merge, merge), part=V)
    found += loose("vision.downsample.bias", (out,), part=V)
    found += linear("projector.proj", out, out, Split.COLUMN, P)
    found += projector_norm("post_projection_norm", out)
    for name in ("gate_proj", "up_proj"):
        found += linear(f"projector.{name}", wide, out, Split.COLUMN, P)
    return found + linear("projector.down_proj", out, wide, Split.ROW, P)
