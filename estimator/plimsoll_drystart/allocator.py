"""What torch's caching allocator would hold of a GPU: blocks, segments, and their peaks.

An engine's check at start counts what this allocator took, which is more than the bytes of tensors:

    block    a request, rounded up to 512 bytes
    segment  what is asked of CUDA: 2 MiB for requests up to 1 MiB; 20 MiB below 10 MiB; else the
             request rounded up to 2 MiB
    split    a free block is cut if more than 1 MiB (small: 512 bytes) would remain and, where a
             limit is set, the request is below it; else the request gets and counts all of it
    reuse    the smallest free block that holds the request; with a limit, no block of that size
             or more for a smaller request, nor one 20 MiB larger for a larger request

Source: c10/cuda/CUDACachingAllocator.cpp (round_size, get_allocation_size, get_free_block,
should_split) as of PyTorch 2.5 to 2.14. Expandable segments and several streams are not modelled.
"""

from __future__ import annotations

from bisect import bisect_left, insort

MIB = 1 << 20
_LEAST, _SMALL, _SMALL_SEGMENT = 512, MIB, 2 * MIB
_LARGE_FROM, _LARGE_SEGMENT, _LARGE_STEP = 10 * MIB, 20 * MIB, 2 * MIB
_UNLIMITED = 1 << 62


class Block:
    """A piece of a segment. before, after: its neighbours in the segment."""

    __slots__ = ("after", "before", "free", "number", "size", "small")

    def __init__(self, number: int, size: int, small: bool) -> None:
        self.number, self.size, self.small, self.free = number, size, small, False
        self.before: Block | None = None
        self.after: Block | None = None


class Allocator:
    """allocated, reserved: bytes in blocks in use, and in segments; peak: the most allocated.

    most_reserved: the most reserved so far. max_split: the limit of splitting, in bytes.
    """

    def __init__(self) -> None:
        self.allocated = self.peak = self.reserved = self.most_reserved = 0
        self.max_split = _UNLIMITED
        self._numbers = 0
        self._free: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}

    def limit(self, mib: int | None) -> None:
        """Set `max_split_size_mb`; None for no limit."""
        self.max_split = _UNLIMITED if mib is None else mib * MIB

    def take(self, nbytes: int) -> Block | None:
        """A block for a request; none for a request of nothing."""
        if nbytes <= 0:
            return None
        size = max(_LEAST, -(-nbytes // _LEAST) * _LEAST)
        small = size <= _SMALL
        block = self._reused(size, small) or self._segment(size, small)
        block.free = False
        remaining = block.size - size
        if remaining >= _LEAST if small else size < self.max_split and remaining > _SMALL:
            self._cut(block, size)
        self.allocated += block.size
        self.peak = max(self.peak, self.allocated)
        return block

    def give_back(self, block: Block) -> None:
        """Free a block, and make one of it and its free neighbours."""
        self.allocated -= block.size
        block.free = True
        for other in (block.before, block.after):
            if other is not None and other.free:
                self._drop(other)
                block.size += other.size
                if other is block.before:
                    block.before = other.before
                    if block.before is not None:
                        block.before.after = block
                else:
                    block.after = other.after
                    if block.after is not None:
                        block.after.before = block
        self._keep(block)

    def empty_cache(self) -> None:
        """Give free segments back to CUDA."""
        for small, blocks in self._free.items():
            whole = [one for one in blocks if one[2].before is None and one[2].after is None]
            self.reserved -= sum(size for size, _, _ in whole)
            gone = {number for _, number, _ in whole}
            self._free[small] = [one for one in blocks if one[1] not in gone]

    def reset_peak(self) -> None:
        """Begin to look for the most anew."""
        self.peak, self.most_reserved = self.allocated, self.reserved

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _keep(self, block: Block) -> None:
        insort(self._free[block.small], (block.size, block.number, block))

    def _drop(self, block: Block) -> None:
        blocks = self._free[block.small]
        del blocks[bisect_left(blocks, (block.size, block.number))]

    def _reused(self, size: int, small: bool) -> Block | None:
        blocks = self._free[small]
        at = bisect_left(blocks, (size, 0))
        if at == len(blocks):
            return None
        found = blocks[at][0]
        if size < self.max_split <= found:
            return None
        if size >= self.max_split and found >= size + _LARGE_SEGMENT:
            return None
        return blocks.pop(at)[2]

    def _segment(self, size: int, small: bool) -> Block:
        if small:
            whole = _SMALL_SEGMENT
        elif size < _LARGE_FROM:
            whole = _LARGE_SEGMENT
        else:
            whole = -(-size // _LARGE_STEP) * _LARGE_STEP
        self.reserved += whole
        self.most_reserved = max(self.most_reserved, self.reserved)
        return Block(self._number(), whole, small)

    def _cut(self, block: Block, size: int) -> None:
        rest = Block(self._number(), block.size - size, block.small)
        rest.before, rest.after, rest.free = block, block.after, True
        if rest.after is not None:
            rest.after.before = rest
        block.after, block.size = rest, size
        self._keep(rest)
