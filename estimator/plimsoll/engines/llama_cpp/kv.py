"""The cells of the cache: what each layer takes for a context, on the device where the layer lies.

It must not know what else lies there.

    cells              context padded to 256; one cache for all slots, or one for each
    layer              cells x (bytes of a key row + bytes of a value row)
    a row              heads x head size in the cache's type, by whole blocks
    sliding, chunked   min(cells, window x slots (one cache) or window (one each) + micro-batch),
                       padded to 256; all cells before b5430 and with --swa-full
    latent (MLA)       one row of rank + rope; before b7833 a second of rank as values
    states             slots x (convolution + recurrent state) x 4 bytes, whatever the context
    shared layers      nothing: they read another layer's

Source: src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp and llama-memory-recurrent.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.llama_cpp import ggml_types
from plimsoll.engines.llama_cpp.defaults import per_slot
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.llama_cpp.defaults import Resolved
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture, Block, Mixer

_SLIDING: Final = (MixerKind.SLIDING, MixerKind.CHUNKED)
_NO_CACHE: Final = (MixerKind.ENCODER,)
_STATE_BYTES: Final = 4
_ROPE: Final = 64
"""Rotary elements of a latent row, which its values do not have."""


@dataclass(frozen=True, slots=True)
class LayerCache:
    """One layer's cache. row: bytes per cell that keeps everything. windows: (window, bytes per
    cell) of sliding mixers. state: bytes per slot. widest: elements of keys and values of a
    cell in one mixer, for the copy that attention over a quantized cache makes.
    """

    row: int
    windows: tuple[tuple[int, int], ...]
    state: int
    widest: int


def layer_caches(
    architecture: Architecture, k_type: str, v_type: str, latent_values: bool
) -> tuple[LayerCache, ...]:
    """What every layer keeps, in order."""

    def make() -> tuple[LayerCache, ...]:
        blocks = {id(b): b for b in architecture.blocks}
        made = {key: _layer(b, k_type, v_type, latent_values) for key, b in blocks.items()}
        return tuple(made[id(block)] for block in architecture.blocks)

    key = ("llama_cpp.caches", k_type, v_type, latent_values)
    return remembered(architecture, key, make)


def _layer(block: Block, k_type: str, v_type: str, latent_values: bool) -> LayerCache:
    row = state = widest = 0
    windows: list[tuple[int, int]] = []
    for mixer in block.mixers:
        state += (mixer.conv_elements + mixer.state_elements) * _STATE_BYTES
        if mixer.shares_kv or mixer.state_elements or mixer.kind in _NO_CACHE:
            continue
        if not mixer.kv_heads:
            continue
        keys, values = _elements(mixer, latent_values)
        size = ggml_types.size(k_type, keys) + ggml_types.size(v_type, values)
        widest = max(widest, keys + values)
        if mixer.kind in _SLIDING and mixer.window:
            windows.append((mixer.window, size))
        else:
            row += size
    return LayerCache(row, tuple(windows), state, widest)


def _elements(mixer: Mixer, latent_values: bool) -> tuple[int, int]:
    """Elements of one cell's keys and values."""
    if mixer.kind is MixerKind.MLA:
        return mixer.head_dim + mixer.index_dim, (
            max(0, mixer.head_dim - _ROPE) if latent_values else 0
        )
    return mixer.kv_heads * mixer.head_dim + mixer.index_dim, mixer.kv_heads * mixer.v_head_dim


@dataclass(frozen=True, slots=True)
class Cells:
    """Numbers of cells for one context. each: of one cache; caches: how many there are."""

    each: int
    caches: int
    slots: int
    unified: bool
    micro_batch: int
    padding: int
    swa_full: bool

    @property
    def all(self) -> int:
        """Cells of all caches."""
        return self.each * self.caches

    def sliding(self, window: int) -> int:
        """Cells of all caches of a layer that looks back over a window."""
        if self.swa_full:
            return self.all
        kept = min(self.each, window * (self.slots if self.unified else 1) + self.micro_batch)
        return ceil_div(kept, self.padding) * self.padding * self.caches

    def bytes(self, layer: LayerCache) -> int:
        """What a layer takes."""
        size = self.all * layer.row + self.slots * layer.state
        for window, each in layer.windows:
            size += self.sliding(window) * each
        return size


def cells(resolved: Resolved, context: int, figures: Constants) -> Cells:
    """The cells for a context of all slots together."""
    padding = int(figures.number("cell_padding"))
    caches = 1 if resolved.unified else resolved.slots
    each = per_slot(context, resolved.slots, resolved.unified, padding)
    return Cells(
        each,
        caches,
        resolved.slots,
        resolved.unified,
        resolved.micro_batch,
        padding,
        resolved.swa_full,
    )
