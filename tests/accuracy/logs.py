"""Start-ups of the other engines (tests/data/engine_logs.jsonl): what their logs print, and ours.

A row is a model, a kind of GPU with a count, a release with its flags and the figures of one log;
`inferred` names what the log does not say itself, `about` what else is to be known of it. It must
not be tuned to one row at a time: a figure outside what we state is a fault of its kind.

    weights, cache, compute   the range of that term on the worst GPU
    pool, tokens              of the pool: what is left where all other terms are high, and low
    before                    free before the weights: the GPU less what CUDA and NCCL take
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import MODELS, ROOT
from accuracy.words import percent
from plimsoll.accelerators import catalogue as accelerators
from plimsoll.engines import registry
from plimsoll.engines.base import (
    NOTHING_ASKED,
    EngineSettings,
    Estimate,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.measured import models
from plimsoll.models.catalogue import load
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

LOGS: Final = ROOT / "tests" / "data" / "engine_logs.jsonl"
_TERMS: Final = {
    "weights": TermName.WEIGHTS,
    "cache": TermName.KV_CACHE,
    "compute": TermName.ACTIVATION,
}
_UNITS: Final = {"mib": MIB, "gib": GIB}
NOT_STATED: Final = ("graphs",)
"""Figures that our estimate has no range of its own for."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a log beside ours, in bytes or tokens. what: weights, tokens and so on.

    rounding: half of the last digit that the log prints.
    """

    row: dict[str, Any]
    what: str
    measured: float
    low: float
    middle: float
    high: float
    rounding: float

    @property
    def held(self) -> bool:
        """Whether it lies in the range that we state."""
        return self.low - self.rounding <= self.measured <= self.high + self.rounding

    @property
    def pct(self) -> float:
        """How far the middle is off, in per cent."""
        return 100 * abs(self.middle / self.measured - 1)


@lru_cache(maxsize=1)
def rows() -> tuple[dict[str, Any], ...]:
    """All of them, in order."""
    return tuple(map(json.loads, LOGS.read_text("utf-8").splitlines()))


@lru_cache(maxsize=1)
def figures() -> tuple[Figure, ...]:
    """Every figure of every row that we state a range for."""
    return tuple(figure for row in rows() for figure in figures_of(row))


def _architecture(name: str) -> Architecture:
    entry = load().find(name)
    if entry is not None:
        return entry.architecture
    found = _others().architecture(name)
    assert not isinstance(found, str), found
    return found


@lru_cache(maxsize=1)
def _others() -> models.Configs:
    return models.read((MODELS,))


def estimate_of(row: dict[str, Any]) -> Estimate:
    """What we say to one start-up."""
    engine, gpu = registry.engine(row["engine"]), accelerators.find(row["gpu"])
    assert gpu is not None, row["gpu"]
    typed = EngineSettings(engine.name, row["version"], quantization=row.get("file", ""))
    reading = engine.read_arguments(row["args"], typed, NOTHING_ASKED)
    assert not reading.problems, row["id"]
    said = reading.split
    split = Parallelism(said.tensor or 1, said.pipeline or 1, said.data or 1, bool(said.expert))
    architecture = _architecture(row["model"])
    return engine.estimate(architecture, reading.settings, Workload(), split, gpu)


def figures_of(row: dict[str, Any]) -> list[Figure]:
    """One row's."""
    found, made = estimate_of(row), []
    for name, value in row["measured"].items():
        what, _, unit = name.partition("_")
        if what in NOT_STATED:
            continue
        size = _UNITS.get(unit, 1)
        low, middle, high = _stated(found, what)
        half = 1.0 if float(value).is_integer() else 0.01
        made.append(Figure(row, what, value * size, low, middle, high, half * size))
    return made


def _stated(found: Estimate, what: str) -> tuple[float, float, float]:
    if what in _TERMS:
        term = found.terms[_TERMS[what]]
        return term.low, term.bytes, term.high
    if what == "before":
        term, share = found.terms[TermName.NON_TORCH], float(found.utilization)
        return tuple(  # type: ignore[return-value]
            found.physical - size / share for size in (term.high, term.bytes, term.low)
        )
    each = 1.0 if what == "pool" else max(1, found.kv_capacity) / max(1, found.kv_tokens)
    others = [term for term in found.terms if term.name is not TermName.KV_CACHE]
    least = (found.usable - sum(term.high for term in others)) / each
    most = (found.usable - sum(term.low for term in others)) / each
    middle = found.kv_capacity if what == "pool" else found.kv_tokens
    return min(least, middle), middle, max(most, middle)


def lines() -> list[str]:
    """The section of docs/accuracy.md: by engine and figure, how many lie in the range."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures():
        groups.setdefault((figure.row["engine"], figure.what), []).append(figure)
    found = [
        "## Logs of the other engines",
        "",
        f"{len(rows())} start-ups of llama.cpp, SGLang, TensorRT-LLM and TGI are in "
        "tests/data/engine_logs.jsonl with their sources, flags and what of them was inferred. "
        "Compute is llama.cpp's buffer (the copy of a quantized cache, which comes later, is in "
        "our range); before is what SGLang sees free before it loads.",
        "",
        "| engine | figure | rows | in the range | median error from the middle |",
        "|---|---|--:|--:|--:|",
    ]
    for (engine, what), group in sorted(groups.items()):
        held = sum(figure.held for figure in group)
        middle = percent(median(figure.pct for figure in group))
        found.append(f"| {engine} | {what} | {len(group)} | {held} | {middle} |")
    return [*found, ""]
