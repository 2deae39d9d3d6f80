"""What one replica of a model needs per GPU: the estimate alone, without inventory or policy.

It must not decide whether that fits; `plimsoll.decision` compares and decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.engines.registry import engine
from plimsoll.errors import Invalid, Problem, shown
from plimsoll.models.architecture import Architecture
from plimsoll.paths import NO_PLACES
from plimsoll.report.wording import problems as worded

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Estimate, Parallelism, Workload
    from plimsoll.models.model import Model


def estimate(
    model: Model | Architecture,
    settings: EngineSettings,
    workload: Workload,
    parallelism: Parallelism,
    accelerator: Accelerator,
) -> Estimate:
    """What the worst rank of one replica needs on one kind of GPU, term by term, in bytes.

    Raises `Invalid` with every problem at once: a model whose structure is not known, a split or
    a setting with which the engine would not start, an unknown engine.
    """
    architecture = model if isinstance(model, Architecture) else model.architecture
    problems: list[Problem] = []
    if architecture is None:
        name = "" if isinstance(model, Architecture) else model.name
        problems.append(
            Problem(
                "model",
                shown(name),
                "a model whose structure is known",
                "name a catalogue model with baseModel, or give its config.json",
            )
        )
        raise Invalid(*problems)
    own = engine(settings.name)
    problems.extend(
        worded(own.problems(architecture, settings, parallelism, accelerator), NO_PLACES)
    )
    if problems:
        raise Invalid(*problems)
    return own.estimate(architecture, settings, workload, parallelism, accelerator)
