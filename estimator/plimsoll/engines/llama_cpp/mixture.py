"""Which format each tensor of a nominal GGUF file has: what llama.cpp's quantizer would choose.

It must not read files: a real header says it better, and `plimsoll.engines.llama_cpp.weights`
prefers it.

    never quantized   vectors, norms, routers, small convolutions (f32)
    output            q6_k (q8_0 in q8_0 files; q5_k in files of 1 and 2 bits); a tied embedding
                      is the output
    "M" files         more bits for attention's values and ffn_down in the first and last eighth
                      of the layers and in every third between
    not divisible     a row that is no whole number of blocks falls back to blocks of 32

Source: src/llama-quant.cpp of llama.cpp (``llama_tensor_get_type_impl`` and its callers).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from plimsoll.engines.llama_cpp.ggml_types import BLOCKS


class TensorRole(StrEnum):
    """What the quantizer tells tensors apart by."""

    EMBEDDING = "token_embd"
    OUTPUT = "output"
    ATTENTION_Q = "attn_q"
    ATTENTION_K = "attn_k"
    ATTENTION_V = "attn_v"
    ATTENTION_QKV = "attn_qkv"
    ATTENTION_OUT = "attn_output"
    FFN_UP = "ffn_up"
    FFN_GATE = "ffn_gate"
    FFN_DOWN = "ffn_down"
    OTHER = "other"
    KEPT = "kept"
    """Not quantized by any file type: vectors, norms, routers."""


_DEFAULTS: Final = MappingProxyType(
    {
        "f32": "f32", "f16": "f16", "bf16": "bf16", "q8_0": "q8_0", "q4_0": "q4_0",
        "q4_1": "q4_1", "q5_0": "q5_0", "q5_1": "q5_1", "q2_k": "q2_k", "q2_k_s": "q2_k",
        "q3_k_s": "q3_k", "q3_k_m": "q3_k", "q3_k_l": "q3_k", "q4_k_s": "q4_k", "q4_k_m": "q4_k",
        "q5_k_s": "q5_k", "q5_k_m": "q5_k", "q6_k": "q6_k", "iq1_s": "iq1_s", "iq1_m": "iq1_m",
        "iq2_xxs": "iq2_xxs", "iq2_xs": "iq2_xs", "iq2_s": "iq2_xs", "iq2_m": "iq2_s",
        "iq3_xxs": "iq3_xxs", "iq3_xs": "iq3_s", "iq3_s": "iq3_s", "iq3_m": "iq3_s",
        "iq4_nl": "iq4_nl", "iq4_xs": "iq4_xs", "mxfp4_moe": "mxfp4", "tq1_0": "tq1_0",
        "tq2_0": "tq2_0",
    }
)  # fmt: skip
ALIASES: Final = MappingProxyType(
    {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m", "mxfp4": "mxfp4_moe", "fp16": "f16"}
)
FILE_TYPES: Final = tuple(_DEFAULTS)
"""Names of nominal files, in lower case, as ``llama-quantize`` takes them."""

_TWO_BITS: Final = ("iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq1_s", "iq1_m")
_FALLBACK: Final = MappingProxyType(
    {
        "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0", "q2_k": "q4_0", "q3_k": "q4_0",
        "tq1_0": "q4_0", "tq2_0": "q4_0",
    }
)  # fmt: skip
_LAYERS_OF_70B: Final = 80


@dataclass(frozen=True, slots=True)
class ModelToQuantize:
    """What the quantizer asks of a model.

    layers: all of them. attentions: layers with a value projection of their own.
    gqa: query heads per key/value head. experts: routed experts of a layer, 0 where dense.
    tied: the output is the embedding.
    """

    layers: int
    attentions: int
    gqa: int
    experts: int
    tied: bool


def file_type(word: str) -> str | None:
    """The nominal file that a word means (``Q4_K_M``, ``Q4_K``), None for one not known."""
    name = word.strip().lower()
    name = ALIASES.get(name, name)
    return name if name in _DEFAULTS else None


def tensor_type(
    file: str,
    role: TensorRole,
    columns: int,
    model: ModelToQuantize,
    layer: int = 0,
    attention: int = 0,
    stacked: bool = False,
) -> str:
    """The format of one tensor. file: as `file_type` gives it. columns: elements of a row.

    layer: of all layers; attention: its number among the layers that have values of their own.
    stacked: the matrices of all experts as one tensor.
    """
    if role is TensorRole.KEPT:
        return "f32"
    base = _DEFAULTS[file]
    if base in ("f32", "f16", "bf16"):
        return base
    return _fitting(_chosen(file, base, role, columns, model, layer, attention, stacked), columns)


def _fitting(name: str, columns: int) -> str:
    """The format itself, or the one that a row of this length falls back to."""
    if columns % BLOCKS[name][0] == 0:
        return name
    other = _FALLBACK.get(name, "iq4_nl" if name.startswith("iq") else "f16")
    return other if columns % BLOCKS[other][0] == 0 else "f16"


def _chosen(
    file: str,
    base: str,
    role: TensorRole,
    columns: int,
    model: ModelToQuantize,
    layer: int,
    attention: int,
    stacked: bool,
) -> str:
    if role is TensorRole.OUTPUT or (role is TensorRole.EMBEDDING and model.tied):
        if file == "mxfp4_moe" or columns % BLOCKS[base][0]:
            return "q8_0"
        return "q5_k" if file in (*_TWO_BITS, "iq3_xxs") else base if base == "q8_0" else "q6_k"
    if file == "mxfp4_moe":
        return "mxfp4" if stacked else "q8_0"
    if role is TensorRole.EMBEDDING:
        return _embedding(file, base)
    if file in _TWO_BITS:
        return _two_bits(file, base, role, model, layer)
    if role in (TensorRole.ATTENTION_V, TensorRole.ATTENTION_QKV):
        return _values(file, base, role, model, attention)
    if role in (TensorRole.ATTENTION_K, TensorRole.ATTENTION_Q):
        if role is TensorRole.ATTENTION_K and model.experts == 8:
            return "q8_0"
        return {"iq3_xs": "iq3_xxs", "iq3_xxs": "iq2_s"}.get(file, base)
    if role is TensorRole.FFN_DOWN:
        return _down(file, base, model, layer)
    if role is TensorRole.ATTENTION_OUT:
        return _attention_out(file, base, model)
    eighth = model.layers // 8
    middle = eighth <= layer < 7 * model.layers // 8
    return "iq3_xxs" if role is not TensorRole.OTHER and file == "iq3_xs" and middle else base


def _embedding(file: str, base: str) -> str:
    if file in ("iq2_xxs", "iq2_xs", "iq1_s", "iq1_m"):
        return "q2_k"
    if file in ("iq2_s", "iq2_m", "iq3_xxs"):
        return "iq3_s"
    return "q4_k" if file in ("tq1_0", "tq2_0") else base


def _two_bits(file: str, base: str, role: TensorRole, model: ModelToQuantize, layer: int) -> str:
    richer = "iq3_s" if file in ("iq2_s", "iq2_m") else "q2_k"
    if role in (TensorRole.ATTENTION_V, TensorRole.ATTENTION_QKV):
        return "q4_k" if model.gqa >= 4 or model.experts >= 4 else richer
    if role is TensorRole.ATTENTION_K and model.experts == 8:
        return "q4_k"
    if role is TensorRole.FFN_DOWN:
        return richer if layer < model.layers // 8 else base
    if role is TensorRole.ATTENTION_OUT:
        if model.experts == 8:
            return "q5_k"
        few = {"iq1_s": "iq2_xxs", "iq1_m": "iq2_xxs", "iq2_s": "iq3_s", "iq2_m": "iq3_s"}
        return few.get(file, base)
    return base


def _more_bits(index: int, count: int) -> bool:
    eighth = count // 8
    return index < eighth or index >= 7 * count // 8 or (index - eighth) % 3 == 2


def _values(file: str, base: str, role: TensorRole, model: ModelToQuantize, index: int) -> str:
    many = model.gqa >= 4
    name = base
    if file == "q2_k":
        name = "q4_k" if many else "q3_k"
    elif file in ("q2_k_s", "iq3_xs", "iq3_s") and many:
        name = "q4_k"
    elif file == "iq3_xxs":
        name = "q4_k" if many else "iq3_xxs"
    elif file == "iq3_m":
        name = "q4_k"
    elif file == "q3_k_m":
        name = "q5_k" if index < 2 else "q4_k"
    elif file == "q3_k_l" or (file in ("iq4_nl", "iq4_xs") and many):
        name = "q5_k"
    elif file in ("q4_k_m", "q5_k_m") and _more_bits(index, model.attentions):
        name = "q6_k"
    elif file == "q4_k_s" and index < 4:
        name = "q5_k"
    if model.layers == _LAYERS_OF_70B and not model.experts and name in ("q3_k", "q4_k"):
        name = "q5_k"
    return "q8_0" if model.experts == 8 else name


def _down(file: str, base: str, model: ModelToQuantize, layer: int) -> str:
    eighth = layer < model.layers // 8
    more = _more_bits(layer, model.layers)
    if file == "q2_k":
        return "q3_k"
    if file == "q2_k_s":
        return "q4_k" if eighth else base
    if file == "q3_k_m":
        return "q5_k" if layer < model.layers // 16 else "q4_k"
    if file == "iq3_m":
        return "q4_k" if eighth or (model.experts == 8 and more) else base
    if file == "q3_k_l":
        return "q5_k"
    if file in ("q4_k_m", "q5_k_m"):
        return "q6_k" if more else base
    if file == "q4_k_s":
        return "q5_k" if eighth else base
    return base


def _attention_out(file: str, base: str, model: ModelToQuantize) -> str:
    if model.experts == 8:
        raised = (
            "q2_k", "iq3_xs", "iq3_xxs", "q3_k_s", "q3_k_m", "iq4_nl", "q4_k_s", "q4_k_m",
            "iq3_s", "iq3_m", "iq4_xs",
        )  # fmt: skip
        return "q5_k" if file in raised else base
    own = {"q2_k": "q3_k", "iq3_xxs": "iq3_s", "q3_k_m": "q4_k", "q3_k_l": "q5_k", "iq3_m": "q4_k"}
    return own.get(file, base)
