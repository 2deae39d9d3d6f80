"""What a vision tower makes of its largest image or video: patches, tokens, widths.

It must not know an engine: how many such items are run at once, and what a pass over them takes,
is the engine's business. A tower that is not known here has no `Tower`.

    images of any size      tokens = pixels / edge^2, patches = tokens x merge
                            pixels: Qwen2-VL and 2.5-VL 12845056, Qwen3-VL and 3.5 16777216; a
                            whole video of Qwen3-VL 25165824
    images in tiles         tiles (the whole image is one more) x patches or tokens of a tile
    images of one size      (image size / patch size)^2 patches, and what is made of them

Sources: the preprocessor_config.json and video_preprocessor_config.json that each family is
published with (a copy may say otherwise; a config.json says none of it), and for what these leave
out transformers' image processors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.models.blocks.fields import Fields
from plimsoll.models.senses.vision import DEFAULTS
from plimsoll.models.tower import Tower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CHANNELS: Final = 3
_QWEN2_PIXELS: Final = 12845056
_QWEN3_PIXELS: Final = 16777216
_QWEN3_VIDEO_PIXELS: Final = 25165824
_KIMI_PATCHES: Final = 4096
_KIMI_K2_PATCHES: Final = 16384
_GEMMA4_FRAMES: Final = 32
_GEMMA4_FRAME_TOKENS: Final = 70
_GEMMA4_FRAME_MARKS: Final = 8
_PHI3_TILES: Final = 16
_INTERNVL_VIDEO: Final = frozenset({"qwen2", "qwen3", "qwen3_moe", "gpt_oss"})
"""Text models whose vocabulary has a token for videos."""


def _side(v: Fields) -> int:
    """Patches on an edge of an image of the tower's own size."""
    size = v.integer("image_size", default=224, high=65536)
    return max(1, size // v.integer("patch_size", default=14, high=1024))


def _fixed(kind: str, v: Fields, width: int, tokens: int, patches: int) -> Tower:
    """A tower for images of one size, or of some tiles of it."""
    edge = v.integer("patch_size", default=14, high=1024)
    return Tower(
        kind, v.integer("hidden_size"), v.integer("intermediate_size"), _CHANNELS * edge * edge,
        width, max(1, tokens), max(1, patches),
    )  # fmt: skip


def _any_size(
    kind: str, v: Fields, hidden: int, intermediate: int, pixels: int, text: int, video: int = 0
) -> Tower:
    """A Qwen tower: images of any size, videos of two frames a patch."""
    size = v.integer("patch_size", default=14, high=1024)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    levels = len(v.integers("deepstack_visual_indexes") or ())
    frames = v.integer("temporal_patch_size", default=2, high=16)
    width = text if kind == "qwen2" else v.integer("out_hidden_size", default=text)
    edge = size * merge
    tokens = max(1, pixels // (edge * edge))
    return Tower(
        kind, hidden, intermediate, _CHANNELS * frames * size * size, width * (1 + levels),
        tokens, tokens * merge * merge, levels, edge=edge, merge=merge * merge, pixels=pixels,
        video_pixels=video,
    )  # fmt: skip


def _qwen2(top: Fields, v: Fields, text: int) -> Tower:
    hidden = v.integer("embed_dim", default=1280)
    width = int(hidden * v.number("mlp_ratio", default=4.0))
    return _any_size("qwen2", v, hidden, width, _QWEN2_PIXELS, text)


def _qwen25(top: Fields, v: Fields, text: int) -> Tower:
    widths = v.integer("hidden_size"), v.integer("intermediate_size")
    return _any_size("qwen2_5", v, *widths, _QWEN2_PIXELS, text)


def _qwen3(top: Fields, v: Fields, text: int) -> Tower:
    widths = v.integer("hidden_size"), v.integer("intermediate_size")
    return _any_size("qwen3", v, *widths, _QWEN3_PIXELS, text, _QWEN3_VIDEO_PIXELS)


def _gemma3(top: Fields, v: Fields, text: int) -> Tower:
    tokens = top.integer("mm_tokens_per_image", default=256)
    return replace(_fixed("siglip", v, text, tokens, _side(v) ** 2), marks=4)


def _paligemma(top: Fields, v: Fields, text: int) -> Tower:
    return _fixed("siglip", v, text, _side(v) ** 2, _side(v) ** 2)


def _llava(top: Fields, v: Fields, text: int) -> Tower:
    patches = _side(v) ** 2
    if v.text("model_type") == "pixtral":
        return _fixed("pixtral", v, text, patches, patches)
    return _fixed("clip", v, text, patches, patches + 1)


def _llava_next(top: Fields, v: Fields, text: int) -> Tower:
    """The image in tiles of the grid that has the most, a newline after each row of patches."""
    side, size = _side(v), v.integer("image_size", default=224, high=65536)
    grids = top.raw("image_grid_pinpoints")
    tiles, rows = 4, 2
    for grid in grids if isinstance(grids, list) else ():
        if isinstance(grid, (list, tuple)) and len(grid) == 2 and all(
            isinstance(edge, int) and 0 < edge <= 65536 for edge in grid
        ):  # fmt: skip
            found = max(1, grid[0] // size) * max(1, grid[1] // size)
            if found > tiles:
                tiles, rows = found, max(1, grid[0] // size)
    tokens = (tiles + 1) * side * side + rows * side
    return _fixed("clip", v, text, tokens, (tiles + 1) * (side * side + 1))


def _mistral3(top: Fields, v: Fields, text: int) -> Tower:
    merge = top.integer("spatial_merge_size", default=2, high=16)
    side = _side(v) // merge
    return replace(_fixed("pixtral", v, text, side * side, _side(v) ** 2), marks=side)


def _llama4(top: Fields, v: Fields, text: int) -> Tower:
    tiles = top.integer("max_patches", default=16, high=256) + 1
    tokens = round(_side(v) ** 2 * v.number("pixel_shuffle_ratio", default=0.5) ** 2)
    return _fixed("llama4", v, text, tiles * tokens, tiles * (_side(v) ** 2 + 1))


def _internvl(top: Fields, v: Fields, text: int) -> Tower:
    tiles = top.integer("max_dynamic_patch", default=12, high=256) + 1
    tokens = round(_side(v) ** 2 * top.number("downsample_ratio", default=0.5) ** 2)
    patches = _side(v) ** 2 + 1
    found = _fixed("intern", v, text, tiles * tokens, tiles * patches)
    part = top.section("llm_config", "text_config")
    if part is None or part.text("model_type") not in _INTERNVL_VIDEO:
        return found
    return replace(found, frame_tokens=tokens, frame_patches=patches)


def _moonvit(top: Fields, v: Fields, text: int) -> Tower:
    patches = _KIMI_PATCHES if top.text("model_type") == "kimi_vl" else _KIMI_K2_PATCHES
    edge = v.integer("patch_size", default=14, high=1024)
    return Tower(
        "moonvit",
        v.integer("vt_hidden_size", "hidden_size", default=1152),
        v.integer("vt_intermediate_size", "intermediate_size", default=4304),
        _CHANNELS * edge * edge, text, patches // 4, patches, cut=False,
    )  # fmt: skip


def _phi3(top: Fields, v: Fields, text: int) -> Tower:
    clip = Fields({"hidden_size": 1024, "intermediate_size": 4096, "image_size": 336})
    tiles, side = _PHI3_TILES + 1, _side(clip)
    tokens = tiles * (side // 2) ** 2 + 1 + tiles * (side // 2)
    return _fixed("clip", clip, text, tokens, tiles * (side * side + 1))


def _gemma4(top: Fields, v: Fields, text: int) -> Tower:
    tokens = v.integer("default_output_length", default=280)
    pool = v.integer("pooling_kernel_size", default=3, high=16) ** 2
    found = _fixed("gemma4", v, text, tokens, tokens * pool)
    return replace(
        found, frame_tokens=_GEMMA4_FRAME_TOKENS, frame_patches=_GEMMA4_FRAME_TOKENS * pool,
        frame_marks=_GEMMA4_FRAME_MARKS, frames=_GEMMA4_FRAMES, cut=False, alone=True,
    )  # fmt: skip


_BUILDERS: Final[Mapping[str, Callable[[Fields, Fields, int], Tower]]] = {
    "qwen2_vl": _qwen2, "qwen2_5_vl": _qwen25,
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), _qwen3),
    "gemma3": _gemma3, "gemma4": _gemma4, "paligemma": _paligemma, "llava": _llava,
    "llava_next": _llava_next, "mistral3": _mistral3, "llama4": _llama4,
    "internvl_chat": _internvl, "phi3_v": _phi3,
    **dict.fromkeys(("kimi_vl", "kimi_k25"), _moonvit),
}  # fmt: skip


def tower(config: Mapping[str, Any], text: int) -> Tower | None:
    """The vision tower of a multimodal config; None where it is not known here.

    text: hidden size of the text model, which the output has where the tower says nothing. Raises
    `plimsoll.errors.Invalid` where the tower's fields are missing or mistyped.
    """
    top = Fields(config)
    kind = top.text("model_type")
    build = _BUILDERS.get(kind)
    part = top.section("vision_config")
    if build is None or (part is None and kind not in ("phi3_v", *DEFAULTS)):
        return None
    given = part.data if part is not None else {}
    v = Fields({**DEFAULTS.get(kind, {}), **given}, f"{top.path}: vision_config", top.problems)
    found = build(top, v, text)
    top.stop_if_wrong()
    return found
