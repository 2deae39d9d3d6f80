"""The ConfigMaps that LLMDeployments take models from: fetched when first needed, then watched.

It must not fetch what nobody refers to, and it keeps a bounded amount: what falls out is fetched
again when it is next needed.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll_operator.cluster.client import NotFound
from plimsoll_operator.cluster.objects import CONFIG_MAPS, Name, name_of, version_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Json

MAX_BYTES: Final = 16 << 20
"""Packed bytes that are kept in all."""


@dataclass(frozen=True, slots=True)
class Document:
    """One ConfigMap. version: its resource version, 0 where there is no such ConfigMap."""

    version: int
    packed: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Packed bytes."""
        return sum(map(len, self.packed.values()))

    @property
    def exists(self) -> bool:
        """Whether there is such a ConfigMap."""
        return self.version > 0

    def text(self, key: str) -> str | None:
        """The text under a key, None where there is none."""
        packed = self.packed.get(key)
        return None if packed is None else zlib.decompress(packed).decode()


ABSENT: Final = Document(0, {})


class Documents:
    """A bounded store of ConfigMaps."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: OrderedDict[Name, Document] = OrderedDict()
        self._size = 0

    async def get(self, name: Name) -> Document:
        """A ConfigMap, from the API server where it is not kept. `ABSENT` where there is none."""
        kept = self._kept.get(name)
        if kept is not None:
            self._kept.move_to_end(name)
            return kept
        try:
            found = await self._client.request("GET", CONFIG_MAPS.path(*name))
        except NotFound:
            return self._kept.get(name) or self._keep(name, ABSENT)
        return self.put(found)

    def put(self, config_map: Json) -> Document:
        """Take in a ConfigMap that is referred to, unless a later one is kept."""
        name, version = name_of(config_map), version_of(config_map)
        kept = self._kept.get(name)
        if kept is not None and kept.version >= version:
            return kept
        data = config_map.get("data") or {}
        packed = {
            key: zlib.compress(text.encode(), 1)
            for key, text in data.items()
            if isinstance(text, str)
        }
        return self._keep(name, Document(version, packed))

    def gone(self, name: Name) -> None:
        """A ConfigMap was deleted."""
        if name in self._kept:
            self._keep(name, ABSENT)

    def forget(self, name: Name) -> None:
        """Nobody refers to a ConfigMap any more, or what is kept of it is in doubt."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._size -= kept.size

    def names(self) -> list[Name]:
        """The ConfigMaps that are kept."""
        return list(self._kept)

    def _keep(self, name: Name, document: Document) -> Document:
        self.forget(name)
        self._kept[name] = document
        self._size += document.size
        while self._size > MAX_BYTES and len(self._kept) > 1:
            self.forget(next(iter(self._kept)))
        return document
