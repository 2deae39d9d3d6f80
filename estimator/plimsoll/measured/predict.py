"""One term of one row: the least and the most that it may be over the row's candidates.

It must not look at what was measured, but for `TermId.TOKENS_GIVEN_GIB`, which is the tokens that
the measured cache holds: there the measured GiB are the one input, and nothing is chosen by them.

    weights, peak     of a rank; over all pipeline stages, since a log does not say which it is
    graphs            what capturing takes, whether or not the version charges it to the budget
    cache, GiB        what the other terms leave of the budget, over all stages likewise
    tokens, requests  of one data-parallel copy, as its engine logs them
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import TermName, Workload
from plimsoll.measured.candidates import AXES, Candidate, candidates, missing, touched
from plimsoll.measured.inputs import NOT_MODELLED
from plimsoll.measured.rows import derived
from plimsoll.measured.terms import Prediction, TermId
from plimsoll.paths import NO_PLACES
from plimsoll.report.wording import problem
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.engines.base import Engine, Estimate
    from plimsoll.measured.inputs import Facts
    from plimsoll.measured.rows import Row

NOT_MEASURED: Final = "not measured"
_TERMS: Final = {
    TermId.WEIGHTS: TermName.WEIGHTS,
    TermId.ACTIVATION: TermName.ACTIVATION,
    TermId.NON_TORCH: TermName.NON_TORCH,
}


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
    found = candidates(known, axes, stored_as=term is not TermId.TOKENS_GIVEN_GIB)
    if isinstance(found, str):
        return found
    given = row.measured.get(str(TermId.KV_GIB)) if term is TermId.TOKENS_GIVEN_GIB else None
    values: list[float] = []
    refused = ""
    for candidate in found:
        problems = known.engine.problems(
            candidate.architecture, candidate.settings, candidate.parallelism, None
        )
        if problems:
            refused = problem(problems[0], NO_PLACES).wanted
            continue
        values += _values(known.engine, candidate, term, given)
    if not values:
        return f"{NOT_MODELLED}the engine would not start: {refused or 'no room for the cache'}"
    return Prediction(min(values), max(values))


def _values(
    engine: Engine, candidate: Candidate, term: TermId, given: float | None
) -> tuple[float, ...]:
    """What a term is in one candidate; several where the ranks differ."""
    if term is TermId.GRAPHS:
        return (_graphs(candidate) / GIB,)
    by_stage = engine.name == "vllm" and candidate.parallelism.pipeline > 1
    if by_stage and term is TermId.WEIGHTS:
        return tuple(size / GIB for size in _stages(candidate))
    if by_stage and term is TermId.ACTIVATION:
        return tuple(size / GIB for size in _peaks(candidate))
    settings = candidate.settings
    if given is not None:
        settings = replace(settings, kv_cache_memory=round(given * GIB))
    estimate = engine.estimate(
        candidate.architecture, settings, Workload(), candidate.parallelism, candidate.accelerator
    )
    if given is not None and estimate.kv_capacity != settings.kv_cache_memory:
        # An engine without a flag for it: its pools grow with the memory that they are given.
        room = estimate.kv_capacity / GIB
        return (_of(estimate, term) * given / room,) if room > 0 else ()
    if by_stage and given is None and term is TermId.KV_GIB:
        rest = sum(t.bytes for t in estimate.terms if t.name not in _BY_STAGE)
        held = zip(_stages(candidate), _peaks(candidate), strict=True)
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


def _stages(candidate: Candidate) -> tuple[int, ...]:
    """vLLM's weights of one rank of every pipeline stage, in bytes."""
    from plimsoll.engines.layers.dtypes import weight_dtype
    from plimsoll.engines.layers.sharding import stage_weights

    own, settings = candidate.architecture, candidate.settings
    dtype = weight_dtype(own, settings.dtype)
    return tuple(stage_weights(own, dtype, settings.quantization, candidate.parallelism))


def _peaks(candidate: Candidate) -> tuple[int, ...]:
    """vLLM's activation peak on one rank of every pipeline stage, in bytes."""
    from plimsoll.engines.vllm.activation import activation
    from plimsoll.engines.vllm.constants import constants
    from plimsoll.engines.vllm.defaults import resolve

    own, settings, split = candidate.architecture, candidate.settings, candidate.parallelism
    figures = constants(settings.version)
    resolved = resolve(own, settings, candidate.accelerator, figures)
    return tuple(
        activation(own, settings, resolved, split, stage, figures).bytes
        for stage in range(split.pipeline)
    )


def _graphs(candidate: Candidate) -> int:
    """What vLLM's CUDA graphs take, in bytes, also where the version does not charge them."""
    from plimsoll.engines.layers.sharding import stage_layers
    from plimsoll.engines.vllm.constants import constants
    from plimsoll.engines.vllm.defaults import resolve
    from plimsoll.engines.vllm.overheads import captured

    own, split = candidate.architecture, candidate.parallelism
    figures = constants(candidate.settings.version)
    resolved = resolve(own, candidate.settings, candidate.accelerator, figures)
    layers = max(end - start for start, end in stage_layers(len(own.blocks), split.pipeline))
    return captured(own, resolved, layers, candidate.accelerator, figures)
