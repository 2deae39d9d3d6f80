"""The models in ConfigMaps: which are kept, and how much of the memory each namespace may take.

It must not fetch anything while a review waits.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.workloads.llmdeployment import DEFAULT_KEYS, Missing, pick
from plimsoll_operator.cluster.objects import Json, Name, name_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

MAX_DOCUMENTS: Final = 16 << 20
"""Packed bytes of models in ConfigMaps that are kept in all."""
MARKS: Final = ('"model_type"', '"architectures"', "plimsoll.dev/model-profile")
"""Every config.json and every profile has one of these."""


def may_be_model(key: str, text: str) -> bool:
    """Whether a ConfigMap's value may be a model. No other value is kept, not even in part: it
    may be a password."""
    return key in DEFAULT_KEYS or any(mark in text for mark in MARKS)


@dataclass(frozen=True, slots=True)
class Document:
    """The models in a ConfigMap. version: its resource version, 0 if there is no such one."""

    version: int
    packed: Mapping[str, bytes]

    @property
    def exists(self) -> bool:
        """Whether there is such a ConfigMap."""
        return self.version > 0

    @property
    def size(self) -> int:
        """Packed bytes."""
        return sum(map(len, self.packed.values()))

    def text(self, key: str) -> str | None:
        """The text under a key, None if there is none."""
        packed = self.packed.get(key)
        return None if packed is None else zlib.decompress(packed).decode()


ABSENT: Final = Document(0, {})


def _packed(config_map: Json) -> Document:
    data: Mapping[str, object] = config_map.get("data") or {}
    return Document(
        version_of(config_map),
        {
            key: zlib.compress(text.encode(), 1)
            for key, text in data.items()
            if isinstance(text, str) and may_be_model(key, text)
        },
    )


class ModelDocuments:
    """The values of ConfigMaps that may be models, by where they are."""

    def __init__(self, there: Callable[[Name], bool], *, only_referred: bool = False) -> None:
        """there: whether there is a ConfigMap of that name, kept or not. only_referred: keep those
        alone that somebody refers to."""
        self._there, self._only_referred = there, only_referred
        self._kept: dict[Name, Document] = {}
        self._referred: set[Name] = set()
        self._size = 0

    def refer(self, name: Name) -> None:
        """Somebody takes a model from a ConfigMap, whether it is there or not."""
        self._referred.add(name)

    def unrefer(self, name: Name) -> None:
        """Nobody takes a model from a ConfigMap any more."""
        self._referred.discard(name)
        if self._only_referred:
            self.drop(name)

    def put(self, config_map: Json) -> Document:
        """Take in a ConfigMap, unless a later state of it is kept; what is now known of it."""
        name, document = name_of(config_map), _packed(config_map)
        before = self._kept.get(name, ABSENT)
        if before.version > document.version:
            return before
        self.drop(name)
        wanted = name in self._referred or (not self._only_referred and document.packed)
        if not wanted or not self._there(name):
            return document
        if self._size + document.size <= MAX_DOCUMENTS:
            self._kept[name] = document
            self._size += document.size
        else:
            log.warning(
                "ConfigMap %s/%s is not kept: %d MiB of models are", *name, MAX_DOCUMENTS >> 20
            )
        return document

    def drop(self, name: Name) -> None:
        """A ConfigMap is gone."""
        self._size -= self._kept.pop(name, ABSENT).size

    def find(self, name: Name) -> Document | None:
        """A ConfigMap, None if it is not kept."""
        return self._kept.get(name)

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text of a model in a ConfigMap, or why there is none."""
        document = self._kept.get((namespace, name), ABSENT)
        if not document.exists and self._there((namespace, name)):
            document = Document(1, {})
        return read(document, namespace, name, key)


def read(document: Document, namespace: str, name: str, key: str | None) -> str | Missing:
    """The text under a key of a ConfigMap, or what is missing, in the words of both processes."""
    if not document.exists:
        return Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
    return pick(name, key, document.text)
