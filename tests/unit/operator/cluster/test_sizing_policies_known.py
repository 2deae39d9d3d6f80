"""Claims about what a process keeps of SizingPolicies and of the labels that they go by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from plimsoll.decision.policy import Mode
from plimsoll.workloads import sizing_policy
from plimsoll_operator.api.sizing import SizingPolicySpec
from plimsoll_operator.cluster.policies import NamespaceLabels, SizingPolicies
from plimsoll_operator.controller.policies import status_of
from sizing import policy_object

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def seen(name: str = "a", generation: int = 1, **spec: Any) -> dict[str, Any]:
    obj = policy_object(name, **spec)
    obj["metadata"] |= {"resourceVersion": "7", "generation": generation}
    return obj


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def test_a_label_is_kept_once_a_policy_looks_at_it_and_namespaces_are_read_again_for_it() -> None:
    labels = NamespaceLabels()
    assert not labels.put(namespace("chat", tier="small"))
    assert labels.of("chat") == {"kubernetes.io/metadata.name": "chat"}
    assert labels.want(frozenset({"tier"}))
    assert labels.put(namespace("chat", tier="small", other="x"))
    assert labels.of("chat") == {"kubernetes.io/metadata.name": "chat", "tier": "small"}
    assert not labels.want(frozenset({"tier"}))
    assert not labels.want(frozenset({"kubernetes.io/metadata.name"}))


def test_a_policy_that_says_the_same_changes_nothing_whatever_its_status_says() -> None:
    policies = SizingPolicies()
    assert policies.put(("", "a"), seen(mode="warn"))
    assert not policies.put(("", "a"), {**seen(mode="warn"), "status": {"objects": 3}})
    assert policies.put(("", "a"), seen(mode="audit"))
    assert policies.put(("", "a"), None)
    assert not policies.put(("", "a"), None)


def test_only_policies_that_select_a_namespace_and_speak_of_the_kind_are_heard() -> None:
    policies = SizingPolicies()
    by_name = {"matchLabels": {"kubernetes.io/metadata.name": "chat"}}
    policies.put(("", "a"), seen("a", mode="warn", namespaceSelector=by_name))
    policies.put(("", "b"), seen("b", mode="audit", kinds=["Deployment"]))
    labels = NamespaceLabels()
    found, named = policies.rulings("LLMDeployment", labels.of("chat"))
    assert [(one.name, one.mode) for one in found] == [("a", Mode.WARN)]
    assert not named
    found, named = policies.rulings("Deployment", labels.of("other"))
    assert [one.name for one in found] == ["b"]
    assert named
    assert policies.names_others


def test_the_definition_and_the_reader_know_the_same_fields() -> None:
    made = SizingPolicySpec.model_json_schema(by_alias=True)["properties"]
    assert set(made) == set(sizing_policy.FIELDS)


def test_a_status_says_since_when_a_policy_is_accepted_and_what_no_table_has() -> None:
    policies = SizingPolicies()
    policies.put(("", "a"), seen(allowedAccelerators=["nvidia-h999"]))
    (one,) = policies
    status = status_of(one, 3, 1, ["nvidia-h999"], NOW)
    assert (status["objects"], status["refused"], status["observedGeneration"]) == (3, 1, 1)
    (condition,) = status["conditions"]
    assert condition["status"] == "True"
    assert condition["reason"] == "UnknownAccelerator"
    assert "no accelerator of the table is called nvidia-h999" in condition["message"]
    policies.put(("", "a"), {**seen(generation=2, headroom="much"), "status": status})
    (one,) = policies
    after = status_of(one, 3, 1, [], NOW.replace(year=2027))["conditions"][0]
    assert (after["status"], after["reason"]) == ("False", "Unreadable")
    assert after["lastTransitionTime"] == "2027-01-02T00:00:00Z"
    assert 'spec.headroom: Invalid value: "much"' in after["message"]
