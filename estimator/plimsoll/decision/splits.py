"""Into how many GPUs, and how, a replica may be split: the counts worth trying, smallest first.

What is tried, and in which order:

    within a node first    tensor = a size that the engine accepts, pipeline = 1
    then whole nodes       tensor = the largest accepted size, pipeline = 2, 3 ... `MOST_STAGES`
    no stages              an engine that has none for the model: tensor alone; one that has none at
                           all runs on one node: one that has the GPUs asked for, if nothing is
                           known of the nodes
    GPUs given             tensor x pipeline x data = that many, most tensor first
    tensor given           pipeline = 1, unless that tensor fills a usual node already
    data unset             1; expert unset: no

Nothing is planned that nobody would build: no more than `MOST_PLANNED` GPUs of one replica, unless
the request itself asks for more; nor more than a policy allows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines import registry
from plimsoll.engines.base import NOTHING_ASKED, Parallelism

if TYPE_CHECKING:
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Request, Wanted
    from plimsoll.engines.assemble import Engine
    from plimsoll.models.architecture import Architecture

MOST_GPUS: Final = 4096
"""GPUs of one replica: more are not asked for."""
MOST_PLANNED: Final = 64
"""GPUs of one replica that are planned unasked: eight usual nodes, a bound of ours."""
MOST_STAGES: Final = 8
"""Pipeline stages that are planned unasked."""


@dataclass(frozen=True, slots=True)
class Splits:
    """What to try on one candidate.

    ladder: splits in the order in which to try them; the first that fits is taken. All of one
        size if the request gives the count, else of growing size.
    tail: the split whose pipeline may be lengthened after the ladder, None for none.
    longest: pipeline stages that the tail may reach.
    idle: GPUs that the request asks for and that no split of this model can use.
    """

    ladder: tuple[Parallelism, ...]
    tail: Parallelism | None = None
    longest: int = 1
    idle: int = 0

    @property
    def most(self) -> int:
        """GPUs of the largest of them."""
        longest = self.tail.tensor * self.tail.data * self.longest if self.tail else 0
        return max(longest, max((split.gpus for split in self.ladder), default=0))


def pinned(wanted: Wanted) -> bool:
    """Whether the request gives the number of GPUs, so that it is checked and not planned."""
    return wanted.gpus_per_replica is not None or wanted.split.tensor is not None


def asked(wanted: Wanted) -> Parallelism | None:
    """The split as far as the request gives it, None if it gives nothing of it."""
    if wanted.split == NOTHING_ASKED:
        return None
    return Parallelism(
        wanted.split.tensor or 1,
        wanted.split.pipeline or 1,
        wanted.split.data or 1,
        bool(wanted.split.expert),
    )


def tensor_counts(request: Request) -> int:
    """By how much the tensor size that the user writes is more than that of one rank's layers."""
    asked = registry.engine(request.engine.name)
    return asked.tensor_counts(request.engine, request.wanted.split.data or 1)


def splits(
    request: Request, candidate: Candidate, architecture: Architecture, engine: Engine
) -> Splits:
    """The splits of a replica over GPUs like the candidate's that the request leaves open."""
    found = _all_splits(request, candidate, architecture, engine)
    most = request.wanted.most_gpus
    return found if most is None or pinned(request.wanted) else _at_most(found, most)


def _at_most(found: Splits, most: int) -> Splits:
    """Those of no more GPUs than a policy allows a replica."""
    ladder = tuple(split for split in found.ladder if split.gpus <= most)
    tail, longest = found.tail, 1
    if tail is not None:
        longest = min(found.longest, most // (tail.tensor * tail.data))
    return replace(
        found,
        ladder=ladder or found.ladder[:1],
        tail=tail if longest > 1 else None,
        longest=max(1, longest),
    )


def _all_splits(
    request: Request, candidate: Candidate, architecture: Architecture, engine: Engine
) -> Splits:
    """The splits that the request itself leaves open."""
    wanted, stages = request.wanted, engine.has_stages(architecture, request.engine)
    layers = max(1, len(architecture.blocks)) if stages else 1
    most = on_its_nodes(wanted, candidate, engine).per_node
    sizes = sorted(engine.tensor_parallel_sizes(architecture, most)) or [1]
    data, expert = wanted.split.data or 1, bool(wanted.split.expert)
    if wanted.gpus_per_replica is not None:
        return _exactly(wanted, wanted.gpus_per_replica, sizes, layers)
    if wanted.split.tensor is not None:
        single = Parallelism(wanted.split.tensor, wanted.split.pipeline or 1, data, expert)
        fills = wanted.split.tensor >= candidate.accelerator.gpus_per_node
        open_ended = wanted.split.pipeline is None and stages
        if open_ended and fills and not candidate.accelerator.mig_of:
            return Splits((single,), single, _longest(single, layers))
        return Splits((single,))
    if wanted.split.pipeline is not None:
        return Splits(tuple(Parallelism(t, wanted.split.pipeline, data, expert) for t in sizes))
    ladder = tuple(Parallelism(t, 1, data, expert) for t in sizes)
    if candidate.accelerator.mig_of or not stages:
        return Splits(ladder)
    return Splits(ladder, ladder[-1], _longest(ladder[-1], layers, most))


def on_its_nodes(wanted: Wanted, candidate: Candidate, engine: Engine) -> Candidate:
    """The candidate with nodes as large as an engine that runs on one node must have.

    Only where no node is known; those of a pool are as large as they are.
    """
    if engine.stages or candidate.pool is not None or candidate.accelerator.mig_of:
        return candidate
    asked = wanted.split.tensor or wanted.gpus_per_replica or 1
    return replace(candidate, per_node=max(candidate.per_node, asked))


def _longest(split: Parallelism, layers: int, per_node: int = 1) -> int:
    """Pipeline stages that a split may have: one for each layer, and no more than anybody builds.

    On one node there may be as many as it has GPUs.
    """
    stages = max(MOST_STAGES, per_node // (split.tensor * split.data))
    return min(layers, stages, max(1, MOST_PLANNED // (split.tensor * split.data)))


def layout(parallelism: Parallelism, per_node: int) -> tuple[int, int]:
    """GPUs per node and nodes for one replica: as few equal nodes as keep a tensor group whole.

    A tensor group larger than a node is spread over as few equal shares as there can be.
    """
    unit = parallelism.tensor if parallelism.tensor <= per_node else 1
    units = parallelism.gpus // unit
    together = next(k for k in range(max(1, min(units, per_node // unit)), 0, -1) if units % k == 0)
    return together * unit, units // together


def _exactly(wanted: Wanted, gpus: int, sizes: list[int], layers: int) -> Splits:
    """The splits that use all of `gpus`, most tensor first, or those that come nearest."""
    data, expert = wanted.split.data or 1, bool(wanted.split.expert)
    tensor = wanted.split.tensor
    tensors = sorted([tensor] if tensor is not None else sizes, reverse=True)
    open_pipeline = wanted.split.pipeline is None
    exact: list[Parallelism] = []
    nearest: list[Parallelism] = []
    for tensor in tensors:
        unit = tensor * data
        stages = min(gpus // unit, layers) if open_pipeline else wanted.split.pipeline or 1
        if stages < 1 or unit * stages > gpus:
            continue
        split = Parallelism(tensor, stages, data, expert)
        (exact if split.gpus == gpus else nearest).append(split)
    if exact:
        return Splits(tuple(exact))
    most = max((split.gpus for split in nearest), default=0)
    return Splits(tuple(s for s in nearest if s.gpus == most), idle=gpus - most if most else 0)
