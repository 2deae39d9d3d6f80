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
from plimsoll.engines.layers.faults import Quantizations
from plimsoll.engines.sglang.constants import TABLE
from plimsoll.engines.sglang.defaults import has_attention_ranks
from plimsoll.engines.sglang.weights import load_quantization
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture


_QUANTIZATIONS: Final = Quantizations(
    at_load=(
        "fp8", "bitsandbytes", "w8a8_fp8", "w8a8_int8", "mxfp4", "mxfp8", "torchao",
        "quark_int4fp8_moe",
    ),
    stored=(
        "awq", "awq_marlin", "gptq", "gptq_marlin", "marlin", "gguf", "compressed-tensors", "qoq",
        "w4afp8", "petit_nvfp4", "auto-round", "blockwise_int8", "fbgemm_fp8",
    ),
    others=(
        "modelopt", "modelopt_fp8", "modelopt_fp4", "modelopt_mixed", "moe_wna16", "quark",
        "unquant", "auto-round-int8", "bitblas", "experts_int8", "nvfp4_online", "quark_mxfp4",
        "modelslim", "mxfp_w4a8", "mlx_q4", "mlx_q8", "humming",
    ),
)  # fmt: skip
"""QUANTIZATION_CHOICES of sglang/srt/server_args.py."""


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding, ...]:
    """Everything that is wrong, all at once, each with its field."""
    shared = EngineSettings(
        dtype=settings.dtype,
        quantization=load_quantization(settings.quantization),
        kv_cache_dtype=settings.kv_cache_dtype,
    )
    split = parallelism
    if split is not None and not has_attention_ranks(settings):
        split = replace(split, data=1)
    return tuple(
        chain(
            TABLE.problems(settings.version),
            _lengths(architecture, settings),
            faults.quantization(
                architecture,
                settings.quantization,
                TABLE.title,
                _QUANTIZATIONS,
                newer=TABLE.or_newest(settings.version).newer,
            ),
            faults.problems(architecture, shared, split, accelerator),
        )
    )


def _lengths(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    length = settings.max_model_len
    longer = any(flag.startswith("--json-model-override-args") for flag in settings.unread)
    if length is not None and 0 < architecture.max_model_len < length and not longer:
        yield finding(
            Rule.CONTEXT_BEYOND_MODEL,
            Field.MAX_MODEL_LEN,
            length,
            longest=architecture.max_model_len,
            flag="--json-model-override-args",
        )
    chunk, page = settings.max_num_batched_tokens, settings.block_size
    if chunk is not None and page and chunk % page:
        yield finding(
            Rule.BATCH_IS_NO_MULTIPLE_OF_PAGES, Field.MAX_NUM_BATCHED_TOKENS, chunk, page=page
        )
    if settings.kv_cache_memory is not None:
        yield finding(
            Rule.NO_CACHE_SIZE,
            Field.KV_CACHE_MEMORY,
            settings.kv_cache_memory,
            engine=TABLE.title,
            flag="--max-total-tokens",
        )
