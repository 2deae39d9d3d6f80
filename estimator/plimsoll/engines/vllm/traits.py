"""What in a model changes how vLLM runs it: experts, MLA, recurrent states.

It must not hold a figure or compute bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.engines.memo import remembered
from plimsoll.models.architecture import MixerKind

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Traits:
    """What in a model makes graphs or communication larger."""

    experts: bool
    latent: bool
    states: bool


def traits(architecture: Architecture) -> Traits:
    """Whether a model has experts, MLA, and recurrent states."""
    return remembered(architecture, ("vllm.traits",), lambda: _traits(architecture))


def _traits(architecture: Architecture) -> Traits:
    return Traits(
        any(b.feed_forward is not None and b.feed_forward.experts > 0 for b in architecture.blocks),
        any(m.kind is MixerKind.MLA for m in architecture.mixers()),
        any(m.state_elements > 0 for m in architecture.mixers()),
    )
