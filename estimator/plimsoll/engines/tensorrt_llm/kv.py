"""What a token of cache takes on a rank, and how many tokens a memory holds.

It must not know where the memory comes from.

    attention     ceil(kv_heads / tp) x (keys + values) of a head; tp = 1 with attention DP
    latent        rank + rope, whole on every rank
    dtype         2 bytes; fp8 1; nvfp4 9/16 (half a byte and a scale for sixteen)
    states        per request, in their own dtypes; not cut by tokens
    block         32 tokens (64 before 0.18); a request takes whole blocks
    capacity      tokens = floor(memory / bytes a token), rounded up to a whole block, as logged

Every layer keeps the whole context, sliding ones too: a start-up of gpt-oss-120b logs 73,728
bytes a token, all 36 layers (https://github.com/NVIDIA/TensorRT-LLM, tensorrt_llm/_torch/
pyexecutor/_util.py). A release that keeps windows apart needs less: the least that is needed
says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, latent_bytes, state_bytes
from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.tensorrt_llm.stages import bounds
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.tensorrt_llm.defaults import Resolved
    from plimsoll.models.architecture import Architecture, Block, Mixer

_WINDOWED: Final = (MixerKind.SLIDING, MixerKind.CHUNKED)


@dataclass(frozen=True, slots=True)
class StageCache:
    """One pipeline stage's cache on a rank: bytes a token, of them in layers with a window, and
    bytes of state a request. window: the longest window.
    """

    token: int
    windowed: int
    window: int
    state: int

    def need(self, requests: int, tokens: int, block: int) -> int:
        """Bytes for so many requests of so many tokens."""
        held = ceil_div(tokens, block) * block
        return requests * (held * self.token + self.state)

    def least(self, requests: int, tokens: int, block: int) -> int:
        """The same where layers with a window keep only that."""
        held = ceil_div(tokens, block) * block
        kept = min(held, ceil_div(self.window, block) * block + block)
        return requests * (held * (self.token - self.windowed) + kept * self.windowed + self.state)

    def tokens(self, memory: int, block: int) -> int:
        """Tokens that a memory holds, as the engine logs it."""
        if memory <= 0 or not self.token:
            return 0
        return ceil_div(memory // self.token, block) * block


def stage_caches(
    architecture: Architecture, resolved: Resolved, tensor: int, pipeline: int
) -> tuple[StageCache, ...]:
    """The cache of a rank of every pipeline stage. tensor: ranks that share attention."""
    key = ("tensorrt_llm.cache", resolved.kv_dtype, resolved.element, tensor, pipeline)

    def make() -> tuple[StageCache, ...]:
        blocks = {id(b): b for b in architecture.blocks}
        each = {k: _layer(b, resolved, tensor) for k, b in blocks.items()}
        found = []
        for start, end in bounds(len(architecture.blocks), pipeline):
            layers = [each[id(b)] for b in architecture.blocks[start:end]]
            found.append(
                StageCache(
                    sum(layer.token for layer in layers),
                    sum(layer.windowed for layer in layers),
                    max((layer.window for layer in layers), default=0),
                    sum(layer.state for layer in layers),
                )
            )
        return tuple(found)

    return remembered(architecture, key, make)


def _layer(block: Block, resolved: Resolved, tensor: int) -> StageCache:
    token = windowed = window = state = 0
    for mixer in block.mixers:
        if mixer.state_elements or mixer.conv_elements:
            wide = WEIGHT_BYTES.get(mixer.state_dtype, resolved.element)
            state += ceil_div(mixer.conv_elements, tensor) * resolved.element
            state += ceil_div(mixer.state_elements, tensor) * wide
        elif not mixer.shares_kv and mixer.kind is not MixerKind.ENCODER:
            size = _token(mixer, resolved, tensor)
            token += size
            if mixer.kind in _WINDOWED and mixer.window:
                windowed += size
                window = max(window, mixer.window)
    return StageCache(token, windowed, window, state)


def _token(mixer: Mixer, resolved: Resolved, tensor: int) -> int:
    dtype, element = resolved.kv_dtype, resolved.element
    index = state_bytes(mixer.index_dim, "auto", 1)
    if mixer.kind is MixerKind.MLA:
        return latent_bytes(mixer.head_dim, dtype, element) + index
    each = state_bytes(mixer.head_dim, dtype, element)
    each += state_bytes(mixer.v_head_dim, dtype, element)
    return ceil_div(mixer.kv_heads, tensor) * each + index
