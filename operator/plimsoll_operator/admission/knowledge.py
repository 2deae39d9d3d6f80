"""What admission knows of the cluster: GPU nodes, policy labels and models in ConfigMaps, watched.

It must not fetch anything while a review waits; what is not here yet is unknown, and unknown is a
warning, never a denial.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import TYPE_CHECKING, Final

from plimsoll.decision.policy import Policy, policy_of
from plimsoll.workloads.llmdeployment import DEFAULT_KEYS, Missing, pick
from plimsoll_operator.cache import NamespaceModes, NodeCache
from plimsoll_operator.client import CONFIG_MAPS, NAMESPACES, NODES, Client, Json
from plimsoll_operator.reflector import Name, Reflector, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.inventory.pools import Inventory

log = logging.getLogger(__name__)

MAX_DOCUMENTS: Final = 16 << 20
"""Packed bytes of models in ConfigMaps that are kept in all."""
MARKS: Final = ('"model_type"', '"architectures"', "plimsoll.dev/model-profile")
"""A ConfigMap's value that holds one of these may be a model and is kept whole."""
BEGINNING: Final = 64
"""Characters that are kept of any other value: enough to say that it is no model, as the
controller says of the whole."""


def _worth_keeping(key: str, text: str) -> str:
    whole = key in DEFAULT_KEYS or any(mark in text for mark in MARKS)
    return text if whole else text[:BEGINNING]


class ModelDocuments:
    """The values of ConfigMaps by where they are: whole where they may be models."""

    def __init__(self) -> None:
        self._kept: dict[Name, dict[str, bytes]] = {}
        self._keys: dict[Name, tuple[str, ...]] = {}
        self._size = 0

    def put(self, config_map: Json) -> None:
        """Take in a ConfigMap as it is now."""
        name = name_of(config_map)
        self.drop(name)
        data: Mapping[str, object] = config_map.get("data") or {}
        self._keys[name] = tuple(sorted(data))[:8]
        packed = {
            key: zlib.compress(_worth_keeping(key, text).encode(), 1)
            for key, text in data.items()
            if isinstance(text, str)
        }
        size = sum(map(len, packed.values()))
        if packed and self._size + size <= MAX_DOCUMENTS:
            self._kept[name] = packed
            self._size += size
        elif packed:
            log.warning("ConfigMap %s/%s is not kept: %d MiB of models are", *name,
                        MAX_DOCUMENTS >> 20)  # fmt: skip

    def drop(self, name: Name) -> None:
        """A ConfigMap is gone."""
        self._keys.pop(name, None)
        for packed in self._kept.pop(name, {}).values():
            self._size -= len(packed)

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text of a model in a ConfigMap, or why there is none."""
        where = (namespace, name)
        if where not in self._keys:
            return Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return pick(name, key, self._keys[where], lambda wanted: self._text(where, wanted))

    def _text(self, where: Name, key: str) -> str | None:
        packed = self._kept.get(where, {}).get(key)
        return None if packed is None else zlib.decompress(packed).decode()


class ClusterKnowledge:
    """`plimsoll_operator.admission.judge.Knowledge`, kept current by three watches."""

    def __init__(self, client: Client) -> None:
        self.documents = ModelDocuments()
        self._nodes, self._modes = NodeCache(), NamespaceModes()
        self.reflectors = (
            Reflector(client, NODES, changed=self._node, deleted=self._node_gone),
            Reflector(client, NAMESPACES, changed=self._namespace, deleted=self._namespace_gone),
            Reflector(
                client,
                CONFIG_MAPS,
                changed=self.documents.put,
                deleted=self.documents.drop,
                chunk=50,
            ),
        )

    def _node(self, node: Json) -> None:
        self._nodes.put(node)

    def _node_gone(self, name: Name) -> None:
        self._nodes.drop(name[1])

    def _namespace(self, namespace: Json) -> None:
        self._modes.put(namespace)

    def _namespace_gone(self, name: Name) -> None:
        self._modes.drop(name[1])

    def inventory(self) -> Inventory:
        """The GPU nodes; computed anew only after a node changed."""
        self._nodes.settle()
        return self._nodes.inventory

    def policy(self, namespace: str) -> Policy:
        """What the namespace's label says."""
        return policy_of(namespace, self._modes.get(namespace))

    @property
    def synced(self) -> bool:
        """Whether every watch has its first list."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    async def run(self) -> None:
        """Keep watching until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors:
                group.create_task(reflector.run())
