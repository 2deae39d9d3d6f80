"""Why TensorRT-LLM would refuse to start with a model, a split and a GPU, memory aside.

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

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Parallelism
from plimsoll.engines.layers import faults
from plimsoll.engines.layers.parts import part_of
from plimsoll.engines.tensorrt_llm.settings import TABLE, TensorRTLLMOptions, resolve
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_DTYPES: Final = "auto, bfloat16, float16 or float32"
_MOST_RANKS: Final = 1024
_OLDEST: Final = (8, 0)
"""The least that its wheels are compiled for, without PTX (cuda_configuration.cmake)."""
_CACHE_COMPUTE: Final = {"fp8": (8, 9), "nvfp4": (10, 0)}


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding, ...]:
    """Everything that is wrong, all at once, each with its field."""
    found = chain(
        TABLE.problems(settings.version),
        _fields(architecture, settings),
        _split(architecture, settings, parallelism) if parallelism else (),
        _gpu(architecture, settings, parallelism, accelerator) if accelerator else (),
    )
    return tuple(found)


def _fields(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    yield from faults.dtype(settings, _DTYPES)
    yield from faults.groups(architecture)
    held, word = architecture.quantization, settings.quantization.lower()
    stored = {held.method, held.default.name if held.default else ""} if held else set()
    if word and word not in stored:
        yield finding(
            Rule.QUANTIZATION_OF_CHECKPOINT_ALONE,
            Field.QUANTIZATION,
            settings.quantization,
            engine=TABLE.title,
        )
    if settings.kv_cache_memory is not None:
        yield finding(
            Rule.CACHE_SIZE_IN_OPTIONS_FILE, Field.KV_CACHE_MEMORY, settings.kv_cache_memory
        )
    length = settings.max_model_len
    if length is not None and 0 < architecture.max_model_len < length:
        longest = architecture.max_model_len
        yield finding(Rule.CONTEXT_BEYOND_FIXED_MODEL, Field.MAX_MODEL_LEN, length, longest=longest)
    yield from faults.batch_below_sequences(settings)
    if settings.utilization is not None and settings.utilization >= 1:
        yield finding(Rule.SHARE_IS_ALL, Field.UTILIZATION, str(settings.utilization))


def _split(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding]:
    resolved = resolve(architecture, settings, TABLE.or_newest(settings.version))
    tensor = parallelism.tensor
    fits = partial(_divides, architecture, settings, parallelism.expert)
    if not resolved.attention_dp and not fits(tensor):
        sizes = tuple(str(size) for size in range(1, min(tensor, _MOST_RANKS)) if fits(size))
        yield finding(Rule.TENSOR_SIZE, Field.TENSOR, tensor, sizes=sizes)
    if parallelism.data > 1:
        yield finding(Rule.DATA_AS_REPLICAS_OR_ATTENTION, Field.DATA, parallelism.data)
    layers = len(architecture.blocks)
    if parallelism.pipeline > max(1, layers):
        yield from faults.stages(architecture, parallelism)
    elif not resolved.pytorch and layers % parallelism.pipeline:
        yield finding(
            Rule.STAGES_OF_BUILT_ENGINE, Field.PIPELINE, parallelism.pipeline, layers=layers
        )
    yield from _experts(architecture, settings, parallelism)


def _divides(
    architecture: Architecture, settings: EngineSettings, expert: bool, tensor: int
) -> bool:
    """Whether all layers can be cut so: experts by TP / EP, all others by TP."""
    cut = tensor
    if expert:
        cut = max(1, tensor // (TensorRTLLMOptions.of(settings).ep_size or tensor))
    others = part_of(architecture, "rest", "shared", "dense", "head")
    experts = part_of(architecture, "experts")
    return faults.divides(others, Parallelism(tensor)) and faults.divides(
        experts, Parallelism(data=cut)
    )


def _experts(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding]:
    counts = [b.feed_forward.experts for b in architecture.blocks if b.feed_forward is not None]
    most = max(counts, default=0)
    if parallelism.expert and not most:
        yield finding(Rule.NO_EXPERTS, Field.EXPERT, True)
        return
    said = TensorRTLLMOptions.of(settings).ep_size
    ranks = said or parallelism.tensor
    if not parallelism.expert or ranks < 2:
        return
    if parallelism.tensor % ranks or most % ranks:
        yield finding(
            Rule.EXPERT_RANKS_DO_NOT_DIVIDE,
            Field.EXTRA_ARGS if said else Field.EXPERT,
            str(said or "true"),
            experts=most,
            ranks=parallelism.tensor,
        )


def _gpu(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator,
) -> Iterator[Finding]:
    if not accelerator.resource.startswith(("nvidia.com/", "gpu.nvidia.com", "mig.nvidia.com")):
        yield finding(Rule.NO_NVIDIA_GPU, Field.ENGINE, engine=settings.name, gpu=accelerator.title)
        return
    yield from faults.too_old(accelerator, _OLDEST, TABLE.title)
    resolved = resolve(architecture, settings, TABLE.or_newest(settings.version))
    least = _CACHE_COMPUTE.get(resolved.kv_dtype)
    if least and (0, 0) != accelerator.compute < least:
        yield finding(
            Rule.CACHE_NEEDS_NEWER_GPU,
            Field.KV_CACHE_DTYPE,
            resolved.kv_dtype,
            needs=f"{least[0]}.{least[1]}",
            gpu=accelerator.title,
            compute=".".join(map(str, accelerator.compute)),
        )
    if parallelism is not None:
        yield from faults.slices(parallelism, accelerator)
