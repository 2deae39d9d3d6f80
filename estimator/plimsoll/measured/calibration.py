"""Measured start-ups that a user keeps, and the ranges of like start-ups narrowed by them.

    off            measured - estimated, GiB, of weights, activation, non-torch, graphs as charged
    like           the same engine and release (0.19), model type, layers, width and quantization,
                   family of GPUs, split, and graphs or none
    narrowed       low = size + least off - s, high = size + largest off + s, with the size itself
                   always inside; s = the old distance / (n + 1) of n start-ups, 0.05 GiB at least
    what is left   for the cache and every figure beside the ranges stay as they were estimated

The file is JSON and holds figures alone: no path, no host and no argument of a user's own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.knowledge import Knowledge, shipped
from plimsoll.engines.assemble import Engine
from plimsoll.engines.base import Known, TermName
from plimsoll.engines.layers.sharding import quantization_in_force
from plimsoll.engines.ranges import gpu_group
from plimsoll.errors import Unreadable
from plimsoll.findings import Rule, finding
from plimsoll.measured.inputs import AXES, facts, variants
from plimsoll.measured.rows import TermId
from plimsoll.measured.score import score_row
from plimsoll.paths import Field
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    from plimsoll.measured.models import Configs
    from plimsoll.measured.rows import Row
    from plimsoll.models.architecture import Architecture

FORMAT: Final = 1
"""Number of the file's form."""
MOST: Final = 10_000
"""Start-ups of one file at most."""
_LEAST: Final = 0.05
_TERMS: Final = {
    TermId.WEIGHTS: TermName.WEIGHTS,
    TermId.ACTIVATION: TermName.ACTIVATION,
    TermId.NON_TORCH: TermName.NON_TORCH,
    TermId.GRAPHS_CHARGED: TermName.CUDA_GRAPHS,
}
NOTHING: Final = "nothing that a range is of was measured with every input known"


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two start-ups must share. structure: type, layers, width and quantization of the model.

    split: tensor, pipeline and data ranks, and 1 for experts whole.
    """

    engine: str
    release: str
    structure: str
    gpu: str
    split: tuple[int, int, int, int]
    eager: bool


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


@dataclass(frozen=True, slots=True)
class Kept:
    """One start-up. off: measured less estimated, GiB, by term."""

    id: str
    like: Likeness
    off: tuple[tuple[TermName, float], ...]


@dataclass(frozen=True)
class Calibration:
    """The start-ups that are kept, by what they are like."""

    kept: tuple[Kept, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Short hash of all of them, for the request hash."""
        return hashlib.sha256(repr(self.kept).encode()).hexdigest()[:12]

    def with_more(self, more: Iterable[Kept]) -> Calibration:
        """These and others; of two with one id the later counts."""
        return Calibration(tuple({one.id: one for one in (*self.kept, *more)}.values()))

    def narrowed(self, estimate: Estimate, like: Likeness) -> Estimate:
        """The estimate with the ranges that like start-ups allow, and a note that says so."""
        alike = [one for one in self.kept if one.like == like]
        terms, named = estimate.terms, []
        for term in estimate.terms:
            found = [value for one in alike for name, value in one.off if name is term.name]
            if found and term.high:
                terms = terms.replaced(_narrowed(term, found))
                named.append(term.name.value)
        if not named:
            return estimate
        note = finding(Rule.CALIBRATED, Field.ENGINE, count=len(alike), terms=tuple(named))
        return replace(estimate, terms=terms, notes=(*estimate.notes, note))


def _narrowed(term: Term, off: Sequence[float]) -> Term:
    n, least = len(off), round(_LEAST * GIB)
    below = max(least, (term.bytes - term.low) // (n + 1))
    above = max(least, (term.high - term.bytes) // (n + 1))
    low = min(term.bytes, term.bytes + round(min(off) * GIB) - below)
    high = max(term.bytes, term.bytes + round(max(off) * GIB) + above)
    known = Known.MODELLED if term.known is Known.ASSUMED else term.known
    return replace(term, low=max(0, low), high=high, known=known)


def kept_of(row: Row, configs: Configs) -> Kept | str:
    """What is kept of a measured row, or why nothing is."""
    known = facts(row, configs)
    if isinstance(known, str):
        return known
    open_ = sorted({"version", "gpu"} & known.unknown)
    if open_ or len(known.splits) != 1:
        return f"unknown: {', '.join(open_ or ['parallelism'])}"
    possible = variants(known, AXES[TermId.WEIGHTS])
    if isinstance(possible, str):
        return possible
    scored = score_row(row, configs)
    off = tuple(
        (name, round(point.measured - point.prediction.middle, 4))
        for term, name in _TERMS.items()
        if (point := scored.points.get(term)) is not None
        and point.prediction.high - point.prediction.low < _LEAST
    )
    if not off:
        return NOTHING
    one = possible[0]
    version = known.engine.table.or_newest(known.versions[-1]).version if known.engine.table else ""
    like = likeness(
        known.engine.name, version, one.architecture, one.settings, one.parallelism, one.accelerator
    )
    return Kept(row.id, like, off)


def written(calibration: Calibration) -> str:
    """The file: one start-up a line."""
    lines = (
        json.dumps(
            {
                "id": one.id,
                "engine": one.like.engine,
                "release": one.like.release,
                "structure": one.like.structure,
                "gpu": one.like.gpu,
                "split": list(one.like.split),
                "eager": one.like.eager,
                "off_gib": {name.value: value for name, value in one.off},
            }
        )
        for one in calibration.kept
    )
    return f'{{"calibration": {FORMAT}, "start_ups": [\n' + ",\n".join(lines) + "\n]}\n"


def read(text: str) -> Calibration:
    """The start-ups of a file. Raises `Unreadable` for anything that is not one."""
    wanted = f"a file that `plimsoll calibrate` writes (form {FORMAT})"
    try:
        data: dict[str, Any] = json.loads(text)
        entries = data["start_ups"]
        if data["calibration"] != FORMAT or len(entries) > MOST:
            raise Unreadable(text[:80], wanted)
        return Calibration(tuple(map(_kept, entries)))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Unreadable(text[:80], wanted) from None


def _kept(entry: dict[str, Any]) -> Kept:
    tensor, pipeline, data, expert = map(int, entry["split"])
    like = Likeness(
        str(entry["engine"]),
        str(entry["release"]),
        str(entry["structure"]),
        str(entry["gpu"]),
        (tensor, pipeline, data, expert),
        bool(entry["eager"]),
    )
    off = tuple((TermName(name), _within(value)) for name, value in entry["off_gib"].items())
    return Kept(str(entry["id"]), like, off)


def _within(value: object) -> float:
    figure = float(str(value))
    if not -1024 < figure < 1024:
        raise ValueError(value)
    return figure


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
        return self._calibration.narrowed(found, like)

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


def knowledge(calibration: Calibration) -> Knowledge:
    """What we ship, with engines that know the start-ups that are kept."""
    known = shipped()
    engines = {name: Calibrated(engine, calibration) for name, engine in known.engines.items()}
    return replace(known, engines=engines)
