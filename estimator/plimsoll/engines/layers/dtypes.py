"""How many bytes elements take: the dtypes that flags name, and quantizations at load time.

KV cache, bytes for one head's key (or value) of d elements in one token:

    auto, bfloat16 ...      d x 2 (float32: 4)
    fp8*                    d
    nvfp4                   d/2 + d/16                    block scales beside the values
    int8/fp8 per token-head d + 4                         a float32 scale each
    int4 per token-head     d/2 + 4
    fp8_ds_mla              656 bytes a token and layer   576 for the latent and its scales
    nvfp4_ds_mla            352 bytes a token and layer

Source: vLLM 0.33.0, vllm/v1/kv_cache_interface.py, vllm/utils/torch_utils.py and
vllm/v1/attention/backends/mla/flashmla_sparse.py.

What ``--quantization`` means for a checkpoint whose config says nothing of it: 4-bit groups of 128
with 16-bit scales (AWQ and GPTQ defaults); NF4 with an 8-bit scale for 64 weights (bitsandbytes
with double quantization, as vLLM quantizes in flight); MXFP4 a byte for 32, NVFP4 a byte for 16;
fp8 a scale per tensor or per channel.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.models.quantization import Quantization, Scheme
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

WEIGHT_BYTES: Final = MappingProxyType(
    {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
)
"""Bytes of an element, by the words that ``--dtype`` takes; ``auto`` is resolved before."""

_PLAIN: Final = MappingProxyType({"bfloat16": 2, "float16": 2, "bf16": 2, "fp16": 2, "float32": 4})
_FP8: Final = ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc")
_PER_HEAD: Final = MappingProxyType(
    {"int8_per_token_head": 8, "fp8_per_token_head": 8, "int4_per_token_head": 4}
)
_NVFP4: Final = ("nvfp4", "nvfp4_4over6")
_DS_MLA: Final = MappingProxyType({"fp8_ds_mla": 656, "nvfp4_ds_mla": 352})
_LATENT: Final = 576
"""Elements of the latent that those bytes hold."""

KNOWN_KV_DTYPES: Final = frozenset({"auto", *_PLAIN, *_FP8, *_PER_HEAD, *_NVFP4, *_DS_MLA})
"""Cache dtypes whose size is known here; vLLM has more, all of them of 8 bits or fewer."""


def weight_dtype(architecture: Architecture, word: str) -> str:
    """The dtype that the unquantized weights are loaded in: as said, else the config's.

    vLLM loads float32 checkpoints in 16 bits unless it is told otherwise.
    """
    if word in WEIGHT_BYTES:
        return {"half": "float16", "float": "float32"}.get(word, word)
    return "bfloat16" if architecture.dtype == "float32" else architecture.dtype


def kv_dtype(architecture: Architecture, word: str) -> str:
    """The cache dtype in force: as said, else what the checkpoint asks for, else ``auto``."""
    return (
        word.lower()
        if word and word.lower() != "auto"
        else (architecture.attention_kv_dtype or "auto")
    )


def state_bytes(elements: int, dtype: str, model_bytes: int) -> int:
    """Bytes of one key or value of `elements` elements. An unknown dtype counts as the model's."""
    if dtype in _FP8:
        return elements
    if dtype in _NVFP4:
        return elements // 2 + elements // 16
    if dtype in _PER_HEAD:
        return elements * _PER_HEAD[dtype] // 8 + 4 if elements else 0
    return elements * _PLAIN.get(dtype, model_bytes)


def latent_bytes(elements: int, dtype: str, model_bytes: int) -> int:
    """Bytes of one token's MLA latent of `elements` elements in one layer.

    A compressed latent (DeepSeek V4) takes its part of what a whole one does.
    """
    whole = _DS_MLA.get(dtype)
    if whole is None:
        return state_bytes(elements, dtype, model_bytes)
    return ceil_div(whole * elements, _LATENT)


def is_eight_bit_float(dtype: str) -> bool:
    """Whether a cache dtype is one of the fp8 kinds."""
    return dtype.startswith("fp8")


_W4: Final = Scheme("w4a16", 4, 128, 1, 2, 4)
_W4_SYMMETRIC: Final = Scheme("w4a16", 4, 128, 1, 2)
_FP8_TENSOR: Final = Scheme("fp8", 8)
_FP8_CHANNEL: Final = Scheme("fp8", 8, 0, 1)
_INT8: Final = Scheme("int8", 8, 0, 1)
_NF4: Final = Scheme("nf4", 4, 64, 1, 1)
_MXFP4: Final = Scheme("mxfp4", 4, 32, 1, 1)
_MXFP8: Final = Scheme("mxfp8", 8, 32, 1, 1)
_NVFP4_SCHEME: Final = Scheme("nvfp4", 4, 16, 1, 1)

_SCHEMES: Final = MappingProxyType({
    "fp8": _FP8_TENSOR, "fp8_per_tensor": _FP8_TENSOR,
    "fbgemm_fp8": _FP8_CHANNEL, "ptpc_fp8": _FP8_CHANNEL,
    "fp8_per_block": Scheme("fp8", 8, 128, 128), "modelopt": _FP8_TENSOR,
    "awq": _W4, "awq_marlin": _W4, "gptq": _W4_SYMMETRIC, "gptq_marlin": _W4_SYMMETRIC,
    "bitsandbytes": _NF4, "experts_int8": _INT8, "int8_per_channel_weight_only": _INT8,
    "mxfp4": _MXFP4, "mxfp8": _MXFP8, "modelopt_fp4": _NVFP4_SCHEME, "nvfp4": _NVFP4_SCHEME,
})  # fmt: skip

_EXPERTS_ONLY: Final = frozenset({"experts_int8", "mxfp4"})


def runtime_quantization(word: str) -> Quantization | None:
    """The quantization that a ``--quantization`` word brings; None for one that is not known."""
    scheme = _SCHEMES.get(word.lower())
    return Quantization(word.lower(), scheme) if scheme else None


def experts_only(quantization: Quantization) -> bool:
    """Whether it touches the routed experts and nothing else when applied at load time."""
    return quantization.method in _EXPERTS_ONLY
