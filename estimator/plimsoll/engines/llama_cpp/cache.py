"""llama.cpp's cache: bytes of a cell on every layer, and how many cells there are.

On the device where its layer lies:

    cells              context padded to 256; one cache for all slots, or one for each
    layer              cells x (bytes of a key row + bytes of a value row)
    a row              heads x head size in the cache's type, by whole blocks
    sliding, chunked   all cells in models whose windows it does not know (Phi-3, Mistral, Qwen);
                       else min(cells, window x slots (one cache) or window (one each) and a
                       micro-batch), padded to 256; all cells before b5430 and with --swa-full
    latent (MLA)       one row of rank + rope; before b7833 a second of rank as values. Before
                       b5133, and for files that do not hold kv_b in two parts, and for MiniCPM3:
                       every head's keys (nope + rope) and values
    states             slots x (1 + tokens drafted) x (convolution + recurrent state) x 4 bytes,
                       whatever the context
    shared layers      nothing: they read another layer's

Source: src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp and llama-memory-recurrent.cpp.
Heads before latent rows: https://github.com/ggml-org/llama.cpp/pull/12801 (15 April 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from plimsoll.engines.llama_cpp.files import has_header, keys_without_rotary, row_bytes
from plimsoll.engines.llama_cpp.settings import per_slot
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.llama_cpp.settings import Resolved
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture, Block, Mixer

_SLIDING: Final = (MixerKind.SLIDING, MixerKind.CHUNKED)
_WINDOWS_IGNORED: Final = frozenset(
    {
        "apertus",
        "llama",
        "ministral",
        "mistral",
        "mistral3",
        "mixtral",
        "phi3",
        "phi3_v",
        "phi4_multimodal",
        "phi4mm",
        "phimoe",
        "qwen2",
        "qwen2_moe",
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3",
        "qwen3_moe",
        "starcoder2",
    }
)
"""Model types whose windows llama.cpp does not know: their layers keep everything. Phi's are
switched off (src/models/phi3.cpp), the others' files become architectures without any."""
_NO_CACHE: Final = (MixerKind.ENCODER,)
_WHOLE_HEADS: Final = ("minicpm3", "plm")
"""Model types whose latent attention is computed from every head's keys and values."""
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


class Latent(StrEnum):
    """What a build keeps of latent attention."""

    HEADS = "heads"
    """Every head's keys and values."""
    VALUES = "values"
    """The latent row, and a second without its rotary part."""
    ROW = "row"
    """The latent row."""


def latent_kept(architecture: Architecture, figures: Constants) -> Latent:
    """What a build keeps of a model's latent attention."""
    split = any(".attn_k_b." in tensor.name for tensor in architecture.stored)
    whole = has_header(architecture) and not split
    if architecture.model_type in _WHOLE_HEADS or whole or not figures.flag("latent_cache"):
        return Latent.HEADS
    return Latent.VALUES if figures.flag("latent_values") else Latent.ROW


def layer_caches(
    architecture: Architecture, k_type: str, v_type: str, latent: Latent
) -> tuple[LayerCache, ...]:
    """What every layer keeps, in order."""
    whole = architecture.model_type.removesuffix("_text") in _WINDOWS_IGNORED

    def make() -> tuple[LayerCache, ...]:
        blocks = {id(b): b for b in architecture.blocks}
        made = {key: _layer(b, k_type, v_type, latent, whole) for key, b in blocks.items()}
        return tuple(made[id(block)] for block in architecture.blocks)

    key = ("llama_cpp.caches", k_type, v_type, latent)
    return architecture.remembered(key, make)


def _layer(block: Block, k_type: str, v_type: str, latent: Latent, whole: bool) -> LayerCache:
    row = state = widest = 0
    windows: list[tuple[int, int]] = []
    for mixer in block.mixers:
        state += (mixer.conv_elements + mixer.state_elements) * _STATE_BYTES
        if mixer.shares_kv or mixer.state_elements or mixer.kind in _NO_CACHE:
            continue
        if not mixer.kv_heads:
            continue
        keys, values = _elements(mixer, block, latent)
        size = row_bytes(k_type, keys) + row_bytes(v_type, values)
        widest = max(widest, keys + values)
        if mixer.kind in _SLIDING and mixer.window and not whole:
            windows.append((mixer.window, size))
        else:
            row += size
    return LayerCache(row, tuple(windows), state, widest)


def _elements(mixer: Mixer, block: Block, latent: Latent) -> tuple[int, int]:
    """Elements of one cell's keys and values."""
    if mixer.kind is not MixerKind.MLA:
        keys = mixer.kv_heads * mixer.head_dim + mixer.index_dim
        return keys, mixer.kv_heads * mixer.v_head_dim
    spread = next((t for t in block.tensors if t.name.endswith("kv_b_proj.weight")), None)
    if latent is Latent.HEADS and spread is not None:
        heads, (out, rank) = mixer.heads, spread.shape
        nope = keys_without_rotary(spread, block)
        return heads * (nope + mixer.head_dim - rank), out - heads * nope
    kept = latent is not Latent.ROW
    return mixer.head_dim + mixer.index_dim, max(0, mixer.head_dim - _ROPE) * kept


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
    drafts: int

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
        size = self.all * layer.row + self.slots * (1 + self.drafts) * layer.state
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
        resolved.drafts,
    )
