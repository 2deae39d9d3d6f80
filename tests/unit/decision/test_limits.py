"""What a start holds beside the budget, as a verdict says it: denied if certain, else doubted.

Sources: https://github.com/vllm-project/recipes/pull/551 (1024 sequences, 856 blocks),
https://github.com/vllm-project/vllm/issues/17469 (out of memory while graphs are captured).
"""

from __future__ import annotations

from commands import as_json, run
from plimsoll.decision.decide import decide
from plimsoll.decision.fit import fit
from plimsoll.decision.request import Request, Wanted
from plimsoll.decision.verdict import Decision, Reason, Verdict
from plimsoll.engines.base import EngineSettings, LimitName, State
from plimsoll.models.resolve import resolve
from plimsoll.paths import Field
from plimsoll.report import messages

HYBRID = "Qwen/Qwen3.5-27B"


def decided(version: str, model: str = HYBRID, gpus: int = 1, **settings: object) -> Verdict:
    engine = EngineSettings(version=version, max_model_len=8192, **settings)  # type: ignore[arg-type]
    wanted = Wanted(allowed=("nvidia-h100-80gb",), gpus_per_replica=gpus)
    return decide(Request(resolve(uri=f"hf://{model}"), engine, wanted=wanted))


def test_more_sequences_than_blocks_are_refused_with_the_number_that_would_start() -> None:
    verdict = decided("0.20")
    assert (verdict.decision, verdict.reason) == (Decision.DENY, Reason.NOT_ENOUGH_MEMORY)
    assert verdict.limit is not None
    assert verdict.limit.name is LimitName.STATES
    assert verdict.short_by == verdict.limit.short_by > 0
    assert verdict.walk is not None
    assert verdict.walk.stopped is not None
    assert verdict.walk.stopped.rule == "sequences-beyond-states"
    assert verdict.walk.certain
    request = Request(verdict.model, EngineSettings(version="0.20"))
    said = messages.denial(request, verdict)
    assert f"1024: at most {verdict.limit.has.middle} on NVIDIA H100 80GB" in said
    assert f"sequences: 1024 of {verdict.limit.has.middle} blocks" in said
    assert messages.headline(request, verdict) == "short of blocks of state for 1024 sequences"


def test_the_advice_is_a_number_of_sequences_that_starts() -> None:
    verdict = decided("0.20")
    fewer = next(a for a in verdict.alternatives if a.changes[0].field is Field.MAX_NUM_SEQS)
    again = decided("0.20", max_num_seqs=int(fewer.changes[0].value))
    assert again.decision is Decision.ALLOW


def test_as_many_as_may_or_may_not_start_are_doubted() -> None:
    most = decided("0.20", max_num_seqs=512).limit
    assert most is not None
    verdict = decided("0.20", max_num_seqs=most.has.middle)
    assert (verdict.decision, verdict.reason) == (Decision.WARN, Reason.WITHIN_ERROR)
    assert verdict.walk is not None
    assert not verdict.walk.certain
    request = Request(verdict.model, EngineSettings(version="0.20"))
    assert "within the estimate's error" in messages.fits_message(request, verdict)
    assert "at most" in messages.warning(request, verdict)[0]


def test_the_budget_is_said_first_if_both_fail() -> None:
    found = decided("0.20", "Qwen/Qwen3.5-122B-A10B").estimate
    assert found is not None
    assert fit(found).state is State.DOES_NOT_FIT
    assert fit(found).limit is None


def test_every_breakdown_has_a_line_of_what_comes_after_the_cache() -> None:
    options = ("--gpu", "nvidia-a10", "--gpus", "4", "--tp", "4", "--max-model-len", "1024")
    command = ("estimate", "Qwen/Qwen3-30B-A3B", *options, "--engine-version", "0.8.5")
    told = run(*command)
    assert "after the cache" in told.output
    assert "67 graphs, 48 layers" in told.output
    data = as_json(*command, "-o", "json")
    (after,) = [one for one in data["estimate"]["limits"] if one["name"] == "afterCache"]
    assert after["unit"] == "bytes"
    assert after["state"] == "within_error"
    assert after["needs"]["low"] <= after["needs"]["middle"] <= after["needs"]["high"]
    assert data["decision"] == "warn"
