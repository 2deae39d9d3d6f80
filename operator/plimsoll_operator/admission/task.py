"""What is done apart for admission: reading a large body, and deciding on a review's objects.

It runs in processes that know nothing of the cluster: everything comes with the question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Outcome, Policy, outcome
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report import messages
from plimsoll.workloads import llmdeployment
from plimsoll.workloads.llmdeployment import Missing
from plimsoll.workloads.resolved import RESOLVED
from plimsoll_operator.admission.review import (
    RESOLVED_AT,
    NotAReview,
    Reference,
    Review,
    objects,
    read_review,
)
from plimsoll_operator.deciding.warming import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Decision, Reason, Verdict

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
    """A verdict in words. outcome: what becomes of it unless it is overridden.

    compared: the same beside the old object, see `Question.compare`. denial: empty unless denied.
    """

    decision: Decision
    reason: Reason
    request_hash: str
    outcome: Outcome
    compared: Outcome
    warnings: tuple[str, ...]
    denial: str = ""


class _Handed:
    """The documents that came with a question."""

    def __init__(self, documents: Mapping[Reference, str | Missing]) -> None:
        self._documents = documents

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        if namespace == RESOLVED:
            return self._documents.get(
                (f"{RESOLVED_AT}{name}", None), Missing("nobody resolved it")
            )
        missing = Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return self._documents.get((name, key), missing)


def answer(inventory: Inventory, question: Question) -> Decided:
    """Decide on a review."""
    new, old = objects(question.body)
    request, verdict = _decide(inventory, question, new)
    result = compared = outcome(verdict)
    if result is Outcome.DENIED and question.compare:
        _, before = _decide(inventory, question, old)
        compared = outcome(verdict, before=before)
    return Decided(
        verdict.decision,
        verdict.reason,
        verdict.request_hash,
        result,
        compared,
        messages.warning(request, verdict),
        messages.denial(request, verdict) if verdict.denied else "",
    )


def _decide(
    inventory: Inventory, question: Question, obj: Mapping[str, Any]
) -> tuple[Request, Verdict]:
    request = llmdeployment.request(obj, _Handed(question.documents))
    return request, decide(request, inventory, question.policy)


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
        request = llmdeployment.request(obj, _Handed({}))
        verdict = decide(request)
        messages.warning(request, verdict)
        messages.denial(request, verdict)
