"""Claims about the objects that other kinds refer to by name: what is kept, and how much."""

from __future__ import annotations

from typing import Any

from plimsoll_operator.cluster.referred import ReferredObjects

RUNTIME = "ServingRuntime"


def runtime(image: str) -> dict[str, Any]:
    return {"metadata": {"name": "ours"}, "spec": {"containers": [{"image": image}]}}


def test_a_runtime_is_known_by_kind_namespace_and_name_until_it_goes() -> None:
    objects = ReferredObjects()
    assert objects.put(RUNTIME, ("chat", "ours"), runtime("a"))
    assert objects.get(RUNTIME, ("chat", "ours")) == {"spec": {"containers": [{"image": "a"}]}}
    assert objects.get(RUNTIME, ("other", "ours")) is None
    assert objects.get("OpenModel", ("chat", "ours")) is None
    objects.put(RUNTIME, ("chat", "ours"), None)
    assert objects.get(RUNTIME, ("chat", "ours")) is None


def test_nothing_more_is_kept_than_there_is_room_for_and_what_goes_makes_room() -> None:
    objects = ReferredObjects(room=700)
    assert objects.put(RUNTIME, ("chat", "a"), runtime("a"))
    assert objects.put(RUNTIME, ("chat", "b"), runtime("b"))
    assert not objects.put(RUNTIME, ("chat", "c"), runtime("c"))
    assert objects.get(RUNTIME, ("chat", "c")) is None
    assert objects.put(RUNTIME, ("chat", "a"), runtime("another"))
    objects.put(RUNTIME, ("chat", "a"), None)
    assert objects.put(RUNTIME, ("chat", "c"), runtime("c"))
