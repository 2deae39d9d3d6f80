"""The models in ConfigMaps: which are kept, and how much of the memory each namespace may take.

It must not fetch anything while a review waits.

    kept         the values that may be models, of ConfigMaps that somebody refers to and, in
                 admission, of all others; of namespaces whose owners want other people's kinds
                 looked at (`open_to`) every value up to `LONGEST_VALUE`, for engines take their
                 arguments from there
    no room      the namespace that holds the most passes one over: first one that nobody refers
                 to, and of those the last that came
    room again   what was passed over comes in again, what somebody refers to first
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.workloads.llmdeployment import DEFAULT_KEYS, Missing, pick
from plimsoll.workloads.resolved import RESOLVED, config_map_name
from plimsoll_operator.cluster.objects import Json, Name, name_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

MAX_ROOM: Final = 16 << 20
"""Bytes of models in ConfigMaps that are kept in all, packed."""
BESIDE: Final = 512
"""Bytes that a kept ConfigMap takes beside its values."""
MARKS: Final = ('"model_type"', '"architectures"', "plimsoll.dev/model-profile")
"""Every config.json and every profile has one of these."""


LONGEST_VALUE: Final = 100_000
"""Characters of a value that is no model and may be an argument file: readers look at no more."""


def may_be_model(key: str, text: str) -> bool:
    """Whether a ConfigMap's value may be a model. No other value is kept where nobody asked for
    it, not even in part: it may be a password."""
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
        """Bytes that it takes."""
        return BESIDE + sum(map(len, self.packed.values()))

    def text(self, key: str) -> str | None:
        """The text under a key, None if there is none."""
        packed = self.packed.get(key)
        return None if packed is None else zlib.decompress(packed).decode()


ABSENT: Final = Document(0, {})
EMPTY: Final = Document(1, {})


def _packed(config_map: Json, *, whole: bool) -> Document:
    """whole: not its models alone."""
    data: Mapping[str, object] = config_map.get("data") or {}
    return Document(
        version_of(config_map),
        {
            key: zlib.compress(text.encode(), 1)
            for key, text in data.items()
            if isinstance(text, str)
            and ((whole and len(text) <= LONGEST_VALUE) or may_be_model(key, text))
        },
    )


@dataclass(frozen=True, slots=True)
class _PassedOver:
    """A ConfigMap that there was no room for, as it was then."""

    version: int
    size: int


class _Namespace:
    """The ConfigMaps of one namespace, by name: those kept, and those passed over."""

    def __init__(self) -> None:
        self.kept: dict[str, Document] = {}
        self.passed_over: dict[str, _PassedOver] = {}
        self.size = 0

    def keep(self, name: str, document: Document) -> None:
        """Keep a ConfigMap that was not kept."""
        self.passed_over.pop(name, None)
        self.kept[name] = document
        self.size += document.size

    def remove(self, name: str) -> bool:
        """Let go of a ConfigMap. Whether it was kept."""
        self.passed_over.pop(name, None)
        document = self.kept.pop(name, None)
        if document is not None:
            self.size -= document.size
        return document is not None

    def version(self, name: str) -> int:
        """The version of a ConfigMap that was last seen, 0 if it was not."""
        known = self.kept.get(name) or self.passed_over.get(name)
        return known.version if known else 0


class ModelDocuments:
    """The values of ConfigMaps that may be models, by where they are."""

    def __init__(
        self,
        there: Callable[[Name], bool],
        *,
        only_referred: bool = False,
        room: int = MAX_ROOM,
        resolved_in: str = "",
        open_to: Callable[[str], bool] = lambda namespace: False,
    ) -> None:
        """there: whether there is a ConfigMap of that name, kept or not. only_referred: keep those
        alone that somebody refers to. room: bytes that all of them may take. resolved_in: the
        namespace with profiles of resolved models, empty if there is none. open_to: whether other
        people's kinds are looked at in a namespace, so that values that are no models are kept."""
        self.resolved_in, self._open_to = resolved_in, open_to
        self._there, self._only_referred, self._room = there, only_referred, room
        self._namespaces: dict[str, _Namespace] = {}
        self._referred: set[Name] = set()
        self._size = 0
        self.has_room = asyncio.Event()
        """Set if something that was passed over may now come in."""

    def refer(self, name: Name) -> None:
        """Somebody takes a model from a ConfigMap, whether it is there or not."""
        self._referred.add(name)
        if name[1] in self._of(name).passed_over:
            self.has_room.set()

    def unrefer(self, name: Name) -> None:
        """Nobody takes a model from a ConfigMap any more."""
        self._referred.discard(name)
        if self._only_referred:
            self._remove(name)

    def put(self, config_map: Json) -> Document:
        """Take in a ConfigMap; its models, whether they are kept or not.

        An earlier state than was seen before changes nothing.
        """
        name = name_of(config_map)
        document = _packed(config_map, whole=self._open_to(name[0]))
        if self._of(name).version(name[1]) > document.version:
            return self.find(name) or document
        self._remove(name)
        wanted = name in self._referred or (not self._only_referred and document.packed)
        if wanted and self._there(name):
            self._namespaces.setdefault(name[0], _Namespace()).keep(name[1], document)
            self._size += document.size
            while self._size > self._room:
                self._pass_one_over()
        return document

    def drop(self, name: Name) -> None:
        """A ConfigMap is gone."""
        self._remove(name)
        if not self._only_referred:
            self._referred.discard(name)

    def find(self, name: Name) -> Document | None:
        """A ConfigMap, None if it is not kept."""
        return self._of(name).kept.get(name[1])

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text of a model in a ConfigMap, or why there is none.

        Whoever asks takes a model from it: that it is referred to counts from now on.
        """
        if namespace == RESOLVED:
            if not self.resolved_in:
                return Missing("no namespace is set for resolved models")
            namespace, name = self.resolved_in, config_map_name(name)
        found = self._kept((namespace, name))
        return found if isinstance(found, Missing) else read(found, namespace, name, key)

    def texts(self, namespace: str, name: str) -> Mapping[str, str] | Missing | None:
        """Everything that is kept of a ConfigMap; None if there is no such one, else why not.

        Whoever asks refers to it, which counts from now on.
        """
        found = self._kept((namespace, name))
        if isinstance(found, Missing):
            return found
        return {key: found.text(key) or "" for key in found.packed} if found.exists else None

    def _kept(self, where: Name) -> Document | Missing:
        """A ConfigMap as it is kept, `ABSENT` if there is none, or why it is not."""
        namespace, name = where
        if not self._there(where):
            return ABSENT
        self.refer(where)
        inside = self._of(where)
        if name not in inside.passed_over:
            return inside.kept.get(name, EMPTY)
        return Missing(
            f"there is no room for ConfigMap {name} of namespace {namespace}, whose ConfigMaps "
            f"with models take {inside.size >> 10} KiB of the {self._room >> 10} KiB for all "
            "namespaces; delete those that nobody uses, and try again in a few seconds",
            unread=True,
        )

    def worth_reading(self) -> list[Name]:
        """The ConfigMaps that were passed over and that there is room for now.

        Those that somebody refers to come first; they may take the place of others of their
        namespace. A namespace that holds less may take the place of the one that holds the most.
        """
        passed_over = [
            ((where, name), document.size)
            for where, inside in self._namespaces.items()
            for name, document in inside.passed_over.items()
        ]
        passed_over.sort(key=lambda item: item[0] not in self._referred)
        most = max((inside.size for inside in self._namespaces.values()), default=0)
        room = self._room - self._size
        found = []
        for name, size in passed_over:
            lacking = max(0, size - room)
            inside = self._namespaces[name[0]]
            if (
                not lacking
                or inside.size + size <= most - lacking
                or (name in self._referred and lacking <= self._not_referred(name[0]))
            ):
                found.append(name)
                room = max(0, room - size)
        return found

    def _of(self, name: Name) -> _Namespace:
        return self._namespaces.get(name[0]) or _Namespace()

    def _remove(self, name: Name) -> None:
        inside = self._of(name)
        before = inside.size
        if inside.remove(name[1]):
            self._size -= before - inside.size
            if any(namespace.passed_over for namespace in self._namespaces.values()):
                self.has_room.set()
        if not inside.kept and not inside.passed_over:
            self._namespaces.pop(name[0], None)

    def _not_referred(self, namespace: str) -> int:
        """Bytes of a namespace that nobody refers to."""
        kept = self._namespaces[namespace].kept
        return sum(
            document.size
            for name, document in kept.items()
            if (namespace, name) not in self._referred
        )

    def _pass_one_over(self) -> None:
        where, inside = max(self._namespaces.items(), key=lambda item: item[1].size)
        last = next(
            (name for name in reversed(inside.kept) if (where, name) not in self._referred),
            next(reversed(inside.kept)),
        )
        document = inside.kept[last]
        if not inside.passed_over:
            log.warning(
                "not all ConfigMaps with models are kept of namespace %s, which has %d KiB of them",
                where,
                inside.size >> 10,
            )
        inside.remove(last)
        inside.passed_over[last] = _PassedOver(document.version, document.size)
        self._size -= document.size


def read(document: Document, namespace: str, name: str, key: str | None) -> str | Missing:
    """The text under a key of a ConfigMap, or what is missing, in the words of both processes."""
    if not document.exists:
        return Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
    return pick(name, key, document.text)
