"""Mistral: Mixtral, and the towers of Mistral 3 (vision) and Voxtral (audio)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Split
from plimsoll.models.blocks.family import Family, Routed, Size, all_sliding
from plimsoll.models.blocks.parts import Tensors, linear, loose
from plimsoll.models.blocks.towers import (
    P,
    one_size,
    patches_on_edge,
    pixtral,
    two_layers,
    whisper_encoder,
)

if TYPE_CHECKING:
    from plimsoll.models.architecture import Tower
    from plimsoll.models.blocks.fields import Fields


MIXTRAL: Final = Family(
    moe=Routed(
        count=Size("num_local_experts"),
        per_token=Size("num_experts_per_tok", default=2),
        width=Size("intermediate_size"),
    ),
    slides=all_sliding,
)
"""Mixtral."""


def mistral3_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Mistral 3: the vision tower and its projector."""
    tensors, h = pixtral(v)
    merge = top.integer("spatial_merge_size", default=2, high=16)
    tensors += loose("projector.norm.weight", (h,), part=P)
    tensors += linear("projector.merging_layer", h, h * merge * merge, Split.NONE, P)
    return tensors + two_layers(text, h, bias=top.flag("multimodal_projector_bias"))


def mistral3_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Mistral 3: the tower and its largest item."""
    merge = top.integer("spatial_merge_size", default=2, high=16)
    side = patches_on_edge(v) // merge
    return replace(one_size("pixtral", v, text, side * side, patches_on_edge(v) ** 2), marks=side)


def voxtral_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Voxtral: the audio tower and its projector."""
    tensors, h = whisper_encoder(a)
    wide = a.integer("intermediate_size", "encoder_ffn_dim", default=4 * h)
    tensors += linear("projector.audio_1", text, wide, Split.NONE, P)
    return tensors + linear("projector.audio_2", text, text, Split.NONE, P)
