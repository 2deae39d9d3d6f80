"""Why vLLM would refuse to start with a model, a split and a GPU, memory aside.

What vLLM only warns about is not refused.

    splits, dtypes, GPUs              `plimsoll.engines.layers.faults`
    max_model_len <= the model's      without chunked prefill: batched tokens >= max_model_len
    batched tokens >= sequences       utilization x physical <= physical - CUDA context
    LoRA ranks the engine knows       tp % decode context = 0, copies of a KV head >= it

Source: vLLM 0.33.0, vllm/config/model.py, vllm/config/scheduler.py, vllm/config/parallel.py.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers import faults
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.engines.vllm import latent, quantization, releases, support
from plimsoll.engines.vllm.defaults import (
    BFLOAT16_FROM,
    NOT_CHUNKED,
    default_sequences,
    resolve,
    started_dtype,
)
from plimsoll.engines.vllm.lora import RANKS
from plimsoll.engines.vllm.options import TABLE, VLLMOptions
from plimsoll.engines.vllm.speculative import method_of
from plimsoll.errors import Unreadable
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_CACHE_WORDS: Final = faults.words(TABLE, "cache_words")
_KERNELS_FROM: Final = (7, 0)
"""Compute capability from which kernels were ever built: CUDA_SUPPORTED_ARCHS, CMakeLists.txt."""
_NEED_TOKENS: Final = ("ngram", "draft_model", "eagle", "eagle3")
_LONGER_FLAGS: Final = ("--hf-overrides", "--rope-scaling", "--rope-theta")


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding, ...]:
    """Everything that is wrong, all at once, each with its field."""
    found = chain(
        TABLE.problems(settings.version),
        _lengths(architecture, settings),
        _batch(architecture, settings, accelerator) if accelerator else (),
        releases.model_faults(architecture, settings),
        support.model_faults(architecture, settings, parallelism),
        quantization.word_faults(architecture, settings),
        faults.quantization(architecture, settings, TABLE, quantization.known(settings.version)),
        faults.cache_words(settings, TABLE, _CACHE_WORDS),
        _cache(architecture, settings, accelerator) if accelerator else (),
        _gpu(architecture, settings, accelerator) if accelerator else (),
        _adapters(settings),
        _draft(settings),
        _context(architecture, settings, parallelism) if parallelism else (),
        faults.problems(
            architecture,
            settings,
            parallelism,
            accelerator,
            fp8_from=(),
            halved=quantization.halves_groups(settings, accelerator),
        ),
        _share(settings, parallelism, accelerator) if accelerator else (),
    )
    return tuple(found)


def _lengths(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    lengthened = any(flag.startswith(_LONGER_FLAGS) for flag in settings.unread)
    yield from faults.context_beyond_model(
        architecture, settings, "--hf-overrides", lengthened=lengthened
    )
    yield from faults.batch_below_sequences(settings)


def _batch(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Finding]:
    """A batch that is smaller than the sequences or the prompts, of which one is not said."""
    seqs, tokens, gpu = settings.max_num_seqs, settings.max_num_batched_tokens, accelerator.title
    if seqs is None and tokens is None:
        return
    figures = TABLE.or_newest(settings.version)
    resolved = resolve(architecture, settings, accelerator, figures)
    if tokens is None:
        if seqs is not None and resolved.batched_tokens < seqs:
            own, rule = resolved.batched_tokens, Rule.SEQUENCES_BEYOND_BATCH
            yield finding(rule, Field.MAX_NUM_SEQS, seqs, tokens=own, gpu=gpu)
        return
    if (resolved.whole_prompts or NOT_CHUNKED in settings.flags) and (
        tokens < resolved.max_model_len
    ):
        length, rule = resolved.max_model_len, Rule.BATCH_BELOW_CONTEXT
        yield finding(rule, Field.MAX_NUM_BATCHED_TOKENS, tokens, length=length)
    default = default_sequences(accelerator, figures, first=resolved.first_engine)
    if seqs is None and tokens < default:
        yield finding(
            Rule.BATCH_BELOW_DEFAULT_SEQUENCES,
            Field.MAX_NUM_BATCHED_TOKENS,
            tokens,
            sequences=default,
            gpu=gpu,
            version=figures.version,
        )


def _gpu(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Finding]:
    """A GPU that is older than the kernels, or a dtype that model, GPU or kernels do not have."""
    if accelerator.compute == (0, 0):
        return
    if accelerator.compute < _KERNELS_FROM:
        yield from faults.too_old(accelerator, _KERNELS_FROM, TABLE.title)
        return
    gpu, figures = accelerator.title, TABLE.or_newest(settings.version)
    dtype = started_dtype(architecture, settings, accelerator, figures)
    said = settings.dtype in WEIGHT_BYTES
    if not said and quantization.dtype_is_its_own(architecture):
        dtype = ""
    if said and dtype == "float16" and architecture.model_type in figures["auto_dtype"].names:
        yield finding(Rule.NO_FLOAT16, Field.DTYPE, settings.dtype, gpu=gpu)
    elif not said and dtype == "bfloat16" and accelerator.compute < BFLOAT16_FROM:
        version = figures.version
        yield finding(Rule.AUTO_IS_BFLOAT16, Field.DTYPE, "auto", gpu=gpu, version=version)
    else:
        yield from quantization.gpu_faults(architecture, settings, accelerator, dtype)
        yield from latent.gpu_faults(architecture, settings, accelerator)


def _cache(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Finding]:
    """A cache in 16 bits that are not those of the model."""
    figures, cached = TABLE.or_newest(settings.version), settings.kv_cache_dtype.lower()
    dtype = started_dtype(architecture, settings, accelerator, figures)
    asked = cached in ("float16", "bfloat16") and figures.flag("cache_dtype_as_weights")
    if asked and cached != dtype:
        rule = Rule.CACHE_DTYPE_BESIDE_WEIGHTS
        yield finding(rule, Field.KV_CACHE_DTYPE, settings.kv_cache_dtype, dtype=dtype)


def _adapters(settings: EngineSettings) -> Iterator[Finding]:
    """Ranks that no release takes."""
    rank = settings.lora.rank if settings.lora else None
    if rank is not None and rank not in RANKS:
        near = min(RANKS, key=lambda known: (known < rank, abs(known - rank)))
        known = tuple(map(str, RANKS))
        yield finding(Rule.LORA_RANK, Field.LORA_RANK, rank, known=known, near=near)


def _draft(settings: EngineSettings) -> Iterator[Finding]:
    """A draft that does not say how many tokens it guesses, where nothing else does."""
    draft = settings.speculative
    if draft is not None and draft.tokens is None and method_of(draft) in _NEED_TOKENS:
        yield finding(Rule.DRAFT_WITHOUT_TOKENS, Field.SPECULATIVE_TOKENS, method=method_of(draft))


def _context(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding]:
    """A decode context split that the tensor split cannot carry."""
    ways = VLLMOptions.of(settings).decode_context_parallel_size or 1
    tp = parallelism.tensor
    if ways == 1:
        return
    if tp % ways:
        yield finding(Rule.CONTEXT_SPLIT_DOES_NOT_DIVIDE, Field.TENSOR, tp, ways=ways)
        return
    kv = max((m.kv_heads for m in architecture.mixers() if not m.state_elements), default=1)
    if ways > max(1, tp // max(1, kv)):
        yield finding(
            Rule.CONTEXT_SPLIT_WITHOUT_COPIES,
            Field.TENSOR,
            tp,
            least=kv * ways,
            heads=kv,
            ways=ways,
        )


def _share(
    settings: EngineSettings, parallelism: Parallelism | None, accelerator: Accelerator
) -> Iterator[Finding]:
    """A share of memory that is not free once the CUDA context is there, or others are."""
    share, held = settings.utilization, accelerator.reserved
    if held and share is None:
        share = TABLE.or_newest(settings.version).utilization
    if share is None or settings.kv_cache_memory is not None or not accelerator.certain:
        return
    many = parallelism is not None and parallelism.gpus > 1
    try:
        figure = TABLE.constants(settings.version)["context_many" if many else "context_single"]
    except Unreadable:
        return
    context = int(figure.bytes() * (1 - figure.error))
    physical = max(1, visible_memory(accelerator))
    free = physical - context - held
    if int(physical * share) > free:
        most = Decimal(max(0, free) * 1000 // physical) / 1000
        rule = Rule.SHARE_NEVER_FREE_TOGETHER if many else Rule.SHARE_NEVER_FREE
        yield finding(
            Rule.SHARE_HELD_BY_OTHERS if held else rule,
            Field.UTILIZATION,
            str(share),
            most=str(most),
            gpu=accelerator.title,
            context=gib(figure.bytes(), 2),
            held=gib(held, 2),
        )
