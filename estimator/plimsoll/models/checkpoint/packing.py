"""From the tensors of a file to the weights that they hold: packed ones with their scales as one.

Of the config only the number of bits is known here.

    fp8, int8             weight + weight_scale | weight_scale_inv | scale
    NVFP4, MXFP4          weight | weight_packed | blocks: two in a byte, one scale for 16 or 32
    compressed-tensors    weight_packed: out x (in x bits / 32) of int32, weight_scale: out x groups
    GPTQ                  qweight: (in x bits / 32) x out, scales: groups x out, qzeros, g_idx
    AWQ                   qweight: in x (out x bits / 32), scales: groups x out, qzeros
    bitsandbytes          weight: (elements / 2) x 1, absmax: one for 64; int8: weight + SCB
    sources               vllm/model_executor/layers/quantization/*.py (``create_weights``)
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.quantization import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.models.files import HeaderTensor

_COMPANION: Final = re.compile(
    r"^(?P<module>.+?)[._](?P<role>weight_scale_inv|weight_scale_2|weight_scale|"
    r"weight_global_scale|weight_zero_point|weight_shape|weight_g_idx|qzeros|scales|g_idx|"
    r"scale_inv|scale|SCB|weight_format|weight\.absmax|weight\.quant_map|weight\.nested_\w+|"
    r"weight\.quant_state\.\w+)$"
)
_MAINS: Final = ("{}.weight", "{}.qweight", "{}.weight_packed", "{}_blocks", "{}")
_FLOATING: Final = frozenset({"F64", "F32", "F16", "BF16"})
_BLOCK: Final = 128


@dataclass(frozen=True, slots=True)
class Weight:
    """One weight, unpacked.

    name: as in the file, but ``.weight`` for every spelling of a packed one.
    shape: output first. Of a weight stored flat (bitsandbytes) only the number of elements.
    scheme: how it is stored; None: a floating type of 16 bits or more.
    scales: how many scales it has; 0 if they are not in the file.
    """

    name: str
    shape: tuple[int, ...]
    scheme: Scheme | None
    scales: int = 0

    @property
    def elements(self) -> int:
        """Weights, not containers."""
        return math.prod(self.shape)


def unpacked(tensors: Iterable[HeaderTensor], bits: int) -> tuple[Weight, ...]:
    """The weights in a list of tensors. bits: of a weight in an int32, if shapes leave it open.

    Scales without a weight beside them are weights of their own.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    companions: defaultdict[str, dict[str, HeaderTensor]] = defaultdict(dict)
    mains = []
    for name, tensor in by_name.items():
        match = _COMPANION.match(name)
        main = ""
        if match is not None:
            names = (form.format(match["module"]) for form in _MAINS)
            main = next((n for n in names if n in by_name and n != name), "")
        if match is not None and main:
            companions[main][match["role"]] = tensor
        else:
            mains.append(tensor)
    return tuple(_with_scales(tensor, companions.get(tensor.name, {}), bits) for tensor in mains)


def _with_scales(main: HeaderTensor, beside: Mapping[str, HeaderTensor], bits: int) -> Weight:
    weight = _weight(main, beside, bits)
    scale = _scale(beside) or beside.get("weight.absmax") or beside.get("SCB")
    if scale is None or weight.scheme is None:
        return weight
    return replace(weight, scales=scale.elements)


def _weight(main: HeaderTensor, beside: Mapping[str, HeaderTensor], bits: int) -> Weight:
    name, shape = main.name, main.shape
    if name.endswith(".qweight"):
        return _integer_groups(main, beside, bits)
    if name.endswith("_blocks") and len(shape) >= 3:
        stem = name.removesuffix("_blocks")
        whole = (*shape[:-2], shape[-2] * shape[-1] * 2)
        return Weight(f"{stem}.weight", whole, _packed(whole, beside))
    if name.endswith(".weight_packed"):
        stem = name.removesuffix("_packed")
        if main.type_name in ("I32", "U32"):
            whole = (*shape[:-1], shape[-1] * 32 // bits)
            return Weight(stem, whole, _grouped(whole, beside, bits))
        whole = (*shape[:-1], shape[-1] * 2)
        return Weight(stem, whole, _packed(whole, beside))
    if main.type_name in _FLOATING or len(shape) < 2:
        return Weight(name, shape, None)
    if "weight.absmax" in beside or any(role.startswith("weight.quant") for role in beside):
        double = any(role.startswith("weight.nested") for role in beside)
        return Weight(name, (main.elements * 2,), Scheme("nf4", 4, 64, 1, 1 if double else 4))
    if main.type_name in ("I8", "U8", "F4"):
        return _eight_or_four(main, beside)
    if main.type_name.startswith("F8"):
        return Weight(name, shape, _eight(shape, beside))
    return Weight(name, shape, None)


def _scale(beside: Mapping[str, HeaderTensor]) -> HeaderTensor | None:
    """The scales that grow with the weight."""
    roles = ("weight_scale_inv", "weight_scale", "scale_inv", "scale", "scales")
    return next((beside[role] for role in roles if role in beside), None)


def _groups(shape: tuple[int, ...], scale: HeaderTensor | None) -> tuple[int, int]:
    """Elements of the input and of the output that share a scale, as `Scheme` counts them."""
    out, into = shape[-2:]
    sizes = [] if scale is None else [n for n in scale.shape if n > 1]
    if scale is None or not sizes or math.prod(sizes) == math.prod(shape[:-2]):
        return 0, 0
    rows, columns = scale.shape[-2:] if len(scale.shape) > 1 else (out, 1)
    if rows == out and columns == 1:
        return 0, 1
    return _size(into, columns), _size(out, rows)


def _size(width: int, pieces: int) -> int:
    """Elements of a block, if `width` makes so many."""
    if pieces == -(-width // _BLOCK):
        return _BLOCK
    return -(-width // max(1, pieces))


def _eight(shape: tuple[int, ...], beside: Mapping[str, HeaderTensor]) -> Scheme:
    scale = _scale(beside)
    group_in, group_out = _groups(shape, scale)
    if group_out == 1 and group_in == 32:
        return Scheme("mxfp8", 8, 32, 1, 1)
    return Scheme("fp8", 8, group_in, group_out)


def _eight_or_four(main: HeaderTensor, beside: Mapping[str, HeaderTensor]) -> Weight:
    """Bytes: int8, or two weights of 4 bits in each."""
    shape, scale = main.shape, _scale(beside)
    small = scale is not None and len(scale.shape) >= 2 and scale.shape[-1] > 1
    if main.type_name == "I8" and not (scale and scale.type_name.startswith(("F8", "U8"))):
        return Weight(main.name, shape, Scheme("int8", 8, 0, 1, 4 if "SCB" in beside else 2))
    if not small:
        return Weight(main.name, shape, Scheme("int8", 8, 0, 1, 2))
    width = 1 if main.type_name == "F4" else 2
    whole = (*shape[:-1], shape[-1] * width)
    return Weight(main.name, whole, _packed(whole, beside))


def _packed(shape: tuple[int, ...], beside: Mapping[str, HeaderTensor]) -> Scheme:
    """NVFP4 or MXFP4, by the size of a group."""
    scale = _scale(beside)
    columns = scale.shape[-1] if scale is not None and scale.shape else 0
    group = shape[-1] // columns if columns else 32
    if group <= 16:
        return Scheme("nvfp4", 4, 16, 1, 1)
    return Scheme("mxfp4", 4, group, 1, 1)


def _grouped(shape: tuple[int, ...], beside: Mapping[str, HeaderTensor], bits: int) -> Scheme:
    scale = _scale(beside)
    columns = scale.shape[-1] if scale is not None and scale.shape else 1
    group = shape[-1] // columns if columns > 1 else 0
    zero = bits if "weight_zero_point" in beside else 0
    return Scheme(f"w{bits}a16", bits, group, 1, 2, zero)


def _integer_groups(main: HeaderTensor, beside: Mapping[str, HeaderTensor], bits: int) -> Weight:
    """GPTQ or AWQ: which one, and the bits, from the shapes."""
    scales, index = beside.get("scales"), beside.get("g_idx")
    name = f"{main.name.removesuffix('.qweight')}.weight"
    if len(main.shape) < 2:
        return Weight(name, main.shape, Scheme(f"w{bits}a16", bits, 128, 1, 2))
    rows, columns = main.shape[-2:]
    out = scales.shape[-1] if scales is not None and scales.shape else columns
    into = rows
    if out == columns:
        into = index.elements if index is not None else rows * 32 // bits
    stored = rows * columns * 32
    per_weight = stored // max(1, out * into)
    per_weight = per_weight if 1 <= per_weight <= 8 and per_weight * out * into == stored else bits
    groups = scales.shape[-2] if scales is not None and len(scales.shape) >= 2 else 1
    group = -(-into // groups) if groups > 1 else 0
    zero = per_weight if "qzeros" in beside else 0
    scheme = Scheme(f"w{per_weight}a16", per_weight, group, 1, 2, zero)
    return Weight(name, (*main.shape[:-2], out, into), scheme)
