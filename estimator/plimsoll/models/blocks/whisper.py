"""Whisper's encoder, which most audio towers are: its layers, convolutions and positions.

    two convolutions over the mel bands, learned positions, layers without a bias on k

Nothing here knows a model type. Source: transformers 5.23.0, modeling_whisper.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.models.architecture import Part, Split, Tensor
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm
from plimsoll.models.blocks.vit import copies

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

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
