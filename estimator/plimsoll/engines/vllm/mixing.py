"""What a pass through attention or a recurrent mixer needs at once, for one token.

Of most models the feed-forward is wider. It is not where experts are narrow and heads are many
(Qwen3-30B-A3B), and in models with states:

    attention      3 x h + (q + 2 x kv) + q [+ q + kv: queries and keys are normed]
    mamba 1 and 2  3 x h + 3 x rows of in_proj
    delta nets     3 x h + 5.3 x rows of their in_proj's

Everything but h is cut by tensor parallelism. MLA is in `plimsoll.engines.vllm.latent`.

Source: vLLM 0.33.0's own start-up, run with a GPU that is not there, 16 sequences and 8192 tokens
on H100, in elements of h: Qwen3-30B-A3B 9.8 beside its workspaces, Nemotron-H-8B 16.5,
Qwen3-Next-80B-A3B (TP 4) 11.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.models.architecture import MixerKind

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism
    from plimsoll.models.architecture import Architecture, Block, Mixer

_ATTENTION: Final = frozenset({MixerKind.FULL, MixerKind.SLIDING, MixerKind.CHUNKED})
_MAMBA: Final = frozenset({MixerKind.MAMBA1, MixerKind.MAMBA2})
_OF_ROWS: Final = 3.0
_OF_DELTA_ROWS: Final = 5.3


def mixing_elements(architecture: Architecture, parallelism: Parallelism, stage: int) -> float:
    """Elements of one token in the widest mixer of a stage on one rank."""
    tensor, pipeline = parallelism.tensor, parallelism.pipeline
    return architecture.remembered(
        ("vllm.mixing", tensor, pipeline, stage),
        lambda: _widest(architecture, tensor, pipeline, stage),
    )


def _widest(architecture: Architecture, tensor: int, pipeline: int, stage: int) -> float:
    start, end = stage_layers(len(architecture.blocks), pipeline)[stage]
    distinct = {id(block): block for block in architecture.blocks[start:end]}.values()
    cut = max((_cut(block, mixer) for block in distinct for mixer in block.mixers), default=0.0)
    return 3 * architecture.hidden_size + cut / tensor if cut else 0.0


def _cut(block: Block, mixer: Mixer) -> float:
    """The part that tensor parallelism cuts."""
    if mixer.kind in _ATTENTION and not mixer.ratio:
        q, kv = mixer.heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim
        normed = any(t.name.endswith("q_norm.weight") for t in block.tensors)
        return 2 * q + 2 * kv + (q + kv) * normed
    rows = sum(t.shape[0] for t in block.tensors if "in_proj" in t.name and len(t.shape) > 1)
    if mixer.kind in _MAMBA:
        return _OF_ROWS * rows
    if mixer.kind is MixerKind.LINEAR:
        return _OF_DELTA_ROWS * rows
    return 0.0
