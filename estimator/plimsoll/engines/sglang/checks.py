"""Why SGLang would refuse to start with a model, a split and a GPU, memory aside.

What SGLang only warns about is not refused.

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
from plimsoll.engines.sglang.memory import load_quantization
from plimsoll.engines.sglang.settings import TABLE, has_attention_ranks
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
            faults.quantization(architecture, settings, TABLE, _QUANTIZATIONS),
            faults.problems(architecture, shared, split, accelerator),
        )
    )


def _lengths(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    override = "--json-model-override-args"
    lengthened = any(flag.startswith(override) for flag in settings.unread)
    yield from faults.context_beyond_model(architecture, settings, override, lengthened=lengthened)
    chunk, page = settings.max_num_batched_tokens, settings.block_size
    if chunk is not None and page and chunk % page:
        yield finding(
            Rule.BATCH_IS_NO_MULTIPLE_OF_PAGES, Field.MAX_NUM_BATCHED_TOKENS, chunk, page=page
        )
    yield from faults.cache_size(settings, TABLE.title, "--max-total-tokens")
