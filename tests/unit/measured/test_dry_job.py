"""What has become of a dry start's Job is read from whatever the cluster says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plimsoll.measured.dry_job import standing

FACTS = {"version": "0.33.0", "reached": "end", "weights": {"counted": 1}}
SAID = f"PLIMSOLL-FACTS {json.dumps(FACTS)}"
JOB: dict[str, Any] = {"spec": {"activeDeadlineSeconds": 900}}


def pod(state: dict[str, Any], name: str = "engine", **status: Any) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"name": name, "state": state}], **status}}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return pod({"terminated": {"exitCode": code, "message": message, "reason": reason}})


def failed(reason: str, message: str = "m") -> dict[str, Any]:
    condition = {"type": "Failed", "status": "True", "reason": reason, "message": message}
    return {**JOB, "status": {"conditions": [condition]}}


def test_facts_count_whatever_became_of_the_job_since() -> None:
    for job in (JOB, failed("DeadlineExceeded"), None):
        answer = standing(job, [ended(0, SAID, "Completed")]).answer
        assert answer is not None
        assert (answer.outcome, answer.version) == ("starts", "0.33.0")


@pytest.mark.parametrize(
    ("job", "pods", "sentence"),
    [
        (JOB, [ended(137, reason="OOMKilled")], "it was killed: it took more memory"),
        (JOB, [ended(137)], "it was killed (exit code 137)"),
        (
            JOB,
            [ended(127, "exec: python3: not found", "StartError")],
            "not run python3: exec",
        ),
        (JOB, [ended(2, "a\n\x1b[31mno torch\n")], "exit code 2 and no facts, and last said"),
        (JOB, [pod({}, phase="Failed", reason="Evicted", message="disk")], "Evicted: disk"),
        (JOB, [pod({"waiting": {"reason": "InvalidImageName"}})], "cannot start: InvalidImageName"),
        (failed("DeadlineExceeded"), [], "did not end within 900 s"),
        (failed("DeadlineExceeded"), [pod({"running": {}})], "did not end within 900 s"),
        (failed("BackoffLimitExceeded"), [], "its pod is gone, and what it said with it: Backoff"),
        (None, [], "its Job was deleted before it ended"),
    ],
)
def test_whatever_else_it_ended_with_is_unknown_and_said(
    job: dict[str, Any] | None, pods: list[dict[str, Any]], sentence: str
) -> None:
    answer = standing(job, pods).answer
    assert answer is not None
    assert answer.outcome == "unknown"
    assert sentence in answer.words
    assert "\x1b" not in answer.words


@pytest.mark.parametrize(
    ("pods", "sentence"),
    [
        ([], "no pod has been made for it yet"),
        ([pod({"running": {}})], "it runs"),
        ([pod({"running": {}}, name="sidecar")], "its pod starts"),
        ([pod({"waiting": {"reason": "ErrImagePull", "message": "no\x1b"}})], "ErrImagePull: no"),
        (
            [{"status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}}],
            "its pod waits for a node: 0/3 nodes",
        ),
    ],
)  # fmt: skip
def test_until_it_ends_it_is_said_what_it_waits_for(
    pods: list[dict[str, Any]], sentence: str
) -> None:
    stands = standing(JOB, pods)
    assert stands.answer is None
    assert sentence in stands.words
    assert "\x1b" not in stands.words


@pytest.mark.parametrize("value", [None, 7, "x", [], [None], {"containerStatuses": "x"}])
def test_a_status_of_any_shape_is_read(value: Any) -> None:
    assert standing({"spec": value, "status": value}, [{"status": value}]).answer is None
