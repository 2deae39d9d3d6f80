"""The pools of SGLang's cache: bytes of a token on every stage, and how many tokens they hold.

    cell      bytes of one token on one rank: sum over layers of max(1, kv_heads / tp) x (key +
              value) ; MLA: kv_lora_rank + rope, whole on every rank; an indexer's keys beside it
    two pools cell = full layers + ratio x sliding layers; tokens are those of the full pool
    states    bytes of a slot: convolution + recurrent states of every state layer; their pool
              takes ratio / (1 + ratio) of the memory, or as many slots as are said. A running
              request holds 3, from 0.5.14 5 in classes that keep snapshots; 1 without prefixes
    tokens    floor(floor(memory / cell) / page) x page, at most ``--max-total-tokens``; the least
              over the pipeline stages. This is what the engine logs as max_total_num_tokens

Source: SGLang 0.5.23, sglang/srt/model_executor/pool_configurator.py and
sglang/srt/mem_cache/kv_cache_configurator.py; 0.5.9, model_runner_kv_cache_mixin.py. Layers that
read another layer's keys (Gemma 3n, Gemma 4) are counted as having their own: the pool is made
for all layers.

DeepSeek V4 has pools of its own: see `plimsoll.engines.sglang.compressed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, state_bytes
from plimsoll.engines.layers.plain_cache import sequence_state
from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.engines.sglang.compressed import DEFAULT_REQUESTS, DEFAULT_SHARE, is_compressed
from plimsoll.engines.sglang.compressed import cells as compressed_cells
from plimsoll.engines.sglang.settings import SGLangOptions, buffered_states, sliding_pool
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.sglang.settings import Resolved
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture, Mixer

_SLIDING: Final = (MixerKind.SLIDING, MixerKind.CHUNKED)
_NAMES: Final = {"fp4_e2m1": "nvfp4", "fp4_mixed": "nvfp4", "mxfp4": "nvfp4"}
KNOWN_KV_DTYPES: Final = frozenset(
    {"auto", "bfloat16", "bf16", "float16", "fp8_e5m2", "fp8_e4m3", "fp4_e2m1", "mxfp8"}
)
_DSA_FP8: Final = 656
"""Bytes of a token's latent in one sparse-attention layer with an fp8 cache, scales included."""


@dataclass(frozen=True, slots=True)
class StageCells:
    """Bytes on one rank of a stage. full, sliding: of one token; slot: of one sequence's state;
    fixed: whatever is held.
    """

    full: int | Fraction
    sliding: int | Fraction
    slot: int
    window: int
    fixed: int = 0


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
        cache = self._full_tokens(own, requests, tokens) * self._cell(own) + own.fixed
        if not own.slot:
            return -(-cache.numerator // cache.denominator)
        slots = requests * self.per_request
        if self.slots:
            total = cache + max(slots, self.slots) * own.slot
        else:
            both = 1 + self.states
            total = max(cache * both, slots * own.slot * both / (self.states or 1))
        return -(-total.numerator // total.denominator)

    def tokens(self, memory: Sequence[int | Fraction]) -> int:
        """Tokens that fit, as the engine logs them; memory in bytes per stage."""
        counts = []
        for own, available in zip(self.stages, memory, strict=True):
            cell = self._cell(own)
            if not cell:
                continue
            rest = Fraction(max(0, available - own.fixed))
            if own.slot:
                rest = rest - self._slots(own, available) * own.slot
            counts.append(int(max(Fraction(0), rest) // cell) // self.page * self.page)
        found = min(counts, default=0)
        return min(found, self.most // self.page * self.page) if self.most else found

    def _slots(self, own: StageCells, available: int | Fraction) -> int:
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
    stages = _cells(architecture, settings, resolved, parallelism, figures)
    slots = (options.max_mamba_cache_size or 0) // (resolved.attention_ranks or 1)
    if not slots and not resolved.radix and settings.max_num_seqs:
        slots = max(1, settings.max_num_seqs // resolved.attention_ranks)
    share = Fraction(str(figures.number("swa_ratio")))
    if options.swa_full_tokens_ratio:
        share = Fraction(options.swa_full_tokens_ratio)
    elif is_compressed(architecture):
        share = DEFAULT_SHARE
    return Pools(
        stages,
        max(1, resolved.page),
        share,
        Fraction(options.mamba_full_memory_ratio or str(figures.number("mamba_ratio"))),
        slots,
        _slots_of_request(architecture, settings, resolved, figures),
        options.max_total_tokens or 0,
    )


def _slots_of_request(
    architecture: Architecture, settings: EngineSettings, resolved: Resolved, figures: Constants
) -> int:
    """Slots of state that one running request holds; with fewer in the pool none can run, and the
    engine refuses to start.
    """
    if not resolved.radix:
        return int(figures.number("mamba_slots_cut"))
    said = SGLangOptions.of(settings).mamba_radix_cache_strategy or "auto"
    slots = int(figures.number("mamba_slots"))
    apart = any(flag.startswith("--disable-overlap-schedule") for flag in settings.flags)
    if said == "auto":
        kept = buffered_states(figures.version, architecture.class_name) and not apart
    else:
        kept = said.startswith("extra_buffer")
    if not kept:
        return slots
    return slots + (
        1 if apart or said.endswith("lazy") else int(figures.number("mamba_slots_more"))
    )


def _cells(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    figures: Constants,
) -> tuple[StageCells, ...]:
    """The cells of every stage; remembered but for those that depend on the requests."""
    options = SGLangOptions.of(settings)
    if is_compressed(architecture):
        return tuple(_compressed(architecture, settings, resolved, parallelism.pipeline, figures))
    recurrent = options.mamba_ssm_dtype or ""
    two = not options.disable_hybrid_swa_memory and sliding_pool(
        figures.version, architecture.class_name
    )
    key = ("sglang.cells", parallelism.tensor, parallelism.pipeline, two, recurrent)
    return architecture.remembered(
        (*key, resolved.kv_dtype, resolved.element),
        lambda: _stages(architecture, resolved, parallelism, two, recurrent),
    )


def _compressed(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    pipeline: int,
    figures: Constants,
) -> Iterator[StageCells]:
    draft = any(flag.startswith("--speculative-algorithm") for flag in settings.unread)
    requests = max(1, (settings.max_num_seqs or DEFAULT_REQUESTS) // resolved.attention_ranks)
    layers = len(architecture.blocks)
    for start, end in stage_layers(layers, pipeline):
        blocks = architecture.blocks[start:end]
        own = compressed_cells(blocks, requests, layers=layers, draft=draft, figures=figures)
        yield StageCells(own.full, own.sliding, 0, own.window, own.fixed)


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
