"""Why SGLang would refuse to start with a model, a split and a GPU, memory aside.

It must not compute memory, and it must not refuse what SGLang only warns about.

    heads, KV heads, vocabulary, partitions of quantized linears   as vLLM, whose layers it has
    context length <= the model's     chunk % page = 0     no cache size in bytes

Source: SGLang 0.5.9, sglang/srt/configs/model_config.py (`_derive_context_length`) and
sglang/srt/server_args.py.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import EngineSettings, Parallelism
from plimsoll.engines.layers import faults
from plimsoll.engines.sglang.constants import TABLE
from plimsoll.engines.sglang.defaults import has_attention_ranks
from plimsoll.engines.sglang.weights import load_quantization
from plimsoll.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_ENGINE: Final = "spec.engine"


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding | Problem, ...]:
    """Everything that is wrong, all at once, each with its field."""
    shared = EngineSettings(
        dtype=settings.dtype,
        quantization=load_quantization(settings.quantization),
        kv_cache_dtype=settings.kv_cache_dtype,
    )
    split = parallelism
    if split is not None and not has_attention_ranks(settings):
        split = replace(split, data=1)
    version = TABLE.problem(settings.version)
    return tuple(
        chain(
            (version,) if version else (),
            _lengths(architecture, settings),
            faults.problems(architecture, shared, split, accelerator),
        )
    )


def _lengths(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding | Problem]:
    length = settings.max_model_len
    longer = any(flag.startswith("--json-model-override-args") for flag in settings.unread)
    if length is not None and 0 < architecture.max_model_len < length and not longer:
        yield Problem(
            f"{_ENGINE}.maxModelLen",
            str(length),
            f"at most {architecture.max_model_len}, the longest context of the model's config",
            "lower it, or lengthen the context with --json-model-override-args in "
            "spec.engine.extraArgs",
        )
    chunk, page = settings.max_num_batched_tokens, settings.block_size
    if chunk is not None and page and chunk % page:
        yield Problem(
            f"{_ENGINE}.maxNumBatchedTokens", str(chunk), f"a multiple of the page size ({page})"
        )
    if settings.kv_cache_memory is not None:
        yield Problem(
            f"{_ENGINE}.kvCacheMemory",
            str(settings.kv_cache_memory),
            "nothing: SGLang has no size of the cache in bytes",
            "set gpuMemoryUtilization, or --max-total-tokens in spec.engine.extraArgs",
        )
