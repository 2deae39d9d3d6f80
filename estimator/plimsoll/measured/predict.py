"""What is predicted for one row: each term as a range over the row's variants, and the verdict.

It must not look at what was measured, except for `TermId.TOKENS_GIVEN_GIB`, which is the tokens
that the measured cache holds: there the measured GiB are an input. It has no rules of its own on
what fits either; `plimsoll.decision` has.

    weights, peak     of a rank; over all pipeline stages, since a log does not say which it is;
                      slots for adapters count as weights, as in the engine's own line
    graphs            what capturing takes, and what the engine estimates for it before, whether or
                      not the version charges that to the budget
    cache, GiB        what the other terms leave of the budget, over all stages likewise
    tokens, requests  of one data-parallel copy, as its engine logs them

    range             [low, high]: the least and the most over the variants
    stated            [least, most]: the same of the ends of the ranges that the estimate states
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
    from collections.abc import Sequence

    from plimsoll.engines.assemble import Engine
    from plimsoll.engines.base import EngineSettings, Estimate, Term
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

_LOADED: Final = (TermName.LORA, TermName.DRAFT)
"""What is loaded with the weights, so that logs count it there."""


ROUNDED: Final = 0.0051
"""GiB by which a log's figure may differ from the truth: it prints two decimals."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a term may be. low, high: GiB, tokens or requests; least, most: with the ranges that
    the estimate states around its own figures."""

    low: float
    high: float
    least: float
    most: float

    @classmethod
    def over(cls, values: Sequence[Stated]) -> Prediction:
        """What a term may be over all variants."""
        return cls(
            min(v.value for v in values),
            max(v.value for v in values),
            min(v.least for v in values),
            max(v.most for v in values),
        )

    def holds(self, term: TermId, measured: float) -> bool:
        """Whether the measured value lies within the stated range."""
        slack = ROUNDED if term.in_gib else 0.0
        return self.least - slack <= measured <= self.most + slack

    def residual(self, measured: float) -> float:
        """How much the measured value is above the nearer end of the variants; 0 within them."""
        return measured - min(max(measured, self.low), self.high)

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
    if term in (TermId.GRAPHS, TermId.GRAPHS_CHARGED) and value < 0:
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
    if term in (TermId.GRAPHS, TermId.GRAPHS_CHARGED) and known.engine.name != "vllm":
        return f"{NOT_MODELLED}CUDA graphs as a term of this engine"
    if term is TermId.WEIGHTS and known.engine.name != "vllm" and known.splits[0].pipeline > 1:
        return "which pipeline stage was logged is unknown"
    possible = variants(known, axes, stored_as=term is not TermId.TOKENS_GIVEN_GIB)
    if isinstance(possible, str):
        return possible
    given = row.measured.get(str(TermId.KV_GIB)) if term is TermId.TOKENS_GIVEN_GIB else None
    values: list[Stated] = []
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
    return Prediction.over(values)


@dataclass(frozen=True, slots=True)
class Stated:
    """A term in one variant, and the ends of the range that is stated for it."""

    least: float
    value: float
    most: float

    def times(self, share: float) -> Stated:
        """All three grown by a share."""
        return Stated(self.least * share, self.value * share, self.most * share)


def _values(
    engine: Engine, variant: Variant, term: TermId, given: float | None
) -> tuple[Stated, ...]:
    """What a term is in one variant; several if the ranks differ."""
    if term in (TermId.GRAPHS, TermId.GRAPHS_CHARGED):
        return (_of_term(_graphs(variant, charged=term is TermId.GRAPHS_CHARGED)),)
    by_stage = engine.name == "vllm" and variant.parallelism.pipeline > 1
    settings = variant.settings
    if given is not None:
        settings = replace(settings, kv_cache_memory=round(given * GIB))
    estimate = engine.estimate(
        variant.architecture, settings, Workload(), variant.parallelism, variant.accelerator
    )
    if given is not None:
        return _given(engine, variant, estimate, settings, given)
    if by_stage and given is None and term in _STAGED:
        return _by_stage(variant, estimate, term)
    return (_of(estimate, term),)


def _given(
    engine: Engine, variant: Variant, estimate: Estimate, settings: EngineSettings, given: float
) -> tuple[Stated, ...]:
    """The tokens of a cache of known size, which the log prints rounded.

    An engine without a flag for it: its pools grow with the memory that they are given, however
    much that is; so a larger GPU says the same of it.
    """
    room = estimate.kv_capacity
    if room != settings.kv_cache_memory:
        larger = variant.accelerator
        while room <= 0 and larger.memory < _LARGEST:
            larger = replace(larger, memory=2 * larger.memory)
            estimate = engine.estimate(
                variant.architecture, settings, Workload(), variant.parallelism, larger
            )
            room = estimate.kv_capacity
        if room <= 0:
            return ()
    tokens = estimate.kv_tokens // max(1, estimate.parallelism.data) * given * GIB / room
    rounded = ROUNDED / given
    return (Stated(tokens * (1 - rounded), tokens, tokens * (1 + rounded)),)


_LARGEST: Final = 1 << 43


def _by_stage(variant: Variant, estimate: Estimate, term: TermId) -> tuple[Stated, ...]:
    """A term of every pipeline stage: weights with the worst stage's range, and the peaks."""
    whole = estimate.terms[TermName.WEIGHTS]
    weights = [
        Stated(size * whole.low / whole.bytes, size, size * whole.high / whole.bytes)
        for size in _stages(variant)
    ]
    peaks = [Stated(peak.low, peak.bytes, peak.high) for peak in _peaks(variant)]
    if term is not TermId.KV_GIB:
        chosen = weights if term is TermId.WEIGHTS else peaks
        return tuple(one.times(1 / GIB) for one in chosen)
    rest = [t for t in estimate.terms if t.name not in _BY_STAGE]
    least = estimate.usable - sum(t.high for t in rest)
    middle = estimate.usable - sum(t.bytes for t in rest)
    most = estimate.usable - sum(t.low for t in rest)
    return tuple(
        Stated(
            least - stage.most - peak.most,
            middle - stage.value - peak.value,
            most - stage.least - peak.least,
        ).times(1 / GIB)
        for stage, peak in zip(weights, peaks, strict=True)
    )


_STAGED: Final = (TermId.WEIGHTS, TermId.ACTIVATION, TermId.KV_GIB)


_BY_STAGE: Final = (TermName.WEIGHTS, TermName.KV_CACHE, TermName.ACTIVATION)
"""Terms that differ from one pipeline stage to the next; a log is one stage's and does not say
which."""


def _of_term(term: Term) -> Stated:
    return Stated(term.low / GIB, term.bytes / GIB, term.high / GIB)


def _of(estimate: Estimate, term: TermId) -> Stated:
    if term is TermId.WEIGHTS:
        loaded = [t for t in estimate.terms if t.name in (TermName.WEIGHTS, *_LOADED)]
        low, size, high = (
            sum(part) / GIB
            for part in zip(*((t.low, t.bytes, t.high) for t in loaded), strict=True)
        )
        return Stated(low, size, high)
    if term in _TERMS:
        return _of_term(estimate.terms[_TERMS[term]])
    room = Stated(estimate.kv_capacity_low, estimate.kv_capacity, estimate.kv_capacity_high)
    if term is TermId.KV_GIB:
        return room.times(1 / GIB)
    copies = max(1, estimate.parallelism.data)
    held = estimate.max_concurrency / copies
    if term is not TermId.CONCURRENCY:
        held = float(estimate.kv_tokens // copies)
    if room.value <= 0:
        return Stated(0.0, held, held)
    return Stated(max(0.0, held * room.least / room.value), held, held * room.most / room.value)


def _stages(variant: Variant) -> tuple[int, ...]:
    """vLLM's weights of one rank of every pipeline stage, in bytes."""
    from plimsoll.engines.layers.dtypes import weight_dtype
    from plimsoll.engines.layers.sharding import stage_weights

    architecture, settings = variant.architecture, variant.settings
    dtype = weight_dtype(architecture, settings.dtype)
    return tuple(stage_weights(architecture, dtype, settings.quantization, variant.parallelism))


def _peaks(variant: Variant) -> tuple[Term, ...]:
    """vLLM's activation peak on one rank of every pipeline stage."""
    from plimsoll.engines.vllm.defaults import resolve
    from plimsoll.engines.vllm.options import TABLE
    from plimsoll.engines.vllm.overheads import activation

    architecture, settings, split = variant.architecture, variant.settings, variant.parallelism
    figures = TABLE.constants(settings.version)
    resolved = resolve(architecture, settings, variant.accelerator, figures)
    return tuple(
        activation(architecture, settings, resolved, split, stage, variant.accelerator, figures)
        for stage in range(split.pipeline)
    )


def _graphs(variant: Variant, *, charged: bool) -> Term:
    """What vLLM's CUDA graphs take, or what it estimates for them, charged or not."""
    from plimsoll.engines.layers.sharding import stage_layers
    from plimsoll.engines.vllm import lora, speculative
    from plimsoll.engines.vllm.defaults import resolve
    from plimsoll.engines.vllm.options import TABLE
    from plimsoll.engines.vllm.overheads import captured

    architecture, settings, split = variant.architecture, variant.settings, variant.parallelism
    figures = TABLE.constants(settings.version)
    resolved = resolve(architecture, settings, variant.accelerator, figures)
    resolved = speculative.graphed(resolved, speculative.draft_of(architecture, settings))
    bounds = stage_layers(len(architecture.blocks), split.pipeline)
    layers = max(end - start for start, end in bounds)
    term = captured(
        architecture, resolved, split, layers, variant.accelerator, figures, estimate=charged
    )
    return lora.graphs(term, settings, figures)


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
