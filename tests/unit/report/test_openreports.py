"""Claims about the results of a report: one outcome each, bounded, and printable."""

from __future__ import annotations

from typing import Any

from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Mode, Policy
from plimsoll.decision.surplus import surplus
from plimsoll.report.audit import Audited
from plimsoll.report.openreports import LONGEST, MOST, not_decided, results_of, summary_of
from plimsoll.workloads import kinds
from plimsoll.workloads.roles import NothingBeside


def audited(arguments: list[str], mode: Mode = Mode.ENFORCE, gpus: int = 1) -> Audited:
    """A Deployment of vLLM on L4s, decided on."""
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.11.0",
        "args": arguments,
        "resources": {"limits": {"nvidia.com/gpu": gpus}},
    }
    spec = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}, "containers": [container]}
    metadata = {"name": "it", "namespace": "chat"}
    obj = {"kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": spec}}}
    kind = kinds.find("apps/v1", "Deployment")
    assert kind is not None
    (served,) = kind.read(obj, NothingBeside())
    verdict = decide(served.request, policy=Policy(mode, "a test"))
    return Audited("Deployment", served.request, verdict, surplus(served.request, verdict))


def outcomes(*arguments: str, gpus: int = 1) -> list[tuple[str, str]]:
    """Outcome and rule of each result."""
    found = results_of([audited(list(arguments), gpus=gpus)])
    return [(one["result"], one["rule"]) for one in found]


QWEN = ("--model=Qwen/Qwen2.5-7B-Instruct", "--max-model-len=8192")


def test_what_fits_passes_and_what_cannot_fit_fails_whatever_the_namespace_does_with_it() -> None:
    assert outcomes(*QWEN) == [("pass", "EnoughMemory")]
    large = ["--model=meta-llama/Llama-3.3-70B-Instruct"]
    for mode in Mode:
        (result,) = results_of([audited(large, mode)])
        assert (result["result"], result["severity"], result["rule"]) == ("fail", "high", "PL001")


def test_a_field_that_is_wrong_fails_at_its_place() -> None:
    (result,) = results_of([audited([*QWEN, "--num-scheduler-steps=8"])])
    assert result["result"] == "fail"
    assert result["properties"]["path"] == "spec.template.spec.containers[0].args[2]"


def test_idle_gpus_are_a_warning_that_is_said_once() -> None:
    found = outcomes(*QWEN, gpus=2)
    assert ("warn", "PL129") in found
    assert len(found) == len(set(found))


def test_what_was_not_decided_is_an_error_and_counted_as_one() -> None:
    found = not_decided("deciding took more than 2 s")
    assert summary_of(found) == {"pass": 0, "fail": 0, "warn": 0, "error": 1, "skip": 0}


def test_a_report_has_an_end_and_holds_nothing_that_cannot_be_printed() -> None:
    strange = audited(["--model=Qwen/Qwen2.5-7B-Instruct", "--\x1b[31mred"])
    found: list[dict[str, Any]] = results_of([strange] * 100)
    assert len(found) == MOST
    for one in found:
        assert len(one["message"]) <= LONGEST
        assert one["message"].replace("\n", "").isprintable()
