"""What ``--quantization`` means for a checkpoint whose config says nothing of it.

It must not read a checkpoint: where the config carries a quantization, that one holds, and the
flag only picks kernels.

Figures: 4-bit groups of 128 with 16-bit scales (AWQ and GPTQ defaults); NF4 with an 8-bit scale
for 64 weights (bitsandbytes with double quantization, as vLLM quantizes in flight); MXFP4 a byte
for 32, NVFP4 a byte for 16; fp8 a scale per tensor or per channel.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from plimsoll.models.quantization import Quantization, Scheme

_W4: Final = Scheme("w4a16", 4, 128, 1, 2, 4)
_W4_SYMMETRIC: Final = Scheme("w4a16", 4, 128, 1, 2)
_FP8: Final = Scheme("fp8", 8)
_FP8_CHANNEL: Final = Scheme("fp8", 8, 0, 1)
_INT8: Final = Scheme("int8", 8, 0, 1)
_NF4: Final = Scheme("nf4", 4, 64, 1, 1)
_MXFP4: Final = Scheme("mxfp4", 4, 32, 1, 1)
_MXFP8: Final = Scheme("mxfp8", 8, 32, 1, 1)
_NVFP4: Final = Scheme("nvfp4", 4, 16, 1, 1)

_SCHEMES: Final = MappingProxyType({
    "fp8": _FP8, "fp8_per_tensor": _FP8, "fbgemm_fp8": _FP8_CHANNEL, "ptpc_fp8": _FP8_CHANNEL,
    "fp8_per_block": Scheme("fp8", 8, 128, 128), "modelopt": _FP8,
    "awq": _W4, "awq_marlin": _W4, "gptq": _W4_SYMMETRIC, "gptq_marlin": _W4_SYMMETRIC,
    "bitsandbytes": _NF4, "experts_int8": _INT8, "int8_per_channel_weight_only": _INT8,
    "mxfp4": _MXFP4, "mxfp8": _MXFP8, "modelopt_fp4": _NVFP4, "nvfp4": _NVFP4,
})  # fmt: skip

_EXPERTS_ONLY: Final = frozenset({"experts_int8", "mxfp4"})


def runtime_quantization(word: str) -> Quantization | None:
    """The quantization that a ``--quantization`` word brings; None for one that is not known."""
    scheme = _SCHEMES.get(word.lower())
    return Quantization(word.lower(), scheme) if scheme else None


def experts_only(quantization: Quantization) -> bool:
    """Whether it touches the routed experts and nothing else when applied at load time."""
    return quantization.method in _EXPERTS_ONLY
