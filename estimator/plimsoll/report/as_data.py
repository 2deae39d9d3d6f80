"""A verdict as plain data: in bytes for `-o json` and `-o yaml`, rounded for the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.decision.pod import pod_needs
from plimsoll.decision.policy import outcome
from plimsoll.errors import clean
from plimsoll.report.nodes import nodes_message, placement_reason
from plimsoll.report.pod import pod_dict
from plimsoll.report.starts import walk_dict
from plimsoll.report.wording import notes_of, problems_of, warnings_of
from plimsoll.units import money

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Alternative, Placement, RuleOfThumb, Verdict
    from plimsoll.engines.base import Estimate, Limit, Parallelism, Span
    from plimsoll.errors import Problem
    from plimsoll.paths import Places

LONGEST_NAME = 512
"""Characters of a model's name; no location of a manifest is longer."""


def parallelism_dict(parallelism: Parallelism) -> dict[str, Any]:
    """A split, as the manifest writes it."""
    return {
        "tensor": parallelism.tensor,
        "pipeline": parallelism.pipeline,
        "data": parallelism.data,
        "expert": parallelism.expert,
    }


def estimate_dict(estimate: Estimate, places: Places) -> dict[str, Any]:
    """An estimate: every term in bytes with its band, and what was resolved on the way."""
    return {
        "engineVersion": estimate.version,
        "parallelism": parallelism_dict(estimate.parallelism),
        "pipelineStage": estimate.stage,
        "perGPU": {
            "physical": estimate.physical,
            "usable": estimate.usable,
            "required": estimate.required,
            "requiredLow": estimate.required_low,
            "requiredHigh": estimate.required_high,
            "spare": estimate.spare,
            **({"headroom": estimate.headroom} if estimate.headroom else {}),
        },
        "terms": [
            {
                "name": str(term.name),
                "bytes": term.bytes,
                "low": term.low,
                "high": term.high,
                "known": str(term.known),
                "basis": term.basis,
            }
            for term in estimate.terms
        ],
        "limits": [_limit_dict(limit) for limit in estimate.limits],
        "gpuMemoryUtilization": str(estimate.utilization),
        "maxModelLen": estimate.max_model_len,
        "maxNumSeqs": estimate.max_num_seqs,
        "maxNumBatchedTokens": estimate.max_num_batched_tokens,
        "kvCacheDtype": estimate.kv_cache_dtype,
        "kvCacheCapacity": estimate.kv_capacity,
        "kvCacheCapacityLow": estimate.kv_capacity_low,
        "kvCacheCapacityHigh": estimate.kv_capacity_high,
        "kvCacheTokens": estimate.kv_tokens,
        "maxConcurrency": round(estimate.max_concurrency, 4),
        "largestMaxModelLen": estimate.largest_max_model_len,
        "notes": list(notes_of(estimate, places)),
    }


def _limit_dict(limit: Limit) -> dict[str, Any]:
    """What a start holds beside the budget: in bytes per GPU, or in blocks."""
    return {
        "name": str(limit.name),
        "unit": "bytes" if limit.each == 1 else "blocks",
        "state": str(limit.state),
        "needs": _span_dict(limit.need),
        "has": _span_dict(limit.has),
        "known": str(limit.known),
        "basis": limit.basis,
    }


def _span_dict(span: Span) -> dict[str, int]:
    return {"middle": span.middle, "low": span.low, "high": span.high}


def placement_dict(placement: Placement) -> dict[str, Any]:
    """A placement, as the status writes it."""
    return {
        "accelerator": placement.accelerator,
        "gpusPerReplica": placement.gpus_per_replica,
        "nodesPerReplica": placement.nodes_per_replica,
        "totalGPUs": placement.total_gpus,
        "parallelism": parallelism_dict(placement.parallelism),
        "resources": {placement.resource: str(placement.gpus_per_node)},
        "nodeSelector": dict(placement.node_selector),
        "tolerations": [
            {
                k: v
                for k, v in zip(("key", "operator", "value", "effect"), toleration, strict=True)
                if v
            }
            for toleration in placement.tolerations
        ],
        "engineArgs": list(placement.engine_args),
        "onNodes": placement.on_nodes,
        **({"topologyKey": placement.topology} if placement.topology else {}),
        **({"pricePerHour": money(placement.price)} if placement.price is not None else {}),
        "reason": placement_reason(placement),
    }


def alternative_dict(
    alternative: Alternative,
    places: Places,
    need: Callable[[int], object] = int,
    have: Callable[[int], object] = int,
) -> dict[str, Any]:
    """One way out. need, have: how bytes that are needed, and that are there, are written."""
    return {
        "changes": [
            {"path": places.path(change.field), "value": change.value}
            for change in alternative.changes
        ],
        "accelerator": alternative.accelerator,
        "gpusPerReplica": alternative.gpus_per_replica,
        "requiredPerGPU": need(alternative.required),
        "usablePerGPU": have(alternative.usable),
        "available": alternative.available,
    }


def rule_of_thumb_dict(rule: RuleOfThumb) -> dict[str, Any]:
    """The rule of thumb's answer, in bytes for the whole replica."""
    return {
        "parameters": rule.parameters,
        "bits": rule.bits,
        "bytes": rule.needed,
        "gpus": rule.gpus or None,
    }


def verdict_dict(request: Request, verdict: Verdict) -> dict[str, Any]:
    """A whole verdict with the request's name and model."""
    model, needs = verdict.model, pod_needs(request, verdict)
    return {
        "name": request.name,
        "decision": str(verdict.decision),
        "admitted": outcome(verdict).let_in,
        "mode": str(verdict.policy.mode),
        "reason": str(verdict.reason),
        "requestHash": verdict.request_hash,
        "model": {
            "name": clean(model.name, LONGEST_NAME),
            "source": str(model.source),
            "origin": model.origin,
            "parameters": model.parameters,
            "bits": model.bits,
            "suggestions": list(model.suggestions),
        },
        "gates": walk_dict(verdict.walk),
        "problems": [problem_dict(p) for p in problems_of(verdict)],
        "warnings": list(warnings_of(verdict)),
        "accelerator": verdict.accelerator or None,
        "shortBy": verdict.short_by,
        "estimate": estimate_dict(verdict.estimate, verdict.places) if verdict.estimate else None,
        "placement": placement_dict(verdict.placement) if verdict.placement else None,
        "pod": pod_dict(needs) if needs else None,
        "alternatives": [alternative_dict(a, verdict.places) for a in verdict.alternatives],
        "ruleOfThumb": rule_of_thumb_dict(verdict.rule_of_thumb) if verdict.rule_of_thumb else None,
        "capacity": {"reason": str(verdict.capacity), "message": nodes_message(verdict)},
    }


def problem_dict(problem: Problem) -> dict[str, str]:
    """A problem for machines."""
    return {
        "path": problem.path,
        "given": problem.given,
        "wanted": problem.wanted,
        "fix": problem.fix,
    }
