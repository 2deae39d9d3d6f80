"""What the tensors of a model take as llama.cpp loads them: layer by layer, embedding, output.

It must not know devices: which layer lies where is `plimsoll.engines.llama_cpp.layout`'s business.

    a tensor       rows x bytes of a row, padded to 128 bytes
    layer          all its tensors; its experts counted apart, for they may stay in main memory
    embedding      always in main memory; where it is the output too, a second time as output
    output         final norm and head, on the GPU of the last layer
    kv_b of MLA    stored as two, keys' part transposed: rows of nope and of rank elements
    projector      the vision or audio tower of ``--mmproj``, in 16 bits

With a GGUF header (`Architecture.stored`) the bytes are the file's own; without one, those of a
nominal file made by ``llama-quantize`` (`plimsoll.engines.llama_cpp.mixture`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.llama_cpp import ggml_types
from plimsoll.engines.llama_cpp.mixture import ModelToQuantize, TensorRole, tensor_type
from plimsoll.models.architecture import MixerKind, Part, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.models.architecture import Architecture, Block, Tensor
    from plimsoll.models.header import HeaderTensor

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
    """The bytes of every part. file: a nominal file type, as `mixture.file_type` gives it."""
    return remembered(
        architecture, ("llama_cpp.weights", file), lambda: _weights(architecture, file)
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
                size = padded(rows * ggml_types.size(name, columns))
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
        nope = _nope(tensor, block)
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


def _nope(tensor: Tensor, block: Block) -> int:
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
        size = padded(rows * ggml_types.size(tensor_type(file, kind, columns, model), columns))
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
