"""Vision towers with their projectors: every tensor, from a multimodal config.

It must not know the text model but for its hidden size, and a tower that it does not know is
built as a plain vision transformer from the fields that all of them share.

    ViT layer   4 x h x h (q, k, v, o) + 2 or 3 x h x intermediate + norms, with biases or without
    Sources     transformers' modeling files of each model type; the counts equal published ones

Which towers tensor parallelism cuts was read off measured weights per GPU: Pixtral's at TP 2,
Llama 4's and Qwen2.5-VL's at TP 4 are cut. Those of Llama 3.2 Vision and Kimi are taken to lie
whole on every rank: nothing was measured there, and whole is the larger need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.models.architecture import Split, Tensor
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm
from plimsoll.models.blocks.vit import (
    P,
    V,
    basics,
    clip,
    copies,
    patches,
    pixtral,
    position_table,
    siglip,
    two_layers,
    vit_layer,
    vit_norm,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LLAMA4: Final = {
    "hidden_size": 1408, "intermediate_size": 5632, "num_hidden_layers": 34,
    "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
}  # fmt: skip
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {"llama4": _LLAMA4}
"""What transformers fills in where a copy of a config leaves the tower out."""


def _gemma3(top: Fields, v: Fields, text: int) -> Tensors:
    found, h = siglip(v)
    found += loose("projector.mm_input_projection_weight", (h, text), part=P)
    return found + loose("projector.mm_soft_emb_norm.weight", (h,), part=P)


def _paligemma(top: Fields, v: Fields, text: int) -> Tensors:
    found, h = siglip(v)
    out = v.integer("projection_dim", default=top.integer("projection_dim", default=text))
    return found + linear("projector.linear", out, h, Split.NONE, P, bias=True)


def _llava(top: Fields, v: Fields, text: int) -> Tensors:
    kind = v.text("model_type", default="clip_vision_model")
    found, h = (pixtral if kind == "pixtral" else clip)(v)
    return found + two_layers(text, h)


def _llava_next(top: Fields, v: Fields, text: int) -> Tensors:
    return _llava(top, v, text) + loose("image_newline", (text,), part=P)


def _mistral3(top: Fields, v: Fields, text: int) -> Tensors:
    found, h = pixtral(v)
    merge = top.integer("spatial_merge_size", default=2, high=16)
    found += loose("projector.norm.weight", (h,), part=P)
    found += linear("projector.merging_layer", h, h * merge * merge, Split.NONE, P)
    return found + two_layers(text, h, bias=top.flag("multimodal_projector_bias"))


def _merger(h: int, out: int, merge: int, *, norm_width: int, norm_bias: bool) -> Tensors:
    wide = h * merge * merge
    found = tuple(
        Tensor(t.name, t.shape, Split.NONE, P)
        for t in norm("projector.norm", norm_width, bias=norm_bias)
    )
    found += linear("projector.fc1", wide, wide, Split.COLUMN, P, bias=True)
    return found + linear("projector.fc2", out, wide, Split.ROW, P, bias=True)


def _qwen2_vl(top: Fields, v: Fields, text: int) -> Tensors:
    h = v.integer("embed_dim", default=1280)
    count = v.integer("depth", default=32, high=1000)
    width = int(h * v.number("mlp_ratio", default=4.0))
    merge = v.integer("spatial_merge_size", default=2, high=16)
    found = patches(v, h, bias=False, frames=v.integer("temporal_patch_size", default=2, high=16))
    found += copies(vit_layer(h, width), count)
    return found + _merger(h, text, merge, norm_width=h, norm_bias=True)


def _qwen25_vl(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = basics(v)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    out = v.integer("out_hidden_size", default=text)
    found = patches(v, h, bias=False, frames=v.integer("temporal_patch_size", default=2, high=16))
    found += copies(vit_layer(h, width, gated=True, norm_bias=False), count)
    return found + _merger(h, out, merge, norm_width=h, norm_bias=False)


def _qwen3_vl(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = basics(v)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    out = v.integer("out_hidden_size", default=text)
    found = patches(v, h, bias=True, frames=v.integer("temporal_patch_size", default=2, high=16))
    rows = v.integer("num_position_embeddings", default=2304)
    found += loose("vision.pos_embed.weight", (rows, h), part=V)
    found += copies(vit_layer(h, width), count)
    found += _merger(h, out, merge, norm_width=h, norm_bias=True)
    deep = len(v.integers("deepstack_visual_indexes") or ())
    wide = _merger(h, out, merge, norm_width=h * merge * merge, norm_bias=True)
    return found + (copies(wide, deep) if deep else ())


def _internvl(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = basics(v)
    layer = vit_layer(h, width, qkv_bias=v.flag("qkv_bias", default=True))
    if v.flag("qk_normalization"):
        layer += vit_norm("q_norm", h, bias=False) + vit_norm("k_norm", h, bias=False)
    layer += loose("vision.ls1", (h,), part=V) + loose("vision.ls2", (h,), part=V)
    found = loose("vision.class_embedding", (h,), part=V) + patches(v, h, bias=True)
    found += position_table(v, h, 1) + copies(layer, count)
    ratio = max(1, round(1 / top.number("downsample_ratio", default=0.5)))
    wide = h * ratio * ratio
    found += tuple(
        Tensor(t.name, t.shape, Split.NONE, P) for t in norm("projector.norm", wide, bias=True)
    )
    return found + two_layers(text, wide)


def _mllama(top: Fields, v: Fields, text: int) -> Tensors:
    h = v.integer("hidden_size", default=1280)
    width = v.integer("intermediate_size", default=5120)
    count = v.integer("num_hidden_layers", default=32, high=1000)
    deep = v.integer("num_global_layers", default=8, high=1000)
    size, patch = v.integer("image_size", default=448), v.integer("patch_size", default=14)
    tiles = v.integer("max_num_tiles", default=4, high=64)
    ratios = v.raw("supported_aspect_ratios")
    ids = (len(ratios) if isinstance(ratios, list) else 8) + 1
    rows = (size // patch) ** 2 + 1
    layer = vit_layer(h, width, bias=False, whole=True)
    gates = loose("vision.gate_attn", (1,), part=V) + loose("vision.gate_ffn", (1,), part=V)
    found = loose("vision.class_embedding", (h,), part=V) + patches(v, h, bias=False)
    found += loose("vision.gated_positional_embedding", (rows, h), part=V)
    found += loose("vision.tile_embedding", (ids, tiles * rows * h), part=V)
    found += loose("vision.gates", (3,), part=V)
    for name in ("pre_tile", "post_tile"):
        found += loose(f"vision.{name}_embedding", (ids, tiles * h), part=V)
    found += vit_norm("layernorm_pre", h) + vit_norm("layernorm_post", h)
    found += copies(layer, count) + copies(layer + gates, deep)
    out = v.integer("vision_output_dim", default=7680)
    return found + linear("projector.linear", text, out, Split.NONE, P, bias=True)


def _llama4(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = basics(v)
    into = v.integer("projector_input_dim", default=4096)
    out = v.integer("projector_output_dim", default=4096)
    found = loose("vision.class_embedding", (h,), part=V) + patches(v, h, bias=False)
    found += position_table(v, h, 1) + vit_norm("layernorm_pre", h) + vit_norm("layernorm_post", h)
    found += copies(vit_layer(h, width), count)
    found += linear("vision.adapter.fc1", into, width, Split.COLUMN, V)
    found += linear("vision.adapter.fc2", out, into, Split.ROW, V)
    return found + linear("projector.linear_1", text, v.integer("vision_output_dim", default=4096),
                          Split.NONE, P)  # fmt: skip


def _moonvit(top: Fields, v: Fields, text: int) -> Tensors:
    h = v.integer("vt_hidden_size", "hidden_size", default=1152)
    width = v.integer("vt_intermediate_size", "intermediate_size", default=4304)
    count = v.integer("vt_num_hidden_layers", "num_hidden_layers", default=27, high=1000)
    rows = v.integer("init_pos_emb_height", default=64) * v.integer(
        "init_pos_emb_width", default=64
    )
    found = patches(v, h, bias=True) + loose("vision.pos_emb", (rows, h), part=V)
    found += copies(vit_layer(h, width, whole=True), count) + vit_norm("final_layernorm", h)
    found += tuple(
        Tensor(t.name, t.shape, Split.NONE, P) for t in norm("projector.pre_norm", h, bias=True)
    )
    wide = 4 * h
    found += linear("projector.linear_1", wide, wide, Split.NONE, P, bias=True)
    return found + linear("projector.linear_2", text, wide, Split.NONE, P, bias=True)


def _phi3_v(top: Fields, v: Fields, text: int) -> Tensors:
    large = Fields({"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                    "image_size": 336, "patch_size": 14})  # fmt: skip
    found, h = clip(large)
    found += loose("projector.glb_GN", (4 * h,), part=P) + loose(
        "projector.sub_GN", (4 * h,), part=P
    )
    return found + two_layers(text, 4 * h)


def _gemma4(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = basics(v)
    patch = v.integer("patch_size", default=16, high=1024)
    rows = v.integer("position_embedding_size", default=10240)
    dim = v.integer("head_dim", default=max(1, h // v.integer("num_attention_heads", default=16)))
    layer = linear("vision.qkv", 3 * h, h, Split.COLUMN, V)
    layer += linear("vision.proj", h, h, Split.ROW, V)
    for name in ("gate", "up"):
        layer += linear(f"vision.{name}", width, h, Split.COLUMN, V)
    layer += linear("vision.down", h, width, Split.ROW, V)
    for number in range(4):
        layer += vit_norm(f"norm_{number}", h, bias=False)
    layer += vit_norm("q_norm", dim, bias=False) + vit_norm("k_norm", dim, bias=False)
    found = loose("vision.patch_embed.weight", (h, 3 * patch * patch), part=V)
    found += loose("vision.position_embedding", (2, rows, h), part=V)
    return found + copies(layer, count) + linear("projector.linear", text, h, Split.NONE, P)


def _minimax_m3(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = basics(v)
    frames = 2
    out = top.integer("projector_hidden_size", default=text)
    found = patches(v, h, bias=False, frames=frames) + vit_norm("pre_layernorm", h)
    found += copies(vit_layer(h, width), count)
    for number, (rows, columns) in enumerate(
        ((out, h), (out, out), (out, 4 * out), (out, out)), start=1
    ):
        found += linear(f"projector.linear_{number}", rows, columns, Split.NONE, P, bias=True)
    return found


def _plain(top: Fields, v: Fields, text: int) -> Tensors:
    """A tower that nobody here knows, from the fields that vision transformers share."""
    h, width, count = basics(v)
    found = patches(v, h, bias=True) + position_table(v, h) + copies(vit_layer(h, width), count)
    return found + vit_norm("post_layernorm", h) + two_layers(text, h)


_BUILDERS: Final[Mapping[str, Callable[[Fields, Fields, int], Tensors]]] = {
    "gemma3": _gemma3, "paligemma": _paligemma, "llava": _llava, "llava_next": _llava_next,
    "mistral3": _mistral3, "qwen2_vl": _qwen2_vl,
    **dict.fromkeys(("qwen2_5_vl", "qwen2_5_omni", "qwen2_5_omni_thinker"), _qwen25_vl),
    **dict.fromkeys(
        ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen3_omni_moe",
         "qwen3_omni_moe_thinker"), _qwen3_vl,
    ),
    **dict.fromkeys(("gemma4", "gemma4_text"), _gemma4), "minimax_m3_vl": _minimax_m3,
    "internvl_chat": _internvl, "mllama": _mllama, "llama4": _llama4,
    **dict.fromkeys(("kimi_k25", "kimi_k3", "kimi_vl"), _moonvit), "phi3_v": _phi3_v,
}  # fmt: skip


def known(kind: str) -> bool:
    """Whether the tower of a model type is built as its code has it, not as most are."""
    from plimsoll.models.senses.further import FURTHER

    return kind in _BUILDERS or kind in FURTHER


def tower_tensors(config: Mapping[str, Any], path: str = "config.json") -> Tensors:
    """The tensors of a multimodal config's towers and projectors. path: where the config lies.

    Raises `plimsoll.errors.Invalid` where the tower's fields are missing or mistyped.
    """
    top = Fields(config, path)
    text = top.section("text_config", "llm_config", "language_config")
    hidden = text.integer("hidden_size", default=4096) if text else top.integer("hidden_size")
    kind = top.text("model_type")
    if kind == "gemma3" and text is not None and not text.has("hidden_size"):
        hidden = 2304
    tower = top.section("vision_config")
    found: Tensors = ()
    if tower is not None or kind in ("phi3_v", *DEFAULTS):
        given = tower.data if tower is not None else {}
        v = Fields({**DEFAULTS.get(kind, {}), **given}, f"{top.path}: vision_config", top.problems)
        from plimsoll.models.senses.further import FURTHER

        found = (_BUILDERS.get(kind) or FURTHER.get(kind, _plain))(top, v, hidden)
    top.stop_if_wrong()
    return found
