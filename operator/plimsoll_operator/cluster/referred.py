"""Objects that other people's kinds refer to by name: KServe's runtimes, OpenModels and the like.

It must not grow with what users write: beyond `ROOM` nothing more is kept, and what is not kept
counts as not at hand, which is a warning.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll_operator.cluster.objects import Json, Name

ROOM: Final = 4 << 20
"""Bytes that all of them may take, packed."""
BESIDE: Final = 256
"""Bytes that one takes beside its text."""


class ReferredObjects:
    """What such objects say, by kind, namespace and name."""

    def __init__(self, room: int = ROOM) -> None:
        """room: bytes that all of them may take."""
        self._packed: dict[tuple[str, Name], bytes] = {}
        self._left = room

    def put(self, kind: str, name: Name, obj: Json | None) -> bool:
        """Take in an object as it is now, None once it is gone. Whether it is kept."""
        before = self._packed.pop((kind, name), None)
        if before is not None:
            self._left += len(before) + BESIDE
        if obj is None:
            return False
        packed = zlib.compress(json.dumps(obj.get("spec")).encode(), 1)
        if len(packed) + BESIDE > self._left:
            return False
        self._packed[(kind, name)] = packed
        self._left -= len(packed) + BESIDE
        return True

    def get(self, kind: str, name: Name) -> Mapping[str, Any] | None:
        """An object with its spec; None if it is not kept."""
        packed = self._packed.get((kind, name))
        return None if packed is None else {"spec": json.loads(zlib.decompress(packed))}
