"""What is predicted for one row: each term as a range over the row's variants, and the verdict.

It must not look at what was measured, except for `TermId.TOKENS_GIVEN_GIB`, which is the tokens
that the measured cache holds: there the measured GiB are an input. It has no rules of its own on
what fits either; `plimsoll.decision` has.

    weights, peak     of a rank; over all pipeline stages, since a log does not say which it is
    graphs            what capturing takes, whether or not the version charges it to the budget
    cache, GiB        what the other terms leave of the budget, over all stages likewise
    tokens, requests  of one data-parallel copy, as its engine logs them

    range             [low, high]: the least and the most over the variants
    predicted         the middle of the range
    error             0 if low <= measured <= high, else the distance to the nearer end
    counts            GiB terms if high - low < 5 % of the GPU's physical memory (if that is
                      unknown, of `high` itself, which is stricter); tokens and requests if
                      high - low < 5 % of `high`, since the cache is a part of the memory

    allow, deny       every variant of the row gives that
    warn              decide() says so, or what is unknown beside the needed inputs decides
    no verdict        a needed input is unknown and decides

Need grows with sequences, batch, length, cache dtype and graphs, and falls with them; so of what is
unknown only the value that needs least, the one that needs most and the default are decided on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from plimsoll.decision.decide import decide
from plimsoll.decision.knowledge import Knowledge
from plimsoll.decision.request import Request, Wanted
from plimsoll.decision.verdict import Decision
from plimsoll.engines.base import AskedSplit, TermName, Workload
from plimsoll.measured.inputs import (
    AXES,
    NOT_MODELLED,
    OUTCOME_AXES,
    Variant,
    missing,
    touched,
    variants,
)
from plimsoll.measured.rows import FAILED, STARTED, TermId, derived
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.paths import NO_PLACES
from plimsoll.report.wording import problem
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.engines.assemble import Engine
    from plimsoll.engines.base import Estimate
    from plimsoll.measured.inputs import Facts
    from plimsoll.measured.rows import Row


NARROW: Final = 0.05
"""A range counts only if it is narrower than this share."""
NOT_MEASURED: Final = "not measured"
_TERMS: Final = {
    TermId.WEIGHTS: TermName.WEIGHTS,
    TermId.ACTIVATION: TermName.ACTIVATION,
    TermId.NON_TORCH: TermName.NON_TORCH,
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a term may be. low, high: GiB, tokens or requests."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The middle of the range: what counts as predicted."""
        return self.low if self.low == self.high else (self.low + self.high) / 2

    def error(self, measured: float) -> float:
        """How far the measured value lies outside of the range; 0 within it."""
        return max(0.0, self.low - measured, measured - self.high)

    def counts(self, term: TermId, physical_gib: float | None) -> bool:
        """Whether the range is narrow enough to say something."""
        if self.low == self.high:
            return True
        whole = physical_gib if term.in_gib and physical_gib else abs(self.high)
        return self.high - self.low < NARROW * whole


def measured(row: Row, term: TermId) -> float | str:
    """What was measured, or why there is nothing to compare with."""
    value = row.measured.get(term.measured_as)
    if value is None:
        return NOT_MEASURED
    if derived(row, term):
        return "measured value inferred by the collector"
    if term is TermId.GRAPHS and value < 0:
        return "free memory rose while graphs were captured"
    if term is TermId.TOKENS_GIVEN_GIB:
        given = row.measured.get(str(TermId.KV_GIB))
        if given is None or given <= 0:
            return NOT_MEASURED
        if derived(row, TermId.KV_GIB):
            return "measured value inferred by the collector"
    return value


def predict(row: Row, known: Facts, term: TermId) -> Prediction | str:
    """The range of a term, or why it cannot be predicted."""
    axes = AXES[term]
    why = missing(known, axes) or touched(known, term)
    if why:
        return why
    if term is TermId.GRAPHS and known.engine.name != "vllm":
        return f"{NOT_MODELLED}CUDA graphs as a term of this engine"
    if term is TermId.WEIGHTS and known.engine.name != "vllm" and known.splits[0].pipeline > 1:
        return "which pipeline stage was logged is unknown"
    possible = variants(known, axes, stored_as=term is not TermId.TOKENS_GIVEN_GIB)
    if isinstance(possible, str):
        return possible
    given = row.measured.get(str(TermId.KV_GIB)) if term is TermId.TOKENS_GIVEN_GIB else None
    values: list[float] = []
    refused = ""
    for variant in possible:
        problems = known.engine.problems(
            variant.architecture, variant.settings, variant.parallelism, None
        )
        if problems:
            refused = problem(problems[0], NO_PLACES).wanted
            continue
        values += _values(known.engine, variant, term, given)
    if not values:
        return f"{NOT_MODELLED}the engine would not start: {refused or 'no room for the cache'}"
    return Prediction(min(values), max(values))


def _values(
    engine: Engine, variant: Variant, term: TermId, given: float | None
) -> tuple[float, ...]:
    """What a term is in one variant; several if the ranks differ."""
    if term is TermId.GRAPHS:
        return (_graphs(variant) / GIB,)
    by_stage = engine.name == "vllm" and variant.parallelism.pipeline > 1
    if by_stage and term is TermId.WEIGHTS:
        return tuple(size / GIB for size in _stages(variant))
    if by_stage and term is TermId.ACTIVATION:
        return tuple(size / GIB for size in _peaks(variant))
    settings = variant.settings
    if given is not None:
        settings = replace(settings, kv_cache_memory=round(given * GIB))
    estimate = engine.estimate(
        variant.architecture, settings, Workload(), variant.parallelism, variant.accelerator
    )
    if given is not None and estimate.kv_capacity != settings.kv_cache_memory:
        # An engine without a flag for it: its pools grow with the memory that they are given.
        room = estimate.kv_capacity / GIB
        return (_of(estimate, term) * given / room,) if room > 0 else ()
    if by_stage and given is None and term is TermId.KV_GIB:
        rest = sum(t.bytes for t in estimate.terms if t.name not in _BY_STAGE)
        held = zip(_stages(variant), _peaks(variant), strict=True)
        return tuple((estimate.usable - rest - sum(pair)) / GIB for pair in held)
    return (_of(estimate, term),)


_BY_STAGE: Final = (TermName.WEIGHTS, TermName.KV_CACHE, TermName.ACTIVATION)
"""Terms that differ from one pipeline stage to the next; a log is one stage's and does not say
which."""


def _of(estimate: Estimate, term: TermId) -> float:
    copies = max(1, estimate.parallelism.data)
    if term in _TERMS:
        return estimate.terms[_TERMS[term]].bytes / GIB
    if term is TermId.KV_GIB:
        return estimate.kv_capacity / GIB
    if term is TermId.CONCURRENCY:
        return estimate.max_concurrency / copies
    return float(estimate.kv_tokens // copies)


def _stages(variant: Variant) -> tuple[int, ...]:
    """vLLM's weights of one rank of every pipeline stage, in bytes."""
    from plimsoll.engines.layers.dtypes import weight_dtype
    from plimsoll.engines.layers.sharding import stage_weights

    architecture, settings = variant.architecture, variant.settings
    dtype = weight_dtype(architecture, settings.dtype)
    return tuple(stage_weights(architecture, dtype, settings.quantization, variant.parallelism))


def _peaks(variant: Variant) -> tuple[int, ...]:
    """vLLM's activation peak on one rank of every pipeline stage, in bytes."""
    from plimsoll.engines.vllm.defaults import resolve
    from plimsoll.engines.vllm.options import TABLE
    from plimsoll.engines.vllm.overheads import activation

    architecture, settings, split = variant.architecture, variant.settings, variant.parallelism
    figures = TABLE.constants(settings.version)
    resolved = resolve(architecture, settings, variant.accelerator, figures)
    return tuple(
        activation(architecture, settings, resolved, split, stage, figures).bytes
        for stage in range(split.pipeline)
    )


def _graphs(variant: Variant) -> int:
    """What vLLM's CUDA graphs take, in bytes, even if the version does not charge them."""
    from plimsoll.engines.layers.sharding import stage_layers
    from plimsoll.engines.vllm.defaults import resolve
    from plimsoll.engines.vllm.options import TABLE
    from plimsoll.engines.vllm.overheads import captured

    architecture, split = variant.architecture, variant.parallelism
    figures = TABLE.constants(variant.settings.version)
    resolved = resolve(architecture, variant.settings, variant.accelerator, figures)
    layers = max(
        end - start for start, end in stage_layers(len(architecture.blocks), split.pipeline)
    )
    return captured(architecture, resolved, split, layers, variant.accelerator, figures).bytes


_NAME: Final = "measured"


def verdict(row: Row, known: Facts) -> Decision | str:
    """The verdict on a row's start-up, or why there is none."""
    if row.outcome != STARTED and row.outcome not in FAILED:
        return "outcome unknown"
    lacking = missing(known, OUTCOME_AXES)
    if not known.splits or known.physical is None:
        return lacking
    why = touched(known, None)
    if why:
        return why
    possible = variants(known, OUTCOME_AXES)
    if isinstance(possible, str):
        return f"{lacking or possible}"
    decided = set()
    for variant in _corners(_startable(known, possible)):
        decided.add(judged(known, variant))
        if len(decided) > 1 and lacking:
            return lacking
    if len(decided) == 1:
        return decided.pop()
    return Decision.WARN


def judged(known: Facts, variant: Variant) -> Decision:
    """What decide() says to one start-up on that GPU alone."""
    architecture, split = variant.architecture, variant.parallelism
    accelerator = replace(
        variant.accelerator,
        name=_NAME
        if variant.accelerator.resource != "nvidia.com/gpu"
        else variant.accelerator.name,
        gpus_per_node=max(split.tensor, variant.accelerator.gpus_per_node),
    )
    knowledge = Knowledge({variant.settings.name: known.engine}, (accelerator,))
    request = Request(
        Model("the row's model", ModelSource.CONFIG, architecture, architecture.parameters),
        variant.settings,
        wanted=Wanted(
            allowed=(accelerator.name,),
            gpus_per_replica=split.gpus,
            split=AskedSplit(split.tensor, split.pipeline, split.data, split.expert),
        ),
    )
    return decide(request, knowledge=knowledge).decision


def _startable(known: Facts, found: list[Variant]) -> list[Variant]:
    """The variants that the engine does not refuse, memory aside; all if it refuses all.

    A value that is only tried, and that the engine would not start with, says nothing of the row.
    """
    kept = [
        one
        for one in found
        if not known.engine.problems(
            one.architecture, one.settings, one.parallelism, one.accelerator
        )
    ]
    return kept or found


def _corners(found: list[Variant]) -> list[Variant]:
    """The variants that need most and least, and those between that the default gives."""
    if len(found) <= _FEW:
        return found
    groups: dict[tuple[object, ...], list[Variant]] = {}
    for one in found:
        key = (id(one.architecture), one.settings.version, one.parallelism, one.accelerator.name)
        groups.setdefault(key, []).append(one)
    chosen: list[Variant] = []
    for group in groups.values():
        ordered = sorted(group, key=_size)
        chosen += [ordered[0], ordered[-1]]
    return chosen


def _size(one: Variant) -> tuple[object, ...]:
    """Sorts by how much a start-up may hold, what weighs most first."""
    s, architecture = one.settings, one.architecture
    share = s.utilization if s.utilization is not None else DEFAULT_SHARE
    return (
        -share,
        s.max_model_len or architecture.max_model_len,
        s.kv_cache_dtype != "fp8",
        s.max_num_seqs or LARGE,
        s.max_num_batched_tokens or LARGE,
        not s.enforce_eager,
    )


_FEW: Final = 12
DEFAULT_SHARE: Final = Decimal("0.9")
LARGE: Final = 10**9
