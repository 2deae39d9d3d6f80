"""What is done apart for admission: reading a large body, and deciding on a review's objects.

It runs in processes that know nothing of the cluster: everything comes with the question.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Outcome, Policy, outcome
from plimsoll.decision.request_hash import same
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report import messages
from plimsoll.workloads import kinds, llmdeployment
from plimsoll.workloads.llmdeployment import Missing
from plimsoll.workloads.resolved import RESOLVED
from plimsoll.workloads.roles import NothingBeside
from plimsoll_operator.admission.review import (
    RESOLVED_AT,
    NotAReview,
    Reference,
    Review,
    objects,
    read_review,
)
from plimsoll_operator.deciding.beside import Missed, read
from plimsoll_operator.deciding.warming import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Decision, Reason
    from plimsoll_operator.deciding.beside import Found

TASK: Final = f"{__name__}:work"
"""Name of the task, for `plimsoll_operator.deciding.pool`."""


MOST_SAID: Final = 8
"""Engines of one object whose refusal is repeated in full."""
MOST_WARNINGS: Final = 64
"""Warnings of one answer; the API server shows 4,096 characters of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """One review to decide on.

    body: the review as it came. documents: what its objects refer to. compare: whether to say too
    if the old object failed already and the new one is no worse. own: it is an LLMDeployment; of
    other people's kinds `beside` is what their objects refer to, and `last` says to do with that.
    """

    body: bytes
    documents: Mapping[Reference, str | Missing]
    policy: Policy
    compare: bool = False
    own: bool = True
    beside: Found = field(default_factory=dict)
    last: bool = True


@dataclass(frozen=True, slots=True)
class Decided:
    """What is said of an object, in words; of several engines the worst.

    outcome: what becomes of it unless it is overridden. compared: the same beside the old object,
    see `Question.compare`. denial: empty unless denied. request_hash: of each engine.
    """

    decision: Decision
    reason: Reason
    request_hash: str
    outcome: Outcome
    compared: Outcome
    warnings: tuple[str, ...]
    denial: str = ""


class Untouched(StrEnum):
    """Why nothing is said of an object of other people's kinds."""

    NO_LLM = "no-llm"
    """It serves none, as far as anybody can read."""
    UNCHANGED = "unchanged"
    """An update that leaves alone what its engines are asked for."""


class _Handed(NothingBeside):
    """The documents that came with a question about an LLMDeployment."""

    def __init__(self, documents: Mapping[Reference, str | Missing]) -> None:
        self._documents = documents

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        if namespace == RESOLVED:
            return self._documents.get(
                (f"{RESOLVED_AT}{name}", None), Missing("nobody resolved it")
            )
        missing = Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return self._documents.get((name, key), missing)


def answer(inventory: Inventory, question: Question) -> Decided | Untouched | Missed:
    """Decide on a review."""
    new, old = objects(question.body)
    requests = _read(question, new)
    if isinstance(requests, Missed):
        return requests
    if not requests:
        return Untouched.NO_LLM
    before = _read(question, old) if old else ()
    if isinstance(before, Missed):
        return before
    if before and not question.own and _same(before, requests, question.policy):
        return Untouched.UNCHANGED
    verdicts = [decide(request, inventory, question.policy) for request in requests]
    results = compared = [outcome(verdict) for verdict in verdicts]
    if Outcome.DENIED in results and question.compare:
        olds = {one.name: decide(one, inventory, question.policy) for one in before}
        compared = [
            outcome(verdict, before=olds.get(request.name))
            for request, verdict in zip(requests, verdicts, strict=True)
        ]
    worst = max(results, key=_GRAVITY.index)
    gravest = verdicts[results.index(worst)]
    said = [
        messages.denial(request, verdict)
        for request, verdict in zip(requests, verdicts, strict=True)
        if verdict.denied
    ]
    warnings = [
        line
        for request, verdict in zip(requests, verdicts, strict=True)
        for line in messages.warning(request, verdict)
    ]
    return Decided(
        gravest.decision,
        gravest.reason,
        " ".join(verdict.request_hash for verdict in verdicts),
        worst,
        max(compared, key=_GRAVITY.index),
        tuple(dict.fromkeys(warnings))[:MOST_WARNINGS],
        "\n".join([*said[:MOST_SAID], *_left_out(len(said))]),
    )


def _left_out(refused: int) -> list[str]:
    more = refused - MOST_SAID
    return [f"and {more} more of its engines are refused"] if more > 0 else []


_GRAVITY: Final = (
    Outcome.ALLOWED,
    Outcome.DOUBTED,
    Outcome.AUDITED,
    Outcome.WARNED,
    Outcome.OVERRIDDEN,
    Outcome.NO_WORSE,
    Outcome.DENIED,
)
"""Outcomes, the worst last: an object with several engines has that of its worst."""


def _read(question: Question, obj: Mapping[str, Any]) -> tuple[Request, ...] | Missed:
    """What each engine of an object asks for; nothing if it serves no LLM."""
    kind = kinds.find(str(obj.get("apiVersion")), str(obj.get("kind")))
    if kind is None or kind.part:
        return ()
    if question.own:
        return tuple(one.request for one in kind.read(obj, _Handed(question.documents)))
    served = read(kind, obj, question.beside, last=question.last)
    return served if isinstance(served, Missed) else tuple(one.request for one in served)


def _same(before: tuple[Request, ...], after: tuple[Request, ...], policy: Policy) -> bool:
    """Whether the engines of two states of an object are asked for the same."""
    return len(before) == len(after) and all(
        same(one, other, policy.bounds) for one, other in zip(before, after, strict=True)
    )


def work(
    inventory: Inventory | None, job: bytes | Question
) -> Decided | Untouched | Missed | Review | NotAReview:
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
