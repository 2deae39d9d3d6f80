"""llama.cpp as an `Engine`: every GPU's terms, and of those the GPU that needs most.

It must not hold a figure or a formula; the modules beside it do.

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

from plimsoll.engines.base import Estimate
from plimsoll.engines.layers.visible import visible_memory
from plimsoll.engines.llama_cpp import checks
from plimsoll.engines.llama_cpp.arguments import arguments, read_arguments
from plimsoll.engines.llama_cpp.compute import Graph, shape
from plimsoll.engines.llama_cpp.constants import or_newest
from plimsoll.engines.llama_cpp.defaults import ALL_LAYERS, resolve
from plimsoll.engines.llama_cpp.devices import loads
from plimsoll.engines.llama_cpp.terms import PLAIN_FILES, Gpu, terms
from plimsoll.engines.llama_cpp.weights import has_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import (
        AskedSplit,
        EngineSettings,
        Parallelism,
        Reading,
        Term,
        Workload,
    )
    from plimsoll.engines.llama_cpp.defaults import Resolved
    from plimsoll.engines.llama_cpp.devices import Load
    from plimsoll.engines.tables import Constants
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_LONGEST = 1 << 27


@dataclass(frozen=True, slots=True)
class ContextEstimate(Estimate):
    """An estimate with what only llama.cpp's command line says.

    context: tokens of cache, all slots together. unified: the slots share one cache.
    """

    context: int = 0
    unified: bool = True


class LlamaCpp:
    """llama.cpp's memory model and command line; see `plimsoll.engines.base.Engine`."""

    name = "llama.cpp"
    title = "llama.cpp"
    narrow_cache = "q8_0"
    checkpoints: tuple[tuple[str, int], ...] = ()

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """What the worst GPU of one replica needs; total for what `problems` lets through."""
        figures = or_newest(settings.version)
        resolved = resolve(architecture, settings, workload, figures)
        gpus = [
            Gpu(load, _graph(architecture, resolved, load, parallelism, figures), resolved, figures)
            for load in loads(architecture, resolved, parallelism.pipeline, figures)
        ]
        asked = _asked(resolved, workload)
        context = max(resolved.context, asked) if resolved.fixed else resolved.context
        stages = [terms(architecture, gpu, context, resolved, figures) for gpu in gpus]
        needs = [sum(term.bytes for term in terms) for terms in stages]
        worst = needs.index(max(needs))
        usable = physical = visible_memory(accelerator)
        if resolved.fixed and asked > resolved.context:
            held = gpus[worst].cache(resolved.context)
            others = sum(t.low for t in stages[worst]) - stages[worst][1].low
            usable = min(physical, others + held)
        beside = [need - terms[1].bytes for need, terms in zip(needs, stages, strict=True)]
        longest = _largest(gpus, beside, stages, context, physical, _LONGEST)
        per_request = longest if resolved.unified else longest // resolved.slots
        most = max(resolved.max_model_len, architecture.max_model_len)
        return ContextEstimate(
            parallelism,
            stages[worst],
            worst,
            physical,
            usable,
            Decimal(1),
            figures.version,
            resolved.max_model_len,
            resolved.slots,
            resolved.batch,
            resolved.k_type
            if resolved.k_type == resolved.v_type
            else f"{resolved.k_type}/{resolved.v_type}",
            physical - beside[worst],
            longest,
            min(longest / resolved.max_model_len, float(_LONGEST)),
            min(per_request, most),
            _notes(architecture, settings, resolved, accelerator, figures),
            context=resolved.context,
            unified=resolved.unified,
        )

    def problems(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding | Problem, ...]:
        """Why llama.cpp would refuse to start, memory aside, or cannot do what a field asks."""
        return checks.problems(architecture, settings, parallelism, accelerator)

    def tensor_parallel_sizes(self, architecture: Architecture, most: int) -> tuple[int, ...]:
        """Only 1: several GPUs share a model layer by layer, as pipeline stages."""
        return (1,)

    def read_arguments(
        self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit
    ) -> Reading:
        """The flags of ``llama-server`` beside the typed settings; never raises."""
        return read_arguments(args, settings, asked)

    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The flags of ``llama-server`` that make it run as estimated."""
        context, unified = estimate.max_model_len, True
        if isinstance(estimate, ContextEstimate):
            context, unified = estimate.context, estimate.unified
        return arguments(estimate, settings, context, unified)

    def constants_digest(self, version: str) -> str:
        """Short hash of the figures in force for a build; of the newest for an unreadable one."""
        return or_newest(version).digest


def _graph(
    architecture: Architecture, resolved: Resolved, load: Load, parallelism: Parallelism,
    figures: Constants,
) -> Graph:  # fmt: skip
    pipelined = parallelism.pipeline > 1 and load.whole and resolved.on_gpu
    outputs = min(resolved.micro_batch, resolved.slots)
    if not figures.flag("limited_outputs"):
        outputs = resolved.micro_batch
    return Graph(
        shape(architecture),
        resolved.micro_batch,
        outputs,
        resolved.flash_attention,
        int(figures.number("pipeline_copies")) if pipelined and not load.largest else 1,
        load.largest,
    )


def _asked(resolved: Resolved, workload: Workload) -> int:
    """Tokens of cache that the workload needs where the context is given."""
    length, tokens = resolved.max_model_len, resolved.max_model_len
    if workload.input_tokens is not None and workload.output_tokens is not None:
        tokens = max(1, min(length, workload.input_tokens + workload.output_tokens))
    many = max(1, workload.concurrent or 1)
    return max(length, many * tokens) if resolved.unified else length * resolved.slots


def _largest(
    gpus: list[Gpu], beside: list[int], stages: list[tuple[Term, ...]], context: int,
    physical: int, most: int,
) -> int:  # fmt: skip
    """The longest context of which every GPU holds its part; 0 where not one cell fits."""
    fixed = [rest - terms[2].bytes for rest, terms in zip(beside, stages, strict=True)]

    def fits(tokens: int) -> bool:
        return all(
            rest + gpu.cache(tokens) + gpu.buffer(tokens) + gpu.copy(tokens) <= physical
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
    architecture: Architecture, settings: EngineSettings, resolved: Resolved,
    accelerator: Accelerator, figures: Constants,
) -> tuple[str, ...]:  # fmt: skip
    """What was assumed, in sentences."""
    notes = []
    if figures.newer:
        notes.append(
            f"llama.cpp {figures.version} is newer than the builds known here; "
            "the figures of the newest of them are assumed"
        )
    held = architecture.quantization
    nominal = not has_header(architecture)
    if nominal and not resolved.known:
        stored = f"the checkpoint is stored as {held.method}, no GGUF file type" if held else ""
        notes.append(
            f"{stored or 'nothing says which GGUF file is served'}: its weights are counted as "
            f"{resolved.file}; say spec.engine.quantization (q4_k_m, q8_0 ...)"
        )
    elif nominal and resolved.file not in PLAIN_FILES:
        notes.append(
            f"the mixture of {resolved.file} is taken to be llama-quantize's own; "
            "files of other makers differ by some per cent"
        )
    if resolved.gpu_layers < ALL_LAYERS or resolved.host_experts:
        notes.append("what stays in main memory is not counted: the node must have room for it")
    if architecture.multimodal and not resolved.projector:
        notes.append("text only: --mmproj would load the image or audio tower as well")
    if not accelerator.certain:
        notes.append(f"the memory of {accelerator.title} is nominal, not measured")
    if settings.unread:
        notes.append("not counted: " + ", ".join(settings.unread))
    return tuple(notes)
