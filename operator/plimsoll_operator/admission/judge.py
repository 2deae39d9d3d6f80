"""From a review to an answer: which reviews are judged, by whose policy, and who may override.

It must not decide whether a model fits: that is asked of a process apart (`Decide`). It must not
know HTTP. Everything it needs to know of the cluster comes through `Knowledge`.

    UPDATE is let through   while deleting; when the spec and every plimsoll.dev/ annotation are
                            unchanged; when the old object failed already and the new one is no
                            worse; of other people's kinds also when what is read of it is unchanged
    other people's kinds    are judged where a policy says so, and once: an object that a
                            controller made for one of a kind that is read is let through
    an override             counts only if the user who makes this very request has the verb
                            `override` on the object; adding or changing one needs it always
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from plimsoll.api_group import GROUP, OVERRIDE_ANNOTATION
from plimsoll.decision.policy import Mode, Outcome
from plimsoll.errors import clean, shown
from plimsoll.workloads.resolved import RESOLVED
from plimsoll_operator.admission.review import RESOLVED_AT, Answer, Review
from plimsoll_operator.admission.task import Decided, Question, Untouched
from plimsoll_operator.deciding.beside import Missed, in_rounds
from plimsoll_operator.deciding.errors import Cause, NotDecided

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from plimsoll.decision.policy import Policy
    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.llmdeployment import Documents, Missing
    from plimsoll_operator.deciding.beside import Found, Wanted

log = logging.getLogger(__name__)

MAX_REASON = 200
"""Characters of an override's reason that are repeated in a warning."""
LONGEST_REASON = 1000
"""Characters of it that the audit log keeps."""


class ClusterView(Protocol):
    """What admission knows of the cluster, from watches."""

    @property
    def documents(self) -> Documents:
        """The ConfigMaps that hold models."""
        ...

    def inventory(self) -> Inventory:
        """The GPU nodes."""
        ...

    def policy(self, namespace: str) -> Policy:
        """What the namespace wants done with a denial."""
        ...

    def workloads_policy(self, namespace: str, kind: str) -> Policy | None:
        """The same for one of other people's kinds; None if it is not to be looked at."""
        ...

    def beside(self, wanted: Wanted) -> Mapping[str, Any] | Missing | None:
        """What an object of other people's kinds refers to; None, or why, if it is not known."""
        ...


MayOverride = Callable[[Review], Awaitable[bool]]
Decide = Callable[["Inventory", Question, str], Awaitable[Decided | Untouched | Missed]]
"""From what is known of the nodes, a question and its namespace to what was decided.

Raises `NotDecided` if that would take too long.
"""
Observe = Callable[[str, str], None]


class Judge:
    """Answers reviews of LLMDeployments, and of what else starts an LLM."""

    def __init__(
        self,
        knowledge: ClusterView,
        may_override: MayOverride,
        decide: Decide,
        observe: Observe = lambda result, reason: None,
    ) -> None:
        """may_override: asks the API server about the review's user; observe: for metrics."""
        self._knowledge, self._may_override = knowledge, may_override
        self._decide, self._observe = decide, observe

    async def __call__(self, review: Review) -> Answer:
        """The answer to one review. Raises `NotDecided`."""
        if review.operation not in ("CREATE", "UPDATE") or review.deleting:
            return Answer(True)
        if review.operation == "UPDATE" and not review.changed:
            return Answer(True)
        policy = self._policy(review)
        if policy is None:
            return Answer(True)
        reason = (review.override or "").strip()
        claims = review.override is not None and review.override != review.override_before
        if not review.own and policy.mode is not Mode.ENFORCE:
            claims = False  # there is nothing to override, and nobody's way is to be barred
        if claims and (refusal := await self._refused_claim(review, reason)):
            self._observe("override-refused", "Override")
            return Answer(False, refusal)
        decided = await self._decided(review, policy)
        if isinstance(decided, Untouched):
            self._observe(str(decided), "NotJudged")
            return Answer(True)
        return await self._answer(review, decided, reason)

    def _policy(self, review: Review) -> Policy | None:
        """By whose policy a review is judged; None if it is not."""
        if review.own:
            return self._knowledge.policy(review.namespace)
        if review.owned:
            return None
        return self._knowledge.workloads_policy(review.namespace, review.kind)

    async def _decided(self, review: Review, policy: Policy) -> Decided | Untouched:
        namespace = review.namespace or "default"
        documents = {
            (name, key): self._document(namespace, name, key) for name, key in review.references
        }
        compare = review.operation == "UPDATE" and policy.mode is Mode.ENFORCE
        inventory = self._knowledge.inventory()

        async def ask(found: Found, last: bool) -> Decided | Untouched | Missed:
            question = Question(
                review.body, documents, policy, compare, review.own, beside=found, last=last
            )
            return await self._decide(inventory, question, namespace)

        async def look(wanted: Wanted) -> Mapping[str, Any] | Missing | None:
            return self._knowledge.beside(wanted)

        try:
            return await in_rounds(ask, look)
        except NotDecided as error:
            name = f"{namespace}/{review.name}"
            if error.cause is not Cause.BUSY:
                log.warning("%s is not decided: %s", shown(name), error)
            said = f"Plimsoll has not decided on {shown(name)}: {error}"
            raise NotDecided(error.cause, said) from None

    def _document(self, namespace: str, name: str, key: str | None) -> str | Missing:
        documents = self._knowledge.documents
        if name.startswith(RESOLVED_AT):
            return documents.get(RESOLVED, name.removeprefix(RESOLVED_AT), None)
        return documents.get(namespace, name, key)

    async def _refused_claim(self, review: Review, reason: str) -> str:
        """Why an override may not be set by this user; empty if it may."""
        path = f"metadata.annotations[{OVERRIDE_ANNOTATION}]"
        if not any(map(str.isalnum, reason)):
            return f"{path}: Required: a reason, in words, for which the verdict is overridden"
        if await self._may_override(review):
            return ""
        return (
            f"{path}: Forbidden: user {clean(review.user)!r} may not override Plimsoll's verdict "
            f"in namespace {clean(review.namespace)!r}; ask for the verb override on "
            f"llmdeployments.{GROUP}, or remove the annotation"
        )

    async def _answer(self, review: Review, decided: Decided, override: str) -> Answer:
        warnings, result = decided.warnings, decided.outcome
        audit = {
            "decision": str(decided.decision),
            "reason": str(decided.reason),
            "request-hash": decided.request_hash,
        }
        if result is Outcome.DENIED and override and await self._may_override(review):
            result = Outcome.OVERRIDDEN
            reason = clean(override, MAX_REASON)
            said = f"the verdict is overridden by {clean(review.user)}: {reason}"
            warnings, audit["override"] = (said, *warnings), clean(override, LONGEST_REASON)
        elif result is Outcome.DENIED:
            result = decided.compared
        self._observe(str(result), str(decided.reason))
        if not result.let_in:
            return Answer(False, decided.denial, audit=audit)
        return Answer(True, warnings=warnings, audit=audit)
