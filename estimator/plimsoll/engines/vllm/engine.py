"""vLLM as an `Engine`: every pipeline stage's terms, and of those the stage that needs most.

It must not hold a figure or a formula; the modules beside it do.

    per stage   weights + KV cache + activation + non-torch + CUDA graphs [+ LoRA slots + draft]
    reported    the stage with the largest sum
    physical    what a process sees of the GPU, a little less than its label says
    usable      floor(physical x utilization), at most physical - what lies outside the budget
    KV cache    the larger of one request of max_model_len and the workload on one data rank
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.engines.base import NO_CACHE, Estimate, Known, Term, TermName, Workload
from plimsoll.engines.layers import faults
from plimsoll.engines.layers.dtypes import KNOWN_KV_DTYPES
from plimsoll.engines.layers.sharding import quantization_in_force, stage_layers, stage_weights
from plimsoll.engines.layers.visible import visible_memory
from plimsoll.engines.vllm import checks, lora, multimodal, offload, pooling, speculative
from plimsoll.engines.vllm.activation import activation
from plimsoll.engines.vllm.arguments import arguments, read_arguments
from plimsoll.engines.vllm.constants import constants
from plimsoll.engines.vllm.defaults import Resolved, resolve
from plimsoll.engines.vllm.kv import Cache, cache
from plimsoll.engines.vllm.overheads import graphs, non_torch, outside
from plimsoll.engines.vllm.traits import traits
from plimsoll.errors import Unreadable
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import AskedSplit, EngineSettings, Parallelism, Reading
    from plimsoll.engines.tables import Constants
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture
    from plimsoll.models.quantization import Quantization


class VLLM:
    """vLLM's memory model and command line; see `plimsoll.engines.base.Engine`."""

    name = "vllm"
    title = "vLLM"
    narrow_cache = "fp8"
    checkpoints: tuple[tuple[str, int], ...] = (("fp8", 8), ("awq", 4))

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """What the worst rank of one replica needs; total for what `problems` lets through."""
        figures = _figures(settings)
        pools = pooling.is_pooling(architecture, settings)
        architecture = multimodal.loaded(architecture, settings, figures)
        if pools:
            architecture = pooling.loaded(architecture)
        profiled = multimodal.profiled(architecture, settings)
        if pools:
            profiled = pooling.without_logits(profiled)
        resolved = resolve(architecture, settings, accelerator, figures)
        draft = speculative.draft_of(architecture, settings)
        graphed = speculative.graphed(resolved, draft)
        kv = cache(
            architecture,
            parallelism,
            figures,
            dtype=resolved.kv_dtype,
            model_bytes=resolved.element,
            block_size=settings.block_size,
            batched_tokens=resolved.batched_tokens,
            draft=draft,
            context=int(dict(settings.own).get("decode-context-parallel-size", 1)),
            apart=offload.groups_layers(settings, figures),
        )
        weights = stage_weights(architecture, resolved.dtype, settings.quantization, parallelism)
        bounds = stage_layers(len(architecture.blocks), parallelism.pipeline)
        requests, tokens, basis = _wanted(kv, workload, resolved, parallelism)
        buffers = non_torch(parallelism, accelerator, figures)
        stages: list[tuple[Term, ...]] = []
        beside = 0
        for stage, (start, end) in enumerate(bounds):
            size = (architecture, graphed, parallelism, end - start, accelerator, figures)
            size_held = weights[stage] + multimodal.buffers(architecture, resolved)
            held = _weights(size_held, figures, settings, resolved, architecture)
            terms = (
                offload.kept(architecture, settings, resolved.dtype, parallelism, stage, held),
                _kv_term(kv, stage, requests, tokens, basis, resolved),
                activation(profiled, settings, resolved, parallelism, stage, figures),
                buffers,
                lora.graphs(graphs(*size), settings, figures),
                lora.lora(architecture, settings, resolved.element, parallelism, stage, figures),
                speculative.term(
                    architecture, settings, draft, resolved, parallelism, stage, figures
                ),
            )
            stages.append(tuple(term for term in terms if term is not None))
            beside = max(beside, outside(*size))
        physical = visible_memory(accelerator)
        asked = int(physical * resolved.utilization)
        usable = max(0, min(asked, physical - beside))
        needs = [sum(term.bytes for term in terms) for terms in stages]
        worst = needs.index(max(needs))
        room = [usable - need + terms[1].bytes for need, terms in zip(needs, stages, strict=True)]
        fixed = offload.fixed_cache(settings, kv.pool)
        if fixed is not None:
            room = list(fixed)
            flag = offload.fixing_flag(settings)
            usable, stages = _fixed_cache(stages, worst, fixed, max(0, physical - beside), flag)
        blocks = kv.holds(room)
        longest = kv.longest(room, max(resolved.max_model_len, architecture.max_model_len))
        return Estimate(
            parallelism,
            stages[worst],
            worst,
            physical,
            usable,
            resolved.utilization,
            figures.version,
            resolved.max_model_len,
            resolved.seqs,
            resolved.batched_tokens,
            resolved.kv_dtype,
            room[worst],
            kv.tokens(blocks, resolved.max_model_len) * parallelism.data,
            kv.concurrency(blocks, resolved.max_model_len) * parallelism.data,
            longest,
            _notes(architecture, settings, resolved, accelerator, figures, asked > usable),
        )

    def problems(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding | Problem, ...]:
        """Why vLLM would refuse to start, memory aside."""
        return checks.problems(architecture, settings, parallelism, accelerator)

    def tensor_parallel_sizes(self, architecture: Architecture, most: int) -> tuple[int, ...]:
        """Tensor-parallel sizes up to `most` that divide the heads and the padded vocabulary."""
        return faults.tensor_parallel_sizes(architecture, most)

    def read_arguments(
        self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit
    ) -> Reading:
        """The flags of ``vllm serve`` beside the typed settings; never raises."""
        return read_arguments(args, settings, asked)

    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The flags of ``vllm serve`` that make it run as estimated."""
        return arguments(estimate, settings)

    def constants_digest(self, version: str) -> str:
        """Short hash of the figures in force for a version; of the newest for an unreadable one."""
        try:
            return constants(version).digest
        except Unreadable:
            return constants().digest


def _fixed_cache(
    stages: list[tuple[Term, ...]], worst: int, fixed: Sequence[int], most: int, flag: str
) -> tuple[int, list[tuple[Term, ...]]]:
    """Usable bytes and terms where a flag that fixes the cache replaces the utilization.

    fixed: bytes of cache on each stage. A cache of that size is allocated whatever is asked of it.
    Where more is asked, the engine refuses: usable memory then ends with that cache, below the
    least that may be needed.
    """
    cache_term = stages[worst][1]
    if cache_term.low > fixed[worst]:
        others = sum(term.low for term in stages[worst]) - cache_term.low
        return min(most, others + fixed[worst]), stages
    basis = f"fixed by {flag}; needed: {cache_term.basis}"
    held = [Term(TermName.KV_CACHE, size, size, size, Known.EXACT, basis) for size in fixed]
    return most, [(terms[0], own, *terms[2:]) for terms, own in zip(stages, held, strict=True)]


def _figures(settings: EngineSettings) -> Constants:
    """The figures for the version said; the newest where `problems` will refuse it."""
    try:
        return constants(settings.version)
    except Unreadable:
        return constants()


def _wanted(
    kv: Cache, workload: Workload, resolved: Resolved, parallelism: Parallelism
) -> tuple[int, int, str]:
    """Requests and tokens of each that one data-parallel rank must hold, and that in words."""
    length = resolved.max_model_len
    tokens = length
    if workload.input_tokens is not None and workload.output_tokens is not None:
        tokens = max(1, min(length, workload.input_tokens + workload.output_tokens))
    requests = ceil_div(max(1, workload.concurrent or 1), parallelism.data)
    if workload.concurrent is None or requests * kv.blocks(tokens) <= kv.blocks(length):
        requests, tokens = 1, length
    word = "request" if requests == 1 else "requests"
    return requests, tokens, f"{requests} {word} x {tokens} tokens"


def _kv_term(
    kv: Cache, stage: int, requests: int, tokens: int, basis: str, resolved: Resolved
) -> Term:
    size = kv.need(stage, requests, tokens)
    known = Known.EXACT if resolved.kv_dtype in KNOWN_KV_DTYPES else Known.ASSUMED
    dtype = resolved.dtype if resolved.kv_dtype == "auto" else resolved.kv_dtype
    low = size if known is Known.EXACT else size // 4
    words = f"{basis}, {dtype}" if kv.pool.groups else NO_CACHE
    return Term(TermName.KV_CACHE, size, low, size, known, words)


def _weights(
    size: int,
    figures: Constants,
    settings: EngineSettings,
    resolved: Resolved,
    architecture: Architecture,
) -> Term:
    held = quantization_in_force(architecture, settings.quantization)
    figure = figures[_weight_band(architecture, held)]
    exact = figure is figures["weight_band"]
    word = held.method if held else settings.quantization
    return Term(
        TermName.WEIGHTS,
        size,
        int(size * (1 - figure.error)),
        round(size * (1 + figure.error)),
        Known.EXACT if exact else figure.known,
        f"{word}, rest {resolved.dtype}" if word else resolved.dtype,
    )


def _weight_band(architecture: Architecture, held: Quantization | None) -> str:
    """The figure whose error holds for the weights of a model; the widest that applies."""
    if architecture.assumed:
        return "weight_band_assumed"
    if architecture.multimodal:
        return "weight_band_multimodal"
    if held is not None and _is_padded(held):
        return "weight_band_padded"
    if held is not None and architecture.quantization is None:
        return "weight_band_at_load"
    return "weight_band"


def _is_padded(quantization: Quantization) -> bool:
    schemes = (quantization.default, *(scheme for _, scheme in quantization.special))
    return any(s is not None and s.name in ("mxfp4", "nvfp4") for s in schemes)


def _notes(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    accelerator: Accelerator,
    figures: Constants,
    capped: bool,
) -> tuple[str, ...]:
    """What was assumed, in sentences."""
    notes = []
    if figures.newer:
        notes.append(
            f"vLLM {figures.version} is newer than the constants known here; "
            "those of the newest version are assumed"
        )
    if capped:
        notes.append(
            f"utilization {resolved.utilization} leaves no room for what vLLM does not count "
            "(CUDA context, NCCL, graphs that are not charged); usable memory is reduced by it"
        )
    if resolved.kv_dtype not in KNOWN_KV_DTYPES:
        notes.append(f"KV cache dtype {resolved.kv_dtype} is not known here; 16 bits are assumed")
    if not accelerator.certain:
        notes.append(f"the memory of {accelerator.title} is nominal, not measured")
    if settings.max_model_len is None and resolved.max_model_len < architecture.max_model_len:
        notes.append(
            f"vLLM starts this LongRoPE model with {resolved.max_model_len} tokens; "
            f"maxModelLen may be up to {architecture.max_model_len}"
        )
    if traits(architecture).states:
        pages = int(figures.number("state_pages"))
        notes.append(f"recurrent layers keep {pages} page{'s' * (pages > 1)} of state a sequence")
    if "skip-mm-profiling" in dict(settings.own):
        notes.append("images take memory beside this estimate: --skip-mm-profiling measures none")
    if settings.unread:
        notes.append("not counted: " + ", ".join(settings.unread))
    return tuple(notes)
