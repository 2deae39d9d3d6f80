"""One split of a replica on one kind of GPU, tried: what planning and advice are made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from plimsoll.decision.fit import Fit, fit
from plimsoll.decision.splits import layout
from plimsoll.engines.base import Parallelism, TermName
from plimsoll.findings import Rule, finding
from plimsoll.models.storage import stored_bytes
from plimsoll.paths import Field
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Request
    from plimsoll.engines.assemble import Engine
    from plimsoll.engines.base import Estimate
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

KV_SHARE = (3, 4)
"""Share of the KV cache's least bytes that the lower bound carries over from one accelerator to
another: how much a window layer holds depends on the batch, and that on the GPU."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A split of one replica over GPUs of one candidate."""

    candidate: Candidate
    parallelism: Parallelism

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.parallelism.gpus

    @property
    def per_node(self) -> int:
        """GPUs of one node that the replica uses."""
        return layout(self.parallelism, self.candidate.per_node)[0]

    @property
    def nodes(self) -> int:
        """Nodes that the replica spans."""
        return layout(self.parallelism, self.candidate.per_node)[1]

    @property
    def standing(self) -> tuple[bool, ...]:
        """What speaks against the nodes of its pool; see `Candidate.standing`."""
        return self.candidate.standing(self.nodes, self.per_node)

    @property
    def preference(self) -> tuple[object, ...]:
        """Sorts the seats that hold a model: the best first. See `plimsoll.decision.search`."""
        return (
            *self.standing,
            *self.candidate.measure(self.gpus),
            *self.candidate.order[1:],
        )


@dataclass(frozen=True, slots=True)
class Trial(Seat):
    """A seat with what one of its ranks needs there."""

    estimate: Estimate
    fit: Fit

    @property
    def nearness(self) -> tuple[object, ...]:
        """Sorts the ones that do not fit: the least short first."""
        return (self.fit.short_by, self.gpus, *self.candidate.order[1:])


@dataclass(frozen=True)
class Case:
    """A request whose model and engine are known: what planning and advice work on.

    tried: trials by (accelerator, memory, split), so that none is estimated twice in one case.
    """

    request: Request
    architecture: Architecture
    engine: Engine
    tried: dict[tuple[str, int, Parallelism], Estimate] = field(default_factory=dict)

    def trial(self, candidate: Candidate, parallelism: Parallelism) -> Trial:
        """What one split needs on one candidate."""
        accelerator = self.card(candidate)
        key = (accelerator.name, accelerator.memory, parallelism)
        estimate = self.tried.get(key)
        if estimate is None:
            request = self.request
            estimate = self.engine.estimate(
                self.architecture, request.engine, request.workload, parallelism, accelerator
            )
            free = request.wanted.kept_free(estimate.physical)
            if free:
                estimate = replace(estimate, usable=estimate.usable - free, headroom=free)
            self.tried[key] = estimate
        return Trial(candidate, parallelism, estimate, fit(estimate))

    def card(self, candidate: Candidate) -> Accelerator:
        """The GPU, with what others hold of it."""
        held = self.request.wanted.reserved
        return replace(candidate.accelerator, reserved=held) if held else candidate.accelerator

    def refusals(
        self, candidate: Candidate, parallelism: Parallelism | None
    ) -> tuple[Finding | Problem, ...]:
        """Why the engine would not start there, the memory of GPUs aside."""
        problems = self.engine.problems(
            self.architecture, self.request.engine, parallelism, self.card(candidate)
        )
        if parallelism is not None and not self.engine.stages and candidate.pool is not None:
            most, tensor = candidate.per_node, parallelism.tensor
            if tensor > most:
                name, title = candidate.accelerator.name, self.engine.title
                facts: dict[str, Any] = {"most": most, "accelerator": name, "engine": title}
                beyond = finding(Rule.REPLICA_BEYOND_NODE, Field.TENSOR, tensor, **facts)
                problems = (*problems, beyond)
        has = candidate.pool.memory if candidate.pool else 0
        if parallelism is None or not has:
            return problems
        needed = self.host_memory(Seat(candidate, parallelism))
        if needed <= has:
            return problems
        rule = Rule.TOO_LITTLE_HOST_MEMORY
        return (*problems, finding(rule, Field.CPU_OFFLOAD, has=has, memory=needed))

    def host_memory(self, seat: Seat) -> int:
        """Bytes of a node's own memory that hold weights: as asked for by every GPU, but no more
        than the model has, once for each of its copies."""
        offload = self.request.engine.cpu_offload
        if not offload:
            return 0
        whole = stored_bytes(self.architecture) * seat.parallelism.data
        return min(offload * seat.per_node, whole)

    def fewest_ranks(self, candidate: Candidate) -> int:
        """The fewest ranks of one data-parallel copy that hold weights and KV cache at all."""
        wanted = self.request.wanted
        whole = Parallelism(1, 1, wanted.split.data or 1, bool(wanted.split.expert))
        known = next((e for (_, _, split), e in self.tried.items() if split == whole), None)
        whole_model = known or self.trial(candidate, whole).estimate
        least = whole_model.terms[TermName.WEIGHTS].low
        least += whole_model.terms[TermName.KV_CACHE].low * KV_SHARE[0] // KV_SHARE[1]
        share = Decimal(whole_model.usable) / max(1, whole_model.physical)
        usable = int(candidate.accelerator.memory * max(whole_model.utilization, share))
        offload = self.request.engine.cpu_offload or 0  # of every GPU, not of this one alone
        least, usable = least + offload, usable + offload
        return max(1, ceil_div(least, max(1, usable)))
