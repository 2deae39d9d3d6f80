"""CUDA graphs under vLLM: for which batch sizes they are captured, and what that takes.

Sizes by version (figure ``capture_list``):

    first engine      1, 2, 4, 8 ... by 8 up to max_num_seqs, rounded up; whole graphs
    0.8, 0.9          1, 2, 4, 8 ... 512 by 8, whatever max_num_seqs
    0.10, 0.11.0      the same up to min(2 x max_num_seqs, 512)
    from 0.11.1 on    1, 2, 4, 8 ... 248 by 8, 256 ... by 16, up to min(2 x max_num_seqs, most)
    most              512; gpt-oss 1024 from 0.10.1 on; compute capability 10 1024 from 0.29 on
    always            none above max_num_batched_tokens
    piecewise         a graph for each piece between two attentions, for every size
    full              from 0.11 on also one whole graph for each size up to max_num_seqs; not for
                      models that pool or attend to another input

Bytes on a rank of `layers` layers:

    base + layers x (piecewise x p + full x f + (piecewise + full) x (8-bit inputs, MLA))
         + layers with experts x (piecewise + full) x e + splits
    splits            FlashAttention 3 cuts a sequence in up to 32 parts while it is captured:
                      32 x 4 bytes x tokens of the largest full graph x heads / tp x head size,
                      on Hopper only

p, f, e and the others are fitted (data/constants.json, ``graphs_...``). Source of the sizes:
vllm/config.py of 0.6.6 to 0.9.2, vllm/config/vllm.py and vllm/config/compilation.py after it,
vllm/model_executor/models/config.py (gpt-oss), vllm/v1/cudagraph_dispatcher.py, and
vllm/v1/attention/backends/flash_attn.py (flash_attn_max_num_splits_for_cuda_graph).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import EngineSettings
from plimsoll.engines.layers.sharding import quantization_in_force
from plimsoll.engines.vllm.traits import is_pooling, traits
from plimsoll.models.architecture import MixerKind
from plimsoll.units import GIB, KIB, ceil_div

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_WHOLE, _FIXED, _BY_EIGHT = 0, 1, 2
"""Values of the figure ``capture_list``; 3, the newest, has a step of 16 from 256 on."""
_BLACKWELL: Final = 10
_SPLITS: Final = 32
_SPLIT_ELEMENT: Final = 4
_SMALL: Final = (1, 2, 4)
_STEP: Final = 8
_LARGE: Final = 256
_LARGE_STEP: Final = 16
_ATTENDING: Final = frozenset({MixerKind.FULL, MixerKind.SLIDING, MixerKind.CHUNKED})
_EIGHT_BITS: Final = {"fp8": (8, 9), "int8": (7, 5)}
"""Schemes whose kernels multiply 8 bits by 8 bits, and from which compute capability on."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The batch sizes, in tokens, for which graphs are captured."""

    piecewise: tuple[int, ...]
    full: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many graphs are captured."""
        return len(self.piecewise) + len(self.full)


def sizes(
    architecture: Architecture,
    resolved: Resolved,
    accelerator: Accelerator,
    constants: Constants,
) -> Sizes:
    """The sizes of one start-up; none in eager mode."""
    if resolved.eager:
        return Sizes((), ())
    rule = int(constants.number("capture_list"))
    if resolved.first_engine or rule == _WHOLE:
        most = ceil_div(resolved.seqs, _STEP) * _STEP
        return Sizes((), _up_to(most, coarse=False))
    most = _most(architecture, accelerator, constants)
    if rule != _FIXED and not _wide(architecture, constants):
        most = min(most, 2 * resolved.seqs)
    coarse = rule > _BY_EIGHT or _wide(architecture, constants)
    found = _up_to(min(most, resolved.batched_tokens), coarse=coarse)
    own = traits(architecture)
    partly = own.encoder or own.crosses or is_pooling(architecture, EngineSettings())
    whole = constants.flag("capture_full") and not partly
    return Sizes(found, found[: bisect_right(found, resolved.seqs)] if whole else ())


def _wide(architecture: Architecture, constants: Constants) -> bool:
    """Whether the model has a list of its own, which goes further."""
    return architecture.model_type in constants["capture_most_named"].names


def _most(architecture: Architecture, accelerator: Accelerator, constants: Constants) -> int:
    if _wide(architecture, constants):
        return int(constants.number("capture_most_named"))
    sm100 = accelerator.compute[0] == _BLACKWELL
    return int(constants.number("capture_most_sm100" if sm100 else "capture_most"))


@lru_cache(maxsize=256)
def _up_to(most: int, *, coarse: bool) -> tuple[int, ...]:
    small = tuple(n for n in _SMALL if n <= most)
    if not coarse:
        return small + tuple(range(_STEP, most + 1, _STEP))
    middle = range(_STEP, min(most, _LARGE - _STEP) + 1, _STEP)
    return small + tuple(middle) + tuple(range(_LARGE, most + 1, _LARGE_STEP))


def taken(
    architecture: Architecture,
    captured: Sizes,
    layers: int,
    tensor: int,
    accelerator: Accelerator,
    constants: Constants,
) -> int:
    """Bytes that capturing takes on a rank of `layers` layers; 0 where nothing is captured."""
    if not captured.count:
        return 0
    number, own = constants.number, traits(architecture)
    each = len(captured.piecewise) * number("graphs_piecewise")
    each += len(captured.full) * number("graphs_full")
    if own.latent:
        each += captured.count * number("graphs_latent")
    if multiplies_eight_bits(architecture, "", accelerator):
        each += captured.count * number("graphs_eight_bits")
    experts = captured.count * number("graphs_experts") * _share_with_experts(architecture)
    size = number("graphs_base") * GIB + layers * (each + experts) * KIB
    if accelerator.family == "hopper" and captured.full and captured.piecewise:
        size += number("graphs_splits") * _split_bytes(architecture, captured.full[-1], tensor)
    return round(size)


def _share_with_experts(architecture: Architecture) -> float:
    """The share of layers that have experts."""

    def counted() -> float:
        blocks = architecture.blocks
        having = sum(b.feed_forward is not None and b.feed_forward.experts > 0 for b in blocks)
        return having / max(1, len(blocks))

    return architecture.remembered(("vllm.expert_share",), counted)


def multiplies_eight_bits(architecture: Architecture, word: str, accelerator: Accelerator) -> bool:
    """Whether linears copy their inputs in 8 bits first. word: ``--quantization`` as said."""
    quantization = quantization_in_force(architecture, word)
    scheme = quantization.default if quantization is not None else None
    least = _EIGHT_BITS.get(scheme.name) if scheme is not None else None
    return least is not None and (accelerator.compute == (0, 0) or accelerator.compute >= least)


def _split_bytes(architecture: Architecture, tokens: int, tensor: int) -> int:
    """The parts' outputs of one attention pass, of the widest layer."""

    def widest() -> int:
        widths = (
            ceil_div(m.heads, tensor) * m.head_dim
            for m in architecture.mixers()
            if m.kind in _ATTENDING
        )
        return max(widths, default=0)

    width = architecture.remembered(("vllm.split_width", tensor), widest)
    return _SPLITS * _SPLIT_ELEMENT * tokens * width
