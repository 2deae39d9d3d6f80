"""Why llama.cpp would refuse to start, or cannot do what a field asks, memory aside.

It must not compute memory, and it must not refuse what llama.cpp only warns about.

    tensor, data, expert    no such split: GPUs share a model by layers (pipeline)
    pipeline                <= layers + 1; 1 with --split-mode none and on MIG slices
    a quantized V cache     needs flash attention
    max_model_len           <= the model's; <= what --ctx-size leaves each slot
    fields without meaning  utilization, KV bytes, block size, eager mode, dtype

Source: src/llama-context.cpp, common/arg.cpp of llama.cpp.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Workload
from plimsoll.engines.layers import faults
from plimsoll.engines.llama_cpp import ggml_types
from plimsoll.engines.llama_cpp.constants import TABLE, or_newest
from plimsoll.engines.llama_cpp.defaults import resolve
from plimsoll.engines.llama_cpp.mixture import FILE_TYPES, file_type
from plimsoll.errors import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_ENGINE: Final = "spec.engine"
_ARGS: Final = "spec.engine.extraArgs"
_PLAIN_TYPES: Final = ("auto", "float16", "bfloat16", "float32")
_MEANINGLESS: Final = (
    ("utilization", "gpuMemoryUtilization", "it takes what it needs and no share"),
    ("kv_cache_memory", "kvCacheMemory", "say maxModelLen, or --ctx-size in extraArgs"),
    ("block_size", "blockSize", "its cache has no blocks"),
    ("enforce_eager", "enforceEager", "it has no such mode"),
    ("dtype", "dtype", "the GGUF file says it; say spec.engine.quantization"),
)  # fmt: skip


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
        _fields(settings),
        _cache(architecture, settings),
        _lengths(architecture, settings),
        _split(architecture, settings, parallelism) if parallelism else (),
        faults.slices(parallelism, accelerator) if parallelism and accelerator else (),
    )
    return tuple(found)


def _fields(settings: EngineSettings) -> Iterator[Finding | Problem]:
    for name, field, reason in _MEANINGLESS:
        value = getattr(settings, name)
        if value not in (None, "", "auto"):
            yield Problem(f"{_ENGINE}.{field}", shown(str(value)), "unset for llama.cpp", reason)
    if settings.quantization and file_type(settings.quantization) is None:
        yield Problem(
            f"{_ENGINE}.quantization",
            shown(settings.quantization),
            "a GGUF file type such as q4_k_m, q5_k_m, q6_k, q8_0 or f16",
            f"known here: {', '.join(FILE_TYPES)}",
        )


def _cache(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding | Problem]:
    own = dict(settings.own)
    said = (
        (f"{_ENGINE}.kvCacheDtype", settings.kv_cache_dtype),
        (_ARGS, own.get("cache-type-k", "")),
        (_ARGS, own.get("cache-type-v", "")),
    )
    for path, word in said:
        if word and word.lower() not in (*_PLAIN_TYPES, *ggml_types.CACHE_TYPES):
            yield Problem(path, shown(word), f"a cache type: {', '.join(ggml_types.CACHE_TYPES)}")
    resolved = resolve(architecture, settings, Workload(), or_newest(settings.version))
    if ggml_types.is_quantized(resolved.v_type) and not resolved.flash_attention:
        yield Problem(
            _ARGS if own.get("cache-type-v") else f"{_ENGINE}.kvCacheDtype",
            shown(resolved.v_type),
            "f16 values: a quantized cache of values needs flash attention",
            "add --flash-attn on to spec.engine.extraArgs",
        )


def _lengths(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding | Problem]:
    length, own = settings.max_model_len, dict(settings.own)
    longer = any(name.startswith(("rope", "yarn")) for name in own) or any(
        flag.startswith(("--rope", "--yarn")) for flag in (*settings.unread, *settings.flags)
    )
    if length is not None and 0 < architecture.max_model_len < length and not longer:
        yield Problem(
            f"{_ENGINE}.maxModelLen",
            str(length),
            f"at most {architecture.max_model_len}, the longest context of the model's config",
            "lower it, or lengthen the context with --rope-scaling in spec.engine.extraArgs",
        )
    context = own.get("ctx-size", "")
    if length is None or not context.isdecimal() or context == "0":
        return
    resolved = resolve(architecture, settings, Workload(), or_newest(settings.version))
    each = int(context) if resolved.unified else int(context) // resolved.slots
    if each < length:
        yield Problem(
            f"{_ENGINE}.maxModelLen",
            str(length),
            f"at most {each}, what --ctx-size {context} leaves each of {resolved.slots} slots",
            "raise --ctx-size, or leave it out",
        )


def _split(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding | Problem]:
    path = f"{_ENGINE}.parallelism"
    if parallelism.tensor > 1:
        yield Problem(
            f"{path}.tensor",
            str(parallelism.tensor),
            "1: llama.cpp shares a model among GPUs layer by layer",
            f"set {path}.pipeline to {parallelism.tensor}",
        )
    if parallelism.data > 1:
        yield Problem(f"{path}.data", str(parallelism.data), "1", "run more replicas")
    if parallelism.expert:
        yield Problem(f"{path}.expert", "true", "false: llama.cpp has no expert parallelism")
    most = len(architecture.blocks) + 1
    if parallelism.pipeline > most:
        yield Problem(
            f"{path}.pipeline", str(parallelism.pipeline), f"at most {most}, layers and output"
        )
    if parallelism.pipeline > 1 and dict(settings.own).get("split-mode") == "none":
        yield Problem(f"{path}.pipeline", str(parallelism.pipeline), "1 with --split-mode none")
