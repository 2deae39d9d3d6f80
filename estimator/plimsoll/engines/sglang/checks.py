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
from plimsoll.engines.layers.faults import Quantizations, too_old, words
from plimsoll.engines.layers.parts import part_of
from plimsoll.engines.sglang.memory import cut_apart, load_quantization
from plimsoll.engines.sglang.releases import model_faults
from plimsoll.engines.sglang.settings import (
    TABLE,
    SGLangOptions,
    expert_ways,
    has_attention_ranks,
    spreads_experts,
)
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture


_QUANTIZATIONS: Final = Quantizations(
    at_load=(
        "fp8", "bitsandbytes", "w8a8_fp8", "w8a8_int8", "mxfp4", "mxfp8", "quark_int4fp8_moe",
    ),
    stored=(
        "awq", "awq_marlin", "gptq", "gptq_marlin", "marlin", "gguf", "compressed-tensors", "qoq",
        "w4afp8", "petit_nvfp4", "auto-round",
    ),
    others=(
        "modelopt", "modelopt_fp8", "modelopt_fp4", "modelopt_mixed", "moe_wna16", "quark",
        "unquant", "auto-round-int8", "nvfp4_online", "quark_mxfp4", "modelslim", "mxfp_w4a8",
        "mlx_q4", "mlx_q8", "humming",
    ),
    spans=words(TABLE, "quantizations"),
)  # fmt: skip
"""What argparse takes: QUANTIZATION_CHOICES of sglang/srt/server_args.py."""
_OLDEST: Final = (7, 5)
"""What SGLang only supports (`load_model` of sglang/srt/model_executor/model_runner.py)."""
_CACHE_WORDS: Final = words(TABLE, "cache_dtypes")


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding, ...]:
    """Everything that is wrong, all at once, each with its field."""
    return tuple(
        chain(
            TABLE.problems(settings.version),
            model_faults(architecture, settings),
            too_old(accelerator, _OLDEST, TABLE.title) if accelerator else (),
            _lengths(architecture, settings),
            faults.quantization(architecture, settings, TABLE, _QUANTIZATIONS),
            faults.cache_words(settings, TABLE, _CACHE_WORDS),
            _layers(architecture, settings, parallelism, accelerator),
        )
    )


def _layers(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> Iterator[Finding]:
    """What the layers refuse, each cut as it is: attention, experts, and what lies beside them."""
    shared = EngineSettings(
        dtype=_started_dtype(settings, accelerator),
        quantization=load_quantization(settings.quantization),
        kv_cache_dtype=settings.kv_cache_dtype,
    )
    if parallelism is None:
        yield from faults.problems(architecture, shared, None, accelerator)
        return
    ranks = parallelism.data if has_attention_ranks(settings) else 1
    split, world = replace(parallelism, data=ranks), parallelism.tensor * ranks
    parts = [(part_of(architecture, "rest"), replace(split, data=1))]
    cut = expert_ways(settings, world, parallelism.expert)
    parts.append((part_of(architecture, "experts"), Parallelism(data=cut)))
    for part, ways in cut_apart(architecture, settings, split, ranks):
        parts.append((part, Parallelism(tensor=ways)))
    found = [*faults.problems(architecture, shared, None, accelerator)]
    for part, own in parts:
        found += faults.problems(part, shared, own, None)
    if accelerator is not None:
        found += faults.slices(replace(split, tensor=world, data=1), accelerator)
    found += _experts(architecture, settings, parallelism, world)
    for problem in dict.fromkeys(found):
        at_tensor = problem.field is Field.TENSOR
        yield replace(problem, given=world) if at_tensor else problem


def _started_dtype(settings: EngineSettings, accelerator: Accelerator | None) -> str:
    """The dtype as said; SGLang takes float16 on GPUs that have no bfloat16."""
    old = accelerator is not None and (0, 0) != accelerator.compute < (8, 0)
    return "float16" if old and settings.dtype == "bfloat16" else settings.dtype


def _experts(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism, world: int
) -> Iterator[Finding]:
    """Groups of experts that do not divide the ranks or the experts."""
    counts = [b.feed_forward.experts for b in architecture.blocks if b.feed_forward is not None]
    most, said = max(counts, default=0), SGLangOptions.of(settings).expert_parallel_size
    if not parallelism.expert or not most:
        return
    ranks = world if spreads_experts(settings) else said or world
    if ranks > 1 and (world % ranks or most % ranks):
        field, given = (Field.EXTRA_ARGS, f"--ep-size={said}") if said else (Field.EXPERT, True)
        rule = Rule.EXPERT_RANKS_DO_NOT_DIVIDE
        yield finding(rule, field, given, experts=most, ranks=world)


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
