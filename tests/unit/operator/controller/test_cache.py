"""Claims about what the controller remembers: the latest, little of it, nothing of the gone."""

from __future__ import annotations

from typing import Any

from plimsoll.workloads.resolved import config_map_name
from plimsoll_operator.cluster.documents import ModelDocuments
from plimsoll_operator.controller.cache import ObjectCache, unpack

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


def nothing() -> ModelDocuments:
    return ModelDocuments(lambda name: False)


def test_an_older_or_equal_version_is_no_news() -> None:
    cache = ObjectCache(nothing())
    assert cache.put(obj(5))
    assert not cache.put(obj(5))
    assert not cache.put(obj(4))
    assert cache.put(obj(6))


def test_of_an_object_only_what_matters_is_kept() -> None:
    cache = ObjectCache(nothing())
    annotations = {"plimsoll.dev/override": "why", "kubectl.kubernetes.io/last-applied": "x" * 9999}
    cache.put(obj(annotations=annotations, labels={"a": "b"}, managedFields=[{}] * 50))
    entry = cache.entry(NAME)
    assert entry
    kept = unpack(entry.packed)
    assert kept["metadata"]["annotations"] == {
        "plimsoll.dev/override": "why",
        "kubectl.kubernetes.io/last-applied": "",
    }
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == {"model": {"uri": "hf://a/b"}}
    assert len(entry.packed) < 400


def test_those_that_refer_to_a_config_map_are_found_by_it() -> None:
    cache = ObjectCache(nothing())
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
        cache = ObjectCache(nothing())
        assert cache.put({**obj(), "spec": nonsense})


def test_an_unknown_model_is_looked_for_among_the_resolved_ones_if_there_is_a_place_for_them() -> (
    None
):
    cache = ObjectCache(ModelDocuments(lambda name: False, resolved_in="plimsoll-system"))
    cache.put(obj(5))
    place = ("plimsoll-system", config_map_name("a/b"))
    assert cache.referrers(place) == {NAME}
    cache.put(obj(6, "private"))
    assert not cache.referrers(place)
    known = obj(7)
    known["spec"]["model"]["uri"] = "hf://Qwen/Qwen3-8B"
    cache.put(known)
    entry = cache.entry(NAME)
    assert entry is not None
    assert cache.document_of(NAME, entry) is None
    nowhere = ObjectCache(nothing())
    nowhere.put(obj(5))
    assert not nowhere.referrers(("", config_map_name("a/b")))
