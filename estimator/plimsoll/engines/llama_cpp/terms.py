"""One GPU's terms: weights, cache, compute buffer and context, each with its band.

It must not compare GPUs, and it must not hold a figure.

    weights       band by how they are known: a header, a nominal file; where nothing says which
                  file is served, 16 bits are the most and a seventh of them the least
    cache         exact: it is allocated whole at the start
    buffer        the band of `plimsoll.engines.llama_cpp.compute`; the copy of a quantized cache,
                  made only once attention runs, counts in the need and not in the least
    projector     a tower's own buffer counts in the most
    context       CUDA context and cuBLAS, on every GPU that has a part of the model
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName, Terms
from plimsoll.engines.llama_cpp import ggml_types
from plimsoll.engines.llama_cpp.kv import cells
from plimsoll.engines.llama_cpp.weights import has_header
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from plimsoll.engines.llama_cpp.compute import Graph
    from plimsoll.engines.llama_cpp.defaults import Resolved
    from plimsoll.engines.llama_cpp.devices import Load
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

_LEAST_BAND: Final = 32 * MIB
_TOWER: Final = GIB // 2
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
        return self.graph.bytes(found.each, output=self.load.output)

    def copy(self, context: int) -> int:
        """The copy in 16 bits of one layer of a quantized cache, which attention makes."""
        packed = any(map(ggml_types.is_quantized, (self.resolved.k_type, self.resolved.v_type)))
        found = cells(self.resolved, context, self.figures)
        return found.all * self.load.cache.widest * 2 if packed else 0


def terms(
    architecture: Architecture, gpu: Gpu, context: int, resolved: Resolved, figures: Constants
) -> Terms:
    """One GPU's terms with a cache of so many tokens."""
    graph = gpu.graph
    band = figures["compute_band" if graph.shape.dense else "compute_band_assumed"]
    buffer, copy = gpu.buffer(context), gpu.copy(context)
    around = round(buffer * band.error) + (_LEAST_BAND if buffer else 0)
    room = figures["context_gib"]
    idle = not gpu.load.layers and not gpu.load.output
    beside = 0 if idle else room.bytes()
    kv = gpu.cache(context)
    each = (
        _weights(architecture, gpu.load, resolved, figures),
        Term(TermName.KV_CACHE, kv, kv, kv, Known.EXACT, _basis(context, resolved, gpu)),
        Term(
            TermName.ACTIVATION,
            buffer + copy,
            max(0, buffer - around),
            buffer + copy + around + (_TOWER if gpu.load.projector else 0),
            band.known,
            f"compute buffer of {graph.micro_batch} tokens"
            f"{', flash attention' if graph.flash else ''}"
            f"{', a layer of the cache unpacked' if copy else ''}",
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


def _weights(
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
