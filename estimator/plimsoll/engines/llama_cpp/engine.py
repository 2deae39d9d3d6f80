"""llama.cpp as an `Engine`: every GPU's terms, and of those the GPU that needs most.

    per GPU     weights of its layers + cells of their cache + compute buffer + CUDA context
    reported    the GPU with the largest sum; a pipeline stage is a GPU of a split by layers
    usable      all that a process sees of the GPU: llama.cpp has no share of memory to keep to
    starts      where every buffer can be allocated: required <= usable on every GPU
    cache       allocated whole at the start, for the context that --ctx-size says

From b7410 the engine lowers a context and a number of GPU layers that nobody said until they fit
(``--fit``). An estimate is of what is asked for: `arguments` says both, and switches that off.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from plimsoll.engines.assemble import Engine, sequence_tokens, uncounted, worst_stage
from plimsoll.engines.base import Estimate, TermName, Terms
from plimsoll.engines.layers.gpu_memory import free_memory
from plimsoll.engines.llama_cpp import checks
from plimsoll.engines.llama_cpp.files import has_header
from plimsoll.engines.llama_cpp.graph import Graph, build, shape
from plimsoll.engines.llama_cpp.memory import PLAIN_FILES, Gpu, loads, terms
from plimsoll.engines.llama_cpp.settings import (
    ALL_LAYERS,
    TABLE,
    LlamaCppOptions,
    named_models,
    read_arguments,
    resolve,
    write_arguments,
)
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import (
        EngineSettings,
        Parallelism,
        Workload,
    )
    from plimsoll.engines.llama_cpp.memory import Load
    from plimsoll.engines.llama_cpp.settings import Resolved
    from plimsoll.engines.tables import Constants
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_LONGEST = 1 << 27
_LEAST = 4096
"""Tokens below which ``--fit`` lowers no context (fit_params_min_ctx of common/common.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEstimate(Estimate):
    """An estimate with what only llama.cpp's command line says.

    context: tokens of cache, all slots together. unified: the slots share one cache.
    """

    context: int = 0
    unified: bool = True


class LlamaCpp(Engine):
    """llama.cpp's memory model and command line; see `plimsoll.engines.assemble.Engine`."""

    name = "llama.cpp"
    title = "llama.cpp"
    narrow_cache = "q8_0"
    checkpoints: tuple[tuple[str, int], ...] = ()
    table = TABLE
    check = staticmethod(checks.problems)
    read = staticmethod(read_arguments)
    named_models = staticmethod(named_models)

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """What the worst GPU of one replica needs; total for what `problems` lets through."""
        figures = TABLE.or_newest(settings.version)
        resolved = resolve(architecture, settings, workload, figures)
        gpus = [
            Gpu(load, _graph(architecture, resolved, load, parallelism, figures), resolved, figures)
            for load in loads(architecture, resolved, parallelism.pipeline, figures)
        ]
        asked = _asked(resolved, workload)
        context = max(resolved.context, asked) if resolved.fixed else resolved.context
        stages = [terms(architecture, gpu, context, resolved, figures) for gpu in gpus]
        worst = worst_stage(stages)
        usable = physical = free_memory(accelerator)
        if resolved.fixed and asked > resolved.context:
            held = gpus[worst].cache(resolved.context)
            usable = min(physical, stages[worst].low_beside_cache + held)
        longest = _largest(gpus, stages, context, physical, _LONGEST)
        per_request = longest if resolved.unified else longest // resolved.slots
        most = max(resolved.max_model_len, architecture.max_model_len)
        return ContextEstimate(
            parallelism=parallelism,
            terms=stages[worst],
            stage=worst,
            stage_needs=tuple(one.bytes for one in stages),
            physical=physical,
            usable=usable,
            utilization=Decimal(1),
            version=figures.version,
            max_model_len=resolved.max_model_len,
            max_num_seqs=resolved.slots,
            max_num_batched_tokens=resolved.batch,
            kv_cache_dtype="/".join(dict.fromkeys((resolved.k_type, resolved.v_type))),
            kv_capacity=physical - stages[worst].beside_cache,
            kv_tokens=longest,
            max_concurrency=min(longest / resolved.max_model_len, float(_LONGEST)),
            largest_max_model_len=min(per_request, most),
            notes=tuple(_notes(architecture, settings, resolved, accelerator, figures)),
            context=resolved.context,
            unified=resolved.unified,
        )

    def shortened(self, estimate: Estimate, settings: EngineSettings) -> int:
        """From b7410 ``--fit`` shortens a context that nobody said, to 4096 tokens at least."""
        options, figures = LlamaCppOptions.of(settings), TABLE.or_newest(settings.version)
        said = settings.max_model_len or options.ctx_size or options.fit == "off"
        longest = estimate.largest_max_model_len
        return longest if figures.flag("fits_itself") and not said and longest >= _LEAST else 0

    def tensor_parallel_sizes(self, architecture: Architecture, most: int) -> tuple[int, ...]:
        """Only 1: several GPUs share a model layer by layer, as pipeline stages."""
        return (1,)

    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The flags of ``llama-server`` that make it run as estimated."""
        context, unified = estimate.max_model_len, True
        if isinstance(estimate, ContextEstimate):
            context, unified = estimate.context, estimate.unified
        return write_arguments(estimate, settings, context, unified)


def _graph(
    architecture: Architecture,
    resolved: Resolved,
    load: Load,
    parallelism: Parallelism,
    figures: Constants,
) -> Graph:
    pipelined = parallelism.pipeline > 1 and load.whole and resolved.on_gpu
    outputs = min(resolved.micro_batch, resolved.slots)
    if not figures.flag("limited_outputs"):
        outputs = resolved.micro_batch
    return Graph(
        shape(architecture),
        build(figures),
        resolved.micro_batch,
        outputs,
        resolved.flash_attention,
        int(figures.number("pipeline_copies")) if pipelined and not load.largest else 1,
        load.largest,
    )


def _asked(resolved: Resolved, workload: Workload) -> int:
    """Tokens of cache that the workload needs where the context is given."""
    length, many = resolved.max_model_len, max(1, workload.concurrent or 1)
    tokens = sequence_tokens(workload, length)
    return max(length, many * tokens) if resolved.unified else length * resolved.slots


def _largest(gpus: list[Gpu], stages: list[Terms], context: int, physical: int, most: int) -> int:
    """The longest context of which every GPU holds its part; 0 where not one cell fits."""
    fixed = [terms.beside_cache - terms[TermName.ACTIVATION].bytes for terms in stages]

    def fits(tokens: int) -> bool:
        return all(
            rest + gpu.cache(tokens) + gpu.beside(tokens) <= physical
            for rest, gpu in zip(fixed, gpus, strict=True)
        )

    step = int(gpus[0].figures.number("cell_padding")) * (
        1 if gpus[0].resolved.unified else gpus[0].resolved.slots
    )
    low, high = 0, max(1, most // step)
    if fits(high * step):
        return high * step
    guess = max(1, context // step)
    if fits(guess * step):
        low = guess
    else:
        high = guess
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle * step):
            low = middle
        else:
            high = middle
    return low * step


def _notes(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    accelerator: Accelerator,
    figures: Constants,
) -> Iterator[Finding]:
    """What was assumed."""
    if figures.newer:
        yield finding(
            Rule.NEWER_BUILD_ASSUMED,
            Field.VERSION,
            engine=TABLE.title,
            version=figures.version,
        )
    held = architecture.quantization
    nominal = not has_header(architecture)
    if nominal and not resolved.known:
        other = held is not None and held.method != "gguf"
        rule = Rule.FILE_TYPE_OF_OTHER_KIND if other else Rule.FILE_TYPE_UNSAID
        method = held.method if held else ""
        yield finding(rule, Field.QUANTIZATION, method=method, file=resolved.file)
    elif nominal and resolved.file not in PLAIN_FILES:
        file = resolved.file
        yield finding(Rule.FILE_MIXTURE_ASSUMED, Field.QUANTIZATION, file=file)
    if resolved.gpu_layers < ALL_LAYERS or resolved.host_experts:
        yield finding(Rule.MAIN_MEMORY_NOT_COUNTED, Field.EXTRA_ARGS)
    if architecture.multimodal and not resolved.projector:
        yield finding(Rule.TEXT_ONLY, Field.EXTRA_ARGS)
    yield from uncounted(settings, accelerator)
