"""Claims about laying one pod template over another; tests/cluster holds them against kubectl."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll.errors import Invalid
from plimsoll.render.merge import MAX_DEPTH, merged

BASE: dict[str, Any] = {
    "metadata": {"labels": {"app": "it"}},
    "spec": {
        "containers": [
            {
                "name": "engine",
                "image": "one",
                "args": ["a", "b"],
                "env": [{"name": "HOME", "value": "/cache"}, {"name": "USER", "value": "me"}],
                "resources": {"requests": {"cpu": "3", "memory": "6Gi"}},
            }
        ],
        "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "20Gi"}}],
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    },
}


def over(spec: dict[str, Any]) -> dict[str, Any]:
    """The pod's spec of the base with one laid over it."""
    made: dict[str, Any] = merged(BASE, {"spec": spec})["spec"]
    return made


def test_containers_are_merged_by_name_and_their_variables_too() -> None:
    env = [{"name": "HOME", "value": "/tmp"}, {"name": "MORE", "value": "1"}]
    (engine,) = over({"containers": [{"name": "engine", "env": env}]})["containers"]
    assert engine["image"] == "one"
    assert [(one["name"], one["value"]) for one in engine["env"]] == [
        ("HOME", "/tmp"),
        ("MORE", "1"),
        ("USER", "me"),
    ]


def test_arguments_and_tolerations_take_the_place_of_those_that_were_there() -> None:
    made = over({"containers": [{"name": "engine", "args": ["c"]}], "tolerations": []})
    assert made["containers"][0]["args"] == ["c"]
    assert made["tolerations"] == []


def test_null_removes_a_field_and_patch_delete_an_element() -> None:
    requests = {"requests": {"memory": None}}
    made = over(
        {
            "containers": [
                {
                    "name": "engine",
                    "resources": requests,
                    "env": [{"name": "USER", "$patch": "delete"}],
                }
            ]
        }
    )
    assert made["containers"][0]["resources"] == {"requests": {"cpu": "3"}}
    assert [one["name"] for one in made["containers"][0]["env"]] == ["HOME"]


def test_patch_replace_puts_a_mapping_or_a_list_in_whole() -> None:
    made = over({"containers": [{"$patch": "replace"}, {"name": "engine", "image": "two"}]})
    assert made["containers"] == [{"name": "engine", "image": "two"}]
    cache = {"$patch": "replace", "name": "cache"}
    assert merged({"volume": {"name": "a", "b": 1}}, {"volume": cache}) == {
        "volume": {"name": "cache"}
    }


def test_a_volume_of_another_source_has_that_source_alone() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "models"}}
    assert over({"volumes": [{"name": "cache", **claim}]})["volumes"] == [
        {"name": "cache", **claim}
    ]


def test_another_container_comes_is_taken_in_and_nothing_that_was_given_is_changed() -> None:
    made = over({"containers": [{"name": "sidecar", "image": "x"}]})
    assert [one["name"] for one in made["containers"]] == ["sidecar", "engine"]
    assert len(BASE["spec"]["containers"]) == 1


def test_everything_that_cannot_be_merged_is_said_at_once() -> None:
    wrong = {
        "spec": {
            "containers": [{"image": "nameless"}, "engine"],
            "$setElementOrder/containers": [],
        }
    }
    with pytest.raises(Invalid) as caught:
        merged(BASE, wrong, "spec.output.template")
    assert [one.path for one in caught.value.problems] == [
        "spec.output.template.spec.containers[0].name",
        "spec.output.template.spec.containers[1]",
        "spec.output.template.spec.$setElementOrder/containers",
    ]


def test_a_template_that_is_nested_too_deeply_is_refused_and_crashes_nothing() -> None:
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 10):
        deep = {"a": deep}
    with pytest.raises(Invalid, match="at most 64"):
        merged({}, deep)
