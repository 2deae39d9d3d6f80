"""Claims about SizingPolicies as they are written: what one selects, what of it cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from json_values import JSON
from plimsoll.decision.bounds import UNBOUND
from plimsoll.decision.policy import Mode
from plimsoll.units import GIB
from plimsoll.workloads import kinds
from plimsoll.workloads.sizing_policy import read, rulings
from sizing import policy_object

OWN = next(kind for kind in kinds.KINDS if kind.name == "LLMDeployment")
DEPLOYMENT = next(kind for kind in kinds.KINDS if kind.name == "Deployment")


def test_every_field_is_read() -> None:
    policy = read(
        policy_object(
            "all",
            namespaceSelector={"matchLabels": {"team": "a"}},
            kinds=["LLMDeployment"],
            mode="warn",
            headroom="4Gi",
            allowedAccelerators=["nvidia-l40s"],
            maxGPUsPerReplica=2,
            maxGPUsPerObject=4,
            oldestEngineVersions={"vllm": "0.11.0"},
            requiredAnnotations=["owner"],
        )
    )
    bounds = policy.ruling.bounds
    assert not policy.problems
    assert policy.ruling.mode is Mode.WARN
    assert (bounds.headroom, bounds.gpus_per_replica, bounds.gpus_per_object) == (4 * GIB, 2, 4)
    assert (bounds.accelerators, bounds.annotations) == (("nvidia-l40s",), ("owner",))
    assert bounds.oldest == (("vllm", "0.11.0"),)
    assert policy.covers(OWN)
    assert not policy.covers(DEPLOYMENT)
    assert policy.keys == {"team"}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (None, {}, True),
        ({}, {}, True),
        ({"matchLabels": {"team": "a"}}, {"team": "a"}, True),
        ({"matchLabels": {"team": "a"}}, {"team": "b"}, False),
        ({"matchExpressions": [{"key": "t", "operator": "In", "values": ["a"]}]}, {"t": "a"}, True),
        ({"matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["a"]}]}, {}, True),
        ({"matchExpressions": [{"key": "t", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "t", "operator": "DoesNotExist"}]}, {"t": ""}, False),
    ],
)
def test_a_selector_selects_as_in_kubernetes(
    selector: Any, labels: dict[str, str], selected: bool
) -> None:
    assert read(policy_object(namespaceSelector=selector)).selects(labels) is selected


def test_of_a_namespace_that_is_not_at_hand_the_name_alone_decides() -> None:
    by_name = {"matchLabels": {"kubernetes.io/metadata.name": "chat"}}
    policy = read(policy_object(namespaceSelector=by_name))
    assert policy.may_select("chat")
    assert not policy.may_select("other")
    assert read(policy_object(namespaceSelector={"matchLabels": {"t": "a"}})).may_select("chat")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"mode": "strict"}, 'spec.mode: Invalid value: "strict": one of enforce, warn, audit'),
        ({"headroom": "100%"}, 'spec.headroom: Invalid value: "100%": a share up to 90%'),
        ({"headroom": 10}, "spec.headroom: Invalid value: 10: a share up to 90%"),
        ({"maxGPUsPerReplica": 0}, "spec.maxGPUsPerReplica: Invalid value: 0: a number of GPUs"),
        ({"kinds": ["Sofa"]}, 'spec.kinds[0]: Invalid value: "Sofa": the name of a kind'),
        (
            {"oldestEngineVersions": {"vlm": "1.0"}},
            'spec.oldestEngineVersions[vlm]: Invalid value: "vlm": the name of an engine',
        ),
        (
            {"oldestEngineVersions": {"vllm": 0.11}},
            "spec.oldestEngineVersions[vllm]: Invalid value: 0.11: a version in quotes",
        ),
        ({"maxGpusPerReplica": 2}, "spec.maxGpusPerReplica: Required: no such field"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}},
            "spec.namespaceSelector.matchExpressions[0]",
        ),
        (
            {"namespaceSelector": {"matchLabels": {"team": True}}},
            "spec.namespaceSelector.matchLabels[team]: Invalid value: True: a label in quotes",
        ),
        (
            {"namespaceSelector": {"matchLabels": {"te am": "a"}}},
            "spec.namespaceSelector.matchLabels[te am]",
        ),
        (
            {
                "namespaceSelector": {
                    "matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "\x1b"]}]
                }
            },
            "spec.namespaceSelector.matchExpressions[0]",
        ),
        ({"requiredAnnotations": ["a b"]}, "spec.requiredAnnotations[0]"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_field_and_does_not_hold(
    spec: dict[str, Any], said: str
) -> None:
    policy = read(policy_object(**spec))
    (problem,) = policy.problems
    assert str(problem).startswith(said)
    assert policy.ruling.bounds == UNBOUND
    assert policy.ruling.unread == (f"SizingPolicy small does not hold in this: {problem}",)


def test_what_is_readable_beside_it_holds() -> None:
    policy = read(policy_object(headroom="much", maxGPUsPerReplica=2))
    assert policy.problems
    assert policy.ruling.bounds.gpus_per_replica == 2


def test_kinds_that_nobody_knows_are_no_kinds_and_not_all() -> None:
    assert not read(policy_object(kinds=["Sofa"])).covers(OWN)


def test_a_selector_that_cannot_be_read_selects_nothing_and_is_said_everywhere() -> None:
    policy = read(policy_object(namespaceSelector=7, maxGPUsPerReplica=2))
    assert not policy.selects({})
    (ruling,), _ = rulings([policy], OWN, lambda one: one.selects({}))
    assert ruling.bounds == UNBOUND
    assert "spec.namespaceSelector" in ruling.unread[0]


@settings(deadline=None)
@given(JSON)
def test_whatever_stands_there_is_a_policy_or_a_problem(spec: Any) -> None:
    policy = read({"metadata": {"name": "x"}, "spec": spec})
    assert policy.problems or isinstance(spec, dict)
    policy.selects({"a": "b"})
