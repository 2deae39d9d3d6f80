"""tests/golden/cases.json: 40 start-ups of all engines, estimated term by term, each with a source.

It must not judge: it writes down what the engines' memory models say, so that a change of any of
them shows in a difference. A case is a measured row (``row``), or an engine's own command line on a
GPU of the catalogue; if a start-up is known, what it logged stands beside.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import ROOT, configs, measured, sources
from plimsoll.accelerators import catalogue
from plimsoll.engines import registry
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings, Parallelism, Workload
from plimsoll.measured.inputs import facts
from plimsoll.measured.rows import TermId
from plimsoll.models.catalogue import load
from worded import problems_in

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.assemble import Engine
    from plimsoll.engines.base import Estimate
    from plimsoll.models.architecture import Architecture

INPUTS: Final = ROOT / "tests" / "data" / "golden_inputs.json"
GOLDEN: Final = ROOT / "tests" / "golden" / "cases.json"


@dataclass(frozen=True)
class Case:
    """One start-up with everything resolved. said: what its source logged, by term."""

    name: str
    model: str
    engine: Engine
    architecture: Architecture
    settings: EngineSettings
    split: Parallelism
    accelerator: Accelerator
    said: dict[str, float]
    source: str

    def estimate(self) -> Estimate:
        """What the engine's memory model says."""
        return self.engine.estimate(
            self.architecture, self.settings, Workload(), self.split, self.accelerator
        )


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    """All cases, in the order of tests/data/golden_inputs.json."""
    found = json.loads(INPUTS.read_text("utf-8"))
    return tuple(_of_row(**one) if "row" in one else _of_flags(one) for one in found)


def _of_row(row: str, gpu: str = "") -> Case:
    """A measured row; gpu: what it ran on, if its collector only inferred that."""
    found = next(one for one in measured() if one.id == row)
    known = facts(found, configs())
    assert not isinstance(known, str), f"{row}: {known}"
    accelerator = catalogue.find(gpu) if gpu else known.accelerators[0]
    assert accelerator is not None, gpu
    return Case(
        row,
        found.config_id,
        known.engine,
        known.architectures[0],
        replace(known.settings, version=known.versions[-1]),
        known.splits[0],
        accelerator,
        {term: found.measured[term] for term in TermId if term in found.measured},
        sources()[row],
    )


def _of_flags(one: dict[str, Any]) -> Case:
    engine = registry.engine(one["engine"])
    entry, accelerator = load().find(one["model"]), catalogue.find(one["gpu"])
    assert entry is not None, one["model"]
    assert accelerator is not None, one["gpu"]
    typed = EngineSettings(engine.name, one["version"], quantization=one.get("file", ""))
    reading = engine.read_arguments(one["args"], typed, NOTHING_ASKED)
    assert not reading.problems, problems_in(reading)
    said = reading.split
    split = Parallelism(said.tensor or 1, said.pipeline or 1, said.data or 1, bool(said.expert))
    return Case(
        f"{engine.name} {entry.id} {accelerator.name}",
        entry.id,
        engine,
        entry.architecture,
        reading.settings,
        split,
        accelerator,
        one.get("measured", {}),
        one["source"],
    )


def as_dict(case: Case) -> dict[str, Any]:
    """A case as the file has it; memory in bytes."""
    found = case.estimate()
    split = found.parallelism
    return {
        "case": case.name,
        "model": case.model,
        "engine": f"{case.engine.name} {found.version}".strip(),
        "gpu": case.accelerator.name,
        "split": [split.tensor, split.pipeline, split.data, split.expert],
        "max_model_len": found.max_model_len,
        "kv_cache_dtype": found.kv_cache_dtype,
        "terms": {term.name.value: term.bytes for term in found.terms},
        "known": {term.name.value: term.known.value for term in found.terms},
        "physical": found.physical,
        "usable": found.usable,
        "kv_capacity": found.kv_capacity,
        "kv_tokens": found.kv_tokens,
        "largest_max_model_len": found.largest_max_model_len,
        "measured": case.said,
        "source": case.source,
    }


def golden() -> str:
    """The file: one case a line."""
    lines = [json.dumps(as_dict(case), ensure_ascii=False) for case in cases()]
    return "[\n" + ",\n".join(lines) + "\n]\n"
