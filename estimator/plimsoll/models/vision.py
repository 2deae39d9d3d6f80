"""Vision and audio towers with their projectors: every tensor, from a multimodal config.

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

from plimsoll.models.architecture import Part, Split, Tensor
from plimsoll.models.families.parts import Tensors, linear, loose, norm
from plimsoll.models.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

V, P = Part.VISION, Part.PROJECTOR
_LLAMA4: Final = {
    "hidden_size": 1408, "intermediate_size": 5632, "num_hidden_layers": 34,
    "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
}  # fmt: skip
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {"llama4": _LLAMA4}
"""What transformers fills in where a copy of a config leaves the tower out."""


def _norm(name: str, width: int, *, bias: bool = True) -> Tensors:
    return tuple(
        Tensor(t.name, t.shape, Split.NONE, V) for t in norm(f"vision.{name}", width, bias=bias)
    )


def _layer(
    h: int, width: int, *, bias: bool = True, mlp_bias: bool = True, qkv_bias: bool | None = None,
    gated: bool = False, norm_bias: bool = True, whole: bool = False, inner: int = 0,
) -> Tensors:  # fmt: skip
    """One layer of a vision transformer. whole: not cut by tensor parallelism."""
    column, row = (Split.NONE, Split.NONE) if whole else (Split.COLUMN, Split.ROW)
    qkv = bias if qkv_bias is None else qkv_bias
    wide = inner or h
    found = linear("vision.qkv", 3 * wide, h, column, V, bias=qkv)
    found += linear("vision.proj", h, wide, row, V, bias=bias)
    found += linear("vision.up", width, h, column, V, bias=mlp_bias)
    if gated:
        found += linear("vision.gate", width, h, column, V, bias=mlp_bias)
    found += linear("vision.down", h, width, row, V, bias=mlp_bias)
    return found + _norm("norm1", h, bias=norm_bias) + _norm("norm2", h, bias=norm_bias)


def _patch(v: Fields, h: int, *, bias: bool, frames: int = 1) -> Tensors:
    patch = v.integer("patch_size", default=14, high=1024)
    channels = v.integer("num_channels", "in_channels", "in_chans", default=3, high=64)
    shape = (h, channels, frames * patch * patch)
    found = loose("vision.patch_embed.weight", shape, part=V)
    return found + (loose("vision.patch_embed.bias", (h,), part=V) if bias else ())


def _positions(v: Fields, h: int, more: int = 0) -> Tensors:
    size = v.integer("image_size", default=224, high=65536)
    patch = v.integer("patch_size", default=14, high=1024)
    return loose("vision.position_embedding", ((size // patch) ** 2 + more, h), part=V)


def _basics(v: Fields) -> tuple[int, int, int]:
    return (
        v.integer("hidden_size", "embed_dim"), v.integer("intermediate_size", default=1),
        v.integer("num_hidden_layers", "depth", "vt_num_hidden_layers", high=1000),
    )  # fmt: skip


def _times(layer: Tensors, count: int) -> Tensors:
    """The tensors of `count` equal layers, as copies."""
    return tuple(Tensor(t.name, t.shape, t.split, t.part, count, t.linear) for t in layer)


def _two_layers(text: int, into: int, *, bias: bool = True) -> Tensors:
    """A projector of two linears."""
    first = linear("projector.linear_1", text, into, Split.NONE, P, bias=bias)
    return first + linear("projector.linear_2", text, text, Split.NONE, P, bias=bias)


def siglip(v: Fields) -> tuple[Tensors, int]:
    """SigLIP: patches and positions with bias, a final norm. The tower and its width."""
    h, width, count = _basics(v)
    found = _patch(v, h, bias=True) + _positions(v, h) + _times(_layer(h, width), count)
    return found + _norm("post_layernorm", h), h


def clip(v: Fields) -> tuple[Tensors, int]:
    """CLIP: a class token, norms before and after."""
    h, width, count = _basics(v)
    found = loose("vision.class_embedding", (h,), part=V) + _patch(v, h, bias=False)
    found += _positions(v, h, 1) + _times(_layer(h, width), count)
    return found + _norm("pre_layernorm", h) + _norm("post_layernorm", h), h


def pixtral(v: Fields) -> tuple[Tensors, int]:
    """Pixtral: gated, no biases, a norm before."""
    h, width, count = _basics(v)
    layer = _layer(h, width, bias=False, mlp_bias=False, gated=True, norm_bias=False)
    return _patch(v, h, bias=False) + _norm("ln_pre", h, bias=False) + _times(layer, count), h


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
    return found + _two_layers(text, h)


def _llava_next(top: Fields, v: Fields, text: int) -> Tensors:
    return _llava(top, v, text) + loose("image_newline", (text,), part=P)


def _mistral3(top: Fields, v: Fields, text: int) -> Tensors:
    found, h = pixtral(v)
    merge = top.integer("spatial_merge_size", default=2, high=16)
    found += loose("projector.norm.weight", (h,), part=P)
    found += linear("projector.merging_layer", h, h * merge * merge, Split.NONE, P)
    return found + _two_layers(text, h, bias=top.flag("multimodal_projector_bias"))


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
    found = _patch(v, h, bias=False, frames=v.integer("temporal_patch_size", default=2, high=16))
    found += _times(_layer(h, width), count)
    return found + _merger(h, text, merge, norm_width=h, norm_bias=True)


def _qwen25_vl(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = _basics(v)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    out = v.integer("out_hidden_size", default=text)
    found = _patch(v, h, bias=False, frames=v.integer("temporal_patch_size", default=2, high=16))
    found += _times(_layer(h, width, gated=True, norm_bias=False), count)
    return found + _merger(h, out, merge, norm_width=h, norm_bias=False)


def _qwen3_vl(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = _basics(v)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    out = v.integer("out_hidden_size", default=text)
    found = _patch(v, h, bias=True, frames=v.integer("temporal_patch_size", default=2, high=16))
    rows = v.integer("num_position_embeddings", default=2304)
    found += loose("vision.pos_embed.weight", (rows, h), part=V)
    found += _times(_layer(h, width), count)
    found += _merger(h, out, merge, norm_width=h, norm_bias=True)
    deep = len(v.integers("deepstack_visual_indexes") or ())
    wide = _merger(h, out, merge, norm_width=h * merge * merge, norm_bias=True)
    return found + (_times(wide, deep) if deep else ())


def _internvl(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = _basics(v)
    layer = _layer(h, width, qkv_bias=v.flag("qkv_bias", default=True))
    if v.flag("qk_normalization"):
        layer += _norm("q_norm", h, bias=False) + _norm("k_norm", h, bias=False)
    layer += loose("vision.ls1", (h,), part=V) + loose("vision.ls2", (h,), part=V)
    found = loose("vision.class_embedding", (h,), part=V) + _patch(v, h, bias=True)
    found += _positions(v, h, 1) + _times(layer, count)
    ratio = max(1, round(1 / top.number("downsample_ratio", default=0.5)))
    wide = h * ratio * ratio
    found += tuple(
        Tensor(t.name, t.shape, Split.NONE, P) for t in norm("projector.norm", wide, bias=True)
    )
    return found + _two_layers(text, wide)


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
    layer = _layer(h, width, bias=False, whole=True)
    gates = loose("vision.gate_attn", (1,), part=V) + loose("vision.gate_ffn", (1,), part=V)
    found = loose("vision.class_embedding", (h,), part=V) + _patch(v, h, bias=False)
    found += loose("vision.gated_positional_embedding", (rows, h), part=V)
    found += loose("vision.tile_embedding", (ids, tiles * rows * h), part=V)
    found += loose("vision.gates", (3,), part=V)
    for name in ("pre_tile", "post_tile"):
        found += loose(f"vision.{name}_embedding", (ids, tiles * h), part=V)
    found += _norm("layernorm_pre", h) + _norm("layernorm_post", h)
    found += _times(layer, count) + _times(layer + gates, deep)
    out = v.integer("vision_output_dim", default=7680)
    return found + linear("projector.linear", text, out, Split.NONE, P, bias=True)


def _llama4(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = _basics(v)
    into = v.integer("projector_input_dim", default=4096)
    out = v.integer("projector_output_dim", default=4096)
    found = loose("vision.class_embedding", (h,), part=V) + _patch(v, h, bias=False)
    found += _positions(v, h, 1) + _norm("layernorm_pre", h) + _norm("layernorm_post", h)
    found += _times(_layer(h, width), count)
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
    found = _patch(v, h, bias=True) + loose("vision.pos_emb", (rows, h), part=V)
    found += _times(_layer(h, width, whole=True), count) + _norm("final_layernorm", h)
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
    return found + _two_layers(text, 4 * h)


def _gemma4(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = _basics(v)
    patch = v.integer("patch_size", default=16, high=1024)
    rows = v.integer("position_embedding_size", default=10240)
    dim = v.integer("head_dim", default=max(1, h // v.integer("num_attention_heads", default=16)))
    layer = linear("vision.qkv", 3 * h, h, Split.COLUMN, V)
    layer += linear("vision.proj", h, h, Split.ROW, V)
    for name in ("gate", "up"):
        layer += linear(f"vision.{name}", width, h, Split.COLUMN, V)
    layer += linear("vision.down", h, width, Split.ROW, V)
    for number in range(4):
        layer += _norm(f"norm_{number}", h, bias=False)
    layer += _norm("q_norm", dim, bias=False) + _norm("k_norm", dim, bias=False)
    found = loose("vision.patch_embed.weight", (h, 3 * patch * patch), part=V)
    found += loose("vision.position_embedding", (2, rows, h), part=V)
    return found + _times(layer, count) + linear("projector.linear", text, h, Split.NONE, P)


def _minimax_m3(top: Fields, v: Fields, text: int) -> Tensors:
    h, width, count = _basics(v)
    frames = 2
    out = top.integer("projector_hidden_size", default=text)
    found = _patch(v, h, bias=False, frames=frames) + _norm("pre_layernorm", h)
    found += _times(_layer(h, width), count)
    for number, (rows, columns) in enumerate(
        ((out, h), (out, out), (out, 4 * out), (out, out)), start=1
    ):
        found += linear(f"projector.linear_{number}", rows, columns, Split.NONE, P, bias=True)
    return found


def _plain(top: Fields, v: Fields, text: int) -> Tensors:
    """A tower that nobody here knows, from the fields that vision transformers share."""
    h, width, count = _basics(v)
    found = _patch(v, h, bias=True) + _positions(v, h) + _times(_layer(h, width), count)
    return found + _norm("post_layernorm", h) + _two_layers(text, h)


_BUILDERS: Final[Mapping[str, Callable[[Fields, Fields, int], Tensors]]] = {
    "gemma3": _gemma3, "paligemma": _paligemma, "llava": _llava, "llava_next": _llava_next,
    "mistral3": _mistral3, "qwen2_vl": _qwen2_vl, "qwen2_5_vl": _qwen25_vl,
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), _qwen3_vl),
    **dict.fromkeys(("gemma4", "gemma4_text"), _gemma4), "minimax_m3_vl": _minimax_m3,
    "internvl_chat": _internvl, "mllama": _mllama, "llama4": _llama4,
    **dict.fromkeys(("kimi_k25", "kimi_k3", "kimi_vl"), _moonvit), "phi3_v": _phi3_v,
}  # fmt: skip


def tower_tensors(config: Mapping[str, Any]) -> Tensors:
    """The tensors of a multimodal config's towers and projectors.

    Raises `plimsoll.errors.Invalid` where the tower's fields are missing or mistyped.
    """
    top = Fields(config)
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
        found = _BUILDERS.get(kind, _plain)(top, v, hidden)
    top.stop_if_wrong()
    return found
