"""What is wrong with a request before any memory is counted: sizes and contradictions."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.splits import MOST_GPUS, splits
from plimsoll.findings import Finding, Rule, finding, path_of
from plimsoll.paths import Field
from plimsoll.units import MAX_BYTES, MAX_COUNT, MAX_PARAMETERS, ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Request, Wanted
    from plimsoll.engines.assemble import Engine
    from plimsoll.engines.base import Parallelism
    from plimsoll.errors import Problem
    from plimsoll.models.architecture import Architecture

MOST_PARALLEL: Final = 1024

ACROSS_NODES: Final = frozenset({"nvidia-gb200", "nvidia-gb300"})
"""Accelerators whose tensor groups may span nodes: one NVLink domain is a whole rack."""


def sizes(request: Request) -> list[Finding]:
    """Numbers that are below 1 or beyond belief, each with its field."""
    e, work, want = request.engine, request.workload, request.wanted
    counts: tuple[tuple[Field, int | None, int], ...] = (
        (Field.TENSOR, want.split.tensor, MOST_PARALLEL),
        (Field.PIPELINE, want.split.pipeline, MOST_PARALLEL),
        (Field.DATA, want.split.data, MOST_PARALLEL),
        (Field.GPUS, want.gpus_per_replica, MOST_GPUS),
        (Field.MIN_MEMORY, want.min_memory, MAX_BYTES),
        (Field.RESERVED, want.reserved, MAX_BYTES),
        (Field.MEMORY, want.memory, MAX_BYTES),
        (Field.MAX_MODEL_LEN, e.max_model_len, MAX_COUNT),
        (Field.MAX_NUM_SEQS, e.max_num_seqs, MAX_COUNT),
        (Field.MAX_NUM_BATCHED_TOKENS, e.max_num_batched_tokens, MAX_COUNT),
        (Field.KV_CACHE_MEMORY, e.kv_cache_memory, MAX_BYTES),
        (Field.BLOCK_SIZE, e.block_size, MAX_COUNT),
        (Field.CONCURRENT, work.concurrent, MAX_COUNT),
        (Field.INPUT_TOKENS, work.input_tokens, MAX_COUNT),
        (Field.OUTPUT_TOKENS, work.output_tokens, MAX_COUNT),
        (Field.PARAMETERS, request.model.parameters, MAX_PARAMETERS),
    )
    found = [
        finding(Rule.SIZE, field, value, most=most)
        for field, value, most in counts
        if value is not None and not 1 <= value <= most
    ]
    if not 0 <= request.replicas <= MAX_COUNT:
        found.append(finding(Rule.REPLICAS, Field.REPLICAS, request.replicas, most=MAX_COUNT))
    share, bits = e.utilization, request.model.bits
    if share is not None and not (share.is_finite() and 0 < share <= 1):
        found.append(finding(Rule.SHARE, Field.UTILIZATION, str(share)))
    if bits is not None and not 0 < bits <= 64:
        found.append(finding(Rule.BITS, Field.BITS, bits))
    return found


def contradictions(request: Request) -> list[Finding]:
    """Fields that cannot both be meant: the split against the count, sequences against context.

    A field that was found wrong while the request was read is not found wrong again.
    """
    wrong = {path_of(problem, request.places) for problem in request.problems}
    both = [_beyond_context(request), _fewer_than_asked(request), _count_against_split(request)]
    return [one for one in both if one is not None and path_of(one, request.places) not in wrong]


def _beyond_context(request: Request) -> Finding | None:
    """A prompt and its answer that are longer than the longest context.

    Unsaid, that is the model's own, unless a flag of the engine may lengthen it.
    """
    work, length = request.workload, request.engine.max_model_len
    rule = Rule.SEQUENCE_BEYOND_CONTEXT
    sequence = (work.input_tokens or 0) + (work.output_tokens or 0)
    architecture = request.model.architecture
    if length is None and architecture is not None and not request.engine.unread:
        rule, length = Rule.SEQUENCE_BEYOND_MODEL, architecture.max_model_len or None
    if length is None or sequence <= length:
        return None
    return finding(
        rule,
        Field.INPUT_TOKENS if work.input_tokens else Field.OUTPUT_TOKENS,
        work.input_tokens or work.output_tokens,
        length=length,
        sequence=sequence,
    )


def _fewer_than_asked(request: Request) -> Finding | None:
    """Fewer sequences in one step than must be held at once."""
    concurrent, most = request.workload.concurrent, request.engine.max_num_seqs
    if not concurrent or not most or concurrent <= most:
        return None
    return finding(Rule.FEWER_SEQUENCES_THAN_ASKED, Field.MAX_NUM_SEQS, most, concurrent=concurrent)


def _count_against_split(request: Request) -> Finding | None:
    """A count of GPUs that the split does not come to."""
    gpus, split = request.wanted.gpus_per_replica, request.wanted.split
    sizes = {"tensor": split.tensor, "pipeline": split.pipeline, "data": split.data}
    given = {name: size for name, size in sizes.items() if size is not None}
    if gpus is None or not given:
        return None
    product = prod(given.values())
    is_open = split.tensor is None or split.pipeline is None
    if product <= gpus and gpus % product == 0 and (product == gpus or is_open):
        return None
    return finding(
        Rule.COUNT_IS_NO_MULTIPLE if is_open else Rule.COUNT_IS_NOT_THE_SPLIT,
        Field.GPUS,
        gpus,
        split=tuple(f"{name} {size}" for name, size in given.items()),
        product=product,
        wanted=ceil_div(gpus, product) * product if is_open else product,
    )


def split_problems(
    request: Request,
    architecture: Architecture,
    engine: Engine,
    candidates: Sequence[Candidate],
) -> list[Finding]:
    """A count of GPUs that no split of this model uses on any candidate."""
    gpus = request.wanted.gpus_per_replica
    if gpus is None or not candidates:
        return []
    if any(splits(request, c, architecture, engine).ladder for c in candidates):
        return []
    return [finding(Rule.NO_SPLIT_OF_THAT_COUNT, Field.GPUS, gpus)]


def across_slices(request: Request, candidates: Sequence[Candidate]) -> list[Finding]:
    """A tensor group of MIG slices, which have no way to one another.

    One that is larger than a node is no problem: engines run it over nodes, at a cost that
    `over_nodes` tells.
    """
    tensor = request.wanted.split.tensor
    if tensor is None or tensor == 1 or not candidates:
        return []
    if not all(c.accelerator.mig_of for c in candidates):
        return []
    return [finding(Rule.TENSOR_ACROSS_SLICES, Field.TENSOR, tensor)]


def as_written(problem: Finding | Problem, wanted: Wanted) -> Finding | Problem:
    """A problem of a split that was planned, at the count that was written and not at its sizes."""
    sizes = {
        Field.TENSOR: wanted.split.tensor,
        Field.PIPELINE: wanted.split.pipeline,
        Field.DATA: wanted.split.data,
    }
    gpus = wanted.gpus_per_replica
    planned = isinstance(problem, Finding) and sizes.get(problem.field, 0) is None
    if not planned or gpus is None:
        return problem
    return finding(Rule.NO_SPLIT_OF_THAT_COUNT, Field.GPUS, gpus)


def over_nodes(candidate: Candidate, split: Parallelism, engine: Engine) -> list[Finding]:
    """That a tensor group is larger than a node is, or usually is, and what that costs."""
    accelerator, pool, tensor = candidate.accelerator, candidate.pool, split.tensor
    most = pool.gpus_per_node if pool else accelerator.gpus_per_node
    if tensor <= most or accelerator.name in ACROSS_NODES:
        return []
    rule = Rule.TENSOR_OVER_NODES if pool else Rule.TENSOR_BEYOND_USUAL_NODE
    rule = rule if engine.stages else Rule.REPLICA_BEYOND_USUAL_NODE
    name, title = accelerator.name, engine.title
    facts: dict[str, Any] = {"tensor": tensor, "most": most, "accelerator": name, "engine": title}
    return [finding(rule, Field.TENSOR, tensor, **facts)]


def deduplicated(problems: Iterable[Finding | Problem]) -> tuple[Finding | Problem, ...]:
    """The problems in order, without those that say the same of the same field."""
    return tuple(dict.fromkeys(problems))
