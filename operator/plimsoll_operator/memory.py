"""Memory given back after a rush: what cycles and malloc keep otherwise.

It never makes a difference to anything but memory; without a malloc_trim (musl, macOS) to little.
"""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Take what there is now for permanent, so that collections do not look at it again."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Collect cycles, of closed connections for example, and give free pages to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
