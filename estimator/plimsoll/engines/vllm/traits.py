"""What in a model changes how vLLM runs it: experts, MLA, recurrent states, how it attends.

It must not hold a figure or compute bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.engines.layers.memo import remembered
from plimsoll.models.architecture import MixerKind

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What sets a model apart from a dense decoder.

    experts, latent, states: experts, MLA and recurrent states, which make graphs or communication
    larger. encoder: layers that look both ways. crosses: layers that attend to another input.
    """

    experts: bool
    latent: bool
    states: bool
    encoder: bool
    crosses: bool


def traits(architecture: Architecture) -> ModelTraits:
    """What sets a model apart; kept with it."""
    return remembered(architecture, ("vllm.traits",), lambda: _traits(architecture))


def _traits(architecture: Architecture) -> ModelTraits:
    return ModelTraits(
        any(b.feed_forward is not None and b.feed_forward.experts > 0 for b in architecture.blocks),
        any(m.kind is MixerKind.MLA for m in architecture.mixers()),
        any(m.state_elements > 0 for m in architecture.mixers()),
        any(m.kind is MixerKind.ENCODER for m in architecture.mixers()),
        any(m.kind is MixerKind.CROSS for m in architecture.mixers()),
    )
