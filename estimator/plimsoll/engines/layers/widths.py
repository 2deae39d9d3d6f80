"""How wide the feed-forwards of a pipeline stage are: what a forward pass's activations follow.

It must not compute bytes: what is alive at once is the engine's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.layers.sharding import stage_layers

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Widths:
    """The widest feed-forwards of a stage, elements: dense, one expert, experts per token."""

    dense: int
    expert: int
    per_token: int


def widths(architecture: Architecture, pipeline: int) -> tuple[Widths, ...]:
    """The widest feed-forwards of every pipeline stage."""
    return remembered(
        architecture, ("layers.widths", pipeline), lambda: _widths(architecture, pipeline)
    )


def _widths(architecture: Architecture, pipeline: int) -> tuple[Widths, ...]:
    result = []
    for start, end in stage_layers(len(architecture.blocks), pipeline):
        parts = [b.feed_forward for b in architecture.blocks[start:end] if b.feed_forward]
        moe = [p for p in parts if p.experts]
        result.append(
            Widths(
                max((max(p.intermediate, p.shared_intermediate) for p in parts), default=0),
                max((p.expert_intermediate for p in moe), default=0),
                max((p.experts_per_token for p in moe), default=0),
            )
        )
    return tuple(result)
