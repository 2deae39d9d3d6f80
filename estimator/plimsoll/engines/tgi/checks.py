"""Why TGI would refuse to start with a model, a split and a GPU, memory aside.

    tensor                heads, KV heads and partitions divide, as for vLLM's layers
    pipeline, data        TGI has neither
    max-input-tokens      < max-total-tokens <= max-batch-total-tokens
    states, expert        no state-space layers beside attention; experts are cut, never whole

Source: launcher/src/main.rs and server/text_generation_server/models of 3.3.7.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import EngineSettings, Parallelism
from plimsoll.engines.layers import faults
from plimsoll.engines.layers.faults import Quantizations, words
from plimsoll.engines.tgi.settings import TABLE, TGIOptions, load_quantization
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture


_QUANTIZATIONS: Final = Quantizations(
    at_load=("fp8", "bitsandbytes", "bitsandbytes-nf4", "bitsandbytes-fp4", "eetq"),
    stored=("awq", "gptq", "marlin", "exl2", "compressed-tensors"),
    spans=words(TABLE, "quantizations"),
)
"""``Quantization`` of launcher/src/main.rs."""
_CACHE_WORDS: Final = words(TABLE, "cache_dtypes")


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding, ...]:
    """Everything that is wrong, all at once, each with its field."""
    shared = EngineSettings(
        dtype=settings.dtype, quantization=load_quantization(settings.quantization)
    )
    split = None if parallelism is None else Parallelism(tensor=parallelism.tensor)
    return tuple(
        chain(
            TABLE.problems(settings.version),
            _lengths(settings),
            faults.quantization(architecture, settings, TABLE, _QUANTIZATIONS),
            faults.cache_words(settings, TABLE, _CACHE_WORDS),
            _split(parallelism) if parallelism else (),
            _dtype(settings),
            faults.problems(architecture, shared, split, accelerator),
        )
    )


def _split(parallelism: Parallelism) -> Iterator[Finding]:
    pipeline, data, engine = parallelism.pipeline, parallelism.data, TABLE.title
    if pipeline > 1:
        yield finding(Rule.NO_PIPELINE, Field.PIPELINE, pipeline, engine=engine)
    if data > 1:
        yield finding(Rule.NO_DATA_PARALLELISM, Field.DATA, data, engine=engine)
    if parallelism.expert:
        yield finding(Rule.EXPERTS_ARE_CUT, Field.EXPERT, True, engine=engine)


def _dtype(settings: EngineSettings) -> Iterator[Finding]:
    """float32, which no flag of TGI names."""
    if settings.dtype in ("float32", "float"):
        known = "auto, bfloat16 or float16"
        yield finding(Rule.UNKNOWN_DTYPE, Field.DTYPE, settings.dtype, known=known)


def _lengths(settings: EngineSettings) -> Iterator[Finding]:
    options, total = TGIOptions.of(settings), settings.max_model_len
    prompt, batch = options.max_input_tokens, options.max_batch_total_tokens
    if total is not None and prompt is not None and prompt >= total:
        yield finding(Rule.PROMPT_BEYOND_CONTEXT, Field.EXTRA_ARGS, tokens=prompt, length=total)
    if total is not None and batch is not None and batch < total:
        yield finding(Rule.BATCH_TOTAL_BELOW_CONTEXT, Field.EXTRA_ARGS, tokens=batch, length=total)
    yield from faults.cache_size(settings, TABLE.title, "--max-batch-total-tokens")
    if settings.block_size is not None:
        yield finding(Rule.NO_BLOCK_SIZE, Field.BLOCK_SIZE, settings.block_size)
