"""How much of a GPU torch's caching allocator spends on a tensor of a given size.

It must not know what the tensor holds.

    up to 1 MiB       rounded up to 512 bytes
    up to 10 MiB      cut from segments of 20 MiB; a rest of at most 1 MiB goes to the last piece
    from 10 MiB       a segment rounded up to 2 MiB; a rest of at most 1 MiB is not split off

Source: c10/cuda/CUDACachingAllocator.cpp of PyTorch (kSmallSize, kLargeBuffer, kMinLargeAlloc,
kRoundLarge). This explains what measured weights have over the sum of their tensors: 57 MiB for
Qwen2.5-7B, whose projections are odd numbers of half MiB, and nothing for Qwen3-8B.
"""

from __future__ import annotations

from typing import Final

from plimsoll.units import MIB

_SMALL: Final = MIB
_SEGMENT: Final = 20 * MIB
_LARGE: Final = 10 * MIB


def allocated(size: int) -> int:
    """Bytes that one tensor of `size` bytes takes, as torch reports them."""
    size = -(-size // 512) * 512
    if size <= _SMALL:
        return size
    if size < _LARGE:
        pieces = _SEGMENT // size
        rest = _SEGMENT - pieces * size
        return size + rest // pieces if rest <= _SMALL else size
    rest = -size % (2 * MIB)
    return size + rest if rest <= _SMALL else size
