"""What lies on each GPU under llama.cpp: layers, their cache, compute buffer, and the terms.

Which layer lies on which GPU:

    on a GPU     the last N of layers and output (before b7410 the output only where N exceeds
                 the layers)
    which one    the first whose share of the split exceeds (layer - first) / N, shares added up

Source: src/llama-model.cpp of llama.cpp (``load_tensors``). Shares that nobody gave are those of
free memory: equal on GPUs of one kind.

Whatever the context:

    GPU        layers given to it, less experts that stay in main memory; the output where it lies
               there; the projector on the first one
    cache      of its layers, unless --no-kv-offload keeps all of it in main memory

The compute buffer is that of `plimsoll.engines.llama_cpp.graph`. Layers in main memory whose work
is done on the GPU are copied there first: the largest expert matrix counts too. Attention over
quantized keys and values keeps a copy of one layer's cache in 16 bits beside the buffer, once it
runs: 294 MiB measured in https://github.com/ggml-org/llama.cpp/pull/23861 for 293 computed.

Bands:

    weights       band by how they are known: a header, a nominal file; where nothing says which
                  file is served, 16 bits are the most and a seventh of them the least
    cache         exact: it is allocated whole at the start
    buffer        as measured; the copy of a quantized cache,
                  made only once attention runs, counts in the need and not in the least
    projector     a tower's own buffer counts in the most
    context       CUDA context and cuBLAS, on every GPU that has a part of the model
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName, Terms
from plimsoll.engines.llama_cpp.cache import (
    Latent,
    LayerCache,
    cells,
    latent_kept,
    layer_caches,
)
from plimsoll.engines.llama_cpp.files import has_header, is_quantized, weights
from plimsoll.units import GIB, MIB, grouped

if TYPE_CHECKING:
    from plimsoll.engines.llama_cpp.graph import Graph
    from plimsoll.engines.llama_cpp.settings import Resolved
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

HOST = -1
"""The device of what stays in main memory."""


def devices(
    layers: int, gpu_layers: int, gpus: int, shares: tuple[Fraction, ...], output_first: bool
) -> tuple[int, ...]:
    """The GPU of every layer and, last, of the output; `HOST` for those in main memory.

    shares: of each GPU, in any unit; empty for equal ones; missing ones are 0.
    """
    held = min(gpu_layers, layers + 1)
    first = max(layers + (1 if output_first else 0) - gpu_layers, 0)
    bounds = _bounds(gpus, shares)
    found = []
    for index in range(layers + 1):
        if index < first or index - first >= held:
            found.append(HOST)
            continue
        place = Fraction(index - first, held)
        found.append(next((g for g, bound in enumerate(bounds) if bound > place), gpus - 1))
    return tuple(found)


def _bounds(gpus: int, shares: tuple[Fraction, ...]) -> list[Fraction]:
    given = [shares[g] if g < len(shares) else Fraction(0) for g in range(gpus)]
    total = sum(given, Fraction(0))
    if total <= 0:
        return [Fraction(g + 1, gpus) for g in range(gpus)]
    bounds, so_far = [], Fraction(0)
    for share in given:
        so_far += share
        bounds.append(so_far / total)
    return bounds


@dataclass(frozen=True, slots=True)
class Load:
    """One GPU's part. layers: how many. weights: bytes. cache: of all its layers together.

    output: it computes the logits. largest: bytes of the largest expert matrix that is copied
    there while it works, 0 for none. whole: every layer and the output lie on GPUs. projector:
    the tower of a multimodal model lies there.
    """

    layers: int
    weights: int
    cache: LayerCache
    output: bool
    largest: int
    whole: bool
    projector: bool


def loads(
    architecture: Architecture, resolved: Resolved, gpus: int, figures: Constants
) -> tuple[Load, ...]:
    """The part of every GPU."""
    latent = latent_kept(architecture, figures)
    output_first = figures.flag("output_first")
    key = (
        "llama_cpp.loads",
        resolved.file,
        resolved.k_type,
        resolved.v_type,
        latent,
        output_first,
        gpus,
        resolved.gpu_layers,
        resolved.shares,
        resolved.host_experts,
        resolved.on_gpu,
        resolved.projector,
    )
    return architecture.remembered(
        key, lambda: _loads(architecture, resolved, gpus, latent, output_first)
    )


def _loads(
    architecture: Architecture, resolved: Resolved, gpus: int, latent: Latent, output_first: bool
) -> tuple[Load, ...]:
    held = weights(architecture, resolved.file)
    caches = layer_caches(architecture, resolved.k_type, resolved.v_type, latent)
    count = len(architecture.blocks)
    where = devices(count, resolved.gpu_layers, gpus, resolved.shares, output_first)
    away = min(resolved.host_experts, count)
    found = []
    for gpu in range(gpus):
        mine = [index for index in range(count) if where[index] == gpu]
        size = sum(held.layers[i] + (held.experts[i] if i >= away else 0) for i in mine)
        output = where[count] == gpu
        tower = resolved.projector and gpu == 0
        size += held.output * output + held.projector * tower
        kept = tuple(caches[i] for i in mine) if resolved.on_gpu else ()
        copied = held.largest_expert if away and any(i < away for i in mine) else 0
        whole = where.count(-1) == 0
        found.append(Load(len(mine), size, _together(kept), output, copied, whole, tower))
    return tuple(found)


def _together(caches: tuple[LayerCache, ...]) -> LayerCache:
    windows: dict[int, int] = {}
    for cache in caches:
        for window, size in cache.windows:
            windows[window] = windows.get(window, 0) + size
    return LayerCache(
        sum(c.row for c in caches),
        tuple(sorted(windows.items())),
        sum(c.state for c in caches),
        max((c.widest for c in caches), default=0),
    )


_HEAD: Final = round(0.65 * GIB)
"""What a context of the model's own head takes on one GPU beside its cache, at most: 582 and 648
MiB of Qwen3.6-27B (https://github.com/ggml-org/llama.cpp/pull/25465).
"""
_LEAST_BAND: Final = 32 * MIB
_TOWER_BUFFER: Final = GIB // 2
PLAIN_FILES: Final = ("f32", "f16", "bf16", "q8_0")
"""File types in which every quantized tensor has the one format."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU's need as a function of the context."""

    load: Load
    graph: Graph
    resolved: Resolved
    figures: Constants

    def cache(self, context: int) -> int:
        return cells(self.resolved, context, self.figures).bytes(self.load.cache)

    def buffer(self, context: int) -> int:
        """The compute buffer."""
        if not self.load.layers and not self.load.output:
            return 0
        found = cells(self.resolved, context, self.figures)
        windows = sum(found.sliding(w) // found.caches for w, _ in self.load.cache.windows)
        return self.graph.bytes(found.each, windows, output=self.load.output)

    def copy(self, context: int) -> int:
        """The copy in 16 bits of one layer of a quantized cache, which attention makes."""
        packed = any(map(is_quantized, (self.resolved.k_type, self.resolved.v_type)))
        found = cells(self.resolved, context, self.figures)
        return found.all * self.load.cache.widest * 2 if packed else 0

    def head(self, context: int) -> int:
        """What drafting by the model's own head takes: the cache of a layer, and a buffer."""
        if not self.resolved.own_head or not self.load.output:
            return 0
        return cells(self.resolved, context, self.figures).all * self.load.cache.widest * 2 + _HEAD

    def beside(self, context: int) -> int:
        """Everything that grows with the context beside the cache."""
        return self.buffer(context) + self.copy(context) + self.head(context)


def terms(
    architecture: Architecture, gpu: Gpu, context: int, resolved: Resolved, figures: Constants
) -> Terms:
    """One GPU's terms with a cache of so many tokens."""
    graph = gpu.graph
    band = figures["compute_band" if graph.shape.dense else "compute_band_assumed"]
    buffer, copy = gpu.buffer(context), gpu.copy(context)
    head = gpu.head(context)
    around = round(buffer * band.error) + (_LEAST_BAND if buffer else 0)
    room = figures["context_gib"]
    idle = not gpu.load.layers and not gpu.load.output
    beside = 0 if idle else room.bytes()
    kv = gpu.cache(context)
    each = (
        _weights_term(architecture, gpu.load, resolved, figures),
        Term(TermName.KV_CACHE, kv, kv, kv, Known.EXACT, _basis(context, resolved, gpu)),
        Term(
            TermName.ACTIVATION,
            buffer + copy + head,
            max(0, buffer - around),
            buffer + copy + head + around + (_TOWER_BUFFER if gpu.load.projector else 0),
            band.known,
            f"compute buffer of {grouped(graph.micro_batch)} tokens"
            f"{', flash attention' if graph.flash else ''}"
            f"{', a layer of the cache unpacked' if copy else ''}"
            f"{', a context of the own head' if head else ''}",
        ),
        Term(
            TermName.NON_TORCH,
            beside,
            round(beside * (1 - room.error)),
            round(beside * (1 + room.error)),
            room.known,
            "CUDA context and cuBLAS",
        ),
        Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "counted with the CUDA context"),
    )
    return Terms(each)


def _weights_term(
    architecture: Architecture, load: Load, resolved: Resolved, figures: Constants
) -> Term:
    header = has_header(architecture)
    name = "weight_band_nominal"
    if header or (resolved.known and resolved.file in PLAIN_FILES):
        name = "weight_band"
    elif not resolved.known:
        name = "weight_band_unsaid"
    elif architecture.assumed:
        name = "weight_band_assumed"
    figure = figures[name]
    below = round(load.weights * figure.error)
    above = round(load.weights * figures["weight_band"].error) if name.endswith("said") else below
    file = "as in the GGUF file" if header else resolved.file
    basis = f"{file}, {load.layers} of {len(architecture.blocks)} layers"
    return Term(
        TermName.WEIGHTS,
        load.weights,
        load.weights - below,
        load.weights + above,
        figure.known,
        basis + (" and output" if load.output else ""),
    )


def _basis(context: int, resolved: Resolved, gpu: Gpu) -> str:
    types = (
        resolved.k_type
        if resolved.k_type == resolved.v_type
        else f"{resolved.k_type} keys, {resolved.v_type} values"
    )
    if not resolved.on_gpu:
        return "in main memory (--no-kv-offload)"
    slots = f"{resolved.slots} slot{'s' * (resolved.slots > 1)}"
    return f"{cells(resolved, context, gpu.figures).all} cells for {slots}, {types}"
