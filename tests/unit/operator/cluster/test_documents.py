"""Claims about the models in ConfigMaps: what is kept of them, for whom, and how much."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from plimsoll.workloads.llmdeployment import Missing
from plimsoll_operator.cluster import documents
from plimsoll_operator.cluster.documents import ModelDocuments

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
    assert len(kept) * 300_000 <= documents.MAX_DOCUMENTS
