"""A verdict as the fields of an LLMDeployment's status, and the smallest patch from one to another.

It must not word conditions (`plan` does) and must not decide what is written.

Needs are rounded up and possessions down, to MiB; every text and list is cut to what the CRD
allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import plimsoll
from plimsoll.engines.base import TermName
from plimsoll.report.nodes import placement_reason
from plimsoll.units import GB, ceil_div, ceil_mib, floor_mib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.decision.verdict import Alternative, Placement, Verdict
    from plimsoll.engines.base import Estimate
    from plimsoll.paths import Places

LONGEST_TEXT: Final = 1024
MOST_ALTERNATIVES: Final = 5
MOST_FLAGS: Final = 64


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    """The text, elided where it is longer than that many characters."""
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
    if verdict.rule_of_thumb is not None:
        fields["ruleOfThumb"] = f"{ceil_div(verdict.rule_of_thumb.needed, GB)}G"
    return fields


def _of_one_gpu(estimate: Estimate) -> dict[str, Any]:
    terms = {term.name: term for term in estimate.terms}
    return {
        "maxConcurrentSequences": int(estimate.max_concurrency),
        "kvCacheTokens": max(0, estimate.kv_tokens),
        "perGPU": {
            "physical": floor_mib(estimate.physical),
            "usable": floor_mib(estimate.usable),
            "required": ceil_mib(estimate.required),
            **{str(name): ceil_mib(terms[name].bytes) for name in TermName if name in terms},
        },
    }


def placement_fields(placement: Placement) -> dict[str, Any]:
    """``status.placement``: enough to run one replica."""
    split = placement.parallelism
    return {
        "accelerator": placement.accelerator,
        "gpusPerReplica": placement.gpus_per_replica,
        "nodesPerReplica": placement.nodes_per_replica,
        "totalGPUs": placement.total_gpus,
        "parallelism": {
            "tensor": split.tensor,
            "pipeline": split.pipeline,
            "data": split.data,
            "expert": split.expert,
        },
        "resources": {placement.resource: str(placement.gpus_per_node)},
        "nodeSelector": dict(placement.node_selector),
        "tolerations": list(_tolerations(placement.tolerations)),
        "engineArgs": [shortened(flag) for flag in placement.engine_args[:MOST_FLAGS]],
        "reason": shortened(placement_reason(placement)),
    }


def _tolerations(given: Iterable[tuple[str, str, str, str]]) -> Iterable[dict[str, str]]:
    for key, operator, value, effect in given:
        fields = {"key": key, "operator": operator, "value": value, "effect": effect}
        yield {name: text for name, text in fields.items() if text}


def alternative_fields(alternative: Alternative, places: Places) -> dict[str, Any]:
    """One item of ``status.alternatives``: changes that, made together, make it fit."""
    return {
        "changes": [
            {"path": places.path(change.field), "value": shortened(change.value)}
            for change in alternative.changes
        ],
        "accelerator": alternative.accelerator,
        "gpusPerReplica": alternative.gpus_per_replica,
        "requiredPerGPU": ceil_mib(alternative.required),
        "usablePerGPU": floor_mib(alternative.usable),
        "available": alternative.available,
    }


def result_fields(verdict: Verdict) -> dict[str, Any]:
    """Everything in the status that follows from the verdict but the conditions."""
    fields: dict[str, Any] = {"estimate": estimate_fields(verdict)}
    if verdict.placement is not None:
        fields["placement"] = placement_fields(verdict.placement)
    if verdict.alternatives:
        chosen = verdict.alternatives[:MOST_ALTERNATIVES]
        fields["alternatives"] = [alternative_fields(one, verdict.places) for one in chosen]
    return fields


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that makes `old` into `new`; empty where they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if deeper := merge_patch(before, value):
                patch[key] = deeper
        elif key not in old or before != value:
            patch[key] = value
    return patch
