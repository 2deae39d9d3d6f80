"""Claims about what is known of nodes and namespaces: little of them, nothing of the gone."""

from __future__ import annotations

from controlplane.nodes import gpu_node
from plimsoll_operator.cluster.gpus import GpuNodes
from plimsoll_operator.cluster.policies import NamespaceLabels


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
