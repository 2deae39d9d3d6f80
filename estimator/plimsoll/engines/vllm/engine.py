"""vLLM as an `Engine`: every pipeline stage's terms, and of those the stage that needs most.

per stage   weights + KV cache + activation + non-torch + CUDA graphs [+ LoRA slots + draft]
reported    the stage with the largest sum
physical    what a process sees of the GPU, a little less than its label says
usable      floor(physical x utilization), at most physical - the CUDA context and what others hold
limits      what a start must hold beside that: `plimsoll.engines.vllm.limits`
KV cache    the larger of one request of max_model_len and the workload on one data rank
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.assemble import (
    FEATURES,
    Engine,
    Held,
    around,
    held_at_once,
    newer_version,
    reaching,
    room_for_cache,
    sequence_tokens,
    stored_by_name,
    weights_term,
    worst_stage,
)
from plimsoll.engines.base import NO_CACHE, Estimate, Known, Span, Term, TermName, Terms, Workload
from plimsoll.engines.layers.dtypes import KNOWN_KV_DTYPES
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.engines.layers.sharding import (
    is_padded,
    quantization_in_force,
    stage_layers,
    stage_weights,
)
from plimsoll.engines.vllm import (
    checks,
    cold,
    first,
    kernels,
    limits,
    lora,
    multimodal,
    offload,
    runner,
    speculative,
    support,
)
from plimsoll.engines.vllm.arguments import read_arguments, write_arguments
from plimsoll.engines.vllm.defaults import Resolved, default_length, resolve
from plimsoll.engines.vllm.kv import Cache, cache
from plimsoll.engines.vllm.options import RANGES, TABLE, VLLMOptions
from plimsoll.engines.vllm.overheads import activation, context, graphs, non_torch, ranged
from plimsoll.engines.vllm.releases import model_notes
from plimsoll.engines.vllm.traits import is_pooling, traits, without_head, without_logits
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture
    from plimsoll.models.quantization import Quantization


_FLASHINFER_DELTA: Final = (9, 10, 12)
"""Compute capabilities on which FlashInfer runs gated delta nets."""


class VLLM(Engine):
    """vLLM's memory model and command line; see `plimsoll.engines.assemble.Engine`."""

    name = "vllm"
    share_flag = True
    title = "vLLM"
    narrow_cache = "fp8"
    features = FEATURES
    table = TABLE
    ranges = RANGES
    check = staticmethod(checks.problems)
    read = staticmethod(read_arguments)
    arguments = staticmethod(write_arguments)
    has_stages = staticmethod(support.has_stages)

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
        options = VLLMOptions.of(settings)
        pools = is_pooling(architecture, settings)
        architecture = multimodal.loaded(architecture, settings, figures)
        if pools:
            architecture = without_head(architecture)
        profiled = multimodal.profiled(architecture, settings)
        if pools:
            profiled = without_logits(profiled)
        resolved = resolve(architecture, settings, accelerator, figures)
        draft = speculative.draft_of(architecture, settings)
        graphed = speculative.graphed(resolved, draft)
        kv = cache(
            first.cached(architecture, resolved, figures),
            parallelism,
            figures,
            dtype=resolved.kv_dtype,
            model_bytes=resolved.element,
            block_size=settings.block_size,
            batched_tokens=resolved.batched_tokens,
            draft=draft,
            context=options.decode_context_parallel_size or 1,
            apart=offload.groups_layers(settings, figures),
            prefix_caching=options.enable_prefix_caching,
            checkpoints=accelerator.compute[0] in _FLASHINFER_DELTA,
            state_dtypes=(options.mamba_cache_dtype or "", options.mamba_ssm_cache_dtype or ""),
        )
        padding = kernels.padding(architecture, settings, parallelism, accelerator, figures)
        lying = kernels.held(architecture, accelerator, figures)
        word = settings.quantization
        views = figures.flag("kv_b_read_as_is")
        weights = stage_weights(lying, resolved.dtype, word, parallelism, padding, views=views)
        plain = stage_weights(lying, resolved.dtype, word, parallelism, views=views)
        bounds = stage_layers(len(architecture.blocks), parallelism.pipeline)
        held = held_at_once(
            workload,
            resolved.max_model_len,
            parallelism.data,
            lambda requests, tokens: requests * kv.blocks(tokens),
        )
        buffers = non_torch(parallelism, accelerator, figures)
        stages: list[Terms] = []
        unseen: list[int] = []
        for stage, (start, end) in enumerate(bounds):
            size = (architecture, graphed, parallelism, end - start, accelerator, figures)
            spared = max(0, weights[stage] - plain[stage])
            loaded = weights[stage] + multimodal.buffers(architecture, resolved)
            whole = _weights(loaded, spared, figures, settings, resolved, architecture)
            terms = (
                offload.kept(architecture, settings, resolved.dtype, parallelism, stage, whole),
                _kv_term(kv, stage, held, resolved),
                cold.first_start(
                    ranged(
                        activation(
                            profiled, settings, resolved, parallelism, stage, accelerator, figures
                        ),
                        architecture,
                        parallelism,
                        accelerator,
                        figures,
                    ),
                    architecture,
                    resolved,
                    parallelism,
                    stage,
                    figures,
                ),
                buffers,
                lora.graphs(graphs(*size), settings, figures),
                runner.term(profiled, resolved, parallelism, stage, figures),
                first.states(architecture, resolved, parallelism, stage),
                lora.lora(architecture, settings, resolved.element, parallelism, stage, figures),
                speculative.term(
                    architecture, settings, draft, resolved, parallelism, stage, figures
                ),
            )
            stages.append(Terms(tuple(term for term in terms if term is not None)))
            unseen.append(runner.uncharged(profiled, resolved, parallelism, stage, figures))
        around = context(architecture, resolved, parallelism, accelerator, figures)
        beside = around.high + max(unseen)
        physical = visible_memory(accelerator)
        asked = int(physical * resolved.utilization)
        others = 0 if limits.charges_others(resolved, figures) else accelerator.reserved
        most = max(0, physical - beside - others)
        usable = min(asked, most)
        worst = worst_stage(stages)
        room = room_for_cache(usable, stages)
        spans = [Span(usable - t.beside_cache, *_band(usable, t)) for t in stages]
        fixed = offload.fixed_cache(settings, kv.pool)
        if settings.fitted_length:
            rooms = [span.low for span in spans] if fixed is None else fixed
            resolved, held = _fitted(kv, rooms, workload, resolved, parallelism)
            terms_of = [_kv_term(kv, stage, held, resolved) for stage in range(len(stages))]
            stages = [t.replaced(term) for t, term in zip(stages, terms_of, strict=True)]
        if fixed is not None:
            room, spans = list(fixed), [Span(size, size, size) for size in fixed]
            flag = offload.fixing_flag(settings)
            usable, stages = _fixed_cache(stages, worst, fixed, most, flag)
        loaded_first, asleep = (
            peak(
                architecture,
                settings,
                resolved,
                parallelism,
                physical=physical,
                accelerator=accelerator,
                constants=figures,
            )
            for peak in (limits.loading, limits.asleep)
        )
        held_states = limits.states(architecture, resolved, kv, spans, accelerator, figures)
        after = min(
            (
                limits.after_cache(
                    architecture,
                    settings,
                    resolved,
                    parallelism,
                    end - start,
                    stages[stage],
                    physical=physical - unseen[stage],
                    budget=None if fixed is not None or not kv.pool.groups else asked,
                    last=stage == len(bounds) - 1,
                    accelerator=accelerator,
                    constants=figures,
                )
                for stage, (start, end) in enumerate(bounds)
            ),
            key=lambda limit: limit.has.middle - limit.need.middle,
        )
        blocks = kv.holds(room)
        longest = kv.longest(room, max(resolved.max_model_len, architecture.max_model_len))
        return Estimate(
            parallelism=parallelism,
            terms=reaching(stages, worst),
            stage=worst,
            stage_needs=tuple(one.bytes for one in stages),
            physical=physical,
            usable=usable,
            utilization=resolved.utilization,
            version=figures.version,
            max_model_len=resolved.max_model_len,
            max_num_seqs=resolved.seqs,
            max_num_batched_tokens=resolved.batched_tokens,
            kv_cache_dtype=resolved.kv_dtype,
            kv_capacity=room[worst],
            kv_tokens=kv.tokens(blocks, resolved.max_model_len) * parallelism.data,
            max_concurrency=kv.concurrency(blocks, resolved.max_model_len) * parallelism.data,
            largest_max_model_len=longest,
            notes=tuple(
                _notes(architecture, settings, resolved, accelerator, figures, asked > usable)
            ),
            limits=tuple(
                one for one in (loaded_first, asleep, held_states, after) if one is not None
            ),
        )


def _fitted(
    kv: Cache,
    rooms: Sequence[int],
    workload: Workload,
    resolved: Resolved,
    parallelism: Parallelism,
) -> tuple[Resolved, Held]:
    """The start-up with the longest context that surely fits, and what it must hold then.

    rooms: the least bytes that each stage has for its cache. What the workload asks of one
    sequence is asked whatever fits.
    """
    length = max(1, kv.longest(rooms, resolved.max_model_len))
    asked = 0
    if workload.input_tokens is not None and workload.output_tokens is not None:
        asked = sequence_tokens(workload, resolved.max_model_len)
    held = held_at_once(
        workload,
        max(length, asked),
        parallelism.data,
        lambda requests, tokens: requests * kv.blocks(tokens),
    )
    return replace(resolved, max_model_len=length), held


def _band(usable: int, terms: Terms) -> tuple[int, int]:
    """The least and the most that a stage has for its cache."""
    cache = terms[TermName.KV_CACHE]
    return usable - (terms.high - cache.high), usable - terms.low_beside_cache


def _fixed_cache(
    stages: list[Terms], worst: int, fixed: Sequence[int], most: int, flag: str
) -> tuple[int, list[Terms]]:
    """Usable bytes and terms where a flag that fixes the cache replaces the utilization.

    fixed: bytes of cache on each stage. A cache of that size is allocated whatever is asked of it.
    Where more is asked, the engine refuses: usable memory then ends with that cache, below the
    least that may be needed.
    """
    cache_term = stages[worst][TermName.KV_CACHE]
    if cache_term.low > fixed[worst]:
        return min(most, stages[worst].low_beside_cache + fixed[worst]), stages
    basis = f"fixed by {flag}; needed: {cache_term.basis}"
    held = [Term(TermName.KV_CACHE, size, size, size, Known.EXACT, basis) for size in fixed]
    return most, [terms.replaced(term) for terms, term in zip(stages, held, strict=True)]


def _kv_term(kv: Cache, stage: int, held: Held, resolved: Resolved) -> Term:
    size = kv.need(stage, held.requests, held.tokens)
    known = Known.EXACT if resolved.kv_dtype in KNOWN_KV_DTYPES else Known.ASSUMED
    dtype = resolved.dtype if resolved.kv_dtype == "auto" else resolved.kv_dtype
    low = size if known is Known.EXACT else size // 4
    words = f"{held}, {dtype}" if kv.pool.groups else NO_CACHE
    return Term(TermName.KV_CACHE, size, low, size, known, words)


def _weights(
    size: int,
    spared: int,
    figures: Constants,
    settings: EngineSettings,
    resolved: Resolved,
    architecture: Architecture,
) -> Term:
    """The weights of a rank. spared: bytes less if the kernel is not the one that pads."""
    in_force = quantization_in_force(architecture, settings.quantization)
    figure = figures[_weight_band(architecture, in_force)]
    known = Known.EXACT if figure is figures["weight_band"] else figure.known
    low, high = around(size, figure.error)
    rounded = round(figures.number("weight_floor_band") * GIB)
    band = (min(max(0, low - spared), max(0, size - rounded)), max(high, size + rounded))
    known = Known.MODELLED if spared else known
    dtype, word = resolved.dtype, settings.quantization
    return weights_term(architecture, size, band, known, dtype, in_force, word)


def _weight_band(architecture: Architecture, held: Quantization | None) -> str:
    """The figure whose error holds for the weights of a model; the widest that applies."""
    if architecture.assumed:
        return "weight_band_assumed"
    if architecture.multimodal:
        return "weight_band_multimodal"
    if held is not None and is_padded(held):
        return "weight_band_padded"
    if held is not None and architecture.quantization is None:
        return "weight_band_at_load"
    return "weight_band"


def _notes(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    accelerator: Accelerator,
    figures: Constants,
    capped: bool,
) -> Iterator[Finding]:
    """What was assumed."""
    yield from newer_version(VLLM.title, figures)
    longest = settings.max_model_len or default_length(architecture, figures)
    if settings.fitted_length and resolved.max_model_len < longest:
        length = resolved.max_model_len
        yield finding(Rule.CONTEXT_FITTED, Field.MAX_MODEL_LEN, length=length, most=longest)
    yield from model_notes(architecture, settings)
    yield from support.notes(architecture, settings, accelerator)
    yield from stored_by_name(architecture)
    if capped:
        share = str(resolved.utilization)
        yield finding(Rule.SHARE_REDUCED, Field.UTILIZATION, share=share)
    if resolved.kv_dtype not in KNOWN_KV_DTYPES:
        dtype = resolved.kv_dtype
        yield finding(Rule.CACHE_DTYPE_ASSUMED, Field.KV_CACHE_DTYPE, dtype=dtype)
    if not accelerator.certain:
        yield finding(Rule.NOMINAL_MEMORY_ASSUMED, Field.ALLOWED, gpu=accelerator.title)
    fitted = settings.fitted_length
    if (
        not (fitted or settings.max_model_len)
        and resolved.max_model_len < architecture.max_model_len
    ):
        yield finding(
            Rule.CONTEXT_MAY_BE_LONGER,
            Field.MAX_MODEL_LEN,
            length=resolved.max_model_len,
            most=architecture.max_model_len,
        )
    if traits(architecture).states and not resolved.first_engine:
        pages = int(figures.number("state_pages"))
        rule = Rule.STATE_PAGES if pages > 1 else Rule.STATE_PAGE
        yield finding(rule, Field.VERSION, pages=pages)
    if VLLMOptions.of(settings).skip_mm_profiling:
        yield finding(Rule.IMAGES_NOT_PROFILED, Field.IMAGES)
    if settings.unread:
        yield finding(Rule.FLAGS_NOT_COUNTED, Field.EXTRA_ARGS, flags=settings.unread)
