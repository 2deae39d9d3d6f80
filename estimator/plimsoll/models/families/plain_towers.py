"""Vision towers in front of other makers' text models, and Whisper with what hears with it.

LLaVA, Phi-3-V, InternVL, Idefics 3, Aria, dots.ocr; Whisper, and Ultravox, which hears with its
encoder. A vision tower that nobody here knows is built as a plain vision transformer from the
fields that all of them share.

    ViT layer       4 x h x h (q, k, v, o) + 2 or 3 x h x intermediate + norms, with biases or not
    tiles           the whole image is one more; a tile has the tower's own size
    decoder layer   of Whisper: self attention, cross attention, MLP; biases except on k; three
                    norms
    outside         of Whisper: the encoder; embedding (tied head), positions, the last norm

Sources: transformers' modeling files and preprocessor_config.json of each model type; vLLM 0.33.0,
vllm/model_executor/models/whisper.py and dots_ocr.py. Ultravox's projector was not read from code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, FeedForward, Mixer, MixerKind, Part, Split, Tensor
from plimsoll.models.blocks.decoder import Built, Traits, assemble
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.parts import Tensors, linear, loose, mlp, norm
from plimsoll.models.blocks.towers import (
    P,
    V,
    audio_norm,
    basics,
    clip,
    copies,
    filled,
    one_size,
    patches,
    patches_on_edge,
    pixtral,
    position_table,
    projector_norm,
    siglip,
    two_layers,
    vit_layer,
    vit_norm,
    whisper_encoder,
)

if TYPE_CHECKING:
    from plimsoll.models.architecture import Tower

_PHI3_TILES: Final = 16
_INTERNVL_VIDEO: Final = frozenset({"qwen2", "qwen3", "qwen3_moe", "gpt_oss"})
"""Text models whose vocabulary has a token for videos."""
_IDEFICS3: Final = {
    "hidden_size": 1152,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "image_size": 224,
    "patch_size": 32,
}


def llava_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """LLaVA: the vision tower and its projector."""
    kind = v.text("model_type", default="clip_vision_model")
    tensors, h = (pixtral if kind == "pixtral" else clip)(v)
    return tensors + two_layers(text, h)


def llava_next_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """LLaVA-NeXT: the vision tower and its projector."""
    return llava_vision(top, v, text) + loose("image_newline", (text,), part=P)


def phi3_v_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Phi-3-V: the vision tower and its projector."""
    large = Fields(
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "image_size": 336,
            "patch_size": 14,
        }
    )
    tensors, h = clip(large)
    tensors += loose("projector.glb_GN", (4 * h,), part=P) + loose(
        "projector.sub_GN", (4 * h,), part=P
    )
    return tensors + two_layers(text, 4 * h)


def internvl_chat_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """InternVL: the vision tower and its projector."""
    h, width, count = basics(v)
    plain = v.text("norm_type") == "rms_norm"  # the tower of 6B alone
    layer = vit_layer(h, width, qkv_bias=v.flag("qkv_bias", default=True), norm_bias=not plain)
    if v.flag("qk_normalization"):
        layer += vit_norm("q_norm", h, bias=False) + vit_norm("k_norm", h, bias=False)
    layer += loose("vision.ls1", (h,), part=V) + loose("vision.ls2", (h,), part=V)
    tensors = loose("vision.class_embedding", (h,), part=V) + patches(v, h, bias=True)
    tensors += position_table(v, h, 1) + copies(layer, count)
    ratio = max(1, round(1 / top.number("downsample_ratio", default=0.5)))
    wide = h * ratio * ratio
    tensors += tuple(
        Tensor(t.name, t.shape, Split.NONE, P) for t in norm("projector.norm", wide, bias=True)
    )
    return tensors + two_layers(text, wide)


def internvl_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """InternVL as transformers has it: sizes in pairs, a bias on the way out alone."""
    pairs = {
        name: v.raw(name)[0] if isinstance(v.raw(name), list) and v.raw(name) else v.raw(name)
        for name in ("image_size", "patch_size")
    }
    defaults = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    named = {"image_size": 448, "patch_size": 14, **{k: n for k, n in pairs.items() if n}}
    v = filled(Fields({**v.data, **named}, v.path, v.problems), defaults)
    h, width, count = basics(v)
    layer = vit_layer(h, width, qkv_bias=v.flag("attention_bias"))
    if v.flag("use_qk_norm"):
        layer += vit_norm("q_norm", h, bias=False) + vit_norm("k_norm", h, bias=False)
    layer += loose("vision.lambda_1", (h,), part=V) + loose("vision.lambda_2", (h,), part=V)
    tensors = loose("vision.cls_token", (h,), part=V) + patches(v, h, bias=True)
    tensors += position_table(v, h, 1) + copies(layer, count)
    ratio = max(1, round(1 / top.number("downsample_ratio", default=0.5)))
    wide = h * ratio * ratio
    return tensors + projector_norm("layer_norm", wide) + two_layers(text, wide)


def idefics3_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Idefics 3 and SmolVLM: the vision tower and its projector."""
    tensors, h = siglip(filled(v, _IDEFICS3))
    scale = top.integer("scale_factor", default=2, high=64)
    return tensors + linear("projector.proj", text, h * scale * scale, Split.NONE, P)


def aria_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Aria: the vision tower and its projector."""
    tensors, h = siglip(filled(v, _IDEFICS3))
    queries = top.raw("projector_patch_to_query_dict")
    numbers = (
        [n for n in queries.values() if isinstance(n, int)] if isinstance(queries, dict) else []
    )
    rows = max([top.integer("max_value_projector_patch_to_query_dict", default=1), *numbers])
    tensors += loose("projector.query", (rows, h), part=P)
    for name in "qkv":
        tensors += linear(f"projector.{name}_proj", h, h, Split.NONE, P)
    tensors += linear("projector.in_proj", 3 * h, h, Split.NONE, P, bias=True)
    tensors += linear("projector.out_proj", h, h, Split.NONE, P, bias=True)
    tensors += linear("projector.linear", h, h, Split.NONE, P, bias=True)
    for name in ("layer_norm", "layer_norm_kv", "layer_norm_out"):
        tensors += projector_norm(name, h)
    tensors += linear("projector.linear_in", text, h, Split.NONE, P)
    return tensors + linear("projector.linear_out", text, text, Split.NONE, P)


def dots_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """dots.ocr: gated layers without biases, patches with norm, two wide linears to merge four."""
    h, width = v.integer("embed_dim", "hidden_size"), v.integer("intermediate_size")
    count = v.integer("num_hidden_layers", high=1000)
    bias = v.flag("use_bias")
    layer = vit_layer(h, width, bias=bias, mlp_bias=bias, gated=True, norm_bias=False)
    tensors = patches(v, h, bias=True) + vit_norm("patch_norm", h, bias=False)
    tensors += copies(layer, count) + vit_norm("post_trunk_norm", h, bias=False)
    merge = v.integer("spatial_merge_size", default=2, high=64)
    wide = h * merge * merge
    tensors += projector_norm("ln_q", h)
    tensors += linear("projector.linear_1", wide, wide, Split.COLUMN, P, bias=True)
    out = v.integer("hidden_size", default=text)
    return tensors + linear("projector.linear_2", out, wide, Split.ROW, P, bias=True)


def plain_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """A tower that nobody here knows, from the fields that vision transformers share."""
    h, width, count = basics(v)
    tensors = patches(v, h, bias=True) + position_table(v, h) + copies(vit_layer(h, width), count)
    return tensors + vit_norm("post_layernorm", h) + two_layers(text, h)


def llava_largest(top: Fields, v: Fields, text: int) -> Tower:
    """LLaVA: the tower and its largest item."""
    patches = patches_on_edge(v) ** 2
    if v.text("model_type") == "pixtral":
        return one_size("pixtral", v, text, patches, patches)
    return one_size("clip", v, text, patches, patches + 1)


def llava_next_largest(top: Fields, v: Fields, text: int) -> Tower:
    """The image in tiles of the grid that has the most, a newline after each row of patches."""
    side, size = patches_on_edge(v), v.integer("image_size", default=224, high=65536)
    grids = top.raw("image_grid_pinpoints")
    tiles, rows = 4, 2
    for grid in grids if isinstance(grids, list) else ():
        if (
            isinstance(grid, (list, tuple))
            and len(grid) == 2
            and all(isinstance(edge, int) and 0 < edge <= 65536 for edge in grid)
        ):
            count = max(1, grid[0] // size) * max(1, grid[1] // size)
            if count > tiles:
                tiles, rows = count, max(1, grid[0] // size)
    tokens = (tiles + 1) * side * side + rows * side
    return one_size("clip", v, text, tokens, (tiles + 1) * (side * side + 1))


def internvl_largest(top: Fields, v: Fields, text: int) -> Tower:
    """InternVL: the tower and its largest item."""
    tiles = top.integer("max_dynamic_patch", default=12, high=256) + 1
    tokens = round(patches_on_edge(v) ** 2 * top.number("downsample_ratio", default=0.5) ** 2)
    patches = patches_on_edge(v) ** 2 + 1
    tower = one_size("intern", v, text, tiles * tokens, tiles * patches)
    part = top.section("llm_config", "text_config")
    if part is None or part.text("model_type") not in _INTERNVL_VIDEO:
        return tower
    return replace(tower, frame_tokens=tokens, frame_patches=patches)


def phi3_v_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Phi-3-V: the tower and its largest item."""
    clip = Fields({"hidden_size": 1024, "intermediate_size": 4096, "image_size": 336})
    tiles, side = _PHI3_TILES + 1, patches_on_edge(clip)
    tokens = tiles * (side // 2) ** 2 + 1 + tiles * (side // 2)
    return one_size("clip", clip, text, tokens, tiles * (side * side + 1))


def whisper(f: Fields) -> Built:
    """Whisper."""
    hidden, heads = f.integer("d_model"), f.integer("decoder_attention_heads")
    width = f.integer("decoder_ffn_dim")
    count = f.integer("decoder_layers", high=1000)
    rows = f.integer("max_target_positions", default=448)
    encoder, _ = whisper_encoder(f)
    f.stop_if_wrong()
    dim = max(1, hidden // heads)
    tensors: Tensors = ()
    for name in ("self_attn", "encoder_attn"):
        for word in "qkv":
            split = Split.COLUMN if word == "q" else Split.KV_HEADS
            tensors += linear(
                f"{name}.{word}_proj", hidden, hidden, split, Part.ATTENTION, bias=word != "k"
            )
        tensors += linear(f"{name}.out_proj", hidden, hidden, Split.ROW, Part.ATTENTION, bias=True)
        tensors += norm(f"{name}_layer_norm", hidden, bias=True)
    tensors += mlp(hidden, width, gated=False, bias=True)
    tensors += norm("final_layer_norm", hidden, bias=True)
    mixers = tuple(
        Mixer(kind, heads, heads, dim, dim) for kind in (MixerKind.FULL, MixerKind.CROSS)
    )
    block = Block(mixers, FeedForward(width, gated=False), tensors)
    t = Traits(norm_bias=True, tied=True, positions=rows, more=encoder)
    return assemble(f, t, hidden, heads, lambda _: block, [0] * count)


def ultravox_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Ultravox: the audio tower and its projector."""
    tensors, h = whisper_encoder(a)
    wide = h * top.integer("stack_factor", default=8, high=1000)
    inner = top.integer("hidden_size", default=4096)
    middle = top.flag("projector_ln_mid")
    tensors += audio_norm("projector.ln_pre", wide, P, bias=False)
    tensors += linear("projector.audio_1", inner, wide, Split.NONE, P)
    tensors += linear("projector.audio_2", text, inner // 2, Split.NONE, P)
    return tensors + audio_norm("projector.ln", inner // 2 if middle else text, P, bias=False)
