"""What is known of the cluster: GPU nodes, policy labels and models in ConfigMaps.

It must not fetch anything while a review waits; what is not here yet is unknown, and unknown is a
warning, never a denial.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import TYPE_CHECKING, Final

from plimsoll.api_group import POLICY_LABEL
from plimsoll.decision.policy import policy_of
from plimsoll.inventory.nodes import read_node
from plimsoll.inventory.pools import Inventory, pools
from plimsoll.workloads.llmdeployment import DEFAULT_KEYS, Missing, pick
from plimsoll_operator.cluster.objects import (
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    Json,
    Name,
    name_of,
    version_of,
)
from plimsoll_operator.cluster.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.verdict import Policy
    from plimsoll.inventory.pools import NodeFacts, SetAside
    from plimsoll_operator.cluster.client import Client

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


class NodeCache:
    """Of each node with GPUs what the inventory reads of it, and the inventory of them all.

    Lists and watches may both put nodes in: of two states of a node the later one stays.
    """

    def __init__(self) -> None:
        self.inventory = Inventory(known=True)
        """The GPU nodes as of the last `settle`."""
        self.version = 0
        """Counts the inventories that differed from the one before."""
        self._nodes: dict[str, NodeFacts | SetAside] = {}
        self._versions: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self._changed = False

    def put(self, node: Json) -> bool:
        """Take in a node. Whether that changes what is known of GPUs."""
        name, version = name_of(node)[1], version_of(node)
        if version and version <= max(self._versions.get(name, 0), self._gone.get(name, 0)):
            return False
        facts = read_node(node)
        if facts is None:
            return self.drop(name, version)
        self._versions[name] = version
        if self._nodes.get(name) == facts:
            return False
        self._nodes[name] = facts
        self._changed = True
        return True

    def drop(self, name: str, version: int = 0) -> bool:
        """Forget a node. Whether it had GPUs.

        version: of its last state, so that a list that began earlier does not bring it back.
        """
        if self._nodes.pop(name, None) is None:
            return False
        self._gone[name] = max(version, self._versions.pop(name, 0))
        self._changed = True
        return True

    def list_begins(self) -> None:
        """What went before now is in no list that begins now."""
        self._gone.clear()

    def names(self) -> set[str]:
        """The nodes with GPUs."""
        return set(self._nodes)

    def settle(self) -> bool:
        """Compute the inventory anew if a node changed. Whether it differs from the one before."""
        if not self._changed:
            return False
        self._changed = False
        inventory = pools([self._nodes[name] for name in sorted(self._nodes)])
        if inventory == self.inventory:
            return False
        self.inventory = inventory
        self.version += 1
        return True


class NamespaceModes:
    """The policy labels of the namespaces that have one."""

    def __init__(self) -> None:
        self._modes: dict[str, str] = {}

    def put(self, namespace: Json) -> bool:
        """Take in a namespace. Whether its label changed."""
        name = name_of(namespace)[1]
        labels = (namespace.get("metadata") or {}).get("labels") or {}
        mode = labels.get(POLICY_LABEL)
        if mode is None:
            return self.drop(name)
        if self._modes.get(name) == mode:
            return False
        self._modes[name] = mode
        return True

    def drop(self, name: str) -> bool:
        """Forget a namespace's label. Whether it had one."""
        return self._modes.pop(name, None) is not None

    def names(self) -> set[str]:
        """The namespaces that have a label."""
        return set(self._modes)

    def get(self, namespace: str) -> str | None:
        """A namespace's label as written, None where it has none."""
        return self._modes.get(namespace)


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
        return pick(name, key, lambda wanted: self._text(where, wanted))

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
