"""What can be decided of a model of which nothing but its size is known.

It must not refuse by the rule of thumb: only weights that alone exceed the whole memory of the
GPUs asked for are certain not to fit.

    weights = parameters x bits / 8                       nothing else counted: a lower bound
    needed  = the rule of thumb (`plimsoll.decision.rule_of_thumb`), weights x 1.2
    planned = the smallest power of two within a node, or whole nodes, with memory >= needed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.decision.rule_of_thumb import gpus_needed, rule_of_thumb
from plimsoll.decision.trial import Seat
from plimsoll.decision.verdict import RuleOfThumb
from plimsoll.engines.base import Parallelism
from plimsoll.units import MAX_PARAMETERS, ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Wanted
    from plimsoll.models.model import Model


NOMINAL_BITS = 16
"""Bits per parameter where nothing says how a checkpoint is stored."""


@dataclass(frozen=True, slots=True)
class BySize:
    """What the size alone says. seat: the GPUs asked for, or as many as the rule of thumb takes.

    short_by: bytes per GPU by which the weights alone exceed the memory; above 0: certain.
    over: bytes of the replica by which the rule of thumb exceeds the memory; 0 where it does not.
    """

    seat: Seat
    short_by: int
    over: int


def rule(model: Model, accelerator: Accelerator | None) -> RuleOfThumb | None:
    """The rule of thumb for a model and, where one is in question, its count of that GPU.

    None where the size is not known, or is one that `plimsoll.decision.checks` reports as absurd.
    """
    bits = stored_bits(model)
    if model.parameters is None or not 0 < model.parameters <= MAX_PARAMETERS or not 0 < bits <= 64:
        return None
    need = rule_of_thumb(model.parameters, bits)
    gpus = gpus_needed(need, accelerator.memory) if accelerator else 0
    return RuleOfThumb(model.parameters, bits, need, gpus)


def stored_bits(model: Model) -> float:
    """Bits per parameter as stored: as said, else of the linears, else of the dtype, else 16."""
    architecture = model.architecture
    if model.bits is not None or architecture is None:
        return NOMINAL_BITS if model.bits is None else model.bits
    stored = architecture.quantization
    if stored is not None:
        schemes = [stored.default, *(scheme for _, scheme in stored.special)]
        widths = [scheme.bits for scheme in schemes if scheme is not None]
        if widths:
            return min(widths)
    return 32 if architecture.dtype == "float32" else NOMINAL_BITS


def by_size(model: Model, wanted: Wanted, candidates: Sequence[Candidate]) -> BySize | None:
    """The best seat by size alone, or the least short one; None without a size or candidates."""
    need = rule(model, None)
    if need is None:
        return None
    weights = int(need.parameters * need.bits / 8)
    found = [_sized(_seat(wanted, c, need.needed), weights, need.needed) for c in candidates]
    return min(found, key=lambda s: (s.short_by, s.over, s.seat.preference), default=None)


def _sized(seat: Seat, weights: int, need: int) -> BySize:
    """Data-parallel copies each hold the weights, unless expert parallelism shares some of them."""
    memory, split = seat.candidate.accelerator.memory, seat.parallelism
    copies = 1 if split.expert else split.data
    short_by = max(0, ceil_div(weights * copies, seat.gpus) - memory)
    return BySize(seat, short_by, max(0, need * split.data - seat.gpus * memory))


def _seat(wanted: Wanted, candidate: Candidate, need: int) -> Seat:
    """As the request says, and what it leaves open by the rule of thumb."""
    data, expert, most = wanted.split.data or 1, bool(wanted.split.expert), candidate.per_node
    said = (wanted.split.tensor or 1) * (wanted.split.pipeline or 1) * data
    gpus = wanted.gpus_per_replica or 0
    if not gpus and wanted.split.tensor is None:
        gpus = ceil_div(need, candidate.accelerator.memory) * data
    if wanted.split.tensor is not None:
        stages = wanted.split.pipeline or max(1, gpus // said)
        return Seat(candidate, Parallelism(wanted.split.tensor, stages, data, expert))
    ranks = max(1, ceil_div(gpus, (wanted.split.pipeline or 1) * data))
    if wanted.gpus_per_replica is not None:
        tensor = max(t for t in _powers(most) if ranks % t == 0)
        stages = wanted.split.pipeline or ranks // tensor
    else:
        tensor = next((t for t in _powers(most) if t >= ranks), _powers(most)[-1])
        stages = wanted.split.pipeline or ceil_div(ranks, tensor)
    return Seat(candidate, Parallelism(tensor, stages, data, expert))


def _powers(most: int) -> list[int]:
    """Powers of two up to `most`, which is at least 1."""
    return [1 << n for n in range(most.bit_length())]
