"""What the tensors of a GGUF file take: its types, what the quantizer chooses, and the weights.

Number formats come in blocks:

    bytes of a row = elements / block x bytes of a block; elements are a whole number of blocks

Source: ggml/src/ggml-common.h and ggml.c of llama.cpp (``type_traits``).

A tensor of a nominal file has the format that the quantizer would choose:

    never quantized   vectors, norms, routers, small convolutions (f32)
    output            q6_k (q8_0 in q8_0 files; q5_k in files of 1 and 2 bits); a tied embedding
                      is the output
    "M" files         more bits for attention's values and ffn_down in the first and last eighth
                      of the layers and in every third between
    not divisible     a row that is no whole number of blocks falls back to blocks of 32

Source: src/llama-quant.cpp of llama.cpp (``llama_tensor_get_type_impl`` and its callers).

As they are loaded:

    a tensor       rows x bytes of a row, padded to 128 bytes
    layer          all its tensors; its experts counted apart, for they may stay in main memory
    embedding      always in main memory; where it is the output too, a second time as output
    output         final norm and head, on the GPU of the last layer
    kv_b of MLA    stored as two, keys' part transposed: rows of nope and of rank elements
    projector      the vision or audio tower of ``--mmproj``, in 16 bits

With a GGUF header (`Architecture.stored`) the bytes are the file's own; without one, those of a
nominal file made by ``llama-quantize``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import MixerKind, Part, Stage
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.models.architecture import Architecture, Block, Tensor
    from plimsoll.models.files import HeaderTensor

BLOCKS: Final = MappingProxyType(
    {
        "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2),
        "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24), "q8_0": (32, 34),
        "q2_k": (256, 84), "q3_k": (256, 110), "q4_k": (256, 144), "q5_k": (256, 176),
        "q6_k": (256, 210), "iq1_s": (256, 50), "iq1_m": (256, 56), "iq2_xxs": (256, 66),
        "iq2_xs": (256, 74), "iq2_s": (256, 82), "iq3_xxs": (256, 98), "iq3_s": (256, 110),
        "iq4_nl": (32, 18), "iq4_xs": (256, 136), "tq1_0": (256, 54), "tq2_0": (256, 66),
        "mxfp4": (32, 17), "nvfp4": (64, 36),
    }
)  # fmt: skip
"""Elements and bytes of a block, by the name in lower case."""

CACHE_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""What ``--cache-type-k`` and ``--cache-type-v`` take."""


def row_bytes(name: str, elements: int) -> int:
    """Bytes of so many elements in a row. Raises KeyError for a format that is not known."""
    block, each = BLOCKS[name]
    return ceil_div(elements, block) * each


def is_quantized(name: str) -> bool:
    """Whether a format packs elements into blocks."""
    return BLOCKS[name][0] > 1


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


_ALIGNMENT: Final = 128
_LAYER: Final = re.compile(r"blk\.([0-9]{1,6})\.")
_TOWERS: Final = (Part.VISION, Part.AUDIO, Part.PROJECTOR)
_FUSED_QKV: Final = frozenset(
    {"phi", "phi3", "gpt_neox", "falcon", "mpt", "bloom", "gpt2", "gpt_bigcode", "chatglm", "dbrx"}
)
"""Model types whose GGUF files hold queries, keys and values as one tensor."""
_ROLES: Final = {
    "q_proj": TensorRole.ATTENTION_Q,
    "k_proj": TensorRole.ATTENTION_K,
    "v_proj": TensorRole.ATTENTION_V,
    "o_proj": TensorRole.ATTENTION_OUT,
    "qkv_proj": TensorRole.ATTENTION_QKV,
    "in_proj_qkv": TensorRole.ATTENTION_QKV,
    "up_proj": TensorRole.FFN_UP,
    "gate_proj": TensorRole.FFN_GATE,
    "down_proj": TensorRole.FFN_DOWN,
}
_KEPT: Final = ("conv1d", "conv", "shared_expert_gate", "moe_statics", "A_log", "weights_proj")


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of a model's tensors as loaded.

    layers: of each, without its experts; experts: of each layer's routed experts. largest_expert:
    of one stacked matrix of them. embedding: in main memory. output: norm and head.
    projector: of a multimodal tower, 0 where there is none.
    """

    layers: tuple[int, ...]
    experts: tuple[int, ...]
    largest_expert: int
    embedding: int
    output: int
    projector: int


def weights(architecture: Architecture, file: str) -> Weights:
    """The bytes of every part. file: a nominal file type, as `file_type` gives it."""
    return architecture.remembered(
        ("llama_cpp.weights", file), lambda: _weights(architecture, file)
    )


def has_header(architecture: Architecture) -> bool:
    """Whether the model came from a GGUF file, so that its tensors' bytes are known."""
    return bool(architecture.stored)


def from_header(tensors: Iterable[HeaderTensor], layers: int) -> Weights:
    """The bytes of every part as a file's header lists them; `layers`: that are served.

    Layers beyond those (multi-token prediction) are not loaded. A file without ``output.weight``
    has its embedding as output.
    """
    dense, routed = [0] * layers, [0] * layers
    embedding = output = projector = table = largest = 0
    tied = True
    for tensor in tensors:
        size = padded(tensor.bytes)
        match = _LAYER.match(tensor.name)
        if match is not None:
            index = int(match[1])
            if index < layers and "_exps." in tensor.name:
                routed[index] += size
                largest = max(largest, size)
            elif index < layers:
                dense[index] += size
        elif tensor.name.startswith(("v.", "mm.", "a.")):
            projector += size
        elif tensor.name.startswith("output"):
            output += size
            tied = tied and tensor.name != "output.weight"
        else:
            embedding += size
            table = size if tensor.name == "token_embd.weight" else table
    return Weights(
        tuple(dense), tuple(routed), largest, embedding, output + table * tied, projector
    )


def _weights(architecture: Architecture, file: str) -> Weights:
    if has_header(architecture):
        return from_header(architecture.stored, len(architecture.blocks))
    model = quantizer_model(architecture)
    layers: list[int] = []
    experts: list[int] = []
    largest = attention = 0
    for index, block in enumerate(architecture.blocks):
        dense = routed = 0
        valued = False
        for tensor in block.tensors:
            for role, columns, rows, stacked in _stored(architecture, tensor, block):
                name = tensor_type(file, role, columns, model, index, attention, stacked)
                size = padded(rows * row_bytes(name, columns))
                valued = valued or role in (TensorRole.ATTENTION_V, TensorRole.ATTENTION_QKV)
                if stacked:
                    routed += size
                    largest = max(largest, size)
                else:
                    dense += size
        attention += valued
        layers.append(dense)
        experts.append(routed)
    embedding, output, projector = _outside(architecture, file, model)
    return Weights(tuple(layers), tuple(experts), largest, embedding, output, projector)


def quantizer_model(architecture: Architecture) -> ModelToQuantize:
    """What the quantizer's rules ask of a model."""
    mixers = [m for m in architecture.mixers() if m.kv_heads and not m.state_elements]
    gqa = max((m.heads // m.kv_heads for m in mixers if m.kind is not MixerKind.MLA), default=1)
    experts = max(
        (b.feed_forward.experts for b in architecture.blocks if b.feed_forward), default=0
    )
    names = ("v_proj.weight", "in_proj_qkv.weight", "qkv_proj.weight")
    valued = sum(any(t.name.endswith(names) for t in b.tensors) for b in architecture.blocks)
    return ModelToQuantize(len(architecture.blocks), valued, gqa, experts, architecture.tied)


def padded(size: int) -> int:
    """A tensor's bytes in a device's buffer."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _stored(
    architecture: Architecture, tensor: Tensor, block: Block
) -> tuple[tuple[TensorRole, int, int, bool], ...]:
    """A tensor as the file holds it: role, elements of a row, rows, whether experts are stacked."""
    module = tensor.name.removesuffix(".weight").rpartition(".")[2]
    columns, rows = tensor.shape[-1], math.prod(tensor.shape[:-1]) * tensor.copies
    stacked = tensor.part is Part.EXPERTS and tensor.copies > 1
    if len(tensor.shape) == 1 or tensor.part in (Part.ROUTER, Part.NORM) or module in _KEPT:
        return ((TensorRole.KEPT, columns, rows, stacked),)
    if module == "kv_b_proj":
        nope = keys_without_rotary(tensor, block)
        if nope:
            heads = next(m.heads for m in block.mixers if m.kind is MixerKind.MLA)
            return (
                (TensorRole.OTHER, nope, heads * columns, False),
                (TensorRole.OTHER, columns, rows - heads * nope, False),
            )
    role = _ROLES.get(module, TensorRole.OTHER)
    attention = (TensorRole.ATTENTION_Q, TensorRole.ATTENTION_K, TensorRole.ATTENTION_V)
    if role in attention and architecture.model_type in _FUSED_QKV:
        role = TensorRole.ATTENTION_QKV
    return ((role, columns, rows, stacked),)


def keys_without_rotary(tensor: Tensor, block: Block) -> int:
    """Elements of one head's keys without rotary positions, in latent attention; 0: unknown."""
    out = next((t for t in block.tensors if t.name.endswith("o_proj.weight")), None)
    heads = next((m.heads for m in block.mixers if m.kind is MixerKind.MLA), 0)
    if out is None or not heads:
        return 0
    return max(0, (tensor.shape[0] - out.shape[-1]) // heads)


def _outside(architecture: Architecture, file: str, model: ModelToQuantize) -> tuple[int, int, int]:
    """Embedding, output and projector."""
    embedding = output = projector = head = 0
    for tensor in architecture.outside:
        columns, rows = tensor.shape[-1], math.prod(tensor.shape[:-1]) * tensor.copies
        if tensor.part in _TOWERS:
            wide = 2 if len(tensor.shape) > 1 else 4
            projector += padded(tensor.elements * wide)
            continue
        kind = TensorRole.KEPT
        if len(tensor.shape) > 1:
            kind = {Part.EMBEDDING: TensorRole.EMBEDDING, Part.HEAD: TensorRole.OUTPUT}.get(
                tensor.part, TensorRole.OTHER
            )
        if tensor.name.endswith("embed_positions.weight"):
            kind = TensorRole.KEPT
        size = padded(rows * row_bytes(tensor_type(file, kind, columns, model), columns))
        if tensor.part is Part.EMBEDDING:
            embedding += size
            head = max(head, size) if tensor.shape[0] == architecture.vocab_size else head
        elif tensor.stage is Stage.FIRST and tensor.part is not Part.HEAD:
            embedding += size
        else:
            output += size
    if architecture.tied:
        output += head
    return embedding, output, projector
