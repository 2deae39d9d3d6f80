"""The request hash: proof that the command line, admission and the controller decided the same.

It must not see the inventory, nor names that change nothing (the object's, the model's alias where
its structure is known).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Policy
    from plimsoll.engines.base import Engine, EngineSettings

DIGITS = 32
"""Hexadecimal digits of the hash that are kept."""


def request_hash(
    request: Request, policy: Policy, knowledge: Knowledge, engine: Engine | None
) -> str:
    """``sha256:`` and `DIGITS` digits over spec, resolved model, constants and policy's mode."""
    settings, wanted, model = request.engine, request.wanted, request.model
    load = request.workload
    constants = engine.constants_digest(settings.version) if engine else ""
    share = settings.utilization
    facts = (
        settings.name,
        settings.version,
        settings.dtype,
        settings.quantization,
        settings.max_model_len,
        settings.max_num_seqs,
        settings.max_num_batched_tokens,
        settings.kv_cache_dtype,
        settings.kv_cache_memory,
        _canonical(share),
        settings.enforce_eager,
        settings.block_size,
        settings.unread,
        settings.flags,
        (load.concurrent, load.input_tokens, load.output_tokens),
        sorted(set(wanted.allowed)),
        wanted.gpus_per_replica,
        (wanted.split.tensor, wanted.split.pipeline, wanted.split.data, wanted.split.expert),
        wanted.min_memory,
        sorted(wanted.node_selector),
        request.replicas,
        model.digest or model.name,
        model.parameters,
        model.bits,
        tuple(map(str, request.problems)),
        constants,
        knowledge.digest,
        policy.mode.value,
        *((settings.options.said(),) if settings.options.said() else ()),
        *_features(settings),
    )
    digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass"))
    return f"sha256:{digest.hexdigest()[:DIGITS]}"


def _features(settings: EngineSettings) -> tuple[object, ...]:
    """What only some requests say, by name, so that those that do not keep their hash."""
    said = (
        ("lora", settings.lora),
        ("speculative", settings.speculative),
        ("cpuOffload", settings.cpu_offload),
        ("images", settings.images),
        ("videos", settings.videos),
    )
    return tuple(pair for pair in said if pair[1] is not None)


def _canonical(share: Decimal | None) -> str:
    """A share in one spelling however it was written; what is no share, as it stands."""
    if share is None or not share.is_finite() or not 0 < share <= 1:
        return str(share)
    return str(share.normalize())
