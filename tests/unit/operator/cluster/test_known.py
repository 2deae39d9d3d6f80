"""Claims about what is known of nodes and namespaces: little of them, nothing of the gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from controlplane.nodes import gpu_node
from plimsoll.inventory.facts import Asked
from plimsoll_operator.cluster.client import Client, Page
from plimsoll_operator.cluster.gpus import GpuNodes
from plimsoll_operator.cluster.known import ClusterKnowledge
from plimsoll_operator.cluster.policies import NamespaceLabels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from plimsoll_operator.cluster.objects import Json, Resource


class Listing:
    """An API server that lists these objects, by the plural of their kind, and has no news."""

    def __init__(self, **objects: list[Json]) -> None:
        self.objects = objects

    async def pages(self, resource: Resource, **_: object) -> AsyncIterator[Page]:
        yield Page(self.objects.get(resource.plural, []), "1")

    async def watch(self, *_: object, **__: object) -> AsyncIterator[tuple[str, Any]]:
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


async def test_pods_that_were_bound_before_their_node_had_gpus_count_once_it_has() -> None:
    node = gpu_node("h0", "h100-80gb")
    bare = {**node, "metadata": {"name": "h0"}, "status": {"allocatable": {"cpu": "64"}}}
    requests = {"cpu": "60", "memory": "250Gi"}
    pod = {
        "metadata": {"namespace": "team", "name": "batch"},
        "spec": {"nodeName": "h0", "containers": [{"resources": {"requests": requests}}]},
    }
    pending = {"metadata": {"namespace": "team", "name": "later"}, "spec": {}}
    server = Listing(nodes=[bare], pods=[pod, pending])
    known = ClusterKnowledge(cast("Client", server), on_free=lambda: None)
    watching = asyncio.create_task(known.run())
    try:
        await asyncio.wait_for(known.first_lists(), 10)
    finally:
        watching.cancel()
    assert known.inventory().facts == ()
    known.nodes.put(node)
    (fact,) = known.inventory().facts
    assert fact.asked == Asked(cpu=60_000, memory=250 << 30, pods=1)


def test_an_inventory_is_another_one_only_if_something_about_gpus_changed() -> None:
    nodes = GpuNodes()
    node = gpu_node("a", realistic=True)
    assert nodes.put(node)
    assert nodes.settle()
    assert nodes.version == 1
    heartbeat = {**node, "status": {**node["status"], "images": []}}
    assert not nodes.put(heartbeat)
    assert not nodes.settle()
    assert nodes.put(gpu_node("a", ready=False))
    assert nodes.settle()
    assert nodes.drop("a")
    assert nodes.settle()
    assert nodes.inventory.known
    assert not nodes.inventory.pools


def test_a_node_without_gpus_takes_no_place() -> None:
    nodes = GpuNodes()
    plain = {"metadata": {"name": "cpu", "labels": {"a": "b"}}, "status": {"allocatable": {}}}
    assert not nodes.put(plain)
    assert len(nodes) == 0


def test_only_namespaces_with_a_label_that_policies_go_by_are_remembered() -> None:
    labels = NamespaceLabels()
    chat = {"metadata": {"name": "chat", "labels": {"plimsoll.dev/policy": "warn"}}}
    assert labels.put(chat)
    assert not labels.put(chat)
    assert labels.get("chat", "plimsoll.dev/policy") == "warn"
    assert labels.put({"metadata": {"name": "chat", "labels": {}}})
    assert labels.get("chat", "plimsoll.dev/policy") is None
    assert not labels.put({"metadata": {"name": "plain"}})
    other = {"kubernetes.io/metadata.name": "plain", "team": "a"}
    assert not labels.put({"metadata": {"name": "plain", "labels": other}})
