"""What can be decided if only the size of a model is known, by the rule of thumb.

    weights = P x Q / 8                         P parameters, Q bits per parameter
    needed  = (P x 4 bytes) / (32 / Q) x 1.2    the rule of thumb
    planned = the smallest power of two within a node, or whole nodes, with memory >= needed

Nothing is refused by the rule of thumb, which knows no context, concurrency or engine: only weights
that alone exceed the whole memory of the GPUs asked for are certain not to fit. Beside an estimate
it is shown for comparison.

70B at 16 bits: 70 x 4 / (32 / 16) x 1.2 = 168 GB; at 4 bits: 42 GB (decimal GB). Copies in
circulation lose the division, multiplying or leaving it out, and print 21 or 210 GB for the same
case. Source: S. Stoelinga, "Calculating GPU memory for serving LLMs", 16 November 2023,
https://www.substratus.ai/blog/calculating-gpu-memory-for-llm/. The 1.2 is not derived there; the
same figure stands in https://blog.eleuther.ai/transformer-math/ as at most 20 % for a forward
pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from plimsoll.decision.trial import Seat
from plimsoll.decision.verdict import RuleOfThumb
from plimsoll.engines.base import Parallelism
from plimsoll.units import MAX_PARAMETERS, ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Wanted
    from plimsoll.models.architecture import Model

_OVERHEAD = Fraction(12, 10)
NOMINAL_BITS = 16
"""Bits per parameter if nothing says how a checkpoint is stored."""


@dataclass(frozen=True, slots=True)
class BySize:
    """What the size alone says. seat: the GPUs asked for, or as many as the rule of thumb takes.

    short_by: bytes per GPU by which the weights alone exceed the memory; above 0: certain.
    over: bytes of the replica by which the rule of thumb exceeds the memory; 0 if it does not.
    """

    seat: Seat
    short_by: int
    over: int


@lru_cache(maxsize=4096)
def rule_of_thumb(parameters: int, bits: float) -> int:
    """Bytes for the whole replica, rounded up: parameters x 4 / (32 / bits) x 1.2.

    parameters: above 0. bits: per parameter, above 0 (16, 8, 4, 4.25 ...). Raises `ValueError`
    for anything else.
    """
    if parameters <= 0 or not 0 < bits <= 64:
        raise ValueError("parameters and bits must be above 0, and bits at most 64")
    needed = Fraction(parameters * 4) / (32 / Fraction(str(bits))) * _OVERHEAD
    return ceil_div(needed.numerator, needed.denominator)


def gpus_needed(needed: int, memory: int) -> int:
    """GPUs of `memory` bytes, all of it counted, that hold `needed` bytes. memory: above 0."""
    return max(1, ceil_div(needed, memory))


def rule(model: Model, accelerator: Accelerator | None) -> RuleOfThumb | None:
    """The rule of thumb for a model and, if a GPU is in question, how many of it.

    None if the size is not known, or is one that `plimsoll.decision.checks` reports as absurd.
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
    if stored is not None and stored.schemes:
        return min(scheme.bits for scheme in stored.schemes)
    return 32 if architecture.dtype == "float32" else NOMINAL_BITS


def by_size(model: Model, wanted: Wanted, candidates: Sequence[Candidate]) -> BySize | None:
    """The best seat by size alone, or the least short one; None without a size or candidates."""
    need = rule(model, None)
    if need is None:
        return None
    weights = int(need.parameters * need.bits / 8)
    found = [
        _sized(_seat(wanted, c, need.needed), weights, need.needed, wanted) for c in candidates
    ]
    return min(found, key=lambda s: (s.short_by, s.over, s.seat.preference), default=None)


def _sized(seat: Seat, weights: int, need: int, wanted: Wanted) -> BySize:
    """Data-parallel copies each hold the weights, unless expert parallelism shares some of them."""
    memory, split = seat.candidate.accelerator.memory, seat.parallelism
    memory -= wanted.kept_free(memory)
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
