"""How long `decide` takes, in this process: request read, model resolved, verdict given.

Every request is another one, so nothing can be answered from a memory of requests. The baseline is
what the validation of the same manifest takes, which any controller does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from perf import requests
from perf.results import Report, percentile
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll.workloads.spec import LLMDeploymentSpec

Maker = Callable[[int], dict[str, Any]]


def _times(make: Maker, count: int, wanted: Decision) -> tuple[list[float], list[float]]:
    """Milliseconds of validation alone and of the whole decision, for distinct requests."""
    objects = [make(i) for i in range(count)]
    for obj in (make(count + i) for i in range(len(requests.MODELS))):
        decide(request(obj, NoDocuments()))
    gc.collect()
    validation, decision = [], []
    for obj in objects:
        start = time.perf_counter()
        LLMDeploymentSpec.model_validate(obj["spec"])
        middle = time.perf_counter()
        verdict = decide(request(obj, NoDocuments()))
        end = time.perf_counter()
        if verdict.decision is not wanted:
            raise AssertionError(f"{obj['metadata']['name']}: {verdict.decision}, not {wanted}")
        validation.append((middle - start) * 1e3)
        decision.append((end - middle) * 1e3)
    return validation, decision


def run(report: Report) -> None:
    """The three figures."""
    cases: tuple[tuple[str, Maker, int, Decision, float], ...] = (
        ("decide, one accelerator, allowed: p99", requests.allowed, 3000, Decision.ALLOW, 2),
        ("decide, denied with advice: p99", requests.refused, 1500, Decision.DENY, 15),
        ("decide, whole accelerator table: p99", requests.anywhere, 600, Decision.ALLOW, 30),
    )
    for name, make, count, wanted, aim in cases:
        validation, decision = _times(make, count, wanted)
        report.add(
            name, percentile(decision, 0.99), "ms", f"<= {aim}", percentile(validation, 0.99)
        )
