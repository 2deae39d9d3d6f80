"""TensorRT-LLM as an `Engine`: every pipeline stage's terms, and of those the one that needs most.

It must not hold a figure or a formula; the modules beside it do.

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

from typing import TYPE_CHECKING

from plimsoll.engines.base import Estimate, Known, Term, TermName
from plimsoll.engines.layers import faults
from plimsoll.engines.layers.sharding import quantization_in_force
from plimsoll.engines.layers.visible import visible_memory
from plimsoll.engines.tensorrt_llm import checks
from plimsoll.engines.tensorrt_llm.arguments import arguments, read_arguments
from plimsoll.engines.tensorrt_llm.constants import TABLE
from plimsoll.engines.tensorrt_llm.defaults import KNOWN_KV_DTYPES, resolve
from plimsoll.engines.tensorrt_llm.kv import stage_caches
from plimsoll.engines.tensorrt_llm.overheads import activation, buffers, graphs
from plimsoll.engines.tensorrt_llm.stages import bounds, weights
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import AskedSplit, EngineSettings, Parallelism, Reading, Workload
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.tensorrt_llm.defaults import Resolved
    from plimsoll.engines.tensorrt_llm.kv import StageCache
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture


class TensorRTLLM:
    """TensorRT-LLM's memory model and command line; see `plimsoll.engines.base.Engine`."""

    name = "tensorrt-llm"
    title = "TensorRT-LLM"
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
        figures = TABLE.or_newest(settings.version)
        resolved = resolve(architecture, settings, figures)
        shared = 1 if resolved.attention_dp else parallelism.tensor
        caches = stage_caches(architecture, resolved, shared, parallelism.pipeline)
        sizes = weights(
            architecture, resolved.dtype, settings.quantization, parallelism, resolved.attention_dp
        )
        replicas = parallelism.tensor if resolved.attention_dp else 1
        requests, tokens = _wanted(workload, resolved, replicas)
        spans = bounds(len(architecture.blocks), parallelism.pipeline)
        stages = [
            (
                _weights(sizes[stage], architecture, settings, resolved, figures),
                _cache(cache, requests, tokens, resolved),
                activation(architecture, resolved, parallelism, stage, figures),
                buffers(parallelism, figures),
                graphs(resolved, spans[stage][1] - spans[stage][0], figures),
            )
            for stage, cache in enumerate(caches)
        ]
        physical = visible_memory(accelerator)
        others = [sum(t.bytes for t in terms) - terms[1].bytes for terms in stages]
        room = [int((physical - rest) * resolved.utilization) for rest in others]
        needs = [terms[1].bytes - have for terms, have in zip(stages, room, strict=True)]
        worst = needs.index(max(needs))
        pairs = list(zip(caches, room, strict=True))
        held = min((c.tokens(have, resolved.block) for c, have in pairs if c.token), default=0)
        most = max(resolved.max_model_len, architecture.max_model_len)
        length = ceil_div(resolved.max_model_len, resolved.block) * resolved.block
        stateless = all(not cache.token for cache in caches)
        return Estimate(
            parallelism,
            stages[worst],
            worst,
            physical,
            max(0, min(physical, others[worst] + room[worst])),
            resolved.utilization,
            figures.version,
            resolved.max_model_len,
            resolved.seqs,
            resolved.batched_tokens,
            resolved.kv_dtype,
            room[worst],
            held * replicas,
            held * replicas / length,
            most if stateless else min(_longest(pairs, resolved), most),
            _notes(architecture, settings, resolved, accelerator, figures),
        )

    def problems(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding | Problem, ...]:
        """Why TensorRT-LLM would refuse to start, memory aside."""
        return checks.problems(architecture, settings, parallelism, accelerator)

    def tensor_parallel_sizes(self, architecture: Architecture, most: int) -> tuple[int, ...]:
        """Tensor-parallel sizes up to `most` that the engine accepts for this model."""
        return faults.tensor_parallel_sizes(architecture, most)

    def read_arguments(
        self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit
    ) -> Reading:
        """The flags of ``trtllm-serve`` beside the typed settings; never raises."""
        return read_arguments(args, settings, asked)

    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The flags of ``trtllm-serve`` that make it run as estimated."""
        return arguments(estimate, settings)

    def constants_digest(self, version: str) -> str:
        """Short hash of the figures in force; of the newest for an unreadable version."""
        return TABLE.or_newest(version).digest


def _wanted(workload: Workload, resolved: Resolved, replicas: int) -> tuple[int, int]:
    """Requests and tokens of each that the busiest rank must hold."""
    length = tokens = resolved.max_model_len
    if workload.input_tokens is not None and workload.output_tokens is not None:
        tokens = max(1, min(length, workload.input_tokens + workload.output_tokens))
    requests = ceil_div(max(1, workload.concurrent or 1), replicas)
    if workload.concurrent is None or requests * tokens <= length:
        return 1, length
    return requests, tokens


def _cache(cache: StageCache, requests: int, tokens: int, resolved: Resolved) -> Term:
    size = cache.need(requests, tokens, resolved.block)
    low = cache.least(requests, tokens, resolved.block)
    known = Known.EXACT if resolved.kv_dtype in KNOWN_KV_DTYPES else Known.ASSUMED
    if low < size or cache.state:
        known = Known.ASSUMED
    if resolved.kv_dtype not in KNOWN_KV_DTYPES:
        low //= 4
    dtype = resolved.dtype if resolved.kv_dtype == "auto" else resolved.kv_dtype
    word = "request" if requests == 1 else "requests"
    return Term(
        TermName.KV_CACHE, size, low, size, known, f"{requests} {word} x {tokens} tokens, {dtype}"
    )


def _longest(pairs: list[tuple[StageCache, int]], resolved: Resolved) -> int:
    """Tokens of the longest request, in whole blocks."""
    fits = [
        max(0, have - cache.state) // (cache.token * resolved.block) * resolved.block
        for cache, have in pairs
        if cache.token
    ]
    return min(fits, default=0)


def _weights(
    size: int, architecture: Architecture, settings: EngineSettings, resolved: Resolved,
    figures: Constants,
) -> Term:  # fmt: skip
    held = quantization_in_force(architecture, settings.quantization)
    unsure = architecture.assumed or architecture.multimodal
    unsure = unsure or (held is not None and architecture.quantization is None)
    schemes = (held.default, *(s for _, s in held.special)) if held is not None else ()
    padded = any(s is not None and s.name in ("mxfp4", "nvfp4") for s in schemes)
    name = "weight_band_padded" if padded else "weight_band"
    figure = figures["weight_band_assumed" if unsure else name]
    word = held.method if held else settings.quantization
    return Term(
        TermName.WEIGHTS,
        size,
        int(size * (1 - figure.error)),
        round(size * (1 + figure.error)),
        figure.known,
        f"{word}, rest {resolved.dtype}" if word else resolved.dtype,
    )


def _notes(
    architecture: Architecture, settings: EngineSettings, resolved: Resolved,
    accelerator: Accelerator, figures: Constants,
) -> tuple[str, ...]:  # fmt: skip
    """What was assumed, in sentences."""
    notes = [
        "activation, buffers and CUDA graphs of TensorRT-LLM are assumed: few start-ups are public"
    ]
    if figures.newer:
        notes.append(
            f"TensorRT-LLM {figures.version} is newer than the constants known here; "
            "those of the newest version are assumed"
        )
    if not resolved.pytorch:
        notes.append(
            "a built engine: max_batch_size, max_num_tokens and max_seq_len are those it was "
            "built with"
        )
    if resolved.kv_dtype not in KNOWN_KV_DTYPES:
        notes.append(f"KV cache dtype {resolved.kv_dtype} is not known here; 16 bits are assumed")
    if settings.kv_cache_dtype and not figures.flag("cache_dtype_flag"):
        notes.append(
            f"TensorRT-LLM {figures.version} takes the cache dtype from its options file: "
            f"kv_cache_config: {{dtype: {settings.kv_cache_dtype}}}"
        )
    if not accelerator.certain:
        notes.append(f"the memory of {accelerator.title} is nominal, not measured")
    if settings.unread:
        notes.append("not counted: " + ", ".join(settings.unread))
    return tuple(notes)
