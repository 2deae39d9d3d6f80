"""A verdict beside what the engine's own start-up said of the same request, without a GPU.

It must not know how that was had. A refusal of the engine is one of ours; what it started with is
held against the estimate; what nobody learned changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.decision.verdict import Decision, Reason, Verdict
from plimsoll.engines.base import TermName
from plimsoll.findings import Finding, Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from plimsoll.decision.request import Request

_NEAR: Final = 0.02
"""How far weights may be apart before they differ."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the engine's start-up said. refused: whether the engine itself raised, with these words.

    version: of the engine. weights: bytes of a rank, tokens: that its cache holds where nothing of
    CUDA's own is counted; None: not seen.
    """

    refused: bool
    version: str
    words: str = ""
    weights: int | None = None
    tokens: int | None = None


def verified(request: Request, verdict: Verdict, said: Said) -> Verdict:
    """The verdict with what the engine said."""
    if not said.refused:
        return replace(verdict, warnings=(*verdict.warnings, *differences(verdict, said)))
    refusal = finding(
        Rule.ENGINE_REFUSED,
        Field.ENGINE,
        request.engine.name,
        version=said.version,
        words=said.words,
    )
    return replace(
        verdict,
        decision=Decision.DENY,
        reason=Reason.ENGINE_REFUSED,
        problems=(*verdict.problems, refusal),
        placement=None,
        better=None,
        alternatives=(),
    )


def worth_asking(request: Request, verdict: Verdict) -> bool:
    """Whether the engine may know better: nobody is sure, or the model or the engine is unknown."""
    architecture = request.model.architecture
    unknown = architecture is None or architecture.assumed or not request.model.certain
    return verdict.decision is Decision.WARN or (unknown and not verdict.problems)


def differences(verdict: Verdict, said: Said) -> tuple[Finding, ...]:
    """In what the engine contradicts the estimate of its placement."""
    estimate, found = verdict.estimate, []
    if estimate is None:
        return ()
    weights = estimate.terms[TermName.WEIGHTS].bytes
    if said.weights is not None and abs(said.weights - weights) > _NEAR * weights:
        found.append(
            finding(
                Rule.ENGINE_WEIGHS_OTHERWISE,
                Field.MODEL,
                version=said.version,
                said=said.weights,
                estimated=weights,
            )
        )
    tokens = estimate.kv_tokens
    if said.tokens is not None and said.tokens < (1 - _NEAR) * tokens:  # it did not see CUDA's own
        found.append(
            finding(
                Rule.ENGINE_HOLDS_FEWER,
                Field.MODEL,
                version=said.version,
                said=said.tokens,
                estimated=tokens,
            )
        )
    return tuple(found)
