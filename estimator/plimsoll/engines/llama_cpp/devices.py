"""What each GPU holds whatever the context: its layers' weights, and their caches per cell.

It must not know a context or a micro-batch.

    GPU        layers given to it by `plimsoll.engines.llama_cpp.layout`, less experts that stay in
               main memory; the output where it lies there; the projector on the first one
    cache      of its layers, unless --no-kv-offload keeps all of it in main memory
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.llama_cpp.kv import LayerCache, layer_caches
from plimsoll.engines.llama_cpp.layout import devices
from plimsoll.engines.llama_cpp.weights import weights

if TYPE_CHECKING:
    from plimsoll.engines.llama_cpp.defaults import Resolved
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture


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
    latent = figures.flag("latent_values")
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
    return remembered(
        architecture, key, lambda: _loads(architecture, resolved, gpus, latent, output_first)
    )


def _loads(
    architecture: Architecture, resolved: Resolved, gpus: int, latent: bool, output_first: bool
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
