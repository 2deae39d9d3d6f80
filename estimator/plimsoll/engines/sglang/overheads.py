"""What lies beside weights and pools: the context before them, and what the rest must hold.

It must not read requests beyond their batch.

    context     gone before the engine looks at the GPU: CUDA context, NCCL, all-reduce buffers
    in the rest (1 - fraction) of what was there before the weights holds
      table     requests + 1 rows x (context + 4) tokens x 4 bytes, on every rank
      graphs    (first + per layer x layers x captured sizes / 52 [+ tensor parallelism]) GiB,
                and the logits of the largest batch: 6 bytes x batch x vocabulary / TP
      forward   (3 x I / tp + 4.25 x h) x chunk x 2 bytes; experts' workspaces beside it

Nothing of this is measured by the engine at start-up but the capture of graphs: too little rest
ends in CUDA out of memory then, or at the first long prompt. Figures in data/constants.json.
Source of the table: `ReqToTokenPool` in sglang/srt/mem_cache/memory_pool.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.widths import widths
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.sglang.defaults import Resolved
    from plimsoll.engines.tables import Constants, Figure
    from plimsoll.models.architecture import Architecture

_FITTED: Final = 52
_CARDS: Final = frozenset({(7, 5), (8, 6), (8, 9), (12, 0)})
"""Compute capabilities of GPUs that come without NVLink."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Bytes: the estimate and its band."""

    bytes: int
    low: int
    high: int

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.bytes + other.bytes, self.low + other.low, self.high + other.high)


def context(
    parallelism: Parallelism, tensor: int, accelerator: Accelerator, figures: Constants
) -> Amount:
    """What is gone before the weights are loaded."""
    name = "context_single"
    if tensor * parallelism.pipeline > 1:
        linked = accelerator.compute >= (9, 0)
        name = "context_many_nvlink" if linked else "context_many"
        if accelerator.compute in _CARDS:
            name = "context_many_pcie"
    figure = figures[name]
    return _banded(figure.bytes(), figure)


def request_table(requests: int, resolved: Resolved) -> Amount:
    """The table from requests to their tokens."""
    size = (requests + 1) * (resolved.max_model_len + 4) * 4
    return Amount(size, size, size)


def graph_sizes(most: int) -> int:
    """How many batch sizes are captured, up to a batch of `most`."""
    few = sum(size <= most for size in (1, 2, 4, 8, 12))
    spans = ((16, 256, 8), (272, 496, 16), (512, most, 32))
    return few + sum(len(range(first, min(last, most) + 1, step)) for first, last, step in spans)


def graphs(
    architecture: Architecture, resolved: Resolved, tensor: int, layers: int, figures: Constants
) -> Amount:
    """What captured graphs take on a rank of `layers` layers."""
    if not resolved.graphs:
        return Amount(0, 0, 0)
    share = graph_sizes(resolved.graphs) / _FITTED
    layer = figures["graphs_per_layer"]
    size = figures.number("graphs_first") + layer.value * layers * share
    if tensor > 1:
        size += figures.number("graphs_tensor")
    logits = 6 * resolved.graphs * architecture.vocab_size // tensor
    low, high = size * (1 - layer.error), size * (1 + layer.error)
    return Amount(round(size * GIB) + logits, round(low * GIB), round(high * GIB) + logits)


def forward(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    tensor: int,
    stage: int,
    figures: Constants,
) -> Amount:
    """What the largest prefill needs and gives back; the engine never measures it."""
    own = widths(architecture, parallelism.pipeline)[stage]
    tokens, hidden = resolved.chunk, architecture.hidden_size
    wide = figures.number("forward_intermediate") * own.dense / tensor
    size = (wide + figures.number("forward_hidden") * hidden) * tokens * resolved.element
    if own.per_token:
        width = own.expert / (1 if parallelism.expert else tensor)
        rows = tokens * resolved.attention_ranks * own.per_token
        size += rows * resolved.element * (max(width, hidden) + max(2 * width, hidden))
    figure = figures["forward_hidden"]
    return Amount(round(size), 0, round(size * (1 + figure.error)))


def _banded(size: int, figure: Figure) -> Amount:
    band = round(size * figure.error)
    return Amount(size, max(0, size - band), size + band)
