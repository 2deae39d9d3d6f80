"""What the layers refuse, whichever engine has them: a split, a dtype, a GPU.

It must not compute memory, and it must not know a version or a flag of an engine.

    heads % tp = 0                    kv_heads % tp = 0 or tp % kv_heads = 0
    padded vocabulary % tp = 0        pipeline stages <= layers
    fp8 blocks                        experts, and input of a partition: % block = 0
    4-bit kernels (Marlin)            output of a partition % 64 = 0, input % group = 0
    fp8 weights, fp8 cache, bfloat16  compute capability 8.0
    MIG slices                        tensor = pipeline = 1

Source: vLLM 0.33.0, vllm/config/model.py, vllm/model_executor/layers/quantization,
vllm/model_executor/layers/linear.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, is_eight_bit_float, kv_dtype
from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.layers.sharding import (
    VOCAB_PADDING,
    local_shape,
    quantization_in_force,
    scheme_in_force,
)
from plimsoll.errors import Problem, shown
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import Split
from plimsoll.paths import Field
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture, Tensor
    from plimsoll.models.quantization import Scheme

_ENGINE: Final = "spec.engine"
_TENSOR: Final = "spec.engine.parallelism.tensor"
_MARLIN_OUT: Final = 64
_AMPERE: Final = (8, 0)
_CUT: Final = (Split.COLUMN, Split.ROW, Split.KV_HEADS, Split.EXPERT_COLUMN, Split.EXPERT_ROW)


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> Iterator[Finding | Problem]:
    """Everything that the layers refuse, each with its field."""
    yield from _dtype(settings)
    if parallelism:
        yield from _split(architecture, settings, parallelism)
    if accelerator:
        yield from _gpu(architecture, settings, accelerator)
    if parallelism and accelerator:
        yield from slices(parallelism, accelerator)


def tensor_parallel_sizes(architecture: Architecture, most: int) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `most` that the engine accepts for this model."""
    return remembered(
        architecture,
        ("layers.sizes", most),
        lambda: tuple(
            tp
            for tp in range(1, most + 1)
            if not tuple(_find_faults(architecture, "", tp, tp, False))
        ),
    )


def _dtype(settings: EngineSettings) -> Iterator[Finding | Problem]:
    if settings.dtype and settings.dtype != "auto" and settings.dtype not in WEIGHT_BYTES:
        yield Problem(
            f"{_ENGINE}.dtype",
            shown(settings.dtype),
            "one of auto, bfloat16, float16, half, float32 or float",
        )


def _split(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Iterator[Finding | Problem]:
    ranks = parallelism.tensor * parallelism.data
    for what, fix in _tensor_faults(
        architecture, settings.quantization, parallelism.tensor, ranks, parallelism.expert
    ):
        yield Problem(_TENSOR, str(parallelism.tensor), what, fix)
    yield from stages(architecture, parallelism)
    moe = any(b.feed_forward is not None and b.feed_forward.experts for b in architecture.blocks)
    if parallelism.expert and not moe:
        yield Problem(
            "spec.engine.parallelism.expert",
            "true",
            "false: the model has no experts",
        )


def stages(architecture: Architecture, parallelism: Parallelism) -> Iterator[Finding | Problem]:
    """More pipeline stages than layers."""
    layers = len(architecture.blocks)
    if parallelism.pipeline > max(1, layers):
        yield finding(Rule.TOO_MANY_STAGES, Field.PIPELINE, parallelism.pipeline, layers=layers)


def _tensor_faults(
    architecture: Architecture, quantization: str, tp: int, ranks: int, expert: bool
) -> tuple[tuple[str, str], ...]:
    """What a tensor-parallel size does not divide, each with a next step."""
    key = ("layers.faults", quantization, tp, ranks, expert)
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


def _gpu(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Finding | Problem]:
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


def slices(parallelism: Parallelism, accelerator: Accelerator) -> Iterator[Finding | Problem]:
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
