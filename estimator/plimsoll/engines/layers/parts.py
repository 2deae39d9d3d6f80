"""Parts of a model that an engine cuts in its own way: each a model with nothing else in it.

experts, shared     routed experts; shared experts
dense, head         the other feed-forwards; the output
rest                all but these: attention, mixers, embedding, towers
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Part

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture, Tensor


def part_of(architecture: Architecture, *names: str) -> Architecture:
    """A model with nothing but the parts of these names."""
    return architecture.remembered(("layers.part", names), lambda: _cut_out(architecture, names))


def _cut_out(architecture: Architecture, names: tuple[str, ...]) -> Architecture:
    def mine(tensor: Tensor) -> bool:
        return _name(tensor) in names

    rest = "rest" in names
    made = {
        id(block): replace(
            block,
            tensors=tuple(filter(mine, block.tensors)),
            mixers=block.mixers if rest else (),
        )
        for block in architecture.blocks
    }
    return replace(
        architecture,
        blocks=tuple(made[id(block)] for block in architecture.blocks),
        outside=tuple(filter(mine, architecture.outside)),
        heads=architecture.heads if rest else 0,
        rotary_elements=0,
        tied=False,
    )


def _name(tensor: Tensor) -> str:
    if tensor.part is Part.MLP:
        return "shared" if "shared_expert" in tensor.name else "dense"
    return {Part.HEAD: "head", Part.EXPERTS: "experts"}.get(tensor.part, "rest")
