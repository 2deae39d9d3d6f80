"""What lies on a rank under SGLang: weights, the pools of its cache, and the rest.

Weights are cut as vLLM cuts them, with these differences:

    same          linears, KV heads, vocabulary padded to 64, experts, pipeline stages, MLA's
                  kv_b_proj kept twice (sglang/srt/layers/{linear,vocab_parallel_embedding}.py and
                  layers/moe, which descend from vLLM's)
    data parallel a replica of its own per rank: experts are not cut over data ranks
    with data-parallel attention (``--enable-dp-attention``): attention is cut by its own ranks
                  only and experts by all; the embedding is whole on every rank
    rotary        tables are float32, twice vLLM's

The pools of the cache:

    cell      bytes of one token on one rank: sum over layers of max(1, kv_heads / tp) x (key +
              value) ; MLA: kv_lora_rank + rope, whole on every rank; an indexer's keys beside it
    two pools cell = full layers + ratio x sliding layers; tokens are those of the full pool
    states    bytes of a slot: convolution + recurrent states of every state layer; their pool
              takes ratio / (1 + ratio) of the memory, or as many slots as are said
    tokens    floor(floor(memory / cell) / page) x page, at most ``--max-total-tokens``; the least
              over the pipeline stages. This is what the engine logs as max_total_num_tokens

Source: SGLang 0.5.23, sglang/srt/model_executor/pool_configurator.py and
sglang/srt/mem_cache/kv_cache_configurator.py; 0.5.9, model_runner_kv_cache_mixin.py. Layers that
read another layer's keys (Gemma 3n, Gemma 4) are counted as having their own: the pool is made
for all layers.

Beside weights and pools:

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

from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, state_bytes
from plimsoll.engines.layers.plain_cache import sequence_state
from plimsoll.engines.layers.sharding import rotary_elements, stage_layers, stage_weights, widths
from plimsoll.engines.sglang.settings import SGLangOptions, sliding_pool
from plimsoll.models.architecture import MixerKind, Part
from plimsoll.units import GIB, ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.sglang.settings import Resolved
    from plimsoll.engines.tables import Constants, Figure
    from plimsoll.models.architecture import Architecture, Mixer

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
    architecture: Architecture, quantization: str, resolved: Resolved, parallelism: Parallelism
) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage."""
    key = ("sglang.weights", resolved.dtype, quantization, resolved.attention_ranks, parallelism)
    return architecture.remembered(
        key, lambda: _weights(architecture, quantization, resolved, parallelism)
    )


def _weights(
    architecture: Architecture, quantization: str, resolved: Resolved, parallelism: Parallelism
) -> tuple[int, ...]:
    split = parallelism if resolved.attention_ranks > 1 else replace(parallelism, data=1)
    word = load_quantization(quantization)
    found = list(stage_weights(architecture, resolved.dtype, word, split))
    more = max(0, 4 - resolved.element) * rotary_elements(architecture)
    found = [size + more for size in found]
    if resolved.attention_ranks > 1 and parallelism.tensor > 1:
        table = sum(
            t.elements * resolved.element for t in architecture.outside if t.part is Part.EMBEDDING
        )
        found[0] += table - table // parallelism.tensor
    return tuple(found)


_SLIDING: Final = (MixerKind.SLIDING, MixerKind.CHUNKED)
_NAMES: Final = {"fp4_e2m1": "nvfp4", "fp4_mixed": "nvfp4", "mxfp4": "nvfp4"}
KNOWN_KV_DTYPES: Final = frozenset(
    {"auto", "bfloat16", "bf16", "float16", "fp8_e5m2", "fp8_e4m3", "fp4_e2m1", "mxfp8"}
)
_DSA_FP8: Final = 656
"""Bytes of a token's latent in one sparse-attention layer with an fp8 cache, scales included."""


@dataclass(frozen=True, slots=True)
class StageCells:
    """Bytes on one rank of a stage. full, sliding: of one token; slot: of one sequence's state."""

    full: int
    sliding: int
    slot: int
    window: int


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools of one replica. ratio: sliding tokens per full token, where there are two pools.

    states: bytes of state per byte of token cache; slots: state slots that are said (0: none
    are); per_request: slots of one running request; most: ``--max-total-tokens`` (0: unsaid).
    """

    stages: tuple[StageCells, ...]
    page: int
    ratio: Fraction
    states: Fraction
    slots: int
    per_request: int
    most: int

    def _cell(self, stage: StageCells) -> Fraction:
        if not stage.full:
            return Fraction(stage.sliding)
        return stage.full + self.ratio * stage.sliding

    def _full_tokens(self, stage: StageCells, requests: int, tokens: int) -> int:
        """Tokens of the full pool that so many requests need, the sliding pool's share held."""
        held = requests * ceil_div(tokens, self.page) * self.page
        if not stage.sliding or not stage.full or not self.ratio:
            return held
        window = requests * (min(tokens, stage.window) + self.page)
        wanted = max(Fraction(held), window / self.ratio)
        return ceil_div(-(-wanted.numerator // wanted.denominator), self.page) * self.page

    def need(self, stage: int, requests: int, tokens: int) -> int:
        """Bytes that a rank of a stage needs to hold so many requests of so many tokens."""
        own = self.stages[stage]
        cache = self._full_tokens(own, requests, tokens) * self._cell(own)
        if not own.slot:
            return -(-cache.numerator // cache.denominator)
        slots = requests * self.per_request
        if self.slots:
            total = cache + max(slots, self.slots) * own.slot
        else:
            both = 1 + self.states
            total = max(cache * both, slots * own.slot * both / (self.states or 1))
        return -(-total.numerator // total.denominator)

    def tokens(self, memory: Sequence[int]) -> int:
        """Tokens that fit, as the engine logs them; memory in bytes per stage."""
        counts = []
        for own, available in zip(self.stages, memory, strict=True):
            cell = self._cell(own)
            if not cell:
                continue
            rest = Fraction(max(0, available))
            if own.slot:
                rest = rest - self._slots(own, available) * own.slot
            counts.append(int(max(Fraction(0), rest) // cell) // self.page * self.page)
        found = min(counts, default=0)
        return min(found, self.most // self.page * self.page) if self.most else found

    def _slots(self, own: StageCells, available: int) -> int:
        if self.slots:
            return self.slots
        return int(max(0, available) * self.states / (1 + self.states) // own.slot)

    def requests(self, memory: Sequence[int], tokens: int, length: int) -> float:
        """Requests of `length` tokens that a pool of `tokens` holds at once."""
        found = [tokens / length if length else 0.0]
        for own, available in zip(self.stages, memory, strict=True):
            if own.sliding and own.full and self.ratio:
                window = min(length, own.window) + self.page
                found.append(float(tokens * self.ratio) / window)
            if own.slot:
                found.append(float(self._slots(own, available) // self.per_request))
        return min(found)

    def longest(self, memory: Sequence[int], most: int) -> int:
        """The longest request that fits, at most `most` tokens; 0 where not one token does."""
        if not any(self._cell(own) for own in self.stages):
            fits = all(self.need(i, 1, 1) <= available for i, available in enumerate(memory))
            return most if fits else 0
        if any(self.need(i, 1, 1) > available for i, available in enumerate(memory)):
            return 0
        return min(most, self.tokens(memory))


def pools(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    figures: Constants,
) -> Pools:
    """The pools of a model under a split, in one version of the engine."""
    options = SGLangOptions.of(settings)
    recurrent = options.mamba_ssm_dtype or ""
    two = not options.disable_hybrid_swa_memory and sliding_pool(
        figures.version, architecture.class_name
    )
    key = (
        "sglang.cells",
        parallelism.tensor,
        parallelism.pipeline,
        resolved.kv_dtype,
        resolved.element,
        two,
        recurrent,
    )
    stages = architecture.remembered(
        key,
        lambda: _stages(architecture, resolved, parallelism, two, recurrent),
    )
    slots = (options.max_mamba_cache_size or 0) // (resolved.attention_ranks or 1)
    if not slots and not resolved.radix and settings.max_num_seqs:
        slots = max(1, settings.max_num_seqs // resolved.attention_ranks)
    return Pools(
        stages,
        max(1, resolved.page),
        Fraction(options.swa_full_tokens_ratio or str(figures.number("swa_ratio"))),
        Fraction(options.mamba_full_memory_ratio or str(figures.number("mamba_ratio"))),
        slots,
        int(figures.number("mamba_slots" if resolved.radix else "mamba_slots_cut")),
        options.max_total_tokens or 0,
    )


def _stages(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    two: bool,
    ssm: str,
) -> tuple[StageCells, ...]:
    found = []
    for start, end in stage_layers(len(architecture.blocks), parallelism.pipeline):
        full = sliding = slot = window = 0
        for block in architecture.blocks[start:end]:
            for mixer in block.mixers:
                if mixer.conv_elements or mixer.state_elements:
                    slot += _slot(mixer, parallelism.tensor, resolved.element, ssm)
                elif mixer.kind is MixerKind.ENCODER:
                    continue
                elif two and mixer.kind in _SLIDING and mixer.window > 0:
                    sliding += _token(mixer, parallelism.tensor, resolved)
                    window = max(window, mixer.window)
                else:
                    full += _token(mixer, parallelism.tensor, resolved)
        found.append(StageCells(full, sliding, slot, window))
    return tuple(found)


def _token(mixer: Mixer, tensor: int, resolved: Resolved) -> int:
    """Bytes of one token in one layer on one rank."""
    dtype, element = resolved.kv_dtype, resolved.element
    index = mixer.index_dim + mixer.index_dim // 128 * 4
    if mixer.kind is MixerKind.MLA:
        if mixer.index_dim and dtype.startswith("fp8"):
            return _DSA_FP8 + index
        return _side(mixer.head_dim, dtype, element) + index
    heads = max(1, ceil_div(mixer.kv_heads, tensor))
    sides = _side(mixer.head_dim, dtype, element) + _side(mixer.v_head_dim, dtype, element)
    return heads * sides + index


def _side(elements: int, dtype: str, element: int) -> int:
    if dtype == "mxfp8":
        return elements + elements // 32
    return state_bytes(elements, _NAMES.get(dtype, dtype), element)


def _slot(mixer: Mixer, tensor: int, element: int, ssm: str) -> int:
    """Bytes of one sequence's state in one layer on one rank; recurrent states are float32."""
    recurrent = WEIGHT_BYTES.get(ssm or mixer.state_dtype or "float32", 4)
    return sequence_state(mixer, tensor, element, recurrent)


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
    size = own.dense_pass(hidden, tensor, figures) * tokens * resolved.element
    if own.per_token:
        ways = 1 if parallelism.expert else tensor
        rows = tokens * resolved.attention_ranks * own.per_token
        size += rows * resolved.element * own.expert_workspaces(hidden, ways)
    figure = figures["forward_hidden"]
    return Amount(round(size), 0, round(size * (1 + figure.error)))


def _banded(size: int, figure: Figure) -> Amount:
    band = round(size * figure.error)
    return Amount(size, max(0, size - band), size + band)
