"""Why vLLM would refuse to start with a model, a split and a GPU, memory aside.

It must not compute memory, and it must not refuse what vLLM only warns about.

    heads % tp = 0                    kv_heads % tp = 0 or tp % kv_heads = 0
    padded vocabulary % tp = 0        pipeline stages <= layers
    fp8 blocks                        experts, and input of a partition: % block = 0
    4-bit kernels (Marlin)            output of a partition % 64 = 0, input % group = 0
    max_model_len <= the model's      without chunked prefill: batched tokens >= max_model_len
    batched tokens >= sequences       MIG slices: tensor = pipeline = 1
    utilization x physical <= physical - CUDA context
    LoRA ranks the engine knows       tp % decode context = 0, copies of a KV head >= it

Source: vLLM 0.33.0, vllm/config/model.py, vllm/config/scheduler.py,
vllm/model_executor/layers/quantization, vllm/model_executor/layers/linear.py.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.memo import remembered
from plimsoll.engines.visible import visible_memory
from plimsoll.engines.vllm.constants import constants
from plimsoll.engines.vllm.dtypes import WEIGHT_BYTES, is_eight_bit_float, kv_dtype
from plimsoll.engines.vllm.lora import RANKS
from plimsoll.engines.vllm.sharding import (
    VOCAB_PADDING,
    local_shape,
    quantization_in_force,
    scheme_in_force,
)
from plimsoll.engines.vllm.speculative import method_of
from plimsoll.errors import Problem, Unreadable, shown
from plimsoll.models.architecture import Split
from plimsoll.units import ceil_div, gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.models.architecture import Architecture, Tensor
    from plimsoll.models.quantization import Scheme

_ENGINE: Final = "spec.engine"
_TENSOR: Final = "spec.engine.parallelism.tensor"
_NEED_TOKENS: Final = ("ngram", "draft_model", "eagle", "eagle3")
_MARLIN_OUT: Final = 64
_AMPERE: Final = (8, 0)
_LONGER_FLAGS: Final = ("--hf-overrides", "--rope-scaling", "--rope-theta")
_CUT: Final = (Split.COLUMN, Split.ROW, Split.KV_HEADS, Split.EXPERT_COLUMN, Split.EXPERT_ROW)


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Problem, ...]:
    """Everything that is wrong, all at once, each with its field."""
    found = chain(
        _version(settings),
        _dtype(settings),
        _lengths(architecture, settings),
        _adapters(settings),
        _draft(settings),
        _context(architecture, settings, parallelism) if parallelism else (),
        _split(architecture, settings, parallelism) if parallelism else (),
        _gpu(architecture, settings, accelerator) if accelerator else (),
        _share(settings, parallelism, accelerator) if accelerator else (),
        _slices(parallelism, accelerator) if parallelism and accelerator else (),
    )
    return tuple(found)


def tensor_parallel_sizes(architecture: Architecture, most: int) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `most` that the engine accepts for this model."""
    return remembered(
        architecture,
        ("vllm.sizes", most),
        lambda: tuple(
            tp
            for tp in range(1, most + 1)
            if not tuple(_find_faults(architecture, "", tp, tp, False))
        ),
    )


def _version(settings: EngineSettings) -> Iterator[Problem]:
    try:
        constants(settings.version)
    except Unreadable as error:
        yield Problem(
            f"{_ENGINE}.version", error.given, error.wanted, "or leave it out for the newest known"
        )


def _dtype(settings: EngineSettings) -> Iterator[Problem]:
    if settings.dtype and settings.dtype != "auto" and settings.dtype not in WEIGHT_BYTES:
        yield Problem(
            f"{_ENGINE}.dtype",
            shown(settings.dtype),
            "one of auto, bfloat16, float16, half, float32 or float",
        )


def _lengths(architecture: Architecture, settings: EngineSettings) -> Iterator[Problem]:
    length = settings.max_model_len
    longer = any(flag.startswith(_LONGER_FLAGS) for flag in settings.unread)
    if length is not None and 0 < architecture.max_model_len < length and not longer:
        yield Problem(
            f"{_ENGINE}.maxModelLen",
            str(length),
            f"at most {architecture.max_model_len}, the longest context of the model's config",
            "lower it, or lengthen the context with --hf-overrides in spec.engine.extraArgs",
        )
    tokens, seqs = settings.max_num_batched_tokens, settings.max_num_seqs
    if tokens is not None and seqs is not None and tokens < seqs:
        yield Problem(
            f"{_ENGINE}.maxNumBatchedTokens",
            str(tokens),
            f"at least maxNumSeqs ({seqs})",
        )
    whole = "--no-enable-chunked-prefill" in settings.flags
    longest = length or architecture.max_model_len
    if whole and tokens is not None and tokens < longest:
        yield Problem(
            f"{_ENGINE}.maxNumBatchedTokens",
            str(tokens),
            f"at least max_model_len ({longest}) where chunked prefill is off",
        )


def _split(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Problem]:
    ranks = parallelism.tensor * parallelism.data
    for what, fix in _tensor_faults(
        architecture, settings.quantization, parallelism.tensor, ranks, parallelism.expert
    ):
        yield Problem(_TENSOR, str(parallelism.tensor), what, fix)
    layers = len(architecture.blocks)
    if parallelism.pipeline > max(1, layers):
        yield Problem(
            "spec.engine.parallelism.pipeline",
            str(parallelism.pipeline),
            f"at most {layers}, the number of layers",
        )
    moe = any(b.feed_forward is not None and b.feed_forward.experts for b in architecture.blocks)
    if parallelism.expert and not moe:
        yield Problem(
            "spec.engine.parallelism.expert",
            "true",
            "false: the model has no experts",
        )


def _tensor_faults(
    architecture: Architecture, quantization: str, tp: int, ranks: int, expert: bool
) -> tuple[tuple[str, str], ...]:
    """What a tensor-parallel size does not divide, each with a next step."""
    key = ("vllm.faults", quantization, tp, ranks, expert)
    return remembered(
        architecture,
        key,
        lambda: tuple(_find_faults(architecture, quantization, tp, ranks, expert)),
    )


def _find_faults(
    architecture: Architecture, quantization: str, tp: int, ranks: int, expert: bool
) -> Iterator[tuple[str, str]]:
    if tp == 1 and ranks == 1:
        return
    heads = architecture.heads
    if heads and heads % tp:
        yield f"a divisor of the model's {heads} attention heads", _nearest(heads, tp)
        return
    kv = {m.kv_heads for m in architecture.mixers() if m.kv_heads > 1 and not m.state_elements}
    for count in sorted(kv):
        if count % tp and tp % count:
            yield (
                f"a divisor or a multiple of the model's {count} key/value heads",
                _nearest(count, tp),
            )
    vocabulary = ceil_div(architecture.vocab_size, VOCAB_PADDING) * VOCAB_PADDING
    if vocabulary % tp:
        yield (
            f"a divisor of the vocabulary padded to {vocabulary}",
            "a power of two up to 64 always is",
        )
    fault = _partition_fault(architecture, quantization, tp, ranks, expert)
    if fault:
        yield fault, "take a smaller size, more pipeline stages, or an unquantized checkpoint"


def _partition_fault(
    architecture: Architecture, quantization: str, tp: int, ranks: int, expert: bool
) -> str:
    """The first linear whose partition the engine cannot cut, in words; empty if there is none."""
    scheme_of_all = quantization_in_force(architecture, quantization)
    at_load = architecture.quantization is None
    seen: set[int] = set()
    for block in architecture.blocks:
        if id(block) in seen:
            continue
        seen.add(id(block))
        for tensor in block.tensors:
            if tensor.split not in _CUT or len(tensor.shape) < 2:
                continue
            shape, _ = local_shape(tensor, block, tp, ranks, expert)
            along_input = tensor.split in (Split.ROW, Split.EXPERT_ROW)
            axis = -1 if along_input else 0
            if tensor.split is not Split.KV_HEADS and shape != tensor.shape:
                ways = ranks if tensor.split in (Split.EXPERT_COLUMN, Split.EXPERT_ROW) else tp
                if tensor.shape[axis] % ways:
                    return f"a divisor of {tensor.name}'s {tensor.shape[axis]} (split {ways} ways)"
            scheme = scheme_in_force(scheme_of_all, at_load, tensor)
            if scheme is None or shape == tensor.shape:
                continue
            fault = _scheme_fault(tensor, shape, scheme, along_input)
            if fault:
                return fault
    return ""


def _scheme_fault(tensor: Tensor, shape: tuple[int, ...], scheme: Scheme, along_input: bool) -> str:
    """What a quantization's kernels miss in a partition.

    MXFP4 and NVFP4 are padded instead, and q, k, v or gate, up in fp8 blocks are let through: the
    engine checks those of experts and of what is cut along its input.
    """
    own = shape[-1] if along_input else shape[0]
    step = scheme.group_in if along_input else scheme.group_out
    strict = along_input or tensor.split is Split.EXPERT_COLUMN
    blocks = scheme.name == "fp8" and scheme.group_out > 1 and strict
    groups = scheme.name == "w4a16"
    if (blocks or groups) and step > 1 and own % step:
        return (
            f"a size that leaves {tensor.name} a multiple of {step}, its quantization block "
            f"(it would be {own} per GPU)"
        )
    if groups and not along_input and own % _MARLIN_OUT:
        return (
            f"a size that leaves {tensor.name} a multiple of {_MARLIN_OUT} outputs per GPU for "
            f"4-bit kernels (it would be {own})"
        )
    return ""


def _nearest(number: int, tp: int) -> str:
    below = max(d for d in range(1, tp) if number % d == 0)
    above = next((d for d in range(tp + 1, number + 1) if number % d == 0), None)
    return f"{below} or {above} would do" if above else f"{below} would do"


def _adapters(settings: EngineSettings) -> Iterator[Problem]:
    """Ranks that no release takes."""
    rank = settings.lora.rank if settings.lora else None
    if rank is not None and rank not in RANKS:
        near = min(RANKS, key=lambda known: (known < rank, abs(known - rank)))
        yield Problem(
            f"{_ENGINE}.lora.maxRank",
            str(rank),
            f"one of {', '.join(map(str, RANKS))}",
            f"take {near}: adapters of a smaller rank go into it",
        )


def _draft(settings: EngineSettings) -> Iterator[Problem]:
    """A draft that does not say how many tokens it guesses, where nothing else does."""
    draft = settings.speculative
    if draft is not None and draft.tokens is None and method_of(draft) in _NEED_TOKENS:
        yield Problem(
            f"{_ENGINE}.speculative.tokens",
            "",
            f"the number of tokens that {method_of(draft)} guesses in one step",
            "say it, e.g. 3",
        )


def _context(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Problem]:
    """A decode context split that the tensor split cannot carry."""
    ways = int(dict(settings.own).get("decode-context-parallel-size", 1))
    tp = parallelism.tensor
    if ways == 1:
        return
    if tp % ways:
        yield Problem(
            _TENSOR, str(tp), f"a multiple of --decode-context-parallel-size {ways}",
            f"{ways} would do",
        )  # fmt: skip
        return
    kv = max((m.kv_heads for m in architecture.mixers() if not m.state_elements), default=1)
    if ways > max(1, tp // max(1, kv)):
        yield Problem(
            _TENSOR, str(tp),
            f"at least {kv * ways}: {kv} key/value heads leave no copies to split {ways} ways",
            "lower --decode-context-parallel-size",
        )  # fmt: skip


def _gpu(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Problem]:
    if accelerator.compute == (0, 0):
        return
    scheme = quantization_in_force(architecture, settings.quantization)
    if (
        scheme is not None
        and scheme.default is not None
        and scheme.default.name == "fp8"
        and accelerator.compute < _AMPERE
    ):
        yield Problem(
            f"{_ENGINE}.quantization" if architecture.quantization is None else "spec.model",
            shown(scheme.method),
            f"another quantization: fp8 weights need compute capability 8.0, {accelerator.title} "
            f"has {accelerator.compute[0]}.{accelerator.compute[1]}",
            "take a 4-bit or 16-bit checkpoint, or a newer GPU",
        )
    dtype = kv_dtype(architecture, settings.kv_cache_dtype)
    if is_eight_bit_float(dtype) and accelerator.compute < _AMPERE:
        yield Problem(
            f"{_ENGINE}.kvCacheDtype",
            shown(dtype),
            f"auto: an fp8 cache needs compute capability 8.0, {accelerator.title} has "
            f"{accelerator.compute[0]}.{accelerator.compute[1]}",
        )
    if settings.dtype == "bfloat16" and accelerator.compute < _AMPERE:
        yield Problem(
            f"{_ENGINE}.dtype",
            shown(settings.dtype),
            f"float16: {accelerator.title} has no bfloat16",
        )


def _share(
    settings: EngineSettings, parallelism: Parallelism | None, accelerator: Accelerator
) -> Iterator[Problem]:
    """A share of memory that is not free once the CUDA context is there."""
    share = settings.utilization
    if share is None or settings.kv_cache_memory is not None or not accelerator.certain:
        return
    many = parallelism is not None and parallelism.gpus > 1
    try:
        figure = constants(settings.version)["context_many" if many else "context_single"]
    except Unreadable:
        return
    context = int(figure.bytes() * (1 - figure.error))
    physical = max(1, visible_memory(accelerator))
    free = physical - context
    if int(physical * share) > free:
        most = Decimal(max(0, free) * 1000 // physical) / 1000
        yield Problem(
            f"{_ENGINE}.gpuMemoryUtilization",
            shown(str(share)),
            f"at most {most} on {accelerator.title}: vLLM starts only where that share is free, "
            f"and the CUDA context{' and NCCL take' if many else ' takes'} about "
            f"{gib(figure.bytes(), 2)} first",
        )


def _slices(parallelism: Parallelism, accelerator: Accelerator) -> Iterator[Problem]:
    """MIG slices have no way to one another: NCCL refuses them."""
    if not accelerator.mig_of:
        return
    for name in ("tensor", "pipeline"):
        value = getattr(parallelism, name)
        if value > 1:
            yield Problem(
                f"{_ENGINE}.parallelism.{name}",
                str(value),
                f"1 on {accelerator.title}: MIG slices cannot work together on one model",
                "take a larger slice or whole GPUs",
            )
