"""From a review to an answer: which reviews are judged, by whose policy, and who may override.

It must not decide whether a model fits (`plimsoll.decision` does), and it must not know
HTTP. Everything it needs to know of the cluster comes through `Knowledge`.

    UPDATE is let through   while deleting; when the spec and every plimsoll.dev/ annotation are
                            unchanged; when the old object failed already and the new one is no
                            worse
    an override             counts only if the user who makes this very request has the verb
                            `override` on the object; adding or changing one needs it always
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from plimsoll.api_group import GROUP, OVERRIDE_ANNOTATION
from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Outcome, outcome
from plimsoll.decision.verdict import Verdict
from plimsoll.errors import clean
from plimsoll.report import messages
from plimsoll.workloads.llmdeployment import request as read_request
from plimsoll_operator.admission.review import Answer, Review

if TYPE_CHECKING:
    from plimsoll.decision.policy import Policy
    from plimsoll.decision.request import Request
    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.llmdeployment import Documents

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


MayOverride = Callable[[Review], Awaitable[bool]]
Observe = Callable[[str, Verdict | None], None]


def our_annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of our own group on an object."""
    metadata = obj.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if k.startswith(f"{GROUP}/") and isinstance(v, str)}


def deleting(obj: Mapping[str, Any]) -> bool:
    """Whether the object is on its way out."""
    metadata = obj.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("deletionTimestamp"))


class Judge:
    """Answers reviews of LLMDeployments."""

    def __init__(
        self,
        knowledge: ClusterView,
        may_override: MayOverride,
        observe: Observe = lambda result, verdict: None,
    ) -> None:
        """may_override: asks the API server about the review's user; observe: for metrics."""
        self._knowledge, self._may_override, self._observe = knowledge, may_override, observe

    async def __call__(self, review: Review) -> Answer:
        """The answer to one review."""
        if review.operation not in ("CREATE", "UPDATE") or deleting(review.obj):
            return Answer(True)
        ours, before = our_annotations(review.obj), our_annotations(review.old)
        if (
            review.operation == "UPDATE"
            and review.obj.get("spec") == review.old.get("spec")
            and ours == before
        ):
            return Answer(True)
        reason = ours.get(OVERRIDE_ANNOTATION, "").strip()
        claims = OVERRIDE_ANNOTATION in ours and ours.get(OVERRIDE_ANNOTATION) != before.get(
            OVERRIDE_ANNOTATION
        )
        if claims and (refusal := await self._refused_claim(review, reason)):
            self._observe("override-refused", None)
            return Answer(False, refusal)
        policy = self._knowledge.policy(review.namespace)
        request, verdict = self._decide(review.obj, review, policy)
        return await self._answer(review, request, verdict, reason)

    def _decide(
        self, obj: Mapping[str, Any], review: Review, policy: Policy
    ) -> tuple[Request, Verdict]:
        named = _with_name(obj, review)
        request = read_request(named, self._knowledge.documents)
        return request, decide(request, self._knowledge.inventory(), policy)

    async def _refused_claim(self, review: Review, reason: str) -> str:
        """Why an override may not be set by this user; empty if it may."""
        path = f"metadata.annotations[{OVERRIDE_ANNOTATION}]"
        if not reason:
            return f"{path}: Required: a reason, in words, for which the verdict is overridden"
        if await self._may_override(review):
            return ""
        return (
            f"{path}: Forbidden: user {review.user!r} may not override Plimsoll's verdict in "
            f"namespace {review.namespace!r}; ask for the verb override on "
            f"llmdeployments.{GROUP}, or remove the annotation"
        )

    async def _answer(
        self, review: Review, request: Request, verdict: Verdict, override: str
    ) -> Answer:
        warnings = messages.warning(request, verdict)
        audit = {
            "decision": str(verdict.decision),
            "reason": str(verdict.reason),
            "request-hash": verdict.request_hash,
        }
        result = outcome(verdict)
        if result is Outcome.DENIED and override and await self._may_override(review):
            result = outcome(verdict, overridden=True)
            said = f"the verdict is overridden by {review.user}: {clean(override, MAX_REASON)}"
            warnings, audit["override"] = (said, *warnings), clean(override, LONGEST_REASON)
        if result is Outcome.DENIED and review.operation == "UPDATE":
            _, before = self._decide(review.old, review, verdict.policy)
            result = outcome(verdict, before=before)
        self._observe(str(result), verdict)
        if not result.let_in:
            return Answer(False, messages.denial(request, verdict), audit=audit)
        return Answer(True, warnings=warnings, audit=audit)


def _with_name(obj: Mapping[str, Any], review: Review) -> Mapping[str, Any]:
    """The object with the namespace and name that the request carries, as stored ones have."""
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return {
        **obj,
        "metadata": {**metadata, "namespace": review.namespace, "name": review.name or "unnamed"},
    }
