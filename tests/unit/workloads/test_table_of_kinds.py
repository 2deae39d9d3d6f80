"""Claims about the table of kinds: how the API server addresses each, and whose verdict counts."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll.workloads.kinds import KINDS, OTHERS, made_by_others, owned


def _pod(**owner: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "p", "ownerReferences": [owner]}}


def test_each_kind_has_an_address_of_its_own_at_the_api_server() -> None:
    addresses = [(kind.group, kind.plural) for kind in KINDS]
    assert all(plural.islower() for _, plural in addresses)
    assert len(set(addresses)) == len(addresses)


def test_what_is_guarded_is_everything_that_starts_an_engine_by_itself() -> None:
    left_out = {kind.name for kind in KINDS} - {kind.name for kind in OTHERS}
    assert left_out == {
        "LLMDeployment",
        "ServingRuntime",
        "ClusterServingRuntime",
        "LLMInferenceServiceConfig",
    }


@pytest.mark.parametrize(
    ("version", "kind"),
    [("apps/v1", "ReplicaSet"), ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")],
)
def test_what_a_kind_that_is_read_controls_has_its_verdict_already(version: str, kind: str) -> None:
    assert owned(_pod(apiVersion=version, kind=kind, name="x", controller=True))


@pytest.mark.parametrize(
    "owner",
    [
        {"apiVersion": "example.com/v1", "kind": "ReplicaSet", "name": "x", "controller": True},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x"},
        {},
    ],
)
def test_what_anybody_else_controls_is_judged_itself(owner: dict[str, Any]) -> None:
    assert not owned(_pod(**owner))
    assert not owned({"kind": "Pod", "metadata": {"ownerReferences": None}})


LWS = "leaderworkerset.sigs.k8s.io"


def _one(
    version: str,
    kind: str,
    name: str,
    by: tuple[str, str, str] | None = None,
    labels: dict[str, str] | None = None,
    notes: dict[str, str] | None = None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": labels or {}, "annotations": notes or {}}
    if by is not None:
        owner = dict(zip(("apiVersion", "kind", "name"), by, strict=True))
        metadata["ownerReferences"] = [{**owner, "controller": True}]
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


DEPLOYMENT = _one("apps/v1", "Deployment", "a")
REPLICA_SET = _one("apps/v1", "ReplicaSet", "a-5c", ("apps/v1", "Deployment", "a"))
POD = _one("v1", "Pod", "a-5c-x", ("apps/v1", "ReplicaSet", "a-5c"), {"pod-template-hash": "5c"})
SET = _one("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "g")
_MINE = {f"{LWS}/name": "g"}
LEADERS = _one(
    "apps/v1", "StatefulSet", "g", ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "g"), _MINE
)
LEADER = _one("v1", "Pod", "g-0", ("apps/v1", "StatefulSet", "g"), _MINE)
WORKERS = _one("apps/v1", "StatefulSet", "g-0", ("v1", "Pod", "g-0"), _MINE)
WORKER = _one(
    "v1", "Pod", "g-0-1", ("apps/v1", "StatefulSet", "g-0"), _MINE, {f"{LWS}/leader-name": "g-0"}
)


@pytest.mark.parametrize(
    ("listed", "parts"),
    [
        ([DEPLOYMENT, REPLICA_SET, POD], [False, True, True]),
        ([POD, DEPLOYMENT], [True, False]),
        ([REPLICA_SET, POD], [False, True]),
        ([POD], [False]),
        ([SET, LEADERS, LEADER, WORKERS, WORKER], [False, True, True, True, True]),
        ([SET, LEADER, WORKER], [False, True, True]),
        ([LEADERS, LEADER, WORKERS, WORKER], [False, True, True, True]),
        ([LEADER, WORKER], [False, True]),
    ],
)
def test_of_what_is_listed_together_only_what_no_other_made_is_an_object_of_its_own(
    listed: list[dict[str, Any]], parts: list[bool]
) -> None:
    assert made_by_others(listed) == parts


def test_what_carries_the_labels_of_another_without_its_control_is_an_object_of_its_own() -> None:
    copied = _one("v1", "Pod", "mine", None, {**_MINE, "pod-template-hash": "5c"})
    elsewhere = {**POD, "metadata": {**POD["metadata"], "namespace": "other"}}
    assert made_by_others([SET, DEPLOYMENT, copied, elsewhere]) == [False] * 4
