"""Claims about the models in ConfigMaps: what is kept of them, for whom, and how much."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from plimsoll.workloads import llmdeployment
from plimsoll.workloads.llmdeployment import Missing
from plimsoll_operator.cluster.documents import LONGEST_VALUE, MAX_ROOM, ModelDocuments
from worded import problems_in

if TYPE_CHECKING:
    from plimsoll_operator.cluster.objects import Name

MINE = ("chat", "mine")


class Cluster:
    """The ConfigMaps that there are, and what is kept of them."""

    def __init__(self, *, only_referred: bool = False, room: int = MAX_ROOM) -> None:
        self.names: set[Name] = set()
        self.opened: set[str] = set()
        self.documents = ModelDocuments(
            self.names.__contains__,
            only_referred=only_referred,
            room=room,
            open_to=self.opened.__contains__,
        )
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

    def count(self, namespace: str = "") -> int:
        """How many are kept, of one namespace or of all."""
        return sum(
            self.documents.find(name) is not None
            for name in self.names
            if namespace in ("", name[0])
        )

    def text(self, name: str = "mine", namespace: str = "chat", key: str | None = None) -> str:
        """What a request that refers to it is told."""
        found = self.documents.get(namespace, name, key)
        return found.why if isinstance(found, Missing) else found


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


def test_where_other_kinds_are_looked_at_every_value_is_kept_that_may_be_an_argument_file() -> None:
    cluster = Cluster()
    cluster.put("settings", start_sh="exec vllm serve", huge="x" * (LONGEST_VALUE + 1))
    assert cluster.documents.texts("chat", "settings") == {}
    cluster.opened.add("chat")
    cluster.put("settings", start_sh="exec vllm serve", huge="x" * (LONGEST_VALUE + 1))
    assert cluster.documents.texts("chat", "settings") == {"start.sh": "exec vllm serve"}
    assert cluster.documents.texts("chat", "nowhere") is None
    cluster.opened.clear()
    cluster.put("settings", start_sh="exec vllm serve")
    assert cluster.documents.texts("chat", "settings") == {}


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


def model(kilobytes: int = 1, seed: int = 7) -> str:
    """A model of about so many kilobytes when packed."""
    return '{"model_type": "llama"}' + random.Random(seed).randbytes(kilobytes * 900).hex()


def small(*, kilobytes: int = 10, only_referred: bool = False) -> Cluster:
    """A cluster with room for about so many kilobytes of models."""
    return Cluster(only_referred=only_referred, room=kilobytes << 10)


def test_what_is_kept_is_bounded() -> None:
    cluster = small(kilobytes=100)
    for index in range(300):
        cluster.put(f"private-{index}", f"team-{index % 7}", config_json=model(seed=index))
    assert 50 < cluster.count() <= 100


def test_a_namespace_that_fills_the_room_leaves_another_its_share() -> None:
    cluster = small()
    for index in range(20):
        cluster.put(f"junk-{index}", "noisy", config_json=model(seed=index))
    cluster.put(config_json=model(4))
    assert cluster.text() == model(4)
    assert 1 <= cluster.count("noisy") <= 6


def test_what_nobody_refers_to_goes_before_what_somebody_does() -> None:
    cluster = small()
    for index in range(9):
        cluster.put(f"old-{index}", config_json=model(seed=index))
    last = f"old-{cluster.count() - 1}"
    assert cluster.text(last).startswith("{")
    cluster.documents.refer(MINE)
    cluster.put(config_json=model(3))
    assert cluster.text() == model(3)
    assert cluster.text(last).startswith("{")
    assert 1 < cluster.count() < 7


def test_a_config_map_that_there_is_no_room_for_says_so_and_is_no_unknown_model() -> None:
    cluster = small()
    for index in range(20):
        cluster.put(f"junk-{index}", config_json=model(seed=index))
    assert "there is no room for ConfigMap junk-19 of namespace chat" in cluster.text("junk-19")
    assert "has no model" not in cluster.text("junk-19")
    found = llmdeployment.request(
        {
            "metadata": {"namespace": "chat", "name": "m"},
            "spec": {"model": {"configMapRef": {"name": "junk-19"}}},
        },
        cluster.documents,
    )
    (problem,) = problems_in(found)
    assert problem.path == "spec.model.configMapRef"
    assert "try again in a few seconds" in str(problem)
    assert not found.warnings


def test_one_that_a_review_asked_for_takes_the_place_of_one_that_nobody_refers_to() -> None:
    cluster = small()
    made = [cluster.put(f"m-{i}", config_json=model(seed=i)) for i in range(20)]
    assert not cluster.documents.worth_reading()
    assert "there is no room" in cluster.text("m-19")
    assert cluster.documents.has_room.is_set()
    assert cluster.documents.worth_reading() == [("chat", "m-19")]
    cluster.documents.put(made[19])
    assert cluster.text("m-19") == model(seed=19)


def test_what_was_passed_over_is_worth_reading_once_there_is_room() -> None:
    cluster = small()
    made = [cluster.put(f"m-{i}", config_json=model(seed=i)) for i in range(12)]
    passed_over = 12 - cluster.count()
    assert passed_over
    assert not cluster.documents.has_room.is_set()
    for index in range(passed_over):
        cluster.drop(f"m-{index}")
    assert cluster.documents.has_room.is_set()
    worth = cluster.documents.worth_reading()
    assert len(worth) == passed_over
    for namespace, name in worth:
        assert namespace == "chat"
        cluster.documents.put(made[int(name[2:])])
    assert not cluster.documents.worth_reading()
    assert cluster.count() == 12 - passed_over


def test_reading_again_comes_to_an_end_however_sizes_and_namespaces_are() -> None:
    for seed in range(40):
        random_ = random.Random(seed)
        cluster = small(kilobytes=30)
        made = {}
        for index in range(60):
            where = (f"team-{random_.randrange(4)}", f"m-{index}")
            text = model(random_.choice((1, 1, 2, 9)), index)
            made[where] = cluster.put(where[1], where[0], config_json=text)
            if random_.random() < 0.3:
                cluster.documents.refer(where)
        rounds = 0
        while worth := cluster.documents.worth_reading():
            rounds += 1
            assert rounds < 30, f"seed {seed}"
            for name in worth:
                cluster.documents.put(made[name])


def test_an_earlier_state_that_is_read_late_does_not_replace_one_that_was_passed_over() -> None:
    cluster = small()
    early = cluster.put("late", config_json=model(seed=1))
    for index in range(20):
        cluster.put(f"m-{index}", config_json=model(seed=index))
    cluster.put("late", config_json=model(9, seed=2))
    cluster.documents.put(early)
    assert "there is no room" in cluster.text("late")
