"""A device's compute buffer: the activations of one micro-batch over a full cache.

It must not know what else lies on the device.

    U               tokens of a micro-batch; every activation is 4 bytes an element
    logits          V x (U; from b9440 one a slot) + h x U          on the output's device
    without flash   U x n + max(U x n x heads + 2 x U x (heads x d + h), A)   mask, scores, queries
    with flash      U x n x (4 + 2) bytes + A                                 mask in f32 and f16
    A               (3 x w + h) x U; experts: (3 x w x k + (k + 1) x h) x U; states: their
                    convolution's width, if it is more
    buffer          the largest of logits and attention with the rest; several GPUs in a
                    pipeline keep 4 copies of the inputs, U x (n + h) each
    quantized K, V  a copy of one layer's cache in 16 bits beside the buffer, once attention runs

n: cells of one cache; h: hidden size; w: width of the feed-forward; k: experts per token. The
graph allocator's own reuse is not followed: the band says by how much it was off (see
tests/unit/engines/llama_cpp). Layers in main memory whose work is done on the GPU are copied
there first: the largest expert matrix counts too.

Source: src/llama-graph.cpp and llama-context.cpp (``graph_reserve``), ggml/src/ggml-alloc.c;
checked against start-up logs. The copy of a quantized cache: 294 MiB measured in
https://github.com/ggml-org/llama.cpp/pull/23861 for 293 computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.engines.layers.memo import remembered
from plimsoll.models.architecture import MixerKind

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

_WIDE = 4
_COPY = 2


@dataclass(frozen=True, slots=True)
class GraphWidths:
    """What a model's graph is as wide as, in elements a token.

    heads: query heads, 0 without attention. queries: heads x head size. feed_forward: its
    activations. dense: a plain decoder, for which the formula was measured.
    """

    hidden: int
    vocab: int
    heads: int
    queries: int
    feed_forward: int
    dense: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """One device's part of the graph. copies: of the inputs. largest: bytes of weights that are
    copied to the device while they work.
    """

    shape: GraphWidths
    micro_batch: int
    outputs: int
    flash: bool
    copies: int
    largest: int

    def bytes(self, cells: int, *, output: bool) -> int:
        """The buffer over so many cells. output: the device computes the logits."""
        s, u = self.shape, self.micro_batch
        logits = _WIDE * (s.vocab * self.outputs + s.hidden * u) if output else 0
        attends = s.queries > 0
        rest = _WIDE * u * (s.feed_forward + s.hidden)
        if self.flash:
            body = rest + attends * u * cells * (_WIDE * self.copies + _COPY)
        else:
            mask = _WIDE * u * cells * self.copies * attends
            scores = _WIDE * u * cells * s.heads
            body = mask + max(scores + _WIDE * u * 2 * (s.queries + s.hidden), rest)
        inputs = _WIDE * u * s.hidden * self.copies if self.copies > 1 else 0
        return max(logits, body + inputs + self.largest)


def shape(architecture: Architecture) -> GraphWidths:
    """The widths of a model's graph."""
    return remembered(architecture, ("llama_cpp.shape",), lambda: _shape(architecture))


def _shape(architecture: Architecture) -> GraphWidths:
    h = architecture.hidden_size
    heads = queries = wide = 0
    dense = not architecture.assumed
    for mixer in architecture.mixers():
        if mixer.state_elements:
            dense = False
            wide = max(wide, mixer.conv_elements)
            continue
        dense = dense and mixer.kind is not MixerKind.MLA
        heads = max(heads, mixer.heads)
        queries = max(queries, mixer.heads * mixer.head_dim)
    for block in architecture.blocks:
        ff = block.feed_forward
        if ff is None:
            continue
        wide = max(wide, 3 * max(ff.intermediate, ff.shared_intermediate))
        if ff.experts:
            dense = False
            k = ff.experts_per_token
            wide = max(wide, 3 * k * ff.expert_intermediate + k * h)
    return GraphWidths(h, architecture.vocab_size, heads, queries, wide, dense)
