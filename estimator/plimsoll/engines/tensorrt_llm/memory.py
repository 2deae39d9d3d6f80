"""What lies on a rank under TensorRT-LLM: weights of a stage, its cache, activation and buffers.

Layers and their weights:

    layers        L // pp each, one more in each of the first L mod pp stages (torch.tensor_split)
    within one    cut over ranks as vLLM cuts them: the same columns, rows, heads and experts
    experts       whole on a rank or cut over all ranks, the same bytes where both divide
    attention DP  everything but experts whole on every rank

Source: tensorrt_llm/mapping.py (``pp_layers``), tensorrt_llm/_torch/modules.

The cache:

    attention     ceil(kv_heads / tp) x (keys + values) of a head; tp = 1 with attention DP
    latent        rank + rope, whole on every rank
    dtype         2 bytes; fp8 1; nvfp4 9/16 (half a byte and a scale for sixteen)
    states        per request, in their own dtypes; not cut by tokens
    block         32 tokens (64 before 0.18); a request takes whole blocks
    capacity      tokens = floor(memory / bytes a token), rounded up to a whole block, as logged

Every layer keeps the whole context, sliding ones too: a start-up of gpt-oss-120b logs 73,728
bytes a token, all 36 layers (https://github.com/NVIDIA/TensorRT-LLM, tensorrt_llm/_torch/
pyexecutor/_util.py). A release that keeps windows apart needs less: the least that is needed
says so.

Beside them:

    T batched tokens, h hidden size, I dense width, k experts per token, N sequences, V logits
    forward     (3 x I / tp + 4.25 x h) x T x 2
    experts     T x k x 2 x (max(I_e / tp, h) + max(2 I_e / tp, h)), added; MXFP4 as well
    engines     31 bytes x N x beams x V more: decoder, runtime buffers, logits (N: max_batch_size)
    buffers     CUDA context and workspaces; NCCL with more than one GPU; with PyTorch 8 bytes x N
                x blocks of the longest sequence
    graphs      PyTorch backend: a base and a share for every layer

The PyTorch backend measures its peak with prompts of T tokens, of which only the last gives
logits: no term for them. Most of this is assumed (data/constants.json says what from): few logs
are public.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Parallelism, Term, TermName
from plimsoll.engines.layers.dtypes import latent_bytes, state_bytes
from plimsoll.engines.layers.plain_cache import sequence_state
from plimsoll.engines.layers.sharding import stage_weights, widths
from plimsoll.models.architecture import MixerKind
from plimsoll.units import GIB, ceil_div, grouped

if TYPE_CHECKING:
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.tensorrt_llm.settings import Resolved
    from plimsoll.models.architecture import Architecture, Block, Mixer


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
    return architecture.remembered(key, lambda: _weights(architecture, dtype, quantization, split))


def _weights(
    architecture: Architecture, dtype: str, quantization: str, split: Parallelism
) -> tuple[int, ...]:
    """From the weights of stages of one layer each; what every stage has counts once."""
    count = len(architecture.blocks)
    if split.pipeline == 1 or count < 2:
        return stage_weights(architecture, dtype, quantization, split)
    single, halves = (
        stage_weights(architecture, dtype, quantization, replace(split, pipeline=stages))
        for stages in (count, 2)
    )
    every = (sum(single) - sum(halves)) // max(1, count - 2)  # stages differ by that alone
    return tuple(
        sum(single[start:end]) - every * max(0, end - start - 1)
        for start, end in bounds(count, split.pipeline)
    )


_WINDOWED: Final = (MixerKind.SLIDING, MixerKind.CHUNKED)


@dataclass(frozen=True, slots=True)
class StageCache:
    """One pipeline stage's cache on a rank: bytes a token, of them in layers with a window, and
    bytes of state a request. window: the longest window.
    """

    token: int
    windowed: int
    window: int
    state: int

    def need(self, requests: int, tokens: int, block: int) -> int:
        """Bytes for so many requests of so many tokens."""
        held = ceil_div(tokens, block) * block
        return requests * (held * self.token + self.state)

    def least(self, requests: int, tokens: int, block: int) -> int:
        """The same where layers with a window keep only that."""
        held = ceil_div(tokens, block) * block
        kept = min(held, ceil_div(self.window, block) * block + block)
        return requests * (held * (self.token - self.windowed) + kept * self.windowed + self.state)

    def tokens(self, memory: int, block: int) -> int:
        """Tokens that a memory holds, as the engine logs it."""
        if memory <= 0 or not self.token:
            return 0
        return ceil_div(memory // self.token, block) * block


def stage_caches(
    architecture: Architecture, resolved: Resolved, tensor: int, pipeline: int
) -> tuple[StageCache, ...]:
    """The cache of a rank of every pipeline stage. tensor: ranks that share attention."""
    key = ("tensorrt_llm.cache", resolved.kv_dtype, resolved.element, tensor, pipeline)

    def make() -> tuple[StageCache, ...]:
        blocks = {id(b): b for b in architecture.blocks}
        each = {k: _layer(b, resolved, tensor) for k, b in blocks.items()}
        found = []
        for start, end in bounds(len(architecture.blocks), pipeline):
            layers = [each[id(b)] for b in architecture.blocks[start:end]]
            found.append(
                StageCache(
                    sum(layer.token for layer in layers),
                    sum(layer.windowed for layer in layers),
                    max((layer.window for layer in layers), default=0),
                    sum(layer.state for layer in layers),
                )
            )
        return tuple(found)

    return architecture.remembered(key, make)


def _layer(block: Block, resolved: Resolved, tensor: int) -> StageCache:
    token = windowed = window = state = 0
    for mixer in block.mixers:
        if mixer.state_elements or mixer.conv_elements:
            state += sequence_state(mixer, tensor, resolved.element)
        elif not mixer.shares_kv and mixer.kind is not MixerKind.ENCODER:
            size = _token(mixer, resolved, tensor)
            token += size
            if mixer.kind in _WINDOWED and mixer.window:
                windowed += size
                window = max(window, mixer.window)
    return StageCache(token, windowed, window, state)


def _token(mixer: Mixer, resolved: Resolved, tensor: int) -> int:
    dtype, element = resolved.kv_dtype, resolved.element
    index = state_bytes(mixer.index_dim, "auto", 1)
    if mixer.kind is MixerKind.MLA:
        return latent_bytes(mixer.head_dim, dtype, element) + index
    each = state_bytes(mixer.head_dim, dtype, element)
    each += state_bytes(mixer.v_head_dim, dtype, element)
    return ceil_div(mixer.kv_heads, tensor) * each + index


_BLOCK_ENTRY: Final = 8
"""Bytes of a block of one sequence: an int32 for keys and one for values
(``kv_cache_block_offsets`` of tensorrt_llm/_torch/attention_backend/trtllm.py).
"""


def activation(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    figures: Constants,
) -> Term:
    """The peak of a forward pass on one rank of a stage, and an engine's buffers for logits."""
    own = widths(architecture, parallelism.pipeline, bounds)[stage]
    tensor = 1 if resolved.attention_dp else parallelism.tensor
    tokens, hidden, element = resolved.batched_tokens, architecture.hidden_size, resolved.element
    peak = own.dense_pass(hidden, tensor, figures) * tokens * element
    if own.per_token:
        rows = tokens * own.per_token
        peak += rows * element * own.expert_workspaces(hidden, parallelism.tensor)
    band = peak * figures["forward_hidden"].error
    basis = f"{tokens} batched tokens"
    if not resolved.pytorch and stage == parallelism.pipeline - 1:
        figure = figures["engine_logit_bytes"]
        sequences = resolved.seqs * resolved.beams
        logits = figure.value * sequences * architecture.vocab_size
        peak += logits
        band += logits * figure.error
        basis += f", {grouped(sequences)} sequences x {grouped(architecture.vocab_size)} logits"
    return Term(
        TermName.ACTIVATION,
        round(peak),
        max(0, round(peak - band)),
        round(peak + band),
        Known.ASSUMED,
        basis,
    )


def block_entries(resolved: Resolved) -> int:
    """Bytes of the table from sequences to their blocks, for one block of all sequences."""
    return resolved.seqs * _BLOCK_ENTRY if resolved.pytorch else 0


def buffers(parallelism: Parallelism, resolved: Resolved, figures: Constants) -> Term:
    """CUDA context, workspaces and what several GPUs speak to one another with; with PyTorch also
    the table from sequences to their blocks, 2 x 4 bytes a block of the longest.
    """
    context = figures["runtime_gib"]
    size, band = context.bytes(), context.bytes() * context.error
    basis = "CUDA context and workspaces"
    if parallelism.gpus > 1:
        shared = figures["communication_gib"]
        size += shared.bytes()
        band += shared.bytes() * shared.error
        basis += f", {parallelism.gpus} GPUs"
    size += block_entries(resolved) * ceil_div(resolved.max_model_len, resolved.block)
    return Term(
        TermName.NON_TORCH, size, round(size - band), round(size + band), Known.ASSUMED, basis
    )


def graphs(resolved: Resolved, layers: int, figures: Constants) -> Term:
    """What captured CUDA graphs take on a rank of so many layers."""
    if not resolved.graphs:
        why = "eager mode" if resolved.pytorch else "engines capture none"
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, why)
    base, each = figures["graph_base_gib"], figures["graph_per_layer_gib"]
    size = round((base.value + each.value * layers) * GIB)
    return Term(
        TermName.CUDA_GRAPHS,
        size,
        round(size * (1 - base.error)),
        round(size * (1 + base.error)),
        Known.ASSUMED,
        f"{layers} layers",
    )
