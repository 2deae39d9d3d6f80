"""How a model's tensors lie in its checkpoint: the scheme of each, and the bytes of all.

What a rank loads of them, and as what type, is the engine's business.

Of a checkpoint that is known as quantized by its name alone, which linears it leaves in 16 bits is
not known (`spread_by_name`):

    least   every matrix quantized, embedding and head too
    most    of a model with experts only these; of any other only its feed-forward layers
    GGUF    16 bits are counted; its files go down to 2
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Part
from plimsoll.models.quantization import FURTHER
from plimsoll.models.rules import compiled

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture, Block, Tensor
    from plimsoll.models.quantization import Quantization, Scheme

_LEFT_ALONE: Final = frozenset(
    {"norm", "router", "vision", "audio", "projector", "embedding", "lm_head"}
)
"""Parts that no method quantizes unless the config names them."""


def module_of(tensor: Tensor) -> str:
    """The module that holds a tensor: its name without ``.weight``."""
    return tensor.name.removesuffix(".weight")


def scheme_of(quantization: Quantization, module: str, tensor: Tensor) -> Scheme | None:
    """How one linear of a checkpoint is stored; None: as the model's own type.

    module: the tensor's name without ``.weight``, relative to its layer.
    """
    if not tensor.linear:
        return None
    if tensor.scheme is not None:
        return tensor.scheme
    special = quantization.special_rules.first(module)
    if special is not None:
        return quantization.special[special][1]
    if tensor.part in _LEFT_ALONE:
        return None
    if quantization.method == "mxfp4" and tensor.part != "experts":
        return None
    if quantization.ignored_rules.first(module) is not None:
        return None
    return quantization.default


def left_alone_by_layer(
    blocks: tuple[Block, ...], quantization: Quantization | None
) -> tuple[Block, ...]:
    """The blocks; a linear that its layer leaves unquantized is none there.

    Layers that are alike, and alike in this, still share one block.
    """
    if quantization is None or not quantization.ignored_in:
        return blocks
    rules = dict(quantization.ignored_in)
    by_block: dict[tuple[int, tuple[str, ...]], Block] = {}
    result = []
    for index, block in enumerate(blocks):
        left = rules.get(index, ())
        key = (id(block), left)
        if left and key not in by_block:
            tensors = tuple(
                replace(t, linear=False)
                if t.linear and compiled(left).first(module_of(t)) is not None
                else t
                for t in block.tensors
            )
            by_block[key] = replace(block, tensors=tensors) if tensors != block.tensors else block
        result.append(by_block.get(key, block))
    return tuple(result)


def left_alone_further(
    extra: tuple[Tensor, ...], layers: int, quantization: Quantization | None
) -> tuple[Tensor, ...]:
    """Tensors of MTP layers; a linear that is left unquantized there is none. layers: before."""
    if quantization is None or not quantization.ignored_in:
        return extra
    rules = tuple(
        rule
        for layer, left in quantization.ignored_in
        if layer == FURTHER or layer >= layers
        for rule in left
    )
    if not rules:
        return extra
    found = compiled(rules)
    return tuple(
        replace(t, linear=False) if t.linear and found.first(module_of(t)) is not None else t
        for t in extra
    )


def tensor_bytes(tensor: Tensor, quantization: Quantization | None, element: int) -> int:
    """Bytes of all copies of a tensor as stored. element: bytes of an unquantized element."""
    scheme = None
    if quantization is not None and tensor.linear:
        scheme = scheme_of(quantization, module_of(tensor), tensor)
    if scheme is None:
        return tensor.elements * element
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    return scheme.bytes(rows, columns) * tensor.copies


def stored_bytes(architecture: Architecture) -> int:
    """Bytes of the checkpoint's tensors, MTP layers with them, without the files' headers."""
    element = 4 if architecture.dtype == "float32" else 2
    quantization = architecture.quantization
    by_block = {
        id(block): sum(tensor_bytes(t, quantization, element) for t in block.tensors)
        for block in {id(block): block for block in architecture.blocks}.values()
    }
    return sum(by_block[id(block)] for block in architecture.blocks) + sum(
        tensor_bytes(t, quantization, element) for t in (*architecture.outside, *architecture.extra)
    )


def spread_by_name(architecture: Architecture) -> tuple[Fraction, Fraction]:
    """The least and the most that the weights may take, as shares of what is counted.

    1 and 1 unless only the word for the checkpoint's quantization is known.
    """
    quantization = architecture.quantization
    if quantization is None or not quantization.by_name:
        return Fraction(1), Fraction(1)
    if quantization.default is None:
        return Fraction(1, 8), Fraction(1)
    return architecture.remembered(("storage.by_name",), lambda: _spread(architecture))


_ALWAYS_QUANTIZED: Final = (Part.MLP, Part.EXPERTS)


def surely_quantized(architecture: Architecture) -> tuple[Part, ...]:
    """The parts whose linears every quantized checkpoint has quantized: experts, else the MLP."""
    tensors = (*architecture.outside, *(t for b in architecture.blocks for t in b.tensors))
    experts = any(t.part is Part.EXPERTS for t in tensors)
    return (Part.EXPERTS,) if experts else _ALWAYS_QUANTIZED


def _spread(architecture: Architecture) -> tuple[Fraction, Fraction]:
    quantization = architecture.quantization
    assert quantization is not None
    assert quantization.default is not None
    scheme, element = quantization.default, 4 if architecture.dtype == "float32" else 2
    tensors = [*architecture.outside, *(t for b in architecture.blocks for t in b.tensors)]
    surely = surely_quantized(architecture)
    counted = least = most = 0
    for tensor in tensors:
        size = tensor_bytes(tensor, quantization, element)
        plain = tensor.elements * element
        whole = size
        if len(tensor.shape) > 1:
            columns = math.prod(tensor.shape[1:])
            whole = min(plain, scheme.bytes(tensor.shape[0], columns) * tensor.copies)
        counted += size
        least += min(size, whole)
        most += size if tensor.part in surely else plain
    return Fraction(least, counted), Fraction(most, counted)
