"""What is done apart for admission: reading a large body, and deciding on a review's objects.

It runs in processes that know nothing of the cluster: everything comes with the question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.decide import allowed_update, decide
from plimsoll.decision.verdict import Decision, Policy, Reason, Verdict
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report import messages
from plimsoll.workloads.llmdeployment import Missing
from plimsoll.workloads.llmdeployment import request as read_request
from plimsoll_operator.admission.review import NotAReview, Reference, Review, objects, read_review
from plimsoll_operator.deciding.warming import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.request import Request

TASK: Final = f"{__name__}:work"
"""Name of the task, for `plimsoll_operator.deciding.pool`."""


@dataclass(frozen=True, slots=True)
class Question:
    """One review to decide on.

    body: the review as it came. documents: what its objects refer to. compare: whether to say too
    if the old object failed already and the new one is no worse.
    """

    body: bytes
    documents: Mapping[Reference, str | Missing]
    policy: Policy
    compare: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """A verdict in words. denial: empty unless it is one. no_worse: see `Question.compare`."""

    decision: Decision
    reason: Reason
    request_hash: str
    warnings: tuple[str, ...]
    denial: str = ""
    no_worse: bool = False


class _Handed:
    """The documents that came with a question."""

    def __init__(self, documents: Mapping[Reference, str | Missing]) -> None:
        self._documents = documents

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        missing = Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return self._documents.get((name, key), missing)


def answer(inventory: Inventory, question: Question) -> Decided:
    """Decide on a review."""
    new, old = objects(question.body)
    request, verdict = _decide(inventory, question, new)
    denied = verdict.decision is Decision.DENY
    return Decided(
        verdict.decision,
        verdict.reason,
        verdict.request_hash,
        messages.warning(request, verdict),
        denial=messages.denial(request, verdict) if denied else "",
        no_worse=denied and question.compare and _no_worse(inventory, question, old, verdict),
    )


def _decide(
    inventory: Inventory, question: Question, obj: Mapping[str, Any]
) -> tuple[Request, Verdict]:
    request = read_request(obj, _Handed(question.documents))
    return request, decide(request, inventory, question.policy)


def _no_worse(
    inventory: Inventory, question: Question, old: Mapping[str, Any], verdict: Verdict
) -> bool:
    _, before = _decide(inventory, question, old)
    return before.decision is Decision.DENY and allowed_update(before, verdict)


def work(inventory: Inventory | None, job: bytes | Question) -> Decided | Review | NotAReview:
    """The task: a body to read, or a question to decide."""
    if isinstance(job, Question):
        return answer(inventory or NO_INVENTORY, job)
    try:
        return replace(read_review(job), body=b"")
    except NotAReview as error:
        return error


def warm() -> None:
    """Decide on a few objects, so that everything is loaded and built."""
    for obj in OBJECTS:
        request = read_request(obj, _Handed({}))
        verdict = decide(request)
        messages.warning(request, verdict)
        messages.denial(request, verdict)
