"""What a pass through attention or a recurrent mixer needs at once, for one token.

Of most models the feed-forward is wider. It is not where experts are narrow and heads are many
(Qwen3-30B-A3B), and in models with states:

    attention      3 x h + (q + 2 x kv) + q [+ q + kv: queries and keys are normed]
    mamba 1        6 x h + rows of in_proj
    mamba 2        3 x h + 3 x rows of in_proj
    delta nets     3 x h + 5.3 x rows of their in_proj's, before 0.33 3.75 x

Everything but h is cut by tensor parallelism. MLA is in `plimsoll.engines.vllm.latent`.

Source: vLLM 0.33.0's own start-up, run with a GPU that is not there, 16 sequences and 8192 tokens
on H100, in elements of h: Qwen3-30B-A3B 9.8 beside its workspaces, Nemotron-H-8B 16.5,
Qwen3-Next-80B-A3B (TP 4) 11.0. 0.30.0 and 0.32.0: falcon-mamba-7b 10 and (TP 2) 8,
mamba-1.4b 10, Qwen3.5-27B 15.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.models.architecture import MixerKind

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture, Block, Mixer

_ATTENTION: Final = frozenset({MixerKind.FULL, MixerKind.SLIDING, MixerKind.CHUNKED})
_OF_ROWS: Final = 3.0
_WHOLE, _WHOLE_OF_MAMBA1 = 3, 6


def mixing_elements(
    architecture: Architecture, parallelism: Parallelism, stage: int, constants: Constants
) -> float:
    """Elements of one token in the widest mixer of a stage on one rank."""
    tensor, pipeline = parallelism.tensor, parallelism.pipeline
    delta = constants.number("delta_rows")
    return architecture.remembered(
        ("vllm.mixing", tensor, pipeline, stage, delta),
        lambda: _widest(architecture, tensor, pipeline, stage, delta),
    )


def _widest(
    architecture: Architecture, tensor: int, pipeline: int, stage: int, delta: float
) -> float:
    start, end = stage_layers(len(architecture.blocks), pipeline)[stage]
    distinct = {id(block): block for block in architecture.blocks[start:end]}.values()
    widest = 0.0
    for block in distinct:
        for mixer in block.mixers:
            cut = _cut(block, mixer, delta)
            whole = _WHOLE_OF_MAMBA1 if mixer.kind is MixerKind.MAMBA1 else _WHOLE
            if cut:
                widest = max(widest, whole * architecture.hidden_size + cut / tensor)
    return widest


def _cut(block: Block, mixer: Mixer, delta: float) -> float:
    """The part that tensor parallelism cuts. delta: rows of a delta net's that are there."""
    if mixer.kind in _ATTENTION and not mixer.ratio:
        q, kv = mixer.heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim
        normed = any(t.name.endswith("q_norm.weight") for t in block.tensors)
        return 2 * q + 2 * kv + (q + kv) * normed
    rows = sum(t.shape[0] for t in block.tensors if "in_proj" in t.name and len(t.shape) > 1)
    if mixer.kind is MixerKind.MAMBA1:
        return float(rows)
    if mixer.kind is MixerKind.MAMBA2:
        return _OF_ROWS * rows
    if mixer.kind is MixerKind.LINEAR:
        return delta * rows
    return 0.0
