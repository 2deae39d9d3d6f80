"""What a start holds beside the budget, as a verdict says it: denied if certain, else doubted.

Sources: https://github.com/vllm-project/recipes/pull/551 (1024 sequences, 856 blocks),
https://github.com/vllm-project/vllm/issues/17469 (out of memory while graphs are captured).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

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
    assert f"sequences: 1,024 of {verdict.limit.has.middle} blocks" in said
    assert messages.headline(request, verdict) == "short of blocks of state for 1,024 sequences"


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


def test_what_others_hold_is_said_in_a_manifest_or_on_the_command_line() -> None:
    options = ("--gpu", "nvidia-rtx-4090", "--max-model-len", "8192", "--engine-version", "0.19")
    free = run("estimate", "Qwen/Qwen3-4B", *options)
    shared = run("estimate", "Qwen/Qwen3-4B", *options, "--in-use", "3GiB")
    assert free.exit_code == 0
    assert shared.exit_code == 2
    assert "others hold 3.00 GiB" in shared.output
    assert "lower it, or spec.accelerator.reserved if less is held" in shared.output
    lower = run(
        "estimate", "Qwen/Qwen3-4B", *options, "--in-use", "3GiB",
        "--gpu-memory-utilization", "0.8",
    )  # fmt: skip
    assert lower.exit_code == 0


def test_what_others_hold_changes_the_hash_of_those_requests_alone_that_say_it() -> None:
    wanted = Wanted(allowed=("nvidia-h100-80gb",))
    plain = Request(resolve(uri="hf://Qwen/Qwen3-8B"), wanted=wanted)
    none = replace(plain, wanted=replace(wanted, reserved=None))
    some = replace(plain, wanted=replace(wanted, reserved=1 << 30))
    assert decide(plain).request_hash == decide(none).request_hash != decide(some).request_hash


def test_every_engine_has_less_where_others_hold_some() -> None:
    for name in ("vllm", "sglang", "tensorrt-llm", "llama.cpp", "tgi", "generic"):
        asked = Request(
            resolve(uri="hf://Qwen/Qwen3-8B"),
            EngineSettings(name=name, max_model_len=8192, utilization=share(name)),
            wanted=Wanted(allowed=("nvidia-h100-80gb",), gpus_per_replica=1),
        )
        held = replace(asked, wanted=replace(asked.wanted, reserved=30 << 30))
        before, after = decide(asked).estimate, decide(held).estimate
        assert before is not None, name
        assert after is not None, name
        left = [limit.has.middle for limit in after.limits if limit.name is LimitName.AFTER_CACHE]
        lost = before.usable - after.usable
        assert lost > 10 << 30 or (left and left[0] < before.physical - (30 << 30)), name


def share(name: str) -> Decimal | None:
    return Decimal("0.5") if name == "vllm" else None
