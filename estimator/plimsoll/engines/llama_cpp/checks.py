"""Why llama.cpp would refuse to start, or cannot do what a field asks, memory aside.

What llama.cpp only warns about is not refused.

    tensor, data, expert    no such split: GPUs share a model by layers (pipeline)
    pipeline                <= layers + 1; 1 with --split-mode none and on MIG slices
    a quantized V cache     needs flash attention
    slots                   <= 256 (64 in some builds of 2025, which is not told apart)
    max_model_len           <= the model's; <= what --ctx-size leaves each slot
    fields without meaning  utilization, KV bytes, block size, eager mode, dtype

Source: src/llama-context.cpp, common/arg.cpp of llama.cpp.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Workload
from plimsoll.engines.layers import faults
from plimsoll.engines.llama_cpp.files import CACHE_TYPES, FILE_TYPES, file_type, is_quantized
from plimsoll.engines.llama_cpp.settings import TABLE, LlamaCppOptions, resolve
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_PLAIN_TYPES: Final = ("auto", "float16", "bfloat16", "float32")
_MOST_SLOTS: Final = 256
"""LLAMA_MAX_SEQ of src/llama-cparams.h: 64 at first, 256 later."""
_MEANINGLESS: Final = {
    Field.UTILIZATION: Rule.NO_MEMORY_SHARE,
    Field.KV_CACHE_MEMORY: Rule.NO_CACHE_BYTES,
    Field.BLOCK_SIZE: Rule.NO_CACHE_BLOCKS,
    Field.ENFORCE_EAGER: Rule.NO_EAGER_MODE,
    Field.DTYPE: Rule.DTYPE_OF_FILE,
}


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding, ...]:
    """Everything that is wrong, all at once, each with its field."""
    found = chain(
        TABLE.problems(settings.version),
        _fields(settings),
        _cache(architecture, settings),
        _lengths(architecture, settings),
        faults.groups(architecture),
        _split(architecture, settings, parallelism) if parallelism else (),
        faults.slices(parallelism, accelerator) if parallelism and accelerator else (),
    )
    return tuple(found)


def _fields(settings: EngineSettings) -> Iterator[Finding]:
    for field, rule in _MEANINGLESS.items():
        value = getattr(settings, field.value)
        if value not in (None, "", "auto"):
            yield finding(rule, field, str(value))
    if settings.quantization and file_type(settings.quantization) is None:
        known = tuple(FILE_TYPES)
        yield finding(
            Rule.UNKNOWN_FILE_TYPE, Field.QUANTIZATION, settings.quantization, known=known
        )


def _cache(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    options = LlamaCppOptions.of(settings)
    said = (
        (Field.KV_CACHE_DTYPE, settings.kv_cache_dtype),
        (Field.EXTRA_ARGS, options.cache_type_k),
        (Field.EXTRA_ARGS, options.cache_type_v),
    )
    known = tuple(CACHE_TYPES)
    for field, word in said:
        if word and word.lower() not in (*_PLAIN_TYPES, *known):
            yield finding(Rule.UNKNOWN_CACHE_TYPE, field, word, known=known)
    resolved = resolve(architecture, settings, Workload(), TABLE.or_newest(settings.version))
    if is_quantized(resolved.v_type) and not resolved.flash_attention:
        yield finding(
            Rule.VALUES_NEED_FLASH_ATTENTION,
            Field.EXTRA_ARGS if options.cache_type_v else Field.KV_CACHE_DTYPE,
            resolved.v_type,
        )


def _lengths(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    lengthened = any(
        flag.startswith(("--rope", "--yarn")) for flag in (*settings.unread, *settings.flags)
    )
    yield from faults.context_beyond_model(
        architecture, settings, "--rope-scaling", lengthened=lengthened
    )
    slots = settings.max_num_seqs
    if slots is not None and slots > _MOST_SLOTS:
        yield finding(Rule.SLOTS_BEYOND_MOST, Field.MAX_NUM_SEQS, slots, most=_MOST_SLOTS)
    length, context = settings.max_model_len, LlamaCppOptions.of(settings).ctx_size
    if length is None or not context:
        return
    resolved = resolve(architecture, settings, Workload(), TABLE.or_newest(settings.version))
    each = context if resolved.unified else context // resolved.slots
    if each < length:
        yield finding(
            Rule.CONTEXT_BEYOND_SLOT,
            Field.MAX_MODEL_LEN,
            length,
            most=each,
            context=context,
            slots=resolved.slots,
        )


def _split(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding]:
    stages, most = parallelism.pipeline, len(architecture.blocks) + 1
    if parallelism.tensor > 1:
        yield finding(Rule.TENSOR_AS_PIPELINE, Field.TENSOR, parallelism.tensor)
    if parallelism.data > 1:
        yield finding(Rule.DATA_AS_REPLICAS, Field.DATA, parallelism.data)
    if parallelism.expert:
        yield finding(Rule.NO_EXPERT_PARALLELISM, Field.EXPERT, True, engine=TABLE.title)
    if stages > most:
        yield finding(Rule.STAGES_BEYOND_OUTPUT, Field.PIPELINE, stages, most=most)
    if stages > 1 and LlamaCppOptions.of(settings).split_mode == "none":
        yield finding(Rule.STAGES_WITHOUT_SPLIT, Field.PIPELINE, stages)
