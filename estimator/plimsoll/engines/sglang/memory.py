"""What lies on a rank under SGLang beside the cache: weights, and what the rest must hold.

Weights are cut as vLLM cuts them, with these differences:

    same          linears, KV heads, vocabulary padded to 64, experts, pipeline stages, MLA's
                  kv_b_proj kept twice (sglang/srt/layers/{linear,vocab_parallel_embedding}.py and
                  layers/moe, which descend from vLLM's)
    data parallel a replica of its own per rank: experts are not cut over data ranks
    with data-parallel attention (``--enable-dp-attention``): attention is cut by its own ranks
                  only, all other layers and the head by all of TP (``--moe-dense-tp-size``: dense
                  layers by that; ``--enable-dp-lm-head``: the head as attention is); the
                  embedding is whole on every rank
    with ``--moe-a2a-backend``: shared experts whole on every rank
    rotary        tables are float32, twice vLLM's

Beside weights and the pools of the cache:

    context     gone before the engine looks at the GPU: CUDA context, NCCL, all-reduce buffers;
                where CPU and GPU share memory, what the system does not call available
    in the rest (1 - fraction) of what was there before the weights holds
      table     requests + 1 rows x (context + 4) tokens x 4 bytes, on every rank
      graphs    (first + per layer x layers x captured sizes / 52 [+ tensor parallelism]) GiB,
                and the logits of the largest batch: 6 bytes x batch x vocabulary / TP
      prefill   from 0.5.10: layers x captured sizes of prefill batches x a share
      forward   (3 x I / tp + 4.25 x h) x chunk x 2 bytes; experts' workspaces beside it

Nothing of this is measured by the engine at start-up but the capture of graphs: too little rest
ends in CUDA out of memory then, or at the first long prompt. Figures in data/constants.json.
Source of the table: `ReqToTokenPool` in sglang/srt/mem_cache/memory_pool.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import EngineSettings, Parallelism
from plimsoll.engines.layers import faults
from plimsoll.engines.layers.parts import part_of
from plimsoll.engines.layers.sharding import rotary_elements, stage_layers, stage_weights, widths
from plimsoll.engines.sglang.compressed import (
    beside_weights,
    is_compressed,
)
from plimsoll.engines.sglang.settings import (
    SGLangOptions,
    expert_ways,
    prefill_graph_sizes,
    spreads_experts,
)
from plimsoll.models.architecture import Part
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.sglang.settings import Resolved
    from plimsoll.engines.tables import Constants, Figure
    from plimsoll.models.architecture import Architecture

_WORDS: Final = MappingProxyType(
    {
        "w8a8_int8": "int8_per_channel_weight_only",
        "w8a8_fp8": "ptpc_fp8",
        "modelopt_fp8": "modelopt",
        "petit_nvfp4": "modelopt_fp4",
        "auto-round": "gptq",
        "w4afp8": "awq",
    }
)
"""SGLang's words for what vLLM calls otherwise."""


def load_quantization(word: str) -> str:
    """A ``--quantization`` word in vLLM's spelling."""
    return _WORDS.get(word, word)


def weights(
    architecture: Architecture, settings: EngineSettings, resolved: Resolved, split: Parallelism
) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage."""
    options, whole = SGLangOptions.of(settings), spreads_experts(settings)
    asked = (options.moe_dense_tp_size, bool(options.enable_dp_lm_head))
    key = ("sglang.weights", resolved.dtype, settings.quantization, whole, asked)
    return architecture.remembered(
        (*key, resolved.attention_ranks, split),
        lambda: _weights(architecture, settings, resolved, split),
    )


def _weights(
    architecture: Architecture, settings: EngineSettings, resolved: Resolved, split: Parallelism
) -> tuple[int, ...]:
    ranks = resolved.attention_ranks
    held = split if ranks > 1 else replace(split, data=1)
    word = load_quantization(settings.quantization)

    def sizes(part: Architecture, ways: int) -> tuple[int, ...]:
        return stage_weights(part, resolved.dtype, word, replace(held, tensor=ways, data=1))

    found = list(stage_weights(architecture, resolved.dtype, word, held))
    for part, ways in cut_apart(architecture, settings, split, ranks):
        if ways == held.tensor:
            continue
        changes = zip(sizes(part, ways), sizes(part, held.tensor), strict=True)
        found = [size + new - old for size, (new, old) in zip(found, changes, strict=True)]
    found = [
        size + more
        for size, more in zip(found, _beside(architecture, resolved, split.pipeline), strict=True)
    ]
    if ranks > 1 and split.tensor > 1:
        table = sum(
            t.elements * resolved.element for t in architecture.outside if t.part is Part.EMBEDDING
        )
        found[0] += table - table // split.tensor
    return tuple(found)


def _beside(architecture: Architecture, resolved: Resolved, pipeline: int) -> Iterator[int]:
    """What every stage loads beside the weights and rotary tables of their own bits."""
    tables, element = rotary_elements(architecture), resolved.element
    for start, end in stage_layers(len(architecture.blocks), pipeline):
        if is_compressed(architecture):
            blocks = architecture.blocks[start:end]
            yield beside_weights(architecture, blocks, element) - element * tables
        else:
            yield max(0, 4 - element) * tables


def cut_apart(
    architecture: Architecture, settings: EngineSettings, split: Parallelism, ranks: int
) -> Iterator[tuple[Architecture, int]]:
    """The layers that are not cut as attention is, and into how many parts each of them is.

    ranks: data ranks of attention, which lie inside TP.
    """
    options, world = SGLangOptions.of(settings), split.tensor * ranks
    whole = spreads_experts(settings) or sends_tokens(architecture, settings, split, ranks)
    ways = {
        "shared": 1 if whole else world,
        "dense": min(world, options.moe_dense_tp_size or world),
        "head": split.tensor if options.enable_dp_lm_head else world,
    }
    for name, size in ways.items():
        yield part_of(architecture, name), size


def sends_tokens(
    architecture: Architecture, settings: EngineSettings, split: Parallelism, ranks: int
) -> bool:
    """Whether experts are said to lie whole on ranks, and only sending tokens to them can be meant.

    Without ``--moe-a2a-backend`` shared experts are cut over all of TP, where quantization blocks
    may not let them be.
    """
    if not split.expert or SGLangOptions.of(settings).moe_a2a_backend is not None:
        return False
    word = EngineSettings(quantization=load_quantization(settings.quantization))
    cut = Parallelism(tensor=split.tensor * ranks)
    return any(faults.problems(part_of(architecture, "shared"), word, cut, None))


_FITTED: Final = 52
_CARDS: Final = frozenset({(7, 5), (8, 6), (8, 9), (12, 0)})
"""Compute capabilities of GPUs that come without NVLink."""
_SHARED: Final = frozenset({(8, 7), (11, 0), (12, 1)})
"""Compute capabilities of GPUs that share their memory with the CPU: Jetson Orin and Thor, GB10."""
_AMD: Final = "amd.com/"


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
    if accelerator.compute in _SHARED:
        name = "context_unified"
    elif tensor * parallelism.pipeline > 1 and accelerator.resource.startswith(_AMD):
        name = "context_many_rocm"
    elif tensor * parallelism.pipeline > 1:
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
    experts = any(b.feed_forward and b.feed_forward.experts for b in architecture.blocks)
    if experts and tensor > 1:
        most = figures.number("graphs_experts_most")
        high = max(high, most * layers * graph_sizes(resolved.graphs))
    return Amount(round(size * GIB) + logits, round(low * GIB), round(high * GIB) + logits)


def prefill_graphs(resolved: Resolved, layers: int, figures: Constants) -> Amount:
    """What captured prefill batches take on a rank of `layers` layers; many models take none."""
    if not resolved.prefill:
        return Amount(0, 0, 0)
    figure = figures["prefill_graphs_layer"]
    return _banded(round(figure.bytes() * layers * prefill_graph_sizes(resolved.prefill)), figure)


def forward(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    tensor: int,
    stage: int,
    figures: Constants,
) -> Amount:
    """What the largest prefill needs and gives back; the engine never measures it."""
    own = widths(architecture, parallelism.pipeline)[stage]
    tokens, hidden = resolved.chunk, architecture.hidden_size
    size = own.dense_pass(hidden, tensor, figures) * tokens * resolved.element
    if own.per_token:
        ways = expert_ways(settings, tensor, parallelism.expert)
        rows = tokens * resolved.attention_ranks * own.per_token
        size += rows * resolved.element * own.expert_workspaces(hidden, ways)
    figure = figures["forward_hidden"]
    return Amount(round(size), 0, round(size * (1 + figure.error)))


def _banded(size: int, figure: Figure) -> Amount:
    band = round(size * figure.error)
    return Amount(size, max(0, size - band), size + band)
