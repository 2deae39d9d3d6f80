"""Which storages lie on the GPU, and what the allocator holds for them."""

from __future__ import annotations

import weakref
from typing import Any

from plimsoll_drystart.allocator import Allocator, Block

FEW = 4096
"""Tensors up to so many elements keep what they hold when they come from main memory."""


class Memory:
    """Live storages of one GPU.

    A storage's Python object lives as long as the storage itself (torch keeps it), so that its end
    frees the block in the very order in which the engine drops tensors.
    """

    def __init__(self) -> None:
        self.allocator = Allocator()
        self.outside = 0
        self.largest: list[tuple[int, str]] = []
        self._blocks: dict[int, tuple[Any, Block | None, int]] = {}
        self._values: dict[int, Any] = {}
        self._addresses: dict[int, int] = {}
        self._next_address = 1 << 40

    def hold(self, tensor: Any) -> None:
        """Give a tensor's storage a block, if it has none yet; another if it has grown."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._blocks.get(key)
        if known is not None:
            if known[2] == size:
                return
            self._end(key)

        def ended(_: Any) -> None:
            self._end(key)

        reference = weakref.ref(storage, ended)
        self._blocks[key] = (reference, self.allocator.take(size), size)
        self._addresses[key] = self._next_address
        self._next_address += -(-size // 512) * 512 + 512

    def _end(self, key: int) -> None:
        known = self._blocks.pop(key, None)
        self._values.pop(key, None)
        if known is not None and known[1] is not None:
            self.allocator.give_back(known[1])

    def address(self, tensor: Any) -> int:
        """Where a tensor begins: what it is differs from every other storage's, and that counts."""
        base = self._addresses.get(tensor.untyped_storage()._cdata, 1 << 40)
        return base + int(tensor.storage_offset()) * int(tensor.element_size())

    def holds(self, tensor: Any) -> bool:
        """Whether the tensor's storage lies on the GPU."""
        return tensor.untyped_storage()._cdata in self._blocks

    def remember(self, tensor: Any, source: Any) -> None:
        """Keep the values of a small tensor that came from main memory: sizes, lengths."""
        if 0 < source.numel() <= FEW:
            self._values[tensor.untyped_storage()._cdata] = source.detach().clone()

    def recall(self, tensor: Any) -> Any:
        """Those values, as a tensor of its shape in main memory; None if nothing is known."""
        known = self._values.get(tensor.untyped_storage()._cdata)
        if known is None or known.numel() != tensor.numel():
            return None
        return known.reshape(tensor.shape)

    def statistics(self, *_: Any, **__: Any) -> dict[str, int]:
        """As torch.cuda.memory_stats names them; 0 for every other."""
        held = self.allocator
        return _Zeros(
            {
                "allocated_bytes.all.current": held.allocated,
                "allocated_bytes.all.peak": held.peak,
                "active_bytes.all.current": held.allocated,
                "active_bytes.all.peak": held.peak,
                "reserved_bytes.all.current": held.reserved,
                "reserved_bytes.all.peak": held.most_reserved,
            }
        )


class _Zeros(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 0
