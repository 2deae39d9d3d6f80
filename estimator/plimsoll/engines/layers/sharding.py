"""How layers are cut over GPUs: what a rank holds of weights, and how wide it computes.

The part of every weight that one rank holds:

    column, row      ceil(dimension / tp)                a bias cut by rows stays whole
    kv heads         max(1, kv_heads // tp) heads        repeated where tp exceeds them
    vocabulary       ceil(rows / 64) x 64, cut by tp
    experts          cut over tp x dp, or with expert parallelism ceil(experts / (tp x dp)) whole
    layers           L // pp each, the rest one each from the stage before the last backwards
    embedding        first stage; lm_head: last stage; both where they are tied
    towers           on every stage: each builds and loads them, whichever runs them
    MLA              kv_b_proj once more, in 16 bits, as the decode kernels want it (where it is
                     in 16 bits, newer ones read it as it is)
    experts          padded as the kernel wants them (`Padding`); MXFP4 where nothing else is
                     known: width of a partition to 128, hidden size to 256
    rotary tables    positions x rotary dimension, once on every stage

Tensors that vLLM fuses (q, k and v; gate and up; all experts of a layer) are one allocation, and so
are their scales, and their zero points.
Sources: vllm/model_executor/layers/{linear,vocab_parallel_embedding,fused_moe}.py,
vllm/distributed/utils.py (get_pp_indices) of vLLM 0.33.0.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, experts_only, runtime_quantization
from plimsoll.engines.layers.gpu_memory import allocated
from plimsoll.models.architecture import MixerKind, Part, Split, Stage
from plimsoll.models.storage import scheme_of
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture, Block, Tensor
    from plimsoll.models.quantization import Quantization, Scheme

VOCAB_PADDING: Final = 64
_EXPERT: Final = (Split.EXPERT_COLUMN, Split.EXPERT_ROW)
_TOWERS: Final = (Part.VISION, Part.AUDIO, Part.PROJECTOR)
_LEFT_ALONE: Final = (Part.HEAD, Part.ROUTER, *_TOWERS)
_FUSED: Final = {
    "q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv",
    "gate_proj": "gate_up", "up_proj": "gate_up", "w1": "gate_up", "w3": "gate_up",
    "q_a_proj": "qkv_a", "kv_a_proj_with_mqa": "qkv_a",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Padding:
    """To which multiples a kernel pads an expert's matrices on a rank.

    scheme: of the experts that it holds for (``mxfp4``, ``fp8``); "" for those in 16 bits.
    width: of an expert's inner size; hidden: of the model's. scale_rows, scale_groups: of the
    block scales alone, in rows of the fused matrices and in groups along a row. bias: bytes of an
    element of a bias; 0: as those in 16 bits. stored_too: the block scales are also kept as the
    checkpoint has them.
    """

    scheme: str
    width: int = 1
    hidden: int = 1
    scale_rows: int = 1
    scale_groups: int = 1
    bias: int = 0
    stored_too: bool = False

    def parts(
        self, shape: tuple[int, ...], split: Split, scheme: Scheme | None, element: int
    ) -> tuple[int, ...]:
        """Bytes of one expert's matrix or bias, each tensor of it. element: of one in 16 bits."""
        if len(shape) == 1:
            return (shape[0] * (self.bias or element),)
        column = split is Split.EXPERT_COLUMN
        out, into = (self.width, self.hidden) if column else (self.hidden, self.width)
        rows = ceil_div(shape[0], out) * out
        columns = ceil_div(shape[-1], into) * into
        if scheme is None:
            return (rows * columns * element,)
        if self.scale_rows == self.scale_groups == 1:
            return scheme.parts(rows, columns)
        # Gate and up are one matrix, so each has half of the rows that its scales are padded to.
        step = self.scale_rows // 2 if column else self.scale_rows
        groups = ceil_div(ceil_div(columns, scheme.group_in), self.scale_groups)
        scales = ceil_div(rows, step) * step * groups * self.scale_groups
        again = scheme.parts(shape[0], shape[-1])[1:] if self.stored_too else ()
        return ceil_div(rows * columns * scheme.bits, 8), scales * scheme.scale_bytes, *again


MARLIN: Final = (Padding("mxfp4", 128, 256),)
"""How most kernels want MXFP4 experts (Marlin, TRT-LLM)."""


@dataclass(frozen=True, slots=True)
class _Shares:
    """Bytes on one rank of a split. upto: of the first i layers; the others: outside them."""

    upto: tuple[int, ...]
    first: int
    last: int
    every: int
    embedding: int


def stage_layers(layers: int, stages: int) -> tuple[tuple[int, int], ...]:
    """First layer and the one after the last of every pipeline stage (``get_pp_indices``)."""
    sizes = [layers // stages] * stages
    rest = layers % stages
    for i in range(2, rest + 2):
        sizes[-i if i <= stages else -1] += 1
    ends = list(accumulate(sizes))
    return tuple(zip([0, *ends[:-1]], ends, strict=True))


def stage_weights(
    architecture: Architecture,
    dtype: str,
    quantization: str,
    parallelism: Parallelism,
    padding: tuple[Padding, ...] = MARLIN,
    *,
    views: bool = False,
    whole: bool = False,
) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage.

    dtype: of the weights that are not quantized; quantization: ``--quantization`` as said;
    padding: of experts' weights, by scheme. views: decode kernels read an unquantized kv_b_proj
    as it is. whole: as `plimsoll.engines.layers.gpu_memory.allocated` has it.
    """
    key = ("vllm.stages", dtype, quantization, parallelism, padding, views, whole)
    return architecture.remembered(
        key,
        lambda: _stages(
            architecture, dtype, quantization, parallelism, padding, views=views, whole=whole
        ),
    )


def _stages(
    architecture: Architecture,
    dtype: str,
    quantization: str,
    parallelism: Parallelism,
    padding: tuple[Padding, ...],
    *,
    views: bool,
    whole: bool,
) -> tuple[int, ...]:
    key = (
        "vllm.shares",
        dtype,
        quantization,
        parallelism.tensor,
        parallelism.tensor * parallelism.data,
        parallelism.expert,
        padding,
        views,
        whole,
    )
    shares = architecture.remembered(
        key,
        lambda: _shares(
            architecture, dtype, quantization, parallelism, padding, views=views, whole=whole
        ),
    )
    bounds = stage_layers(len(architecture.blocks), parallelism.pipeline)
    result = []
    for i, (start, end) in enumerate(bounds):
        first, last = i == 0, i == parallelism.pipeline - 1
        size = shares.upto[end] - shares.upto[start] + shares.every
        size += shares.first * first + shares.last * last
        if architecture.tied and last and not first:
            size += shares.embedding
        result.append(size)
    return tuple(result)


def quantization_in_force(architecture: Architecture, word: str) -> Quantization | None:
    """How the linears are held: as the checkpoint says, else as the flag brings it."""
    return architecture.quantization or runtime_quantization(word)


def scheme_in_force(
    quantization: Quantization | None, at_load: bool, tensor: Tensor
) -> Scheme | None:
    """How one tensor is held. at_load: the quantization is the flag's, not the checkpoint's."""
    if quantization is None or not tensor.linear:
        return None
    if not at_load:
        return scheme_of(quantization, _module(tensor), tensor)
    if tensor.part in _LEFT_ALONE or (experts_only(quantization) and tensor.split not in _EXPERT):
        return None
    return quantization.default


def local_shape(
    tensor: Tensor, block: Block | None, tp: int, ranks: int, ep: bool
) -> tuple[tuple[int, ...], int]:
    """The shape of a tensor on one rank, and how many copies of it. ranks: tp x dp."""
    shape, copies, split = tensor.shape, tensor.copies, tensor.split
    if split in _EXPERT:
        if ep:
            return shape, ceil_div(copies, ranks)
        return _cut(shape, 0 if split is Split.EXPERT_COLUMN else -1, ranks), copies
    if split is Split.COLUMN:
        return _cut(shape, 0, tp), copies
    if split is Split.ROW:
        return (_cut(shape, -1, tp) if len(shape) > 1 else shape), copies
    if split is Split.VOCAB:
        rows = ceil_div(ceil_div(shape[0], VOCAB_PADDING) * VOCAB_PADDING, tp)
        return (rows, *shape[1:]), copies
    if split is Split.KV_HEADS:
        heads = _kv_heads(block, shape[0])
        return (ceil_div(shape[0], heads) * max(1, ceil_div(heads, tp)), *shape[1:]), copies
    return shape, copies


def _cut(shape: tuple[int, ...], axis: int, ways: int) -> tuple[int, ...]:
    axis %= len(shape)
    return (*shape[:axis], ceil_div(shape[axis], ways), *shape[axis + 1 :])


def _kv_heads(block: Block | None, rows: int) -> int:
    """KV heads of the mixer that a key or value projection of so many rows belongs to."""
    for mixer in block.mixers if block else ():
        if mixer.kv_heads and mixer.kv_heads <= rows and rows % mixer.kv_heads == 0:
            return mixer.kv_heads
    return 1


def _module(tensor: Tensor) -> str:
    return tensor.name.rpartition(".")[0] or tensor.name


def _fused_key(tensor: Tensor) -> str:
    """Tensors with one key are one allocation in the engine."""
    parent, _, leaf = tensor.name.rpartition(".")
    path, _, module = parent.rpartition(".")
    if tensor.split in _EXPERT:
        module = "down" if tensor.split is Split.EXPERT_ROW else "gate_up"
        return f"experts.{module}.{leaf}"
    return f"{path}.{_FUSED.get(module, module)}.{leaf}"


def _shares(
    architecture: Architecture,
    dtype: str,
    quantization: str,
    parallelism: Parallelism,
    padding: tuple[Padding, ...],
    *,
    views: bool,
    whole: bool,
) -> _Shares:
    """The bytes of every layer and of what lies outside, once for a model and a split."""
    tp, ranks = parallelism.tensor, parallelism.tensor * parallelism.data
    element = WEIGHT_BYTES[dtype]
    scheme = quantization_in_force(architecture, quantization)
    at_load = architecture.quantization is None
    padded = {one.scheme: one for one in padding}
    # A bias is never quantized; it goes with the matrices beside it.
    experts = {own.name for own in scheme.schemes} & padded.keys() if scheme else set()
    of_biases = next(iter(experts), "")

    def held(tensor: Tensor, block: Block | None) -> tuple[int, ...]:
        """Bytes of a tensor on the rank: its values, and what else lies there for it."""
        shape, copies = local_shape(tensor, block, tp, ranks, parallelism.expert)
        own = scheme_in_force(scheme, at_load, tensor)
        expert = tensor.split in _EXPERT
        name = own.name if own else of_biases if len(shape) == 1 else ""
        kernel = padded.get(name) if expert else None
        if kernel is not None:
            parts = kernel.parts(shape, tensor.split, own, element)
        elif own is None or len(shape) < 2:
            parts = (math.prod(shape) * element,)
        else:
            parts = own.parts(math.prod(shape[:-1]), shape[-1])
        again = _module(tensor).endswith("kv_b_proj") and not (views and own is None)
        twice = math.prod(shape) * element if again else 0
        return *(part * copies for part in parts), twice

    def layer(block: Block) -> int:
        sizes: defaultdict[tuple[str, int], int] = defaultdict(int)
        for tensor in block.tensors:
            key = _fused_key(tensor)
            for number, size in enumerate(held(tensor, block)):
                sizes[key, number] += size
        return sum(allocated(size, whole=whole) for size in sizes.values())

    layers = {id(block): layer(block) for block in {id(b): b for b in architecture.blocks}.values()}
    outside = dict.fromkeys(Stage, 0)
    embedding = 0
    for tensor in architecture.outside:
        size = sum(allocated(part, whole=whole) for part in held(tensor, None))
        outside[Stage.EVERY if tensor.part in _TOWERS else tensor.stage] += size
        if tensor.part is Part.EMBEDDING and tensor.split is Split.VOCAB:
            embedding += size
    return _Shares(
        (0, *accumulate(layers[id(block)] for block in architecture.blocks)),
        outside[Stage.FIRST],
        outside[Stage.LAST],
        outside[Stage.EVERY] + rotary_elements(architecture) * element,
        embedding,
    )


def rotary_elements(architecture: Architecture) -> int:
    """Elements of the rotary tables: as the architecture says, else one table over all positions.

    The whole head is taken as rotated (for MLA its decoupled part of 64), which is at most twice
    the truth.
    """
    if architecture.rotary_elements >= 0:
        return architecture.rotary_elements
    widths = {
        64 if mixer.kind is MixerKind.MLA else mixer.head_dim
        for mixer in architecture.mixers()
        if mixer.heads and not mixer.state_elements and mixer.kind is not MixerKind.ENCODER
    }
    return architecture.max_model_len * max(widths, default=0)


@dataclass(frozen=True, slots=True)
class Widths:
    """The widest feed-forwards of a stage, elements: dense, one expert, experts per token.

    beside: the widest dense one, shared experts among them, from the first layer with experts on.

    dense pass          3 x I / tp + 4.25 x h, for one token; 2 x I where nothing is gated
    expert workspaces   max(I_e / ways, h) + max(2 x I_e / ways, h), for one row; I_e likewise
    """

    dense: int
    expert: int
    per_token: int
    gated: bool
    beside: int

    def dense_pass(
        self, hidden: int, tensor: int, figures: Constants, *, beside: bool = False
    ) -> float:
        """Elements that a pass through the dense layers needs at once for one token.

        beside: of those alone that come with or after experts.
        """
        width = self.beside if beside else self.dense
        wide = (figures.number("forward_intermediate") - (not self.gated)) * width / tensor
        return wide + figures.number("forward_hidden") * hidden

    def expert_workspaces(self, hidden: int, ways: int) -> float:
        """Elements of the fused experts' workspaces for one row. ways: that an expert is cut."""
        width = self.expert / ways
        return max(width, hidden) + max((1 + self.gated) * width, hidden)


def widths(
    architecture: Architecture,
    pipeline: int,
    spans: Callable[[int, int], Sequence[tuple[int, int]]] = stage_layers,
) -> tuple[Widths, ...]:
    """The widest feed-forwards of every pipeline stage.

    spans: from layers and stages, the first layer of each stage and the one after its last.
    """
    return architecture.remembered(
        ("layers.widths", pipeline, spans),
        lambda: tuple(
            _widths(architecture.blocks[start:end])
            for start, end in spans(len(architecture.blocks), pipeline)
        ),
    )


def _widths(blocks: Sequence[Block]) -> Widths:
    parts = [block.feed_forward for block in blocks if block.feed_forward]
    experts = [part for part in parts if part.experts]
    first = next((i for i, part in enumerate(parts) if part.experts), 0)
    dense = [max(part.intermediate, part.shared_intermediate) for part in parts]
    return Widths(
        max(dense, default=0),
        max((part.expert_intermediate for part in experts), default=0),
        max((part.experts_per_token for part in experts), default=0),
        any(part.gated for part in parts),
        max(dense[first:], default=0),
    )


def is_padded(quantization: Quantization) -> bool:
    """Whether kernels pad some of its linears (MXFP4, NVFP4)."""
    return any(scheme.name in ("mxfp4", "nvfp4") for scheme in quantization.schemes)
