"""GLM: ChatGLM, GLM-4, GLM-4.5 with experts, and GLM-4V's tower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Split
from plimsoll.models.blocks.decoder import Traits
from plimsoll.models.blocks.family import ATTENTION_BIAS, Family, Switch, deepseek_moe, first_dense
from plimsoll.models.blocks.parts import Tensors, linear, loose
from plimsoll.models.blocks.towers import (
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


CHATGLM: Final = Family(qkv_bias=Switch("add_qkv_bias", default=True))
"""ChatGLM 2 to 4: grouped queries with biases on q, k, v."""
GLM: Final = Family(qkv_bias=ATTENTION_BIAS)
"""GLM-4: biases on q, k, v."""
GLM4: Final = Family(traits=Traits(norms=4), qkv_bias=ATTENTION_BIAS)
"""GLM-4-0414: four norms."""
GLM4_MOE: Final = Family(
    traits=Traits(qk_norm="head"),
    qkv_bias=ATTENTION_BIAS,
    moe=deepseek_moe,
    moe_at=first_dense,
    qk_norm=Switch("use_qk_norm"),
    mtp=True,
)
"""GLM-4.5 and 4.6."""


def glm4v_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """GLM-4V: the vision tower and its projector."""
    h = v.integer("hidden_size", default=1536)
    count = v.integer("depth", default=24, high=1000)
    out = v.integer("out_hidden_size", default=text)
    wide = v.integer("intermediate_size", default=13696)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    bias = v.flag("attention_bias")
    frames = v.integer("temporal_patch_size", default=2, high=16)
    layer = vit_layer(h, out, bias=bias, mlp_bias=False, gated=True, norm_bias=False)
    tensors = patches(v, h, bias=True, frames=frames)
    tensors += position_table(filled(v, {"image_size": 336}), h) + copies(layer, count)
    tensors += vit_norm("post_conv_layernorm", h, bias=False) + vit_norm(
        "post_layernorm", h, bias=False
    )
    tensors += loose("vision.downsample.weight", (out, h, merge, merge), part=V)
    tensors += loose("vision.downsample.bias", (out,), part=V)
    tensors += linear("projector.proj", out, out, Split.COLUMN, P)
    tensors += projector_norm("post_projection_norm", out)
    for name in ("gate_proj", "up_proj"):
        tensors += linear(f"projector.{name}", wide, out, Split.COLUMN, P)
    return tensors + linear("projector.down_proj", out, wide, Split.ROW, P)
