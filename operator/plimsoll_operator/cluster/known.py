"""What is known of the cluster: GPUs and who takes them, namespaces, models in ConfigMaps.

It must not fetch anything while a review waits; what is not here yet is unknown, and unknown is a
warning, never a denial.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import KIND, POLICY_LABEL, WORKLOADS_LABEL
from plimsoll.decision.policy import policy_of, workloads_policy
from plimsoll.inventory import claims, devices, flavors, topologies
from plimsoll.inventory.held import read_quota
from plimsoll.inventory.pods import asking
from plimsoll.start_ups import NONE_KEPT
from plimsoll.workloads.llmdeployment import Missing
from plimsoll.workloads.resolved import RESOLVED
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, in_words
from plimsoll_operator.cluster.documents import MAX_ROOM, ModelDocuments
from plimsoll_operator.cluster.gpus import GpuNodes
from plimsoll_operator.cluster.objects import (
    ACCELERATOR_POOLS,
    CLUSTER_QUEUES,
    CONFIG_MAPS,
    NAMESPACES,
    NODE_POOLS,
    NODES,
    PODS,
    REFERRED_TO,
    RESOURCE_CLAIMS,
    RESOURCE_FLAVORS,
    RESOURCE_QUOTAS,
    RESOURCE_SLICES,
    SIZING_POLICIES,
    TOPOLOGIES,
    Json,
    Name,
    Resource,
    name_of,
)
from plimsoll_operator.cluster.own import accelerators
from plimsoll_operator.cluster.own import calibration as kept_start_ups
from plimsoll_operator.cluster.policies import NamespaceLabels, SizingPolicies
from plimsoll_operator.cluster.referred import ReferredObjects
from plimsoll_operator.cluster.reflector import Reflector
from plimsoll_operator.deciding.beside import CONFIG_MAP, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.decision.policy import Policy
    from plimsoll.inventory.held import Claim
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.deciding.beside import Wanted

log = logging.getLogger(__name__)

NODES_PER_PAGE: Final = 25
"""A node of a production cluster is 30 KB of JSON, and a page is in memory whole."""
CONFIG_MAPS_PER_PAGE: Final = 20
"""A ConfigMap may be 1 MiB."""
REFERRED_PER_PAGE: Final = 20
POLICIES_PER_PAGE: Final = 100
PODS_PER_PAGE: Final = 100
"""A pod is some 10 KB of JSON."""
NOT_FINISHED: Final = "status.phase!=Succeeded,status.phase!=Failed"
WITHOUT_ROOT_CERTIFICATES: Final = "metadata.name!=kube-root-ca.crt"
"""Every namespace has a ConfigMap of that name, which is no model."""

BETWEEN_ROUNDS: Final = 1.0
"""Seconds between two looks for ConfigMaps that there is room for again."""


def _nobody(*_: object) -> None:
    """Nobody wants to be told."""


class ClusterKnowledge:
    """What a process knows of the cluster beside LLMDeployments, kept current by watches.

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
        room: int = MAX_ROOM,
        own: Name | None = None,
        calibration: Name | None = None,
        on_free: Callable[[], None] | None = None,
        resolved_in: str = "",
        referred_to: bool = False,
        on_policies: Callable[[], None] = _nobody,
        with_topologies: bool = False,
    ) -> None:
        """on_nodes: told if something about GPUs changed. on_namespace: told the name of each
        namespace whose policy changed. on_document: told the name of each ConfigMap that
        changed or went. only_referred, room, resolved_in: see `ModelDocuments`. own: the ConfigMap
        that adds accelerators to the table; calibration: that which keeps start-ups. on_free: told
        if it may be otherwise what is free; None: pods and quotas are not watched. referred_to:
        watch what other people's kinds refer to by name. on_policies: told if a SizingPolicy
        changed. with_topologies: watch Kueue's."""
        self._client, self._own, self._calibration = client, own, calibration
        self._on_nodes, self._on_namespace = on_nodes, on_namespace
        self._on_free = on_free or _nobody
        self._on_document = on_document
        config_maps = Reflector(
            client,
            CONFIG_MAPS,
            changed=self._config_map,
            deleted=self._config_map_gone,
            chunk=CONFIG_MAPS_PER_PAGE,
            field_selector=WITHOUT_ROOT_CERTIFICATES,
        )
        self.nodes, self.labels = GpuNodes(), NamespaceLabels()
        self.policies, self._on_policies = SizingPolicies(), on_policies
        self._relabel, self._labelled = asyncio.Event(), asyncio.Event()
        self._labelled.set()
        self._heard: set[str] | None = None
        self.documents = ModelDocuments(
            config_maps.has,
            only_referred=only_referred,
            room=room,
            resolved_in=resolved_in,
            open_to=lambda namespace: not only_referred and self._is_open(namespace),
        )
        self._opened: set[str] = set()
        self._referred = ReferredObjects()
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
            ),
            config_maps,
            self._optional(
                SIZING_POLICIES, self.policies.put, self._policies_changed, chunk=POLICIES_PER_PAGE
            ),
            self._optional(
                ACCELERATOR_POOLS, lambda name, pool: self.nodes.declare(name[1], pool), on_nodes
            ),
            self._optional(
                NODE_POOLS, lambda name, pool: self.nodes.node_pool(name[1], pool), on_nodes
            ),
            self._of_kueue(flavors.KIND, RESOURCE_FLAVORS, on_nodes),
            self._of_kueue(flavors.QUEUE, CLUSTER_QUEUES, on_nodes),
            *((self._of_kueue(topologies.KIND, TOPOLOGIES, on_nodes),) if with_topologies else ()),
            self._optional(
                RESOURCE_SLICES,
                lambda name, page: self.nodes.slice(name[1], page),
                on_nodes,
                keeps=lambda page: devices.trimmed(page) is not None,
            ),
            *(self._of_what_is_free(on_free) if on_free is not None else ()),
            *(self._of_what_is_referred_to() if referred_to else ()),
        )

    def _of_what_is_referred_to(self) -> tuple[Reflector, ...]:
        """Watches of the kinds that other people's kinds refer to, where there are such."""

        def take(kind: str, name: Name, obj: Json | None) -> bool:
            return self._referred.put(kind, name, obj)

        return tuple(
            self._optional(resource, partial(take, kind), _nobody, chunk=REFERRED_PER_PAGE)
            for kind, resource in REFERRED_TO.items()
        )

    def _of_kueue(self, kind: str, resource: Resource, on_nodes: Callable[[], None]) -> Reflector:
        return self._optional(
            resource, lambda name, obj: self.nodes.of_kueue(kind, name[1], obj), on_nodes
        )

    def _of_what_is_free(self, on_free: Callable[[], None]) -> tuple[Reflector, ...]:
        """Watches of bound pods and of quotas; who may read neither does without.

        A node may get its GPUs long after its pods, so that those of every node are kept.
        """
        free = self.nodes.free
        return (
            self._optional(
                PODS,
                lambda name, pod: free.drop(name) if pod is None else free.put(pod),
                on_free,
                chunk=PODS_PER_PAGE,
                field_selector=NOT_FINISHED,
                keeps=lambda pod: bool(asking(pod)[0]),
                without=self._pods_are_read,
            ),
            self._optional(
                RESOURCE_QUOTAS,
                lambda name, quota: free.quota(name, () if quota is None else read_quota(quota)),
                on_free,
                keeps=lambda quota: bool(read_quota(quota)),
            ),
            self._optional(
                RESOURCE_CLAIMS, free.use, on_free, keeps=lambda claim: bool(claims.places(claim))
            ),
        )

    def _optional(
        self,
        resource: Resource,
        take: Callable[[Name, Json | None], bool],
        tell: Callable[[], None],
        *,
        chunk: int = 100,
        field_selector: str = "",
        keeps: Callable[[Json], bool] | None = None,
        without: Callable[[bool], None] = _nobody,
    ) -> Reflector:
        """A watch of a kind that can be done without.

        take: given each object as it is now, None once it is gone; whether that changes anything.
        tell: called if it does. The rest: see `Reflector`.
        """

        def changed(obj: Json) -> None:
            if take(name_of(obj), obj):
                tell()

        def deleted(name: Name) -> None:
            if take(name, None):
                tell()

        return Reflector(
            self._client,
            resource,
            changed=changed,
            deleted=deleted,
            chunk=chunk,
            field_selector=field_selector,
            keeps=keeps,
            without=without,
        )

    def _pods_are_read(self, read: bool) -> None:
        if self.nodes.pods_are_read(read):
            self._on_nodes()

    def claim(self, name: Name, claim: Claim | None) -> None:
        """Take in what an LLMDeployment is placed on, None if nowhere (any more)."""
        if self.nodes.free.claim(name, claim):
            self._on_free()

    def _node(self, node: Json) -> None:
        if self.nodes.put(node):
            self._on_nodes()

    def _node_gone(self, name: Name) -> None:
        if self.nodes.drop(name[1]):
            self._on_nodes()

    def _policies_changed(self) -> None:
        if self.labels.want(self.policies.keys):
            self._labelled.clear()
            self._relabel.set()
        self._on_policies()

    def _namespace(self, namespace: Json) -> None:
        name = name_of(namespace)[1]
        before = self._is_open(name)
        if self._heard is not None:
            self._heard.add(name)
        if self.labels.put(namespace):
            self._on_namespace(name)
        if self._is_open(name) != before:  # more of its ConfigMaps is wanted from now on, or less
            self._opened.add(name)
            self.documents.has_room.set()

    def _is_open(self, namespace: str) -> bool:
        """Whether other people's kinds are looked at in a namespace."""
        return self.labels.get(namespace, WORKLOADS_LABEL) is not None

    async def _read_labels(self) -> None:
        """Read namespaces again whenever policies look at labels that were not kept, until
        cancelled. What the watch tells meanwhile is newer than the list."""
        while True:
            await self._relabel.wait()
            self._relabel.clear()
            self._heard = heard = set[str]()
            try:
                async for page in self._client.pages(NAMESPACES):
                    for namespace in page.items:
                        name = name_of(namespace)[1]
                        if name not in heard and self.labels.put(namespace):
                            self._on_namespace(name)
            except (ApiError, *UNREACHABLE) as error:
                log.info("labels of namespaces are not read yet: %s", in_words(error))
                self._relabel.set()
                await asyncio.sleep(BETWEEN_ROUNDS)
            finally:
                self._heard = None
            if not self._relabel.is_set():
                self._labelled.set()

    def _namespace_gone(self, name: Name) -> None:
        self._opened.discard(name[1])
        if self._heard is not None:
            self._heard.add(name[1])
        if self.labels.drop(name[1]):
            self._on_namespace(name[1])

    def _config_map(self, config_map: Json) -> None:
        if name_of(config_map) == self._own and self.nodes.add(accelerators(config_map)):
            self._on_nodes()
        calibrates = name_of(config_map) == self._calibration
        if calibrates and self.nodes.calibrate(kept_start_ups(config_map)):
            self._on_nodes()
        self.documents.put(config_map)
        self._on_document(name_of(config_map))

    def _config_map_gone(self, name: Name) -> None:
        if name == self._own and self.nodes.add(()):
            self._on_nodes()
        if name == self._calibration and self.nodes.calibrate(NONE_KEPT):
            self._on_nodes()
        self.documents.drop(name)
        self._on_document(name)

    def inventory(self) -> Inventory:
        """The GPU nodes as they are now; computed again only after a node changed."""
        self.nodes.settle()
        return self.nodes.inventory

    def policy(self, namespace: str) -> Policy:
        """What is done with a denial of an LLMDeployment there."""
        rulings, _ = self.policies.rulings(KIND, self.labels.of(namespace))
        return policy_of(namespace, self.labels.get(namespace, POLICY_LABEL), rulings)

    def workloads_policy(self, namespace: str, kind: str) -> Policy | None:
        """The same for one of other people's kinds; None if it is not to be looked at."""
        rulings, named = self.policies.rulings(kind, self.labels.of(namespace))
        label = self.labels.get(namespace, WORKLOADS_LABEL)
        return workloads_policy(namespace, label, rulings, named=named)

    def every_namespace(self) -> bool:
        """Whether other people's kinds are looked at beyond the namespaces that are labelled."""
        return self.policies.names_others

    def beside(self, wanted: Wanted) -> Mapping[str, Any] | Missing | None:
        """What an object of other people's kinds refers to; None, or why, if it is not known."""
        kind, namespace, name = wanted
        if kind != CONFIG_MAP:
            return self._referred.get(kind, (namespace, name))
        if namespace == RESOLVED:
            found = self.documents.get(RESOLVED, name, None)
            return found if isinstance(found, Missing) else profile(found)
        texts = self.documents.texts(namespace, name)
        return texts if texts is None or isinstance(texts, Missing) else {"data": texts}

    @property
    def synced(self) -> bool:
        """Whether every watch has its first list."""
        listed = all(reflector.synced.is_set() for reflector in self.reflectors)
        return listed and self._labelled.is_set()

    async def first_lists(self) -> None:
        """Wait until every watch has its first list."""
        for reflector in self.reflectors:
            await reflector.synced.wait()
        await self._labelled.wait()

    async def _fill_room(self) -> None:
        """Read ConfigMaps that were passed over again whenever there is room, until cancelled."""
        documents = self.documents
        while True:
            await documents.has_room.wait()
            documents.has_room.clear()
            tried: set[Name] = set()
            try:
                while self._opened:
                    await self._read_all(next(iter(self._opened)))
                while more := [name for name in documents.worth_reading() if name not in tried]:
                    for name in more:
                        tried.add(name)
                        await self._read(name)
            except (ApiError, *UNREACHABLE) as error:
                log.info("not read again yet: %s", in_words(error))
                documents.has_room.set()
            await asyncio.sleep(BETWEEN_ROUNDS)

    async def _read_all(self, namespace: str) -> None:
        """Take in the ConfigMaps of a namespace again."""
        pages = self._client.pages(
            CONFIG_MAPS,
            chunk=CONFIG_MAPS_PER_PAGE,
            namespace=namespace,
            field_selector=WITHOUT_ROOT_CERTIFICATES,
        )
        async for page in pages:
            for config_map in page.items:
                self.documents.put(config_map)
        self._opened.discard(namespace)

    async def _read(self, name: Name) -> None:
        """Take in a ConfigMap by a list of one: admission has no right to get one."""
        pages = self._client.pages(
            CONFIG_MAPS, namespace=name[0], field_selector=f"metadata.name={name[1]}"
        )
        async for page in pages:
            for config_map in page.items:
                self.documents.put(config_map)

    def hurry(self) -> None:
        """The API server is back: have every watch go on at once."""
        for reflector in self.reflectors:
            reflector.hurry()

    async def run(self) -> None:
        """Keep watching until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fill_room())
            group.create_task(self._read_labels())
            for reflector in self.reflectors:
                group.create_task(reflector.run())
