"""The towers that most models have: a vision transformer, and Whisper's encoder.

Nothing here knows a model type.

    vision layer   4 x h x h (q, k, v, o) + 2 or 3 x h x intermediate + norms, with biases or
                   without
    Whisper        two convolutions over the mel bands, learned positions, layers without a bias
                   on k (transformers 5.23.0, modeling_whisper.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Part, Split, Tensor, Tower
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm

if TYPE_CHECKING:
    from collections.abc import Mapping

V, P = Part.VISION, Part.PROJECTOR
CHANNELS: Final = 3


def vit_norm(name: str, width: int, *, bias: bool = True) -> Tensors:
    """A norm of the tower."""
    return tuple(
        Tensor(t.name, t.shape, Split.NONE, V) for t in norm(f"vision.{name}", width, bias=bias)
    )


def vit_layer(
    h: int,
    width: int,
    *,
    bias: bool = True,
    mlp_bias: bool = True,
    qkv_bias: bool | None = None,
    gated: bool = False,
    norm_bias: bool = True,
    whole: bool = False,
    inner: int = 0,
) -> Tensors:
    """One layer of a vision transformer. whole: not cut by tensor parallelism."""
    column, row = (Split.NONE, Split.NONE) if whole else (Split.COLUMN, Split.ROW)
    qkv = bias if qkv_bias is None else qkv_bias
    wide = inner or h
    tensors = linear("vision.qkv", 3 * wide, h, column, V, bias=qkv)
    tensors += linear("vision.proj", h, wide, row, V, bias=bias)
    tensors += linear("vision.up", width, h, column, V, bias=mlp_bias)
    if gated:
        tensors += linear("vision.gate", width, h, column, V, bias=mlp_bias)
    tensors += linear("vision.down", h, width, row, V, bias=mlp_bias)
    return tensors + vit_norm("norm1", h, bias=norm_bias) + vit_norm("norm2", h, bias=norm_bias)


def patches(v: Fields, h: int, *, bias: bool, frames: int = 1) -> Tensors:
    """The convolution that makes patches of an image, or of so many frames."""
    patch = v.integer("patch_size", default=14, high=1024)
    channels = v.integer("num_channels", "in_channels", "in_chans", default=3, high=64)
    shape = (h, channels, frames * patch * patch)
    tensors = loose("vision.patch_embed.weight", shape, part=V)
    return tensors + (loose("vision.patch_embed.bias", (h,), part=V) if bias else ())


def position_table(v: Fields, h: int, more: int = 0) -> Tensors:
    """Learned positions: one for each patch, and so many more."""
    size = v.integer("image_size", default=224, high=65536)
    patch = v.integer("patch_size", default=14, high=1024)
    return loose("vision.position_embedding", ((size // patch) ** 2 + more, h), part=V)


def basics(v: Fields) -> tuple[int, int, int]:
    """Width, width of the MLP, layers."""
    return (
        v.integer("hidden_size", "embed_dim"),
        v.integer("intermediate_size", default=1),
        v.integer("num_hidden_layers", "depth", "vt_num_hidden_layers", high=1000),
    )


def copies(layer: Tensors, count: int) -> Tensors:
    """The tensors of `count` equal layers, as copies."""
    return tuple(Tensor(t.name, t.shape, t.split, t.part, count, t.linear) for t in layer)


def two_layers(text: int, into: int, *, bias: bool = True) -> Tensors:
    """A projector of two linears."""
    first = linear("projector.linear_1", text, into, Split.NONE, P, bias=bias)
    return first + linear("projector.linear_2", text, text, Split.NONE, P, bias=bias)


def siglip(v: Fields) -> tuple[Tensors, int]:
    """SigLIP: patches and positions with bias, a final norm. The tower and its width."""
    h, width, count = basics(v)
    tensors = patches(v, h, bias=True) + position_table(v, h) + copies(vit_layer(h, width), count)
    return tensors + vit_norm("post_layernorm", h), h


def clip(v: Fields) -> tuple[Tensors, int]:
    """CLIP: a class token, norms before and after."""
    h, width, count = basics(v)
    tensors = loose("vision.class_embedding", (h,), part=V) + patches(v, h, bias=False)
    tensors += position_table(v, h, 1) + copies(vit_layer(h, width), count)
    return tensors + vit_norm("pre_layernorm", h) + vit_norm("post_layernorm", h), h


def pixtral(v: Fields) -> tuple[Tensors, int]:
    """Pixtral: gated, no biases, a norm before."""
    h, width, count = basics(v)
    layer = vit_layer(h, width, bias=False, mlp_bias=False, gated=True, norm_bias=False)
    return patches(v, h, bias=False) + vit_norm("ln_pre", h, bias=False) + copies(layer, count), h


def projector_norm(name: str, width: int, *, bias: bool = True) -> Tensors:
    """A norm of the projector."""
    tensors = vit_norm(name, width, bias=bias)
    return sum((loose(f"projector.{t.name}", t.shape, part=P) for t in tensors), ())


def filled(v: Fields, defaults: Mapping[str, object]) -> Fields:
    """The fields of a tower, with what its configuration class fills in."""
    return Fields({**defaults, **v.data}, v.path, v.problems)


def patches_on_edge(v: Fields) -> int:
    """Patches on an edge of an image of the largest_item's own size."""
    size = v.integer("image_size", default=224, high=65536)
    return max(1, size // v.integer("patch_size", default=14, high=1024))


def one_size(kind: str, v: Fields, width: int, tokens: int, patches: int) -> Tower:
    """A largest_item for images of one size, or of some tiles of it."""
    edge = v.integer("patch_size", default=14, high=1024)
    return Tower(
        kind,
        v.integer("hidden_size"),
        v.integer("intermediate_size"),
        CHANNELS * edge * edge,
        width,
        max(1, tokens),
        max(1, patches),
    )


A = Part.AUDIO


def audio_norm(name: str, width: int, part: Part = A, *, bias: bool = True) -> Tensors:
    """A norm of an audio tower."""
    tensors = norm(name, width, bias=bias)
    return tuple(Tensor(t.name, t.shape, Split.NONE, part) for t in tensors)


def audio_conv(name: str, *shape: int) -> Tensors:
    """A convolution of an audio tower, with its bias."""
    return loose(f"{name}.weight", shape, part=A) + loose(f"{name}.bias", shape[:1], part=A)


def whisper_layer(h: int, width: int, *, whole: bool, k_bias: bool = False) -> Tensors:
    """A layer of Whisper's encoder. whole: not cut by tensor parallelism."""
    column, row = (Split.NONE, Split.NONE) if whole else (Split.COLUMN, Split.ROW)
    tensors: Tensors = ()
    for name in "qkv":
        bias = k_bias or name != "k"
        tensors += linear(f"audio.{name}_proj", h, h, column, A, bias=bias)
    tensors += linear("audio.out_proj", h, h, row, A, bias=True)
    tensors += linear("audio.fc1", width, h, column, A, bias=True)
    tensors += linear("audio.fc2", h, width, row, A, bias=True)
    return tensors + audio_norm("audio.norm1", h) + audio_norm("audio.norm2", h)


def whisper_basics(a: Fields) -> tuple[int, int, int]:
    """Width, width of the MLP, layers."""
    return (
        a.integer("d_model", "hidden_size"),
        a.integer("encoder_ffn_dim", "intermediate_size"),
        a.integer("encoder_layers", "num_hidden_layers", high=1000),
    )


def whisper_encoder(
    a: Fields, *, whole: bool = False, positions: bool = True
) -> tuple[Tensors, int]:
    """Whisper's encoder, and its width."""
    h, width, count = whisper_basics(a)
    bands = a.integer("num_mel_bins", default=80, high=10_000)
    tensors = audio_conv("audio.conv1", h, bands, 3) + audio_conv("audio.conv2", h, h, 3)
    if positions:
        rows = a.integer("max_source_positions", default=1500)
        tensors += loose("audio.embed_positions.weight", (rows, h), part=A)
    return tensors + copies(whisper_layer(h, width, whole=whole), count) + audio_norm(
        "audio.layer_norm", h
    ), h
