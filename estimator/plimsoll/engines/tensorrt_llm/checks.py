"""Why TensorRT-LLM would refuse to start with a model, a split and a GPU, memory aside.

It must not compute memory.

    heads % tp = 0                      unless attention is data parallel
    kv_heads % tp = 0 or tp % kv_heads = 0, vocabulary and quantization blocks: as for vLLM
    pipeline stages <= layers           an engine's layers must divide by them
    experts % ep_size = 0, tp % ep_size = 0
    data                                1: replicas, or --enable_attention_dp
    max_seq_len                         <= the model's
    fp8 cache from compute 8.9, nvfp4 from 10.0; NVIDIA GPUs only; MIG slices one at a time

Source: tensorrt_llm/mapping.py, tensorrt_llm/llmapi/llm_args.py, tensorrt_llm/_torch/modules.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers import faults
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES
from plimsoll.engines.tensorrt_llm.constants import TABLE
from plimsoll.engines.tensorrt_llm.defaults import resolve
from plimsoll.errors import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_ENGINE: Final = "spec.engine"
_SPLIT: Final = "spec.engine.parallelism"
_CACHE_COMPUTE: Final = {"fp8": (8, 9), "nvfp4": (10, 0)}


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding | Problem, ...]:
    """Everything that is wrong, all at once, each with its field."""
    version = TABLE.problem(settings.version)
    found = chain(
        (version,) if version else (),
        _fields(architecture, settings),
        _split(architecture, settings, parallelism) if parallelism else (),
        _gpu(architecture, settings, parallelism, accelerator) if accelerator else (),
    )
    return tuple(found)


def _fields(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding | Problem]:
    if settings.dtype and settings.dtype != "auto" and settings.dtype not in WEIGHT_BYTES:
        yield Problem(
            f"{_ENGINE}.dtype",
            shown(settings.dtype),
            "one of auto, bfloat16, float16 or float32",
        )
    if settings.kv_cache_memory is not None:
        yield Problem(
            f"{_ENGINE}.kvCacheMemory",
            str(settings.kv_cache_memory),
            "unset: TensorRT-LLM takes bytes of cache only from its options file",
            "set gpuMemoryUtilization (the share of free memory), or max_gpu_total_bytes there",
        )
    length = settings.max_model_len
    if length is not None and 0 < architecture.max_model_len < length:
        yield Problem(
            f"{_ENGINE}.maxModelLen",
            str(length),
            f"at most {architecture.max_model_len}, the longest context of the model's config",
        )
    tokens, seqs = settings.max_num_batched_tokens, settings.max_num_seqs
    if tokens is not None and seqs is not None and tokens < seqs:
        yield Problem(
            f"{_ENGINE}.maxNumBatchedTokens", str(tokens), f"at least maxNumSeqs ({seqs})"
        )
    if settings.utilization is not None and settings.utilization >= 1:
        yield Problem(
            f"{_ENGINE}.gpuMemoryUtilization", shown(str(settings.utilization)), "below 1"
        )


def _split(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding | Problem]:
    resolved = resolve(architecture, settings, TABLE.or_newest(settings.version))
    tensor = parallelism.tensor
    if not resolved.attention_dp:
        sizes = faults.tensor_parallel_sizes(architecture, tensor)
        if tensor not in sizes:
            yield Problem(
                f"{_SPLIT}.tensor",
                str(tensor),
                "a size that divides the model's heads, vocabulary and quantization blocks",
                f"up to it {', '.join(map(str, sizes))} would do",
            )
    if parallelism.data > 1:
        yield Problem(
            f"{_SPLIT}.data",
            str(parallelism.data),
            "1",
            "run more replicas, or add --enable_attention_dp to spec.engine.extraArgs",
        )
    layers = len(architecture.blocks)
    if parallelism.pipeline > max(1, layers):
        yield from faults.stages(architecture, parallelism)
    elif not resolved.pytorch and layers % parallelism.pipeline:
        yield Problem(
            f"{_SPLIT}.pipeline",
            str(parallelism.pipeline),
            f"a divisor of the model's {layers} layers for a built engine",
        )
    yield from _experts(architecture, settings, parallelism)


def _experts(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding | Problem]:
    counts = [b.feed_forward.experts for b in architecture.blocks if b.feed_forward is not None]
    most = max(counts, default=0)
    if parallelism.expert and not most:
        yield Problem(f"{_SPLIT}.expert", "true", "false: the model has no experts")
        return
    said = dict(settings.own).get("ep_size", "")
    ranks = int(said) if said.isdecimal() and len(said) < 9 else parallelism.tensor
    if not parallelism.expert or ranks < 2:
        return
    if parallelism.tensor % ranks or most % ranks:
        yield Problem(
            "spec.engine.extraArgs" if said else f"{_SPLIT}.expert",
            shown(said or "true"),
            f"an expert-parallel size that divides {most} experts and {parallelism.tensor} ranks",
        )


def _gpu(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator,
) -> Iterator[Finding | Problem]:
    if not accelerator.resource.startswith("nvidia.com/"):
        yield Problem(
            f"{_ENGINE}.name",
            "tensorrt-llm",
            f"another engine: {accelerator.title} is no NVIDIA GPU",
        )
        return
    resolved = resolve(architecture, settings, TABLE.or_newest(settings.version))
    least = _CACHE_COMPUTE.get(resolved.kv_dtype)
    if least and (0, 0) != accelerator.compute < least:
        have = ".".join(map(str, accelerator.compute))
        yield Problem(
            f"{_ENGINE}.kvCacheDtype",
            shown(resolved.kv_dtype),
            f"auto: that cache needs compute capability {least[0]}.{least[1]}, "
            f"{accelerator.title} has {have}",
        )
    if parallelism is not None:
        yield from faults.slices(parallelism, accelerator)
