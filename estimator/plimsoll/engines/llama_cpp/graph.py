"""llama.cpp's compute buffer: what the graph of one micro-batch holds at once on a device.

    U           tokens of a micro-batch; every activation is 4 bytes an element
    logits      V x (U; from b9440 one a slot) + h x U          on the output's device
    m           cells of a mask: the full cache's and, where layers have a window, theirs as well
    copies      several GPUs in a pipeline keep 4 of every input, else 1
    A           a layer's feed-forward and what lies beside it: (w' + 2 h [+ q]) x U
                w' = 3 w; experts 3 w k + k h; q: queries, in models without states
    without flash attention
                4 m U copies + max(4 n U x heads + 2 (q + h) U, A)
    with it     from b9405  2 m U copies + A                    masks are of 16 bits
                before      2 m U + max(4 m U + (2 h + 3 q) U, A), since A comes to lie where the
                            mask of 32 bits lay; (4 copies + 2) m U + A in a pipeline
    indexers    8 m U copies instead: a mask of 32 bits for the indexer, and a second of 16
    per layer   inputs of every layer (Gemma 3n and 4 E): twice layers x their width x U more
    linear      before b8233, when gated delta rules had no operation of their own: 38 x heads x
                head size x U more, and 6 m U + A
    buffer      the larger of logits and the rest, inputs in a pipeline added: h x U copies

n: cells; h: hidden size; w: width of the feed-forward; k: experts a token. The engine is the
yardstick: llama.cpp of September 2026, run with a GPU that only counts, gives these figures to a
megabyte for Llama 3.2, Qwen3, Gemma 3 and Qwen3.5 dense, 1 % for DeepSeek V3, -6 % for
Qwen3.5-35B-A3B, +10 % for gpt-oss-20b; builds before are held to start-up logs
(tests/data/engine_logs.jsonl).

Source: src/llama-graph.cpp, src/llama-context.cpp (``graph_reserve``), ggml/src/ggml-alloc.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import MixerKind

if TYPE_CHECKING:
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

_FLOAT: Final = 4
_HALF: Final = 2
_INDEXED: Final = 8
"""Bytes of a cell and token that an indexer's masks take."""
_PER_LAYER: Final = "per_layer_model_projection"
_STATE_HEAD: Final = 128
"""Elements of a key head of gated delta rules, of which their states are made."""


@dataclass(frozen=True, slots=True)
class GraphWidths:
    """What a model's graph is as wide as, in elements a token.

    heads: query heads, 0 without attention. queries: heads x head size. feed_forward: its
    activations. states: value heads x head size of gated delta rules. per_layer: inputs of all
    layers. indexed: attention chooses its tokens. dense: a plain decoder, whose formula is exact.
    """

    hidden: int
    vocab: int
    heads: int
    queries: int
    feed_forward: int
    states: int
    per_layer: int
    indexed: bool
    dense: bool


@dataclass(frozen=True, slots=True)
class Build:
    """What a build does: masks of 16 bits, and gated delta rules as one operation."""

    half_masks: bool
    fused_states: bool


def build(figures: Constants) -> Build:
    """What the build of some figures does."""
    return Build(figures.flag("half_masks"), figures.flag("fused_states"))


@dataclass(frozen=True, slots=True)
class Graph:
    """One device's part of the graph. copies: of the inputs. largest: bytes of weights that are
    copied to the device while they work.
    """

    shape: GraphWidths
    build: Build
    micro_batch: int
    outputs: int
    flash: bool
    copies: int
    largest: int

    def bytes(self, cells: int, windows: int, *, output: bool) -> int:
        """The buffer over so many cells, and cells of layers with a window. output: the device
        computes the logits.
        """
        s, u = self.shape, self.micro_batch
        logits = _FLOAT * (s.vocab * self.outputs + s.hidden * u) if output else 0
        inputs = _FLOAT * u * s.hidden * self.copies if self.copies > 1 else 0
        return max(logits, self._body(cells, windows) + inputs + self.largest)

    def _body(self, cells: int, windows: int) -> int:
        s, u = self.shape, self.micro_batch
        plain = s.queries if not s.states else 0
        rest = _FLOAT * u * (s.feed_forward + 2 * (s.hidden + s.per_layer) + plain)
        mask = (cells + windows) * u if s.queries else 0
        if not self.flash:
            scores = _FLOAT * u * (cells * s.heads + 2 * (s.queries + s.hidden))
            return _FLOAT * mask * self.copies + max(scores if s.queries else 0, rest)
        if s.indexed:
            return _INDEXED * mask * self.copies + rest
        unfused = bool(s.states) and not self.build.fused_states
        if unfused:
            rest = _FLOAT * u * _UNFUSED * s.states
        if self.build.half_masks:
            return _HALF * mask * self.copies + rest
        if self.copies > 1 or unfused:
            return (_FLOAT * self.copies + _HALF) * mask + rest
        attends = _FLOAT * u * (2 * s.hidden + 3 * s.queries) if s.queries else 0
        return _HALF * mask + max(_FLOAT * mask + attends, rest)


_UNFUSED: Final = 38
"""Activations as wide as the states' heads that the rule written out holds at once: 308 MiB of
Qwen3-Next at 512 tokens, beside its masks, over three contexts.
"""


def shape(architecture: Architecture) -> GraphWidths:
    """The widths of a model's graph."""
    return architecture.remembered(("llama_cpp.shape",), lambda: _shape(architecture))


def _shape(architecture: Architecture) -> GraphWidths:
    h = architecture.hidden_size
    heads = queries = wide = states = 0
    indexed, dense = False, not architecture.assumed
    for mixer in architecture.mixers():
        if mixer.state_elements:
            dense = False
            wide = max(wide, mixer.conv_elements)
            if mixer.kind is MixerKind.LINEAR:
                states = max(states, mixer.state_elements // _STATE_HEAD)
            continue
        dense = dense and mixer.kind is not MixerKind.MLA
        indexed = indexed or bool(mixer.index_dim)
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
    inputs = max((t.shape[0] for t in architecture.outside if _PER_LAYER in t.name), default=0)
    return GraphWidths(
        h, architecture.vocab_size, heads, queries, wide, states, inputs, indexed, dense
    )
