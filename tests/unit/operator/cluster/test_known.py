"""Claims about what is known of the cluster: the latest, little of it, nothing of the gone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from controlplane.nodes import gpu_node
from plimsoll.workloads.llmdeployment import Missing
from plimsoll_operator.cluster import known
from plimsoll_operator.cluster.known import GpuNodes, ModelDocuments, PolicyLabels

if TYPE_CHECKING:
    from plimsoll_operator.cluster.objects import Name

MINE = ("chat", "mine")


class Cluster:
    """The ConfigMaps that there are, and what is kept of them."""

    def __init__(self, *, only_referred: bool = False) -> None:
        self.names: set[Name] = set()
        self.documents = ModelDocuments(self.names.__contains__, only_referred=only_referred)
        self.version = 0

    def put(self, name: str = "mine", namespace: str = "chat", **data: str) -> dict[str, Any]:
        """A ConfigMap as it is now. data: by key, with ``_`` for a dot."""
        self.version += 1
        self.names.add((namespace, name))
        metadata = {"namespace": namespace, "name": name, "resourceVersion": str(self.version)}
        values = {key.replace("_", "."): text for key, text in data.items()}
        made = {"metadata": metadata, "data": values}
        self.documents.put(made)
        return made

    def drop(self, name: str = "mine", namespace: str = "chat") -> None:
        self.names.discard((namespace, name))
        self.documents.drop((namespace, name))

    def text(self, name: str = "mine", namespace: str = "chat", key: str | None = None) -> str:
        """What a request that refers to it is told."""
        found = self.documents.get(namespace, name, key)
        return found.why if isinstance(found, Missing) else found


def large(seed: int, size: int = 300_000) -> str:
    """A text of so many bytes that cannot be packed much smaller than half."""
    return random.Random(seed).randbytes(size).hex()


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


def test_only_namespaces_with_a_label_are_remembered() -> None:
    labels = PolicyLabels()
    chat = {"metadata": {"name": "chat", "labels": {"plimsoll.dev/policy": "warn"}}}
    assert labels.put(chat)
    assert not labels.put(chat)
    assert labels.get("chat") == "warn"
    assert labels.put({"metadata": {"name": "chat", "labels": {}}})
    assert labels.get("chat") is None
    assert not labels.put({"metadata": {"name": "plain"}})


def test_a_config_map_is_read_under_its_key_or_the_usual_ones() -> None:
    cluster = Cluster()
    model = '{"model_type": "llama"}' + " " * 1000
    cluster.put(my_json=model)
    assert cluster.text(key="my.json") == model
    assert cluster.text(key="other.json") == "ConfigMap mine has no model under other.json"
    assert "config.json or profile.json or model.json" in cluster.text()
    assert "my.json" not in cluster.text()
    cluster.put(config_json="first")
    assert cluster.text() == "first"
    cluster.drop()
    assert cluster.text() == "there is no ConfigMap mine in namespace chat yet"


def test_nothing_is_kept_of_a_value_that_is_no_model() -> None:
    cluster = Cluster()
    cluster.put("settings", application_properties="password=hunter2", token="hunter2")
    assert cluster.documents.find(("chat", "settings")) is None
    cluster.put(my_json='{"model_type": "llama"}', token="hunter2")
    kept = cluster.documents.find(MINE)
    assert kept
    assert list(kept.packed) == ["my.json"]
    assert cluster.text(key="token") == "ConfigMap mine has no model under token"
    cluster.documents.refer(("chat", "settings"))
    cluster.put("settings", token="hunter2")
    assert cluster.text("settings", key="token") == "ConfigMap settings has no model under token"


def test_the_later_of_two_states_of_a_config_map_stays() -> None:
    cluster = Cluster()
    old = cluster.put(config_json="old")
    cluster.put(config_json="new")
    assert cluster.documents.put(old).text("config.json") == "new"
    assert cluster.text() == "new"


def test_a_state_that_was_read_before_the_deletion_does_not_bring_a_config_map_back() -> None:
    cluster = Cluster()
    read_late = cluster.put(config_json="{}")
    cluster.drop()
    cluster.documents.put(read_late)
    assert "there is no ConfigMap" in cluster.text()


def test_the_controller_keeps_what_is_referred_to_for_as_long_as_it_is() -> None:
    cluster = Cluster(only_referred=True)
    cluster.put(config_json="{}")
    assert cluster.documents.find(MINE) is None
    cluster.documents.refer(MINE)
    cluster.put(config_json="{}")
    assert cluster.documents.find(MINE)
    cluster.documents.unrefer(MINE)
    assert cluster.documents.find(MINE) is None


def test_what_is_kept_is_bounded() -> None:
    cluster = Cluster()
    for index in range(60):
        cluster.put(f"private-{index}", config_json=large(index))
    kept = [i for i in range(60) if cluster.documents.find(("chat", f"private-{i}"))]
    assert 40 <= len(kept) < 60
    assert len(kept) * 300_000 <= known.MAX_DOCUMENTS
