"""Claims about a verdict beside what the engine's own start-up said of the same request."""

from __future__ import annotations

from dataclasses import replace

from decision_builders import A100, on, request, world
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision, Reason
from plimsoll.decision.verified import Said, verified, worth_asking
from plimsoll.engines.base import TermName
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.report import messages
from plimsoll.report.wording import warnings_of

FITS = on(A100)
UNKNOWN = request(Model("acme/Secret", ModelSource.UNKNOWN))


def test_a_refusal_of_the_engine_is_a_denial_with_its_words_and_no_placement() -> None:
    verdict = decide(FITS, knowledge=world(None))
    assert verdict.placement is not None
    after = verified(FITS, verdict, Said(True, "vLLM 0.33.0", "no kernel for this"))
    assert (after.decision, after.reason) == (Decision.DENY, Reason.ENGINE_REFUSED)
    assert after.placement is None
    assert "no kernel for this" in messages.denial(FITS, after)
    assert messages.headline(FITS, after) == "the engine itself refuses"


def test_a_start_changes_no_decision_and_names_what_it_contradicts() -> None:
    verdict = decide(FITS, knowledge=world(None))
    assert verdict.estimate is not None
    weights = verdict.estimate.terms[TermName.WEIGHTS].bytes
    tokens = verdict.estimate.kv_tokens
    alike = Said(False, "vLLM 0.33.0", weights=weights * 101 // 100, tokens=2 * tokens)
    assert verified(FITS, verdict, alike) == verdict
    other = Said(False, "vLLM 0.33.0", weights=weights * 11 // 10, tokens=tokens // 2)
    after = verified(FITS, verdict, other)
    assert replace(after, warnings=verdict.warnings) == verdict
    said = " ".join(warnings_of(after))
    assert "weights of a rank: vLLM 0.33.0 itself says" in said
    assert f"tokens of the cache: vLLM 0.33.0 itself says {tokens // 2}" in said


def test_the_engine_is_worth_asking_where_nobody_is_sure_or_the_model_is_unknown() -> None:
    assert not worth_asking(FITS, decide(FITS, knowledge=world(None)))
    assert worth_asking(UNKNOWN, decide(UNKNOWN, knowledge=world(None)))
    unsure = replace(FITS, model=replace(FITS.model, certain=False))
    assert worth_asking(unsure, decide(unsure, knowledge=world(None)))


def test_what_is_wrong_with_the_request_is_not_asked_about() -> None:
    wrong = on(A100, tensor=7)
    verdict = decide(wrong, knowledge=world(None))
    assert verdict.decision is Decision.DENY
    assert not worth_asking(wrong, verdict)
