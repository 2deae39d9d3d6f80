"""Claims about ways out as users read them: each printed line, pasted, makes the object fit."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from decision_builders import H100, H200, L4, PlainEngine, model, request, world
from plimsoll.decision.decide import decide
from plimsoll.decision.options import FEWEST_SEQS, SHORTEST, SMALLEST_BATCH, UTILIZATION_MOST
from plimsoll.decision.verdict import Decision
from plimsoll.engines.base import TermName
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.report.messages import denial, summary
from plimsoll.workloads.llmdeployment import NoDocuments
from plimsoll.workloads.llmdeployment import request as read

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.findings import Finding

LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
DISTILLED = "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"
UNQUANTIZED = "deepseek-ai/deepseek-llm-67b-base"
"""A model of which the catalogue has no copy with fewer bits."""


def llmd(spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "m", "namespace": "chat"}, "spec": spec}


def verdict_on(spec: dict[str, Any]) -> tuple[Request, Verdict]:
    of = read(llmd(spec), NoDocuments())
    return of, decide(of)


def printed(of: Request, verdict: Verdict) -> list[str]:
    """The lines of ways out that a terminal shows, without what each leaves."""
    lines = summary(of, verdict)
    first = next((i for i, line in enumerate(lines) if line.endswith((" fits:", "This fits:"))), -1)
    if first < 0:
        return []
    there = [line for line in lines[first + 1 :] if line.startswith("  ")]
    return [line.partition("  leaves ")[0].strip() for line in there]


def pasted(spec: dict[str, Any], line: str) -> dict[str, Any]:
    """The spec with a printed line written into it, read as YAML as a manifest is."""
    made = copy.deepcopy(spec)
    for part in line.split(" and "):
        path, colon, value = part.removeprefix("without ").partition(": ")
        *parents, last = path.removeprefix("spec.").split(".")
        place = made
        for name in parents:
            place = place.setdefault(name, {})
        if colon:
            place[last] = yaml.safe_load(value)
        else:
            place.pop(last, None)
    return made


def assert_every_line_fits(spec: dict[str, Any]) -> list[str]:
    of, verdict = verdict_on(spec)
    lines = printed(of, verdict)
    for line in lines:
        after, fits = verdict_on(pasted(spec, line))
        assert not after.problems, (line, after.problems)
        assert fits.decision is Decision.ALLOW, (line, fits.reason, fits.problems)
    return lines


def on(gpu: str, count: int, engine: dict[str, Any], uri: str = LLAMA) -> dict[str, Any]:
    return {
        "model": {"uri": f"hf://{uri}"},
        "engine": engine,
        "accelerator": {"allowed": [gpu], "gpusPerReplica": count},
    }


def test_every_printed_line_pasted_into_the_manifest_makes_it_fit() -> None:
    said = [
        line
        for spec in (
            on("nvidia-a100-80gb", 2, {"maxModelLen": 131072}),
            on("nvidia-a100-80gb", 1, {"maxModelLen": 8192, "gpuMemoryUtilization": "0.8"},
               "Qwen/Qwen3-32B"),
            on("nvidia-l4", 1, {"speculative": {"method": "ngram", "tokens": 4}}, "Qwen/Qwen3-8B"),
            on("nvidia-a10", 1, {"lora": {"maxLoras": 64, "maxRank": 64}}, "Qwen/Qwen3-8B"),
            on("nvidia-h100-80gb", 8, {"name": "sglang", "version": "0.4.5"},
               "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
            on("nvidia-l4", 1, {"kvCacheMemory": "40Gi"}, "Qwen/Qwen3-8B"),
        )
        for line in assert_every_line_fits(spec)
    ]  # fmt: skip
    assert any('gpuMemoryUtilization: "0.8' in line for line in said)
    assert any(line.startswith("without ") for line in said)


def test_a_table_of_requests_times_context_is_no_reason_to_take_a_smaller_model() -> None:
    uri = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
    of, verdict = verdict_on(on("nvidia-h100-80gb", 8, {"name": "sglang", "version": "0.4.5"}, uri))
    assert "smaller model" not in denial(of, verdict)
    (length,) = [
        int(line.split(": ")[1])
        for line in printed(of, verdict)
        if line.startswith("spec.engine.maxModelLen: ") and " and " not in line
    ]
    assert length >= 1_048_576
    longer = on(
        "nvidia-h100-80gb",
        8,
        {"name": "sglang", "version": "0.4.5", "maxModelLen": length + 65_536},
        uri,
    )
    assert verdict_on(longer)[1].decision is not Decision.ALLOW


def test_another_checkpoint_is_named_or_said_to_have_to_be_made() -> None:
    of, verdict = verdict_on(on("nvidia-l40s", 1, {"maxModelLen": 8192}, "Qwen/Qwen3-32B"))
    text = "\n".join(summary(of, verdict))
    assert "spec.model.uri: hf://Qwen/Qwen3-32B-AWQ" in text
    of, verdict = verdict_on(on("nvidia-h100-80gb", 1, {"maxModelLen": 4096}, UNQUANTIZED))
    text = "\n".join(summary(of, verdict))
    assert "which has to be made: the catalogue has none" in text
    assert f"spec.model.baseModel: {UNQUANTIZED}" in text


class Picky(PlainEngine):
    """Refuses a share of memory above 0.905 for a split on a GPU."""

    def check(
        self, architecture: Any, settings: Any, parallelism: Any, accelerator: Any
    ) -> tuple[Finding, ...]:
        """See the class."""
        share, rule = settings.utilization, Rule.SHARE_NEVER_FREE
        most: dict[str, Any] = {"most": "0.905", "gpu": "it", "context": "1 GiB"}
        own = (
            (finding(rule, Field.UTILIZATION, str(share), **most),)
            if parallelism and accelerator and share is not None and share > Decimal("0.905")
            else ()
        )
        return (*super().check(architecture, settings, parallelism, accelerator), *own)


def test_what_the_engine_refuses_already_is_mended_in_every_way_out() -> None:
    of = request(
        model(parameters=130 * 10**9, kv_heads=16), max_model_len=131072, allowed=(H100.name,),
        tensor=4, utilization=Decimal("0.95"),
    )  # fmt: skip
    knowledge = world(Picky())
    on_the_same = [
        alternative
        for alternative in decide(of, knowledge=knowledge).alternatives
        if alternative.accelerator == H100.name and alternative.gpus_per_replica == 4
    ]
    assert on_the_same
    for alternative in on_the_same:
        shares = [c.value for c in alternative.changes if c.field is Field.UTILIZATION]
        assert shares == ["0.90"]


def test_no_share_is_advised_that_the_engine_would_refuse() -> None:
    for parameters in range(140, 160):
        of = request(
            model(parameters=parameters * 10**9), allowed=(H100.name,), tensor=4, max_model_len=8192
        )
        for alternative in decide(of, knowledge=world(Picky())).alternatives:
            for change in alternative.changes:
                assert change.field is not Field.UTILIZATION or Decimal(change.value) <= Decimal(
                    "0.9"
                )


REQUESTS = st.builds(
    lambda b, kv, length, seqs, most, tensor, data, tokens, name: request(
        model(parameters=b * 10**9, kv_heads=kv),
        max_model_len=length,
        concurrent=min(seqs, most) if seqs else None,
        input_tokens=min(tokens, length) if tokens else None,
        max_num_seqs=most,
        tensor=tensor,
        data=data,
        allowed=(name,),
    ),
    st.integers(1, 200),
    st.sampled_from([1, 8, 64]),
    st.integers(1, 400_000),
    st.none() | st.integers(1, 500),
    st.integers(1, 1024),
    st.sampled_from([1, 2, 4, 8]),
    st.none() | st.just(2),
    st.none() | st.integers(1, 4096),
    st.sampled_from([L4.name, H100.name, H200.name]),
)


def single_values(of: Request) -> list[Request]:
    """The request with one value of one field that advice may change, each."""
    settings, work = of.engine, of.workload
    length, seqs = settings.max_model_len or 131072, settings.max_num_seqs or 256
    sequence = (work.input_tokens or 0) + (work.output_tokens or 0)
    changed: list[dict[str, Any]] = [{"utilization": Decimal(share) / 100} for share in (93, 94)]
    changed += [{"utilization": UTILIZATION_MOST}]
    changed += [
        {"max_model_len": shorter}
        for shorter in {max(SHORTEST, length * part // 8 // 1024 * 1024) for part in range(8)}
        if sequence <= shorter < length
    ]
    changed += [
        {"max_num_seqs": 1 << n}
        for n in range(11)
        if max(FEWEST_SEQS, work.concurrent or 1) <= 1 << n < seqs
    ]
    changed += [{"max_num_batched_tokens": size} for size in (SMALLEST_BATCH, 2048)]
    changed += [{"kv_cache_dtype": "fp8"}, {"enforce_eager": True}]
    made = [replace(of, engine=replace(settings, **fields)) for fields in changed]
    at_once = range(1, work.concurrent or 1, 7)
    return made + [replace(of, workload=replace(work, concurrent=fewer)) for fewer in at_once]


def assert_honest(of: Request) -> None:
    verdict = decide(of, knowledge=world())
    if verdict.decision is Decision.ALLOW or verdict.problems:
        return
    said = "\n".join(summary(of, verdict))
    assert not ("room for" in said.replace("no room for", "") and "smaller model" in said), said
    if verdict.alternatives:
        return
    for changed in single_values(of):
        assert decide(changed, knowledge=world()).decision is not Decision.ALLOW, changed


@given(REQUESTS)
def test_advice_is_not_empty_if_one_value_of_one_field_makes_it_fit(of: Request) -> None:
    assert_honest(of)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_requests_are_whole_on_every_data_rank(ranks: int) -> None:
    of = request(
        max_model_len=32768, concurrent=199, input_tokens=3000, output_tokens=1000,
        allowed=(H100.name,), tensor=4, data=ranks,
    )  # fmt: skip
    found = [
        int(change.value)
        for alternative in decide(of, knowledge=world()).alternatives
        for change in alternative.changes
        if change.field is Field.CONCURRENT and len(alternative.changes) == 1
    ]
    for most in found:
        assert most % ranks == 0
        more = replace(of, workload=replace(of.workload, concurrent=most + 1))
        assert decide(more, knowledge=world()).decision is not Decision.ALLOW
    assert found or decide(of, knowledge=world()).decision is Decision.ALLOW


def test_several_changes_are_advised_together_where_no_two_are_enough() -> None:
    engine = {
        "maxModelLen": 32768, "maxNumSeqs": 1024, "gpuMemoryUtilization": "0.7",
        "maxNumBatchedTokens": 16384,
    }  # fmt: skip
    spec = on("nvidia-rtx-4090", 1, engine, "Qwen/Qwen3-8B-Base")
    spec["workload"] = {"concurrentSequences": 2, "inputTokens": 30000, "outputTokens": 1000}
    assert any(line.count(" and ") > 1 for line in assert_every_line_fits(spec))


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(12))
def test_ways_out_of_drawn_specs_fit_and_start(seed: int) -> None:
    from fuzz.specs import drop, put, sane

    random = Random(seed)
    counted = 0
    while counted < 60:
        spec = sane(random)
        for path in ("engine.extraArgs", "accelerator.nodeSelector", "model.parameters"):
            drop(spec, path)
        if "uri" not in spec["model"]:
            continue
        put(spec, "accelerator.allowed", [random.choice(("nvidia-l4", "nvidia-a100-80gb",
            "nvidia-h100-80gb", "nvidia-rtx-4090", "nvidia-t4"))])  # fmt: skip
        put(spec, "accelerator.gpusPerReplica", random.choice((1, 2, 4, 8)))
        of, verdict = verdict_on(spec)
        if verdict.decision is Decision.ALLOW or of.problems or verdict.problems:
            continue
        counted += 1
        said = "\n".join(summary(of, verdict))
        assert not ("room for" in said.replace("no room for", "") and "smaller model" in said), said
        for line in printed(of, verdict):
            _, after = verdict_on(pasted(spec, line))
            assert not after.problems, (spec, line, after.problems)
            assert not after.denied, (spec, line)


def test_no_word_of_a_smaller_model_while_the_weights_leave_room() -> None:
    spec = on("nvidia-l4", 1, {"maxModelLen": 32768}, "Qwen/Qwen3-8B")
    spec["workload"] = {"inputTokens": 30000, "outputTokens": 2000, "concurrentSequences": 1}
    of, verdict = verdict_on(spec)
    said = "\n".join(summary(of, verdict))
    if verdict.estimate is not None and verdict.estimate.terms[TermName.KV_CACHE].bytes:
        assert "smaller model" not in said


def test_the_pipeline_stage_that_needs_most_is_named_with_how_much_more_it_needs() -> None:
    engine = {
        "version": "0.17", "gpuMemoryUtilization": "0.9", "maxModelLen": 160000,
        "maxNumBatchedTokens": 4096, "maxNumSeqs": 32, "parallelism": {"tensor": 1, "pipeline": 4},
    }  # fmt: skip
    of, verdict = verdict_on(on("nvidia-a10", 4, engine, "Qwen/Qwen3.5-35B-A3B"))
    said = "\n".join(summary(of, verdict))
    assert "stage 1 of 4 needs most: " in said
    assert " per GPU more than stage " in said
    engine["parallelism"] = {"tensor": 4, "pipeline": 1}
    assert "needs most" not in "\n".join(
        summary(*verdict_on(on("nvidia-a10", 4, engine, "Qwen/Qwen3.5-35B-A3B")))
    )


def test_what_comes_after_the_cache_is_mended_together_with_the_budget() -> None:
    engine = {
        "version": "0.8.2", "gpuMemoryUtilization": "0.95", "maxModelLen": 116160,
        "parallelism": {"tensor": 8},
    }  # fmt: skip
    lines = assert_every_line_fits(on("nvidia-rtx-4090", 8, engine, DISTILLED))
    assert any("maxNumSeqs" in line and " and " in line for line in lines)
