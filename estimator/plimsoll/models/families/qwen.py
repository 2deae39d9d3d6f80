"""Qwen: dense, with experts, with delta nets; vision and audio towers.

vision    Qwen2-VL and 2.5-VL images of at most 12845056 pixels, Qwen3-VL and 3.5 16777216; a
          whole video of Qwen3-VL 25165824 (preprocessor_config.json of each)
audio     Whisper's encoder with positions that are computed; Qwen3's has three 2-d
          convolutions; Qwen2's and Qwen2.5's are whole on every rank (vLLM 0.33.0)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, MixerKind, Split, Tensor, Tower
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    assemble,
    decoder,
    feed_forward,
    kinds_from,
    layer_norms,
    layers_of,
    shape,
)
from plimsoll.models.blocks.family import (
    ATTENTION_BIAS,
    Family,
    Routed,
    Size,
    Switch,
    attention_biases,
    with_mtp,
)
from plimsoll.models.blocks.mixers import DeltaNet, delta_net, delta_net_mixer, gqa, gqa_mixer
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm
from plimsoll.models.blocks.towers import (
    CHANNELS,
    A,
    P,
    V,
    audio_conv,
    audio_norm,
    basics,
    copies,
    patches,
    vit_layer,
    whisper_basics,
    whisper_encoder,
    whisper_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.blocks.fields import Fields

_QWEN2_PIXELS: Final = 12845056
_QWEN3_PIXELS: Final = 16777216
_QWEN3_VIDEO_PIXELS: Final = 25165824


def qwen_sliding(f: Fields, t: Traits) -> Traits:
    """Qwen2 and 3: off unless ``use_sliding_window``; then from ``max_window_layers`` on."""
    if not f.flag("use_sliding_window"):
        return t
    first = f.integer("max_window_layers", default=0, low=0)
    return replace(
        t,
        window=f.integer("sliding_window", default=4096),
        kinds=lambda i: MixerKind.SLIDING if i >= first else MixerKind.FULL,
    )


def qwen1(f: Fields) -> Built:
    """Qwen (1): biases on q, k, v; ``intermediate_size`` counts gate and up together."""
    half = f.integer("intermediate_size") // 2
    return decoder(f, Traits(qkv_bias=True, width_at=lambda _: half))


def qwen_moe_at(f: Fields) -> Callable[[int], bool]:
    """Qwen's rule: ``mlp_only_layers`` and ``decoder_sparse_step``."""
    only = set(f.integers("mlp_only_layers") or ())
    step = f.integer("decoder_sparse_step", default=1)
    return lambda i: i not in only and (i + 1) % step == 0


QWEN2: Final = Family(traits=Traits(qkv_bias=True), slides=qwen_sliding)
"""Qwen2 and 2.5: biases on q, k, v."""
QWEN3: Final = Family(
    traits=Traits(qk_norm="head"), attention_bias=ATTENTION_BIAS, slides=qwen_sliding
)
"""Qwen3: norms on the heads of q and k."""
QWEN2_MOE: Final = Family(
    qkv_bias=Switch("qkv_bias", default=True),
    moe=Routed(
        count=Size("num_experts", "num_local_experts"),
        per_token=Size("num_experts_per_tok"),
        width=Size("moe_intermediate_size"),
        shared=Size("shared_expert_intermediate_size", default=0, low=0),
        shared_gate=True,
    ),
    moe_at=qwen_moe_at,
    slides=qwen_sliding,
)
"""Qwen1.5-MoE and Qwen2-MoE: a gated shared expert."""
QWEN3_MOE: Final = Family(
    traits=Traits(qk_norm="head"),
    attention_bias=ATTENTION_BIAS,
    moe=Routed(
        count=Size("num_experts", "num_local_experts"),
        per_token=Size("num_experts_per_tok"),
        width=Size("moe_intermediate_size"),
    ),
    moe_at=qwen_moe_at,
    slides=qwen_sliding,
)
"""Qwen3-MoE."""


def qwen_next(f: Fields) -> Built:
    """Qwen3-Next, Qwen3.5 and 3.6: gated delta nets, every fourth layer gated attention."""
    heads = replace(
        shape(f, attention_biases(f, Traits())),
        qk_norm="head",
        gate=f.flag("attn_output_gate", default=True),
    )
    hidden = heads.hidden
    d = DeltaNet(
        hidden,
        f.integer("linear_num_key_heads", default=16),
        f.integer("linear_key_head_dim", default=128),
        f.integer("linear_num_value_heads", default=32),
        f.integer("linear_value_head_dim", default=128),
        f.integer("linear_conv_kernel_dim", default=4),
        f.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype"),
        fused=f.text("model_type") == "qwen3_next",
    )
    moe, width = None, f.integer("intermediate_size", default=1)
    if f.has("num_experts", "num_local_experts"):
        moe = Moe(
            f.integer("num_experts", "num_local_experts"),
            f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"),
            shared=f.integer("shared_expert_intermediate_size", default=0, low=0),
            shared_gate=True,
        )
    t = Traits(moe=moe)
    every = f.integer("full_attention_interval", default=4)
    kinds = kinds_from(f, layers_of(f))
    named = f.has("layer_types")
    at = qwen_moe_at(f)

    def make(key: tuple[bool, bool]) -> Block:
        full, sparse = key
        mixing = gqa(heads) if full else delta_net(d)
        mixer = gqa_mixer(heads) if full else delta_net_mixer(d)
        tensors, ff = feed_forward(t, hidden, width, sparse=sparse)
        return Block((mixer,), ff, mixing + tensors + layer_norms(t, hidden))

    keys = [
        (
            kinds(i) is MixerKind.FULL if named else (i + 1) % every == 0,
            moe is not None and at(i),
        )
        for i in range(layers_of(f))
    ]
    return with_mtp(f, assemble(f, t, hidden, heads.heads, make, keys))


def _merger(h: int, out: int, merge: int, *, norm_width: int, norm_bias: bool) -> Tensors:
    wide = h * merge * merge
    tensors = tuple(
        Tensor(t.name, t.shape, Split.NONE, P)
        for t in norm("projector.norm", norm_width, bias=norm_bias)
    )
    tensors += linear("projector.fc1", wide, wide, Split.COLUMN, P, bias=True)
    return tensors + linear("projector.fc2", out, wide, Split.ROW, P, bias=True)


def qwen2_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Qwen2-VL: the vision tower and its projector."""
    h = v.integer("embed_dim", default=1280)
    count = v.integer("depth", default=32, high=1000)
    width = int(h * v.number("mlp_ratio", default=4.0))
    merge = v.integer("spatial_merge_size", default=2, high=16)
    tensors = patches(v, h, bias=False, frames=v.integer("temporal_patch_size", default=2, high=16))
    tensors += copies(vit_layer(h, width), count)
    return tensors + _merger(h, text, merge, norm_width=h, norm_bias=True)


def qwen2_5_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Qwen2.5-VL: the vision tower and its projector."""
    h, width, count = basics(v)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    out = v.integer("out_hidden_size", default=text)
    tensors = patches(v, h, bias=False, frames=v.integer("temporal_patch_size", default=2, high=16))
    tensors += copies(vit_layer(h, width, gated=True, norm_bias=False), count)
    return tensors + _merger(h, out, merge, norm_width=h, norm_bias=False)


def qwen3_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Qwen3-VL: the vision tower and its projector."""
    h, width, count = basics(v)
    merge = v.integer("spatial_merge_size", default=2, high=16)
    out = v.integer("out_hidden_size", default=text)
    tensors = patches(v, h, bias=True, frames=v.integer("temporal_patch_size", default=2, high=16))
    rows = v.integer("num_position_embeddings", default=2304)
    tensors += loose("vision.pos_embed.weight", (rows, h), part=V)
    tensors += copies(vit_layer(h, width), count)
    tensors += _merger(h, out, merge, norm_width=h, norm_bias=True)
    deep = len(v.integers("deepstack_visual_indexes") or ())
    wide = _merger(h, out, merge, norm_width=h * merge * merge, norm_bias=True)
    return tensors + (copies(wide, deep) if deep else ())


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
        kind,
        hidden,
        intermediate,
        CHANNELS * frames * size * size,
        width * (1 + levels),
        tokens,
        tokens * merge * merge,
        levels,
        edge=edge,
        merge=merge * merge,
        pixels=pixels,
        video_pixels=video,
    )


def qwen2_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Qwen2-VL: the tower and its largest item."""
    hidden = v.integer("embed_dim", default=1280)
    width = int(hidden * v.number("mlp_ratio", default=4.0))
    return _any_size("qwen2", v, hidden, width, _QWEN2_PIXELS, text)


def qwen2_5_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Qwen2.5-VL: the tower and its largest item."""
    widths = v.integer("hidden_size"), v.integer("intermediate_size")
    return _any_size("qwen2_5", v, *widths, _QWEN2_PIXELS, text)


def qwen3_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Qwen3-VL: the tower and its largest item."""
    widths = v.integer("hidden_size"), v.integer("intermediate_size")
    return _any_size("qwen3", v, *widths, _QWEN3_PIXELS, text, _QWEN3_VIDEO_PIXELS)


def qwen2_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Qwen2-Audio: the audio tower and its projector."""
    tensors, h = whisper_encoder(a, whole=True)
    return tensors + linear("projector.audio", text, h, Split.NONE, P, bias=True)


def qwen2_5_omni_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Qwen2.5-Omni: the audio tower and its projector."""
    tensors, h = whisper_encoder(a, whole=True, positions=False)
    out = a.integer("output_dim", default=text)
    tensors += loose("audio.audio_bos_eos_token.weight", (2, out), part=A)
    return tensors + linear("audio.proj", out, h, Split.NONE, A, bias=True)


def qwen3_omni_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Qwen3-Omni and Qwen3-ASR: the audio tower and its projector."""
    h, width, count = whisper_basics(a)
    side = a.integer("downsample_hidden_size", default=480)
    bands = a.integer("num_mel_bins", default=128, high=10_000)
    tensors = audio_conv("audio.conv2d1", side, 1, 3, 3)
    tensors += audio_conv("audio.conv2d2", side, side, 3, 3) + audio_conv(
        "audio.conv2d3", side, side, 3, 3
    )
    for _ in range(3):
        bands = (bands + 1) // 2
    tensors += linear("audio.conv_out", h, side * bands, Split.NONE, A)
    tensors += copies(whisper_layer(h, width, whole=False, k_bias=True), count)
    tensors += audio_norm("audio.ln_post", h) + linear(
        "audio.proj1", h, h, Split.NONE, A, bias=True
    )
    return tensors + linear(
        "audio.proj2", a.integer("output_dim", default=text), h, Split.NONE, A, bias=True
    )
