"""Claims about the table of kinds: how the API server addresses each, and whose verdict counts."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll.workloads.kinds import KINDS, OTHERS, owned


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
