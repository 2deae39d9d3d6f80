"""The default of ``--mem-fraction-static``: the engine's own rule, by version.

It must not decide what the share is of; `plimsoll.engines.sglang.engine` does.

    to 0.4.5        by tensor-parallel size: 0.88, 0.87 (2), 0.85 (4), 0.81 (8), 0.79 (16)
    0.4.6, 0.4.7    the same up to 80 GiB, else 0.88; above 96 GiB the smaller of
                    f + 48 GiB x (1 - f) / GPU and (GPU - 18 GiB) / GPU
    0.4.8 to 0.5.2  (GPU - reserved) / GPU; reserved by GPU size: 2.8 + n/10, 9.5 + n/2, 12 + n/2
                    or 32 GiB (n = TP x PP), 4 GiB more with data-parallel attention
    from 0.5.3      reserved MiB = 512 + 1.5 x max(chunk, 2048) + 128 x TP x PP + 2 x graphs
                    [+ 3 or 4.5 x graphs x DP with data-parallel attention]
                    [+ 8 x prefill graphs, or 1536 with MLA, from 0.5.10]; at least 10240 above
                    60 GiB
    images          x 0.9 (to 0.5.0), x 0.95 x (1.1 - 0.1 x tower / ViT-L), between 0.8 and 1.05

GPU is the memory that ``nvidia-smi`` shows, in MiB; graphs the largest captured batch. Source:
sglang/srt/server_args.py of the versions named in data/constants.json, and from 0.5.19
sglang/srt/arg_groups/memory_hook.py (`handle_gpu_memory_settings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import MixerKind, Part

if TYPE_CHECKING:
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

_LEAST: Final = 0.05
_VIT_L: Final = 24 * 1024**2
"""Layers x hidden size squared of the vision tower that the rule compares with."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rule looks at. mib: of the GPU; ranks: tensor x pipeline; graphs: the largest
    captured batch, 0 where none is; attention_ranks: data-parallel attention's, else 0.
    """

    mib: int
    tensor: int
    ranks: int
    chunk: int
    graphs: int
    attention_ranks: int
    prefill_graphs: bool


def default_fraction(architecture: Architecture, asked: Asked, figures: Constants) -> Decimal:
    """The share that the engine takes where nothing is said."""
    rule = int(figures.number("fraction_rule"))
    if rule <= 1:
        share = _by_ranks(asked, figures, rule)
    else:
        reserved = _by_size(asked) if rule == 2 else _by_use(architecture, asked, figures)
        share = round((asked.mib - reserved) / max(1, asked.mib), 3)
    if architecture.multimodal:
        share *= _vision(architecture, int(figures.number("vision_rule")))
    return Decimal(str(round(max(_LEAST, share), 6)))


def _by_ranks(asked: Asked, figures: Constants, rule: int) -> float:
    ranks = asked.ranks if rule else asked.tensor
    name = next((n for n in (16, 8, 4, 2) if ranks >= n), 1)
    share = figures.number(f"fraction_tensor_{name}")
    if rule == 0:
        return share
    if asked.mib > 80 * 1024:
        share = figures.number("fraction_tensor_1")
    huge = figures.number("fraction_huge")
    if huge and asked.mib > 180_000:
        return huge
    if asked.mib > 96 * 1024:
        more = share + 48 * 1024 * (1 - share) / asked.mib
        return min(more, (asked.mib - 18 * 1024) / asked.mib)
    return share


def _by_size(asked: Asked) -> float:
    """MiB reserved on a GPU of a size."""
    steps = ((35, 2.8, 10), (90, 9.5, 2), (160, 12.0, 2))
    step = next((s for s in steps if asked.mib < s[0] * 1024), None)
    reserved = 32 * 1024.0 if step is None else (step[1] + asked.ranks / step[2]) * 1024
    return reserved + (4 * 1024 if asked.attention_ranks else 0)


def _by_use(architecture: Architecture, asked: Asked, figures: Constants) -> float:
    """MiB reserved for prefill, graphs and parallelism."""
    reserved = 512 + 1.5 * max(asked.chunk, 2048) + asked.ranks / 8 * 1024 + 2 * asked.graphs
    if asked.attention_ranks:
        many = 4.5 if asked.graphs > 300 else 3.0
        reserved += many * asked.graphs * asked.attention_ranks
    if asked.prefill_graphs and figures.flag("prefill_graphs"):
        latent = any(m.kind is MixerKind.MLA for m in architecture.mixers())
        reserved += 1536 if latent else 8 * prefill_graph_sizes(asked.chunk)
    return max(reserved, 10 * 1024) if asked.mib > 60 * 1024 else reserved


def prefill_graph_sizes(most: int) -> int:
    """How many sizes of prefill batches are captured, up to so many tokens."""
    spans = (
        (4, 32, 4),
        (48, 256, 16),
        (288, 512, 32),
        (576, 1024, 64),
        (1280, 4096, 256),
        (4608, most, 512),
    )
    return sum(len(range(first, min(last, most) + 1, step)) for first, last, step in spans)


def _vision(architecture: Architecture, rule: int) -> float:
    """What is left of the share for models with a vision tower."""
    if rule == 0:
        return 1.0
    if rule == 1:
        return 0.9
    layers, hidden = _tower(architecture)
    if not layers:
        return 1.0
    return 0.95 * max(0.8, min(1.05, 1.1 - 0.1 * layers * hidden**2 / _VIT_L))


def _tower(architecture: Architecture) -> tuple[int, int]:
    """Layers and hidden size of the vision tower, as the rule reads them; (0, 0) for none.

    The rule asks the config for ``num_hidden_layers`` and takes 24 where it is called ``depth``,
    as Qwen's towers call it.
    """
    for tensor in architecture.outside:
        if tensor.part is Part.VISION and tensor.copies > 1 and len(tensor.shape) > 1:
            layers = 24 if architecture.model_type.startswith("qwen") else tensor.copies
            return layers, tensor.shape[-1]
    return 0, 0
