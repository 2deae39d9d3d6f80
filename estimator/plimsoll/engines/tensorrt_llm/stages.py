"""Which layers a pipeline stage holds, and what the weights of its ranks take.

It must not know requests.

    layers        L // pp each, one more in each of the first L mod pp stages (torch.tensor_split)
    within one    cut over ranks as vLLM cuts them: the same columns, rows, heads and experts
    experts       whole on a rank or cut over all ranks, the same bytes where both divide
    attention DP  everything but experts whole on every rank

Source: tensorrt_llm/mapping.py (``pp_layers``), tensorrt_llm/_torch/modules.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.engines.base import Parallelism
from plimsoll.engines.layers.allocator import allocated
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES
from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.layers.sharding import rotary_elements, stage_weights
from plimsoll.models.architecture import Stage

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture


def bounds(layers: int, stages: int) -> tuple[tuple[int, int], ...]:
    """First layer and the one after the last of every pipeline stage."""
    each, more = divmod(layers, stages)
    found, start = [], 0
    for stage in range(stages):
        end = start + each + (stage < more)
        found.append((start, end))
        start = end
    return tuple(found)


def weights(
    architecture: Architecture,
    dtype: str,
    quantization: str,
    parallelism: Parallelism,
    attention_dp: bool,
) -> tuple[int, ...]:
    """Bytes of weights on one rank of every pipeline stage."""
    split = parallelism
    if attention_dp:
        split = Parallelism(1, parallelism.pipeline, parallelism.tensor, parallelism.expert)
    key = ("tensorrt_llm.weights", dtype, quantization, split)
    return remembered(architecture, key, lambda: _weights(architecture, dtype, quantization, split))


def _weights(
    architecture: Architecture, dtype: str, quantization: str, split: Parallelism
) -> tuple[int, ...]:
    """From the weights of stages of one layer each; what every stage has counts once."""
    count = len(architecture.blocks)
    if split.pipeline == 1 or count < 2:
        return stage_weights(architecture, dtype, quantization, split)
    element = WEIGHT_BYTES[dtype]
    every = rotary_elements(architecture) * element
    every += sum(
        allocated(t.elements * element) for t in architecture.outside if t.stage is Stage.EVERY
    )
    single = stage_weights(architecture, dtype, quantization, replace(split, pipeline=count))
    return tuple(
        sum(single[start:end]) - every * max(0, end - start - 1)
        for start, end in bounds(count, split.pipeline)
    )
