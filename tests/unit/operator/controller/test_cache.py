"""Claims about what the controller remembers: the latest, little of it, nothing of the gone."""

from __future__ import annotations

from typing import Any

from controlplane.nodes import gpu_node
from plimsoll_operator.cluster.known import NamespaceModes, NodeCache
from plimsoll_operator.controller.cache import Cache, unpack

NAME = ("chat", "big")


def obj(version: int = 5, config_map: str = "", **metadata: Any) -> dict[str, Any]:
    model: dict[str, Any] = {"uri": "hf://a/b"}
    if config_map:
        model["configMapRef"] = {"name": config_map}
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"namespace": "chat", "name": "big", "resourceVersion": str(version)}
        | metadata,
        "spec": {"model": model},
    }


def test_an_older_or_equal_version_is_no_news() -> None:
    cache = Cache()
    assert cache.put(obj(5))
    assert not cache.put(obj(5))
    assert not cache.put(obj(4))
    assert cache.put(obj(6))


def test_of_an_object_only_what_matters_is_kept() -> None:
    cache = Cache()
    annotations = {"plimsoll.dev/override": "why", "kubectl.kubernetes.io/last-applied": "x" * 9999}
    cache.put(obj(annotations=annotations, labels={"a": "b"}, managedFields=[{}] * 50))
    entry = cache.entry(NAME)
    assert entry
    kept = unpack(entry.packed)
    assert kept["metadata"]["annotations"] == {"plimsoll.dev/override": "why"}
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == {"model": {"uri": "hf://a/b"}}
    assert len(entry.packed) < 400


def test_those_that_refer_to_a_config_map_are_found_by_it() -> None:
    cache = Cache()
    cache.put(obj(5, "private"))
    assert cache.referrers(("chat", "private")) == {NAME}
    assert not cache.referrers(("other", "private"))
    cache.put(obj(6, "another"))
    assert not cache.referrers(("chat", "private"))
    assert cache.referrers(("chat", "another")) == {NAME}
    cache.drop(NAME)
    assert not cache.referrers(("chat", "another"))


def test_a_spec_that_is_no_mapping_is_remembered_all_the_same() -> None:
    nonsenses: tuple[Any, ...] = (
        None,
        "text",
        7,
        [],
        {"model": "text"},
        {"model": {"configMapRef": []}},
    )
    for nonsense in nonsenses:
        cache = Cache()
        assert cache.put({**obj(), "spec": nonsense})


def test_an_inventory_is_another_one_only_if_something_about_gpus_changed() -> None:
    nodes = NodeCache()
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


def test_a_list_that_began_earlier_neither_brings_a_node_back_nor_sets_it_back() -> None:
    def at(version: int, **fields: Any) -> dict[str, Any]:
        node = gpu_node("a", **fields)
        node["metadata"]["resourceVersion"] = str(version)
        return node

    nodes = NodeCache()
    nodes.list_begins()
    assert nodes.put(at(10))
    assert nodes.put(at(12, ready=False))
    assert not nodes.put(at(10))
    assert nodes.drop("a", 13)
    assert not nodes.put(at(12, ready=False))
    assert not nodes.names()
    assert nodes.put(at(20))


def test_a_node_without_gpus_takes_no_place() -> None:
    nodes = NodeCache()
    plain = {"metadata": {"name": "cpu", "labels": {"a": "b"}}, "status": {"allocatable": {}}}
    assert not nodes.put(plain)
    assert not nodes.names()


def test_only_namespaces_with_a_label_are_remembered() -> None:
    modes = NamespaceModes()
    labelled = {"metadata": {"name": "chat", "labels": {"plimsoll.dev/policy": "warn"}}}
    assert modes.put(labelled)
    assert not modes.put(labelled)
    assert modes.get("chat") == "warn"
    assert modes.put({"metadata": {"name": "chat", "labels": {}}})
    assert modes.get("chat") is None
    assert not modes.put({"metadata": {"name": "plain"}})
