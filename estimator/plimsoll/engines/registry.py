"""The engines by name.

It must not import an engine before it is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.errors import Unreadable

if TYPE_CHECKING:
    from plimsoll.engines.base import Engine

NAMES: Final = ("vllm",)
"""The engines whose memory model is there, as ``spec.engine.name`` names them."""


@lru_cache(maxsize=len(NAMES))
def engine(name: str) -> Engine:
    """The engine of that name. Raises `Unreadable` for one that is not known."""
    if name == "vllm":
        from plimsoll.engines.vllm.engine import VLLM

        return VLLM()
    raise Unreadable(name, f"an engine known here ({', '.join(NAMES)})")
