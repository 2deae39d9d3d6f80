"""An engine whose estimates have the ranges that kept start-ups allow.

like           the same engine and release (0.19), model type, layers, width and quantization,
               family of GPUs, split, and graphs or none
narrowed       low = size + least off - s, high = size + largest off + s, with the size itself
               always inside; s = the old distance / (n + 1) of n start-ups, 0.05 GiB at least
what is left   for the cache and every figure beside the ranges stay as they were estimated;
               weights, caches and what an engine can say without a GPU are never touched
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.assemble import Engine
from plimsoll.engines.base import Known
from plimsoll.engines.layers.sharding import quantization_in_force
from plimsoll.engines.ranges import gpu_group
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.start_ups import TERMS, Calibration, Likeness
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import (
        AskedSplit,
        EngineSettings,
        Estimate,
        Parallelism,
        Reading,
        Term,
        Workload,
    )
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

LEAST: Final = 0.05
"""GiB by which a range reaches beyond what was measured, at least."""


def likeness(
    engine: str,
    version: str,
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism,
    accelerator: Accelerator,
) -> Likeness:
    """What a start-up is like. version: as resolved."""
    quantization = quantization_in_force(architecture, settings.quantization)
    method = quantization.method if quantization is not None else settings.quantization or "none"
    layers, width = len(architecture.blocks), architecture.hidden_size
    major, minor = (*version.split("."), "", "")[:2]
    p = parallelism
    return Likeness(
        engine,
        f"{major}.{minor}".strip("."),
        f"{architecture.model_type} {layers} x {width} {method}",
        f"{gpu_group(accelerator)} {accelerator.compute[0]}.{accelerator.compute[1]}",
        (p.tensor, p.pipeline, p.data, int(p.expert)),
        bool(settings.enforce_eager),
    )


def narrowed(estimate: Estimate, calibration: Calibration, like: Likeness) -> Estimate:
    """The estimate with the ranges that like start-ups allow, and a note that says so."""
    alike = calibration.alike(like)
    terms, named = estimate.terms, []
    for term in estimate.terms:
        if term.name not in TERMS or not term.high:
            continue
        found = [value for one in alike for name, value in one.off if name == term.name]
        if found:
            terms = terms.replaced(_narrowed(term, found))
            named.append(term.name.value)
    if not named:
        return estimate
    note = finding(Rule.CALIBRATED, Field.ENGINE, count=len(alike), terms=tuple(named))
    return replace(estimate, terms=terms, notes=(*estimate.notes, note))


def _narrowed(term: Term, off: Sequence[float]) -> Term:
    n, least = len(off), round(LEAST * GIB)
    below = max(least, (term.bytes - term.low) // (n + 1))
    above = max(least, (term.high - term.bytes) // (n + 1))
    low = min(term.bytes, term.bytes + round(min(off) * GIB) - below)
    high = max(term.bytes, term.bytes + round(max(off) * GIB) + above)
    known = Known.MODELLED if term.known is Known.ASSUMED else term.known
    return replace(term, low=max(0, low), high=high, known=known)


class Calibrated(Engine):
    """An engine whose estimates have the ranges that kept start-ups allow."""

    def __init__(self, engine: Engine, calibration: Calibration) -> None:
        self._engine, self._calibration = engine, calibration
        self.name, self.title = engine.name, engine.title
        self.narrow_cache, self.checkpoints = engine.narrow_cache, engine.checkpoints
        self.features, self.stages = engine.features, engine.stages
        self.table, self.ranges = engine.table, engine.ranges

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """The engine's own, with narrower ranges if start-ups like it are kept."""
        found = self._engine.estimate(architecture, settings, workload, parallelism, accelerator)
        like = likeness(self.name, found.version, architecture, settings, parallelism, accelerator)
        return narrowed(found, self._calibration, like)

    def check(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding, ...]:
        """The engine's own."""
        return self._engine.check(architecture, settings, parallelism, accelerator)

    def has_stages(self, architecture: Architecture, settings: EngineSettings) -> bool:
        """The engine's own."""
        return self._engine.has_stages(architecture, settings)

    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The engine's own."""
        return self._engine.arguments(estimate, settings)

    def read(self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
        """The engine's own."""
        return self._engine.read(args, settings, asked)

    def shortened(self, estimate: Estimate, settings: EngineSettings) -> int:
        """The engine's own."""
        return self._engine.shortened(estimate, settings)

    def named_models(self, settings: EngineSettings) -> tuple[tuple[str, str], ...]:
        """The engine's own."""
        return self._engine.named_models(settings)

    def tensor_counts(self, settings: EngineSettings, data: int) -> int:
        """The engine's own."""
        return self._engine.tensor_counts(settings, data)

    def tensor_parallel_sizes(self, architecture: Architecture, most: int) -> tuple[int, ...]:
        """The engine's own."""
        return self._engine.tensor_parallel_sizes(architecture, most)

    def constants_digest(self, version: str) -> str:
        """The engine's, and what is kept: another calibration is another decision."""
        text = f"{self._engine.constants_digest(version)} {self._calibration.digest}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]
