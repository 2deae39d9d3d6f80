"""The KV cache of an engine that keeps every token in every layer, and nothing cleverer.

token     sum over attention layers of max(1, kv_heads / tp) x (key + value bytes); MLA:
          the latent, whole on every rank
least     the same with sliding layers holding their window only
state     convolution and recurrent states of a sequence, cut by tp
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, state_bytes
from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism
    from plimsoll.models.architecture import Architecture, Mixer

_WINDOWED: Final = (MixerKind.SLIDING, MixerKind.CHUNKED)


@dataclass(frozen=True, slots=True)
class PlainStage:
    """Bytes on one rank of a stage. token: of a token in all layers; full: in those that see all;
    windows: (tokens of a window, bytes of a token in its layers); state: of a sequence.
    """

    token: int
    full: int
    windows: tuple[tuple[int, int], ...]
    state: int


def plain_cache(
    architecture: Architecture, parallelism: Parallelism, dtype: str, element: int
) -> tuple[PlainStage, ...]:
    """The cache of every pipeline stage. dtype: of the cache; element: bytes where it is auto."""
    key = ("plain.cache", parallelism.tensor, parallelism.pipeline, dtype, element)
    return architecture.remembered(key, lambda: _stages(architecture, parallelism, dtype, element))


def need(stage: PlainStage, requests: int, tokens: int) -> int:
    """Bytes for so many requests of so many tokens, every token kept in every layer."""
    return requests * (tokens * stage.token + stage.state)


def least(stage: PlainStage, requests: int, tokens: int) -> int:
    """The same where sliding layers keep no more than their window."""
    kept = sum(min(window, tokens) * size for window, size in stage.windows)
    return requests * (tokens * stage.full + kept + stage.state)


def holds(stages: tuple[PlainStage, ...], memory: list[int]) -> int:
    """Tokens that fit on every stage, one sequence's state set aside; memory in bytes per stage."""
    counts = [
        max(0, available - stage.state) // stage.token
        for stage, available in zip(stages, memory, strict=True)
        if stage.token
    ]
    return min(counts, default=0)


def sequence_state(mixer: Mixer, tensor: int, element: int, recurrent: int = 0) -> int:
    """Bytes of one sequence's state in one layer on one rank.

    recurrent: bytes of an element of the recurrent state; 0: as the model says, else `element`.
    """
    recurrent = recurrent or WEIGHT_BYTES.get(mixer.state_dtype, element)
    convolution = ceil_div(mixer.conv_elements, tensor) * element
    return convolution + ceil_div(mixer.state_elements, tensor) * recurrent


def _stages(
    architecture: Architecture, parallelism: Parallelism, dtype: str, element: int
) -> tuple[PlainStage, ...]:
    tensor, found = parallelism.tensor, []
    dtype = "fp8" if dtype.startswith("fp8") else dtype
    for start, end in stage_layers(len(architecture.blocks), parallelism.pipeline):
        full = state = 0
        windows: dict[int, int] = {}
        for block in architecture.blocks[start:end]:
            for mixer in block.mixers:
                if mixer.conv_elements or mixer.state_elements:
                    state += sequence_state(mixer, tensor, element)
                    continue
                if mixer.kind is MixerKind.ENCODER or mixer.shares_kv:
                    continue
                heads = (
                    1 if mixer.kind is MixerKind.MLA else max(1, ceil_div(mixer.kv_heads, tensor))
                )
                size = heads * (
                    state_bytes(mixer.head_dim, dtype, element)
                    + state_bytes(mixer.v_head_dim, dtype, element)
                )
                if mixer.kind in _WINDOWED and mixer.window > 0:
                    windows[mixer.window] = windows.get(mixer.window, 0) + size
                else:
                    full += size
        total = full + sum(windows.values())
        found.append(PlainStage(total, full, tuple(sorted(windows.items())), state))
    return tuple(found)
