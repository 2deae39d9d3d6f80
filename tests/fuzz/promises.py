"""What is true of every decision, whatever was asked: what the targets hold a verdict against."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from controlplane.nodes import GPUS, gpu_node
from plimsoll.decision.policy import Policy
from plimsoll.decision.verdict import Decision
from plimsoll.inventory.nodes import read_nodes
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.report import messages
from plimsoll.report.as_data import verdict_dict
from plimsoll.workloads.llmdeployment import Missing
from plimsoll_operator.admission.review import MAX_WARNING, MAX_WARNINGS, Answer, write_answer
from plimsoll_operator.controller.plan import plan
from plimsoll_operator.controller.snapshot import identify, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.inventory.pools import Inventory

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST_WORDS: Final = 20_000
"""Characters of a denial."""
LONGEST_CONDITION: Final = 1024
LONGEST_STATUS: Final = 64 << 10
"""Bytes of a status as JSON."""


@dataclass(frozen=True, slots=True)
class Texts:
    """ConfigMaps by name, in whatever namespace."""

    found: Mapping[str, str] = field(default_factory=dict)

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text of that name."""
        return self.found.get(name) or Missing("there is no such ConfigMap")


def llmdeployment(spec: Any, **metadata: Any) -> dict[str, Any]:
    """An object as the API server stores it."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "n", "namespace": "x", "uid": "u", "generation": 1, **metadata},
        "spec": spec,
    }


def decided(
    obj: Mapping[str, Any], documents: Texts, inventory: Inventory = NO_INVENTORY
) -> tuple[Request, Verdict, dict[str, Any]]:
    """Request, verdict and status of an object, as the controller makes them."""
    identity = identify(obj)
    assert identity is not None
    inputs = snapshot(obj, identity, inventory, Policy(), documents)
    planned = plan(inputs, NOW)
    assert planned.verdict is not None
    status = {**planned.patch, "events": [event.message for event in planned.events]}
    return inputs.request, planned.verdict, status


def broken_promises(request: Request, verdict: Verdict, status: dict[str, Any]) -> Iterator[str]:
    """What a decision and its words should not be, as ``kind: details``."""
    yield from _figures(verdict)
    yield from _words(request, verdict, status)


def _figures(verdict: Verdict) -> Iterator[str]:
    estimate = verdict.estimate
    if verdict.decision is Decision.ALLOW:
        if estimate is None or verdict.placement is None:
            yield f"allowed without numbers: {verdict.reason}"
        elif estimate.required_high > estimate.usable:
            yield f"allowed above usable: {estimate.required_high} of {estimate.usable}"
        elif verdict.short_by:
            yield f"allowed and short: by {verdict.short_by}"
        if verdict.problems:
            yield f"allowed with problems: {verdict.problems}"
    if verdict.denied and not verdict.problems and not verdict.short_by:
        yield f"denied without a reason: {verdict.reason}"
    if estimate is not None:
        for term in estimate.terms:
            if not 0 <= term.low <= term.bytes <= term.high:
                yield f"term outside its band: {term}"
        if not estimate.required > 0 or not 0 <= estimate.usable <= estimate.physical:
            yield f"no such memory: {estimate.required}, {estimate.usable}, {estimate.physical}"
    for alternative in verdict.alternatives:
        if alternative.required > alternative.usable:
            yield f"alternative does not fit: {alternative}"


def _words(request: Request, verdict: Verdict, status: dict[str, Any]) -> Iterator[str]:
    refusal = messages.denial(request, verdict) if verdict.denied else ""
    warnings = messages.warning(request, verdict)
    said = {
        "denial": refusal,
        "warning": list(warnings),
        "headline": messages.headline(request, verdict),
        "summary": list(messages.summary(request, verdict)),
        "data": verdict_dict(request, verdict),
        "status": status,
    }
    for place, text in said.items():
        yield from unclean(text, place)
    if verdict.denied and not refusal:
        yield "silent denial: no word is said"
    if len(refusal) > LONGEST_WORDS:
        yield f"endless words: a denial of {len(refusal)} characters"
    for condition in status.get("conditions", ()):
        if len(condition["message"]) > LONGEST_CONDITION:
            yield f"endless words: condition {condition['type']}"
    size = len(json.dumps(status, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > LONGEST_STATUS:
        yield f"endless status: {size} bytes"
    answer = Answer(not verdict.denied, refusal, warnings)
    yield from unclean_answer(write_answer("u", answer))


def unclean_answer(body: bytes) -> Iterator[str]:
    """What the API server or a terminal would not take of an answer; its uid is only sent back."""
    response = json.loads(body)["response"]
    response.pop("uid")
    yield from unclean(response, "answer")
    warnings = response.get("warnings", [])
    if any(len(line) > MAX_WARNING for line in warnings) or sum(map(len, warnings)) > MAX_WARNINGS:
        yield "endless words: warnings"


def unclean(said: Any, place: str) -> Iterator[str]:
    """Texts within what is said that hold control characters or cannot be written as UTF-8."""
    if isinstance(said, str):
        if not said.replace("\n", "").isprintable():
            yield f"control characters in {place}: {ascii(said)[:200]}"
    elif isinstance(said, dict):
        for key, value in said.items():
            yield from unclean(key, place)
            yield from unclean(value, place)
    elif isinstance(said, list | tuple):
        for value in said:
            yield from unclean(value, place)


@lru_cache(maxsize=500)
def nodes_of(kinds: tuple[str, ...]) -> Inventory:
    """A cluster with two nodes of each of these kinds of GPU."""
    return read_nodes([gpu_node(f"{gpu}-{i}", gpu) for gpu in kinds for i in range(2)])


def some_nodes() -> Inventory:
    """A cluster with two nodes of every kind of GPU that the cluster tests know."""
    return nodes_of(tuple(GPUS))
