"""What is known of the cluster: GPU nodes, policy labels and models in ConfigMaps.

It must not fetch anything while a review waits; what is not here yet is unknown, and unknown is a
warning, never a denial.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from dataclasses import dataclass
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
    from collections.abc import Callable, Mapping

    from plimsoll.decision.verdict import Policy
    from plimsoll.inventory.pools import NodeFacts, SetAside
    from plimsoll_operator.cluster.client import Client

log = logging.getLogger(__name__)

NODES_PER_PAGE: Final = 25
"""A node of a production cluster is 30 KB of JSON, and a page is in memory whole."""
CONFIG_MAPS_PER_PAGE: Final = 50
WITHOUT_ROOT_CERTIFICATES: Final = "metadata.name!=kube-root-ca.crt"
"""Every namespace has a ConfigMap of that name, which is no model."""

MAX_DOCUMENTS: Final = 16 << 20
"""Packed bytes of models in ConfigMaps that are kept in all."""
MARKS: Final = ('"model_type"', '"architectures"', "plimsoll.dev/model-profile")
"""Every config.json and every profile has one of these."""


def may_be_model(key: str, text: str) -> bool:
    """Whether a ConfigMap's value may be a model. No other value is kept, not even in part: it
    may be a password."""
    return key in DEFAULT_KEYS or any(mark in text for mark in MARKS)


class GpuNodes:
    """Of each node with GPUs what the inventory reads of it, and the inventory of them all."""

    def __init__(self) -> None:
        self.inventory = Inventory(known=True)
        """The GPU nodes as of the last `settle`."""
        self.version = 0
        """Counts the inventories that differed from the one before."""
        self._nodes: dict[str, NodeFacts | SetAside] = {}
        self._changed = False

    def __len__(self) -> int:
        return len(self._nodes)

    def put(self, node: Json) -> bool:
        """Take in a node as it is now. Whether that changes what is known of GPUs."""
        name = name_of(node)[1]
        facts = read_node(node)
        if facts is None:
            return self.drop(name)
        if self._nodes.get(name) == facts:
            return False
        self._nodes[name] = facts
        self._changed = True
        return True

    def drop(self, name: str) -> bool:
        """Forget a node. Whether it had GPUs."""
        if self._nodes.pop(name, None) is None:
            return False
        self._changed = True
        return True

    def settle(self) -> bool:
        """Compute the inventory again if a node changed. Whether it differs from the one before."""
        if not self._changed:
            return False
        self._changed = False
        inventory = pools([self._nodes[name] for name in sorted(self._nodes)])
        if inventory == self.inventory:
            return False
        self.inventory = inventory
        self.version += 1
        return True


class PolicyLabels:
    """The policy labels of the namespaces that have one."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    def put(self, namespace: Json) -> bool:
        """Take in a namespace as it is now. Whether its label changed."""
        name = name_of(namespace)[1]
        labels = (namespace.get("metadata") or {}).get("labels") or {}
        label = labels.get(POLICY_LABEL)
        if label is None:
            return self.drop(name)
        if self._labels.get(name) == label:
            return False
        self._labels[name] = label
        return True

    def drop(self, name: str) -> bool:
        """Forget a namespace's label. Whether it had one."""
        return self._labels.pop(name, None) is not None

    def get(self, namespace: str) -> str | None:
        """A namespace's label as written, None if it has none."""
        return self._labels.get(namespace)


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


def _nobody(*_: object) -> None:
    """Nobody wants to be told."""


class ClusterKnowledge:
    """What a process knows of the cluster beside LLMDeployments, kept current by three watches.

    It is current after an outage, too: each watch goes on from where it was, or lists again.
    """

    def __init__(
        self,
        client: Client,
        *,
        on_nodes: Callable[[], None] = _nobody,
        on_namespace: Callable[[str], None] = _nobody,
        on_document: Callable[[Name], None] = _nobody,
        only_referred: bool = False,
    ) -> None:
        """on_nodes: told if something about GPUs changed. on_namespace: told the name of each
        namespace whose policy label changed. on_document: told the name of each ConfigMap that
        changed or went. only_referred: see `ModelDocuments`."""
        self._on_nodes, self._on_namespace = on_nodes, on_namespace
        self._on_document = on_document
        config_maps = Reflector(
            client,
            CONFIG_MAPS,
            changed=self._config_map,
            deleted=self._config_map_gone,
            chunk=CONFIG_MAPS_PER_PAGE,
            field_selector=WITHOUT_ROOT_CERTIFICATES,
        )
        self.nodes, self.labels = GpuNodes(), PolicyLabels()
        self.documents = ModelDocuments(config_maps.has, only_referred=only_referred)
        self.reflectors = (
            Reflector(
                client,
                NODES,
                changed=self._node,
                deleted=self._node_gone,
                chunk=NODES_PER_PAGE,
            ),
            Reflector(
                client,
                NAMESPACES,
                changed=self._namespace,
                deleted=self._namespace_gone,
                label_selector=POLICY_LABEL,
            ),
            config_maps,
        )

    def _node(self, node: Json) -> None:
        if self.nodes.put(node):
            self._on_nodes()

    def _node_gone(self, name: Name) -> None:
        if self.nodes.drop(name[1]):
            self._on_nodes()

    def _namespace(self, namespace: Json) -> None:
        if self.labels.put(namespace):
            self._on_namespace(name_of(namespace)[1])

    def _namespace_gone(self, name: Name) -> None:
        if self.labels.drop(name[1]):
            self._on_namespace(name[1])

    def _config_map(self, config_map: Json) -> None:
        self.documents.put(config_map)
        self._on_document(name_of(config_map))

    def _config_map_gone(self, name: Name) -> None:
        self.documents.drop(name)
        self._on_document(name)

    def inventory(self) -> Inventory:
        """The GPU nodes as they are now; computed again only after a node changed."""
        self.nodes.settle()
        return self.nodes.inventory

    def policy(self, namespace: str) -> Policy:
        """What the namespace's label says."""
        return policy_of(namespace, self.labels.get(namespace))

    @property
    def synced(self) -> bool:
        """Whether every watch has its first list."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    async def first_lists(self) -> None:
        """Wait until every watch has its first list."""
        for reflector in self.reflectors:
            await reflector.synced.wait()

    async def run(self) -> None:
        """Keep watching until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors:
                group.create_task(reflector.run())
