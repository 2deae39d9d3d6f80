"""TensorRT-LLM as an `Engine`: every pipeline stage's terms, and of those the one that needs most.

    others      weights + peak of a forward pass + buffers + CUDA graphs
    cache       (physical - others) x free_gpu_memory_fraction
    usable      others + cache: the engine leaves (1 - fraction) of what is free untouched
    starts      where a cache is left; a max_seq_len that it does not hold is cut down to what it
                holds, so that a request of the length asked for is refused later: not a fit here
    required    others + cache for one request of max_seq_len or for the workload

Source: tensorrt_llm/_torch/pyexecutor/_util.py (``_cal_max_memory``), cpp/tensorrt_llm/
batch_manager/kvCacheManager.cpp (``calculateMaxNumBlocks``).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from plimsoll.engines.assemble import (
    Engine,
    Held,
    around,
    held_at_once,
    newer_version,
    stored_by_name,
    uncounted,
    weights_term,
)
from plimsoll.engines.base import Estimate, Known, Term, TermName, Terms
from plimsoll.engines.layers.gpu_memory import free_memory
from plimsoll.engines.layers.sharding import is_padded, quantization_in_force
from plimsoll.engines.tensorrt_llm import checks
from plimsoll.engines.tensorrt_llm.memory import (
    activation,
    block_entries,
    bounds,
    buffers,
    graphs,
    stage_caches,
    weights,
)
from plimsoll.engines.tensorrt_llm.settings import (
    KNOWN_KV_DTYPES,
    TABLE,
    read_arguments,
    resolve,
    write_arguments,
)
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism, Workload
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.tensorrt_llm.memory import StageCache
    from plimsoll.engines.tensorrt_llm.settings import Resolved
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture


class TensorRTLLM(Engine):
    """TensorRT-LLM's memory model and command line; see `plimsoll.engines.assemble.Engine`."""

    name = "tensorrt-llm"
    share_flag = True
    title = "TensorRT-LLM"
    narrow_cache = "fp8"
    table = TABLE
    check = staticmethod(checks.problems)
    read = staticmethod(read_arguments)
    arguments = staticmethod(write_arguments)

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """What the worst rank of one replica needs; total for what `problems` lets through."""
        figures = TABLE.or_newest(settings.version)
        resolved = resolve(architecture, settings, figures)
        shared = 1 if resolved.attention_dp else parallelism.tensor
        caches = stage_caches(architecture, resolved, shared, parallelism.pipeline)
        sizes = weights(
            architecture, resolved.dtype, settings.quantization, parallelism, resolved.attention_dp
        )
        replicas = parallelism.tensor if resolved.attention_dp else 1
        asked = held_at_once(workload, resolved.max_model_len, replicas)
        spans = bounds(len(architecture.blocks), parallelism.pipeline)
        stages = [
            Terms(
                (
                    _weights(sizes[stage], architecture, settings, resolved, figures),
                    _cache(cache, asked, resolved),
                    activation(architecture, resolved, parallelism, stage, figures),
                    buffers(parallelism, resolved, figures),
                    graphs(resolved, spans[stage][1] - spans[stage][0], figures),
                )
            )
            for stage, cache in enumerate(caches)
        ]
        physical = free_memory(accelerator)
        others = [terms.beside_cache for terms in stages]
        room = [int((physical - rest) * resolved.utilization) for rest in others]
        caches_needed = [terms[TermName.KV_CACHE].bytes for terms in stages]
        needs = [need - have for need, have in zip(caches_needed, room, strict=True)]
        worst = needs.index(max(needs))
        pairs = list(zip(caches, room, strict=True))
        held = min((c.tokens(have, resolved.block) for c, have in pairs if c.token), default=0)
        most = max(resolved.max_model_len, architecture.max_model_len)
        length = ceil_div(resolved.max_model_len, resolved.block) * resolved.block
        stateless = all(not cache.token for cache in caches)
        return Estimate(
            parallelism=parallelism,
            terms=stages[worst],
            stage=worst,
            stage_needs=tuple(one.bytes for one in stages),
            physical=physical,
            usable=max(0, min(physical, others[worst] + room[worst])),
            utilization=resolved.utilization,
            version=figures.version,
            max_model_len=resolved.max_model_len,
            max_num_seqs=resolved.seqs,
            max_num_batched_tokens=resolved.batched_tokens,
            kv_cache_dtype=resolved.kv_dtype,
            kv_capacity=room[worst],
            kv_tokens=held * replicas,
            max_concurrency=held * replicas / length,
            largest_max_model_len=most if stateless else min(_longest(pairs, resolved), most),
            notes=tuple(_notes(architecture, settings, resolved, accelerator, figures)),
        )


def _cache(cache: StageCache, held: Held, resolved: Resolved) -> Term:
    size = cache.need(held.requests, held.tokens, resolved.block)
    low = cache.least(held.requests, held.tokens, resolved.block)
    known = Known.EXACT if resolved.kv_dtype in KNOWN_KV_DTYPES else Known.ASSUMED
    if low < size or cache.state:
        known = Known.ASSUMED
    if resolved.kv_dtype not in KNOWN_KV_DTYPES:
        low //= 4
    dtype = resolved.dtype if resolved.kv_dtype == "auto" else resolved.kv_dtype
    return Term(TermName.KV_CACHE, size, low, size, known, f"{held}, {dtype}")


def _longest(pairs: list[tuple[StageCache, int]], resolved: Resolved) -> int:
    """Tokens of the longest request, in whole blocks; the table of blocks grows with it."""
    entry = block_entries(resolved) * Fraction(resolved.utilization)
    table = entry * ceil_div(resolved.max_model_len, resolved.block)
    fits = [
        max(0, int((have + table - cache.state) / (cache.token * resolved.block + entry)))
        for cache, have in pairs
        if cache.token
    ]
    return min(fits, default=0) * resolved.block


def _weights(
    size: int,
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    figures: Constants,
) -> Term:
    held = quantization_in_force(architecture, settings.quantization)
    unsure = architecture.assumed or architecture.multimodal
    unsure = unsure or (held is not None and architecture.quantization is None)
    padded = held is not None and is_padded(held)
    experts = any(b.feed_forward and b.feed_forward.experts for b in architecture.blocks)
    name = "weight_band_experts" if experts else "weight_band"
    name = "weight_band_padded" if padded else name
    figure = figures["weight_band_assumed" if unsure else name]
    band, dtype, word = around(size, figure.error), resolved.dtype, settings.quantization
    return weights_term(architecture, size, band, figure.known, dtype, held, word)


def _notes(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    accelerator: Accelerator,
    figures: Constants,
) -> Iterator[Finding]:
    """What was assumed."""
    yield finding(Rule.TENSORRT_LLM_ASSUMED, Field.ENGINE)
    yield from newer_version(TABLE.title, figures)
    if not resolved.pytorch:
        yield finding(Rule.BUILT_ENGINE, Field.ENGINE)
    if resolved.kv_dtype not in KNOWN_KV_DTYPES:
        dtype = resolved.kv_dtype
        yield finding(Rule.CACHE_DTYPE_ASSUMED, Field.KV_CACHE_DTYPE, dtype=dtype)
    if settings.kv_cache_dtype and not figures.flag("cache_dtype_flag"):
        yield finding(
            Rule.CACHE_DTYPE_IN_OPTIONS_FILE,
            Field.KV_CACHE_DTYPE,
            version=figures.version,
            dtype=settings.kv_cache_dtype,
        )
    yield from stored_by_name(architecture)
    yield from uncounted(settings, accelerator)
