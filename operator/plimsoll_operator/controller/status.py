"""A verdict as the fields of an LLMDeployment's status, and the smallest patch from one to another.

It must not word conditions (`plan` does) and must not decide what is written.

Needs are rounded up and possessions down, to MiB; every text and list is cut to what the CRD
allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import plimsoll
from plimsoll.engines.base import LimitName, TermName
from plimsoll.report.arithmetic import have, need
from plimsoll.report.as_data import alternative_dict, parallelism_dict, placement_dict
from plimsoll.report.pod import pod_dict
from plimsoll.report.wording import notes_of
from plimsoll.units import ceil_mib, floor_mib, gb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.pod import PodNeeds
    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Estimate

LONGEST_TEXT: Final = 1024
MOST_ALTERNATIVES: Final = 5
MOST_NOTES: Final = 16
MOST_FLAGS: Final = 160
"""Arguments that are written: the 64 of ``extraArgs`` and all that an engine is told beside."""


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    """The text, elided if it is longer than that many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def estimate_fields(verdict: Verdict) -> dict[str, Any]:
    """``status.estimate``: what one GPU needs and has, term by term."""
    fields: dict[str, Any] = {
        "estimatorVersion": plimsoll.__version__,
        "requestHash": verdict.request_hash,
    }
    if verdict.model.origin:
        fields["modelSource"] = shortened(verdict.model.origin)
    if verdict.estimate is not None:
        fields |= _of_one_gpu(verdict.estimate)
        fields["accelerator"] = verdict.accelerator
        if notes := notes_of(verdict.estimate, verdict.places)[:MOST_NOTES]:
            fields["notes"] = [shortened(note) for note in notes]
    if verdict.rule_of_thumb is not None:
        fields["ruleOfThumb"] = gb(verdict.rule_of_thumb.needed)
    return fields


def _of_one_gpu(estimate: Estimate) -> dict[str, Any]:
    terms = {term.name: term for term in estimate.terms}
    limits = {limit.name: limit for limit in estimate.limits}
    beside: dict[str, str] = {}
    if loading := limits.get(LimitName.LOADING):
        beside["loading"] = ceil_mib(loading.need.middle)
    if after := limits.get(LimitName.AFTER_CACHE):
        beside["afterCache"] = ceil_mib(after.need.middle)
        beside["leftAfterCache"] = floor_mib(max(0, after.has.middle))
    states = limits.get(LimitName.STATES)
    return {
        "engineVersion": shortened(estimate.version, 64),
        "gpuMemoryUtilization": shortened(str(estimate.utilization), 32),
        "gpusPerReplica": estimate.parallelism.gpus,
        "parallelism": parallelism_dict(estimate.parallelism),
        "needPerGPU": need(estimate),
        "havePerGPU": have(estimate),
        **({"stateBlocks": states.has.middle} if states else {}),
        "maxConcurrentSequences": int(estimate.max_concurrency),
        "kvCacheTokens": max(0, estimate.kv_tokens),
        "perGPU": {
            "physical": floor_mib(estimate.physical),
            "usable": floor_mib(estimate.usable),
            "required": ceil_mib(estimate.required),
            "requiredLow": ceil_mib(estimate.required_low),
            "requiredHigh": ceil_mib(estimate.required_high),
            **{str(name): ceil_mib(terms[name].bytes) for name in TermName if name in terms},
            **beside,
        },
    }


def _cut(value: Any) -> Any:
    """The same data with every text as long as the CRD allows."""
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, dict):
        return {key: _cut(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_cut(inside) for inside in value]
    return value


def result_fields(verdict: Verdict, needs: PodNeeds | None = None) -> dict[str, Any]:
    """Everything in the status that follows from the verdict, except the conditions.

    needs: of each pod of the placement, beside GPUs.
    """
    fields: dict[str, Any] = {"estimate": estimate_fields(verdict)}
    if needs is not None:
        fields["pod"] = _cut(pod_dict(needs))
    if verdict.placement is not None:
        placement = placement_dict(verdict.placement)
        placement["engineArgs"] = placement["engineArgs"][:MOST_FLAGS]
        fields["placement"] = _cut(placement)
    if verdict.alternatives:
        chosen = verdict.alternatives[:MOST_ALTERNATIVES]
        fields["alternatives"] = [
            _cut(alternative_dict(alternative, verdict.places, ceil_mib, floor_mib))
            for alternative in chosen
        ]
    return fields


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that makes `old` into `new`; empty if they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if deeper := merge_patch(before, value):
                patch[key] = deeper
        elif key not in old or before != value:
            patch[key] = value
    return patch
