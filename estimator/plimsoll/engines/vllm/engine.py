"""vLLM as an `Engine`: every pipeline stage's terms, and of those the stage that needs most.

per stage   weights + KV cache + activation + non-torch + CUDA graphs [+ LoRA slots + draft]
reported    the stage with the largest sum
physical    what a process sees of the GPU, a little less than its label says
usable      floor(physical x utilization), at most physical - the CUDA context and what others hold
limits      what a start must hold beside that: `plimsoll.engines.vllm.limits`
KV cache    the larger of one request of max_model_len and the workload on one data rank
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    latent,
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
    from plimsoll.engines.base import EngineSettings, Limit, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.speculative import Draft
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture


_FLASHINFER_DELTA: Final = (9, 10, 12)
"""Compute capabilities on which FlashInfer runs gated delta nets."""


class VLLM(Engine):
    """vLLM's memory model and command line; see `plimsoll.engines.assemble.Engine`."""

    name = "vllm"
    halves_groups = False
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
        return _StartUp.of(architecture, settings, workload, parallelism, accelerator).estimate()


@dataclass(frozen=True, slots=True)
class _StartUp:
    """One start-up: what was asked for, and what the engine makes of it before it loads anything.

    architecture: as it is loaded; profiled: as the engine's trial pass runs it; graphed: the
    settings that CUDA graphs are captured with.
    """

    architecture: Architecture
    profiled: Architecture
    settings: EngineSettings
    options: VLLMOptions
    resolved: Resolved
    graphed: Resolved
    workload: Workload
    parallelism: Parallelism
    accelerator: Accelerator
    figures: Constants
    draft: Draft | None
    kv: Cache

    @classmethod
    def of(
        cls,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> _StartUp:
        """What a request comes to; see `Engine.estimate`."""
        figures, options = TABLE.or_newest(settings.version), VLLMOptions.of(settings)
        pools = is_pooling(architecture, settings)
        architecture = multimodal.loaded(architecture, settings, figures)
        if pools:
            architecture = without_head(architecture)
        profiled = multimodal.profiled(architecture, settings)
        if pools:
            profiled = without_logits(profiled)
        resolved = resolve(architecture, settings, accelerator, figures)
        draft = speculative.draft_of(architecture, settings)
        kv = cache(
            first.cached(architecture, resolved, figures),
            parallelism,
            figures,
            dtype=resolved.kv_dtype,
            model_bytes=resolved.element,
            block_size=latent.block(architecture, settings, accelerator, figures),
            batched_tokens=resolved.batched_tokens,
            draft=draft,
            context=options.decode_context_parallel_size or 1,
            apart=offload.groups_layers(settings, figures),
            prefix_caching=options.enable_prefix_caching,
            checkpoints=accelerator.compute[0] in _FLASHINFER_DELTA,
            state_dtypes=(options.mamba_cache_dtype or "", options.mamba_ssm_cache_dtype or ""),
        )
        return cls(
            architecture=architecture,
            profiled=profiled,
            settings=settings,
            options=options,
            resolved=resolved,
            graphed=speculative.graphed(resolved, draft),
            workload=workload,
            parallelism=parallelism,
            accelerator=accelerator,
            figures=figures,
            draft=draft,
            kv=kv,
        )

    def estimate(self) -> Estimate:
        """The estimate of the stage that needs most."""
        resolved, kv, parallelism = self.resolved, self.kv, self.parallelism
        held = self._held(resolved.max_model_len)
        stages, unseen = self._stages(held)
        physical = visible_memory(self.accelerator)
        asked = int(physical * resolved.utilization)
        most = self._most(physical, max(unseen))
        usable = min(asked, most)
        worst = worst_stage(stages)
        room = room_for_cache(usable, stages)
        spans = [Span(usable - t.beside_cache, *_band(usable, t)) for t in stages]
        fixed = offload.fixed_cache(self.settings, kv.pool)
        if self.settings.fitted_length:
            rooms = [span.low for span in spans] if fixed is None else fixed
            resolved, held = self._fitted(rooms)
            terms_of = [_kv_term(kv, stage, held, resolved) for stage in range(len(stages))]
            stages = [t.replaced(term) for t, term in zip(stages, terms_of, strict=True)]
        if fixed is not None:
            room, spans = list(fixed), [Span(size, size, size) for size in fixed]
            flag = offload.fixing_flag(self.settings)
            usable, stages = _fixed_cache(stages, worst, fixed, most, flag)
        budget = None if fixed is not None or not kv.pool.groups else asked
        fitted = self if resolved is self.resolved else replace(self, resolved=resolved)
        blocks = kv.holds(room)
        longest = kv.longest(room, max(resolved.max_model_len, self.architecture.max_model_len))
        return Estimate(
            parallelism=parallelism,
            terms=reaching(stages, worst),
            stage=worst,
            stage_needs=tuple(one.bytes for one in stages),
            physical=physical,
            usable=usable,
            utilization=resolved.utilization,
            version=self.figures.version,
            max_model_len=resolved.max_model_len,
            max_num_seqs=resolved.seqs,
            max_num_batched_tokens=resolved.batched_tokens,
            kv_cache_dtype=resolved.kv_dtype,
            kv_capacity=room[worst],
            kv_tokens=kv.tokens(blocks, resolved.max_model_len) * parallelism.data,
            max_concurrency=kv.concurrency(blocks, resolved.max_model_len) * parallelism.data,
            largest_max_model_len=longest,
            notes=tuple(fitted._notes(capped=asked > usable)),
            limits=tuple(fitted._limits(stages, unseen, spans, physical, budget)),
        )

    def _held(self, length: int) -> Held:
        """What the cache must hold at once. length: tokens of the longest sequence."""
        return held_at_once(
            self.workload,
            length,
            self.parallelism.data,
            lambda requests, tokens: requests * self.kv.blocks(tokens),
        )

    def _fitted(self, rooms: Sequence[int]) -> tuple[Resolved, Held]:
        """The settings with the longest context that surely fits, and what is held then.

        rooms: the least bytes that each stage has for its cache. What the workload asks of one
        sequence is asked whatever fits.
        """
        length = max(1, self.kv.longest(rooms, self.resolved.max_model_len))
        asked, workload = 0, self.workload
        if workload.input_tokens is not None and workload.output_tokens is not None:
            asked = sequence_tokens(workload, self.resolved.max_model_len)
        return replace(self.resolved, max_model_len=length), self._held(max(length, asked))

    def _bounds(self) -> tuple[tuple[int, int], ...]:
        """The first layer of each stage and the one after its last."""
        return stage_layers(len(self.architecture.blocks), self.parallelism.pipeline)

    def _stages(self, held: Held) -> tuple[list[Terms], list[int]]:
        """The terms of each stage, and the bytes that it takes and the engine does not charge."""
        settings, resolved, split = self.settings, self.resolved, self.parallelism
        architecture, figures, gpu = self.architecture, self.figures, self.accelerator
        padding = kernels.padding(architecture, settings, split, gpu, figures)
        lying = support.on_stages(kernels.held(architecture, gpu, figures), settings, split)
        unsplit, word = figures.flag("loading_unsplit"), settings.quantization
        asked = (lying, resolved.dtype, word, split)
        weights = stage_weights(*asked, padding, views=True, whole=unsplit)
        plain = stage_weights(*asked, views=True, whole=unsplit)
        beside = latent.loaded(architecture, resolved, gpu, figures)
        beside += multimodal.buffers(architecture, resolved)
        buffers = non_torch(split, gpu, figures)
        stages, unseen = list[Terms](), list[int]()
        for stage, (start, end) in enumerate(self._bounds()):
            size = (architecture, self.graphed, split, end - start, gpu, figures)
            spared = max(0, weights[stage] - plain[stage])
            loaded = weights[stage] + beside
            band = _weight_band(architecture, settings, gpu)
            whole = _weights(loaded, spared, band, figures, settings, resolved, architecture)
            terms = (
                offload.kept(architecture, settings, resolved.dtype, split, stage, whole),
                _kv_term(self.kv, stage, held, resolved),
                self._activation(stage),
                buffers,
                lora.graphs(graphs(*size), settings, figures),
                runner.term(self.profiled, resolved, split, stage, figures),
                first.states(architecture, settings, resolved, split, stage),
                lora.lora(architecture, settings, resolved.element, split, stage, figures),
                speculative.term(
                    architecture, settings, self.draft, resolved, split, stage, figures
                ),
            )
            stages.append(Terms(tuple(term for term in terms if term is not None)))
            unseen.append(runner.uncharged(self.profiled, resolved, split, stage, figures))
        return stages, unseen

    def _activation(self, stage: int) -> Term:
        """The trial pass of a stage, in the range of start-ups like it, a first one among them."""
        settings, resolved, split = self.settings, self.resolved, self.parallelism
        gpu, figures = self.accelerator, self.figures
        took = activation(self.profiled, settings, resolved, split, stage, gpu, figures)
        like = ranged(took, self.architecture, split, gpu, figures)
        return cold.first_start(like, self.architecture, resolved, split, stage, figures)

    def _most(self, physical: int, unseen: int) -> int:
        """Bytes that the engine may take at most, however large a share it is given."""
        around = context(
            self.architecture, self.resolved, self.parallelism, self.accelerator, self.figures
        )
        charged = limits.charges_others(self.resolved, self.figures)
        others = 0 if charged else self.accelerator.reserved
        return max(0, physical - (around.high + unseen) - others)

    def _limits(
        self,
        stages: Sequence[Terms],
        unseen: Sequence[int],
        spans: Sequence[Span],
        physical: int,
        budget: int | None,
    ) -> Iterator[Limit]:
        """What a start must hold beside its terms; see `plimsoll.engines.vllm.limits`.

        spans: what each stage has for its cache. budget: None where no share of memory is in force.
        """
        architecture, settings, resolved = self.architecture, self.settings, self.resolved
        for peak in (limits.loading, limits.asleep):
            found = peak(
                architecture,
                settings,
                resolved,
                self.parallelism,
                physical=physical,
                accelerator=self.accelerator,
                constants=self.figures,
            )
            if found is not None:
                yield found
        states = limits.states(
            architecture, resolved, self.kv, spans, self.accelerator, self.figures
        )
        if states is not None:
            yield states
        bounds = self._bounds()
        after = (
            limits.after_cache(
                architecture,
                settings,
                resolved,
                self.parallelism,
                end - start,
                stages[stage],
                physical=physical - unseen[stage],
                budget=budget,
                last=stage == len(bounds) - 1,
                accelerator=self.accelerator,
                constants=self.figures,
            )
            for stage, (start, end) in enumerate(bounds)
        )
        yield min(after, key=lambda limit: limit.has.middle - limit.need.middle)

    def _notes(self, *, capped: bool) -> Iterator[Finding]:
        """What was assumed. capped: the share of memory is more than there is."""
        architecture, settings, resolved = self.architecture, self.settings, self.resolved
        yield from newer_version(VLLM.title, self.figures)
        longest = settings.max_model_len or default_length(architecture, self.figures)
        if settings.fitted_length and resolved.max_model_len < longest:
            length = resolved.max_model_len
            yield finding(Rule.CONTEXT_FITTED, Field.MAX_MODEL_LEN, length=length, most=longest)
        yield from model_notes(architecture, settings)
        yield from support.notes(architecture, settings, self.accelerator)
        yield from stored_by_name(architecture)
        if capped:
            share = str(resolved.utilization)
            yield finding(Rule.SHARE_REDUCED, Field.UTILIZATION, share=share)
        if resolved.kv_dtype not in KNOWN_KV_DTYPES:
            dtype = resolved.kv_dtype
            yield finding(Rule.CACHE_DTYPE_ASSUMED, Field.KV_CACHE_DTYPE, dtype=dtype)
        if not self.accelerator.certain:
            yield finding(Rule.NOMINAL_MEMORY_ASSUMED, Field.ALLOWED, gpu=self.accelerator.title)
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
            pages = int(self.figures.number("state_pages"))
            rule = Rule.STATE_PAGES if pages > 1 else Rule.STATE_PAGE
            yield finding(rule, Field.VERSION, pages=pages)
        if self.options.skip_mm_profiling:
            yield finding(Rule.IMAGES_NOT_PROFILED, Field.IMAGES)
        if settings.unread:
            yield finding(Rule.FLAGS_NOT_COUNTED, Field.EXTRA_ARGS, flags=settings.unread)


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
    band_name: str,
    figures: Constants,
    settings: EngineSettings,
    resolved: Resolved,
    architecture: Architecture,
) -> Term:
    """The weights of a rank. spared: bytes less if the kernel is not the one that pads."""
    in_force = quantization_in_force(architecture, settings.quantization)
    figure = figures[band_name]
    known = Known.EXACT if figure is figures["weight_band"] else figure.known
    low, high = around(size, figure.error)
    rounded = round(figures.number("weight_floor_band") * GIB)
    band = (min(max(0, low - spared), max(0, size - rounded)), max(high, size + rounded))
    known = Known.MODELLED if spared else known
    dtype, word = resolved.dtype, settings.quantization
    return weights_term(architecture, size, band, known, dtype, in_force, word)


def _weight_band(architecture: Architecture, settings: EngineSettings, gpu: Accelerator) -> str:
    """The figure whose error holds for the weights of a model; the widest that applies."""
    held = quantization_in_force(architecture, settings.quantization)
    if architecture.assumed:
        return "weight_band_assumed"
    if architecture.multimodal:
        return "weight_band_multimodal"
    if held is not None and is_padded(held) and not kernels.one_kernel(held, gpu):
        return "weight_band_padded"
    if held is not None and architecture.quantization is None:
        return "weight_band_at_load"
    return "weight_band"
