"""DeepSeek V4 under SGLang: pools of its compressed caches, and what is loaded beside weights.

A layer keeps the last tokens as they are (sliding), and one vector for every 4 or 128 tokens of
the past. Bytes of a token of the full pool, s: share of sliding tokens, 0.1 where nobody says:

    row         head - 64 + 2 x 64 + 8: fp8, rotary part in 16 bits, scales; 584 of 512 elements.
                From 0.5.21 rows of a page together are a multiple of 576
    layer       s x row
    by 4        row / 4 + (index + 4) / 4 + s x 8 x 16 x (head + index) / span
    by 128      row / 128 [+ s x 8 x head until 0.5.14]
    span        tokens that share the 8 rows of running state: 128, from 0.5.21 a page of 256

and from 0.5.15 on, whatever the tokens, for every layer by 128:

    state       (requests + 3) x 128 rows x 8 x head; requests: 256 where nobody says, over the
                ranks of data-parallel attention

With a draft there are twice as many rows of state, and all is larger by one layer's part.

Loaded beside the weights, on every rank:

    tables      positions x 64 x 4 bytes, for two kinds of layers, as angles and as numbers
    compressors in 16 bits, and the mixing of streams in 32, whatever the checkpoint's bits
    scales      until 0.5.15, of 4-bit experts on Hopper and on Blackwell cards: those that Marlin's
                kernels read (8 bits) and, beside them, those that were loaded (32)

Source: `DSV4PoolConfigurator` of sglang/srt/model_executor/pool_configurator.py and
sglang/srt/models/deepseek_v4.py of SGLang 0.5.12 to 0.5.23; mxfp4_marlin_moe.py and
marlin_utils_fp4.py of sglang/srt/layers/quantization, 0.5.12 to 0.5.17. Checked against the
start-ups of https://github.com/sgl-project/sglang/pull/28620 and
https://github.com/SemiAnalysisAI/InferenceX/issues/2128.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.sharding import quantization_in_force, scheme_in_force
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture, Block, Tensor
    from plimsoll.models.quantization import Quantization

DEFAULT_SHARE: Final = Fraction(1, 10)
"""Sliding tokens per token of the full pool where ``--swa-full-tokens-ratio`` is not said."""
DEFAULT_REQUESTS: Final = 256
"""``--max-running-requests`` of these models where it is not said."""
PAGE: Final = 256
_ROPE: Final = 64
_SCALES: Final = 8
_ALIGNED: Final = 576
_STATE: Final = 4
"""Bytes of an element of running state."""
_FEW, _MANY = 4, 128
_RING: Final = {_FEW: 8, _MANY: 128}
_BY_MARLIN: Final = (9, 12)
"""Compute capabilities, their first number, whose 4-bit experts Marlin's kernels multiply."""
_LOADED_SCALE: Final = 4
"""Bytes of a scale as it is loaded."""


def is_compressed(architecture: Architecture) -> bool:
    """Whether a model has such caches."""
    return architecture.class_name.startswith("DeepseekV4")


def held(architecture: Architecture, accelerator: Accelerator, figures: Constants) -> Architecture:
    """The model with its weights as they lie on this GPU, not as the checkpoint stores them."""
    stored = architecture.quantization
    if stored is None or not is_compressed(architecture):
        return architecture
    if accelerator.compute[0] not in _BY_MARLIN or not figures.flag("loaded_scales_stay"):
        return architecture
    return architecture.remembered(
        ("sglang.held",), lambda: replace(architecture, quantization=_with_loaded_scales(stored))
    )


def _with_loaded_scales(stored: Quantization) -> Quantization:
    special = tuple(
        (pattern, replace(scheme, scale_bytes=scheme.scale_bytes + _LOADED_SCALE))
        if scheme.name == "mxfp4"
        else (pattern, scheme)
        for pattern, scheme in stored.special
    )
    return replace(stored, special=special)


@dataclass(frozen=True, slots=True)
class CompressedCells:
    """Bytes on one rank. full, sliding: of a token of each pool; fixed: whatever the tokens."""

    full: Fraction
    sliding: Fraction
    fixed: int
    window: int


def cells(
    blocks: Sequence[Block], requests: int, *, layers: int, draft: bool, figures: Constants
) -> CompressedCells:
    """The cells of a stage. requests: that run at once on a rank; layers: of the whole model."""
    padded = figures.flag("compressed_pages_padded")
    by_request = figures.flag("compressed_state_by_request")
    rows = 2 if draft else 1
    full = sliding = Fraction(0)
    fixed = window = 0
    for block in blocks:
        near = next(m for m in block.mixers if m.kind is MixerKind.SLIDING)
        window = max(window, near.window)
        head = near.head_dim
        sliding += _row(head, PAGE, padded)
        far = next((m for m in block.mixers if m.kind is MixerKind.MLA), None)
        if far is None:
            continue
        ratio = head // far.head_dim
        index = far.index_dim * ratio
        full += Fraction(_row(head, PAGE // ratio, padded), ratio)
        if index:
            full += Fraction(index + 4, ratio)
        ring = _RING.get(ratio, _MANY) * rows
        if ratio == _FEW:
            span = PAGE if padded else near.window
            sliding += Fraction(ring * 4 * (head + index) * _STATE, span)
        elif by_request:
            wanted = (requests + 1) * ring + ring + 1
            fixed += ceil_div(wanted, _MANY) * _MANY * 2 * head * _STATE
        else:
            sliding += Fraction(ring * 2 * head * _STATE, near.window)
    more = Fraction(layers + 1, layers) if draft else Fraction(1)
    return CompressedCells(full * more, sliding * more, fixed, window)


def _row(head: int, page: int, padded: bool) -> Fraction:
    """Bytes of one row, its part of a page's padding included."""
    size = head - _ROPE + 2 * _ROPE + _SCALES
    if not padded:
        return Fraction(size)
    return Fraction(ceil_div(page * size, _ALIGNED) * _ALIGNED, page)


def beside_weights(architecture: Architecture, blocks: Sequence[Block], element: int) -> int:
    """Bytes that a stage loads beside what the checkpoint's bits come to, rotary tables included.

    element: bytes of an unquantized weight.
    """
    scheme = quantization_in_force(architecture, "")

    def more(tensor: Tensor) -> int:
        if "_hc." in tensor.name:
            return tensor.elements * (4 - element)
        own = scheme_in_force(scheme, at_load=False, tensor=tensor)
        if ".compressor." not in tensor.name or "q_b_proj" in tensor.name or own is None:
            return 0
        return tensor.elements * element - own.bytes(tensor.shape[0], tensor.shape[-1])

    tables = 2 * 2 * architecture.max_model_len * _ROPE * 4
    return tables + sum(more(tensor) for block in blocks for tensor in block.tensors)
