"""What is wrong with a request before any memory is counted: sizes and contradictions.

It must not repeat what an engine or the table of accelerators checks, and it must not stop at the
first thing that is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.decision.splits import splits
from plimsoll.errors import Problem, shown
from plimsoll.findings import Rule, finding, path_of
from plimsoll.paths import Field
from plimsoll.units import MAX_BYTES, MAX_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Request
    from plimsoll.engines.base import Engine
    from plimsoll.findings import Finding
    from plimsoll.inventory.pools import Inventory
    from plimsoll.models.architecture import Architecture

MOST_PARALLEL: Final = 1024
MOST_GPUS: Final = 4096
MOST: Final = 10**9
"""No count of tokens or sequences above this is believed."""

ACROSS_NODES: Final = frozenset({"nvidia-gb200", "nvidia-gb300"})
"""Accelerators whose tensor groups may span nodes: one NVLink domain is a whole rack."""


def sizes(request: Request) -> list[Finding | Problem]:
    """Numbers that are below 1 or beyond belief, each with its field."""
    e, work, want = request.engine, request.workload, request.wanted
    counts: tuple[tuple[Field, int | None, int], ...] = (
        (Field.TENSOR, want.split.tensor, MOST_PARALLEL),
        (Field.PIPELINE, want.split.pipeline, MOST_PARALLEL),
        (Field.DATA, want.split.data, MOST_PARALLEL),
        (Field.GPUS, want.gpus_per_replica, MOST_GPUS),
        (Field.MIN_MEMORY, want.min_memory, MAX_BYTES),
        (Field.MAX_MODEL_LEN, e.max_model_len, MOST),
        (Field.MAX_NUM_SEQS, e.max_num_seqs, MOST),
        (Field.MAX_NUM_BATCHED_TOKENS, e.max_num_batched_tokens, MOST),
        (Field.KV_CACHE_MEMORY, e.kv_cache_memory, MAX_BYTES),
        (Field.BLOCK_SIZE, e.block_size, MOST),
        (Field.CONCURRENT, work.concurrent, MOST),
        (Field.INPUT_TOKENS, work.input_tokens, MOST),
        (Field.OUTPUT_TOKENS, work.output_tokens, MOST),
        (Field.PARAMETERS, request.model.parameters, MAX_PARAMETERS),
    )
    found: list[Finding | Problem] = [
        finding(Rule.SIZE, field, value, most=most)
        for field, value, most in counts
        if value is not None and not 1 <= value <= most
    ]
    if not 0 <= request.replicas <= MOST:
        found.append(Problem("spec.replicas", shown(request.replicas), f"must be from 0 to {MOST}"))
    share, bits = e.utilization, request.model.bits
    if share is not None and not (share.is_finite() and 0 < share <= 1):
        found.append(
            Problem(
                "spec.engine.gpuMemoryUtilization",
                shown(str(share)),
                "must be above 0 and at most 1, such as 0.9",
            )
        )
    if bits is not None and not 0 < bits <= 64:
        found.append(Problem("spec.model.bits", shown(bits), "must be above 0 and at most 64"))
    return found


def contradictions(request: Request, said: Sequence[Finding | Problem]) -> list[Problem]:
    """Fields that cannot both be meant: the split against the count, sequences against context.

    said: what was found before; a field that is wrong already is not found wrong again.
    """
    paths = {path_of(problem, request.places) for problem in said}
    return [problem for problem in _contradictions(request) if problem.path not in paths]


def _contradictions(request: Request) -> list[Problem]:
    found: list[Problem] = []
    want, work, length = request.wanted, request.workload, request.engine.max_model_len
    sequence = (work.input_tokens or 0) + (work.output_tokens or 0)
    if length is not None and sequence > length:
        word = "inputTokens" if work.input_tokens else "outputTokens"
        found.append(
            Problem(
                f"spec.workload.{word}",
                shown(work.input_tokens or work.output_tokens),
                f"inputTokens + outputTokens of at most maxModelLen ({length}), not {sequence}",
                f"raise spec.engine.maxModelLen to {sequence}, or ask for less",
            )
        )
    if (
        work.concurrent
        and request.engine.max_num_seqs
        and (work.concurrent > request.engine.max_num_seqs)
    ):
        found.append(
            Problem(
                "spec.engine.maxNumSeqs",
                shown(request.engine.max_num_seqs),
                f"the workload asks for {work.concurrent} sequences at once",
                f"raise it to {work.concurrent} or more, or lower workload.concurrentSequences",
            )
        )
    gpus = want.gpus_per_replica
    given = [
        (word, value)
        for word, value in (
            ("tensor", want.split.tensor),
            ("pipeline", want.split.pipeline),
            ("data", want.split.data),
        )
        if value is not None
    ]
    if gpus is None or not given:
        return found
    product = 1
    for _, value in given:
        product *= value
    text = " x ".join(f"{word} {value}" for word, value in given)
    open_fields = want.split.tensor is None or want.split.pipeline is None
    if product > gpus or gpus % product or (product != gpus and not open_fields):
        found.append(
            Problem(
                "spec.accelerator.gpusPerReplica",
                shown(gpus),
                f"must be {'a multiple of ' if open_fields else ''}{text} = {product}",
                f"set it to {-(-gpus // product) * product if open_fields else product}, "
                "or leave it or the parallelism out",
            )
        )
    return found


def split_problems(
    request: Request,
    architecture: Architecture,
    engine: Engine,
    candidates: Sequence[Candidate],
) -> list[Problem]:
    """A count of GPUs that no split of this model uses on any candidate."""
    gpus = request.wanted.gpus_per_replica
    if gpus is None or any(
        splits(request.wanted, c, architecture, engine).ladder for c in candidates
    ):
        return []
    return [
        Problem(
            "spec.accelerator.gpusPerReplica",
            shown(gpus),
            "no split of this model comes to that count with the parallelism that is given",
            "leave one of the two out",
        )
    ]


def beyond_node(
    request: Request, inventory: Inventory, candidates: Sequence[Candidate]
) -> tuple[list[Problem], list[str]]:
    """A tensor group that is larger than a node: (problems, warnings).

    Certain only where the accelerators are slices, or where the inventory has nodes of every
    accelerator allowed and all of them are smaller; the table's node sizes are only the usual.
    """
    tensor = request.wanted.split.tensor
    if tensor is None or not candidates:
        return [], []
    kinds = {c.accelerator.name: c.accelerator for c in candidates}
    seen = {name: _largest(inventory, name) for name in kinds}
    most = {
        name: max(seen[name], 1 if kind.mig_of else kind.gpus_per_node)
        for name, kind in kinds.items()
    }
    if any(tensor <= count for count in most.values()):
        return [], []
    path, given = "spec.engine.parallelism.tensor", shown(tensor)
    if all(kind.mig_of for kind in kinds.values()):
        return [
            Problem(
                path, given, "there is no tensor parallelism across MIG slices",
                "set 1, or allow a whole GPU",
            )
        ], []  # fmt: skip
    name = max(most, key=lambda n: (most[n], n))
    nodes = f"a node has at most {most[name]} x {name}"
    fix = f"set {most[name]} or less and spread over nodes with parallelism.pipeline"
    certain = all(seen[n] or kinds[n].mig_of for n in kinds) and not ACROSS_NODES & set(kinds)
    if certain:
        return [Problem(path, given, nodes, fix)], []
    return [], [f"{path} is {tensor}, but usually {nodes}; {fix}"]


def _largest(inventory: Inventory, name: str) -> int:
    """GPUs of the largest node with that accelerator, 0 where there is none."""
    return max(
        (1 if p.accelerator.mig_of else p.gpus_per_node
         for p in inventory.pools if p.accelerator.name == name),
        default=0,
    )  # fmt: skip


def deduplicated(problems: Iterable[Finding | Problem]) -> tuple[Finding | Problem, ...]:
    """The problems in order, without those that say the same of the same field."""
    return tuple(dict.fromkeys(problems))
