"""Published serving recipes (tests/data/recipes.jsonl): what we say to each, though all start.

A recipe is a model, a kind of GPU with a count, a release of an engine and its flags, as a guide
gives them. It must not be tuned to: a recipe that we deny or warn of is a fault of ours or of the
guide, and test_recipes.py says which.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import ROOT
from plimsoll.accelerators import catalogue as accelerators
from plimsoll.decision.decide import decide
from plimsoll.decision.knowledge import Knowledge
from plimsoll.decision.request import Request, Wanted
from plimsoll.engines import registry
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings
from plimsoll.models.resolve import resolve
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.decision.verdict import Decision, Verdict
    from plimsoll.engines.base import Estimate

RECIPES: Final = ROOT / "tests" / "data" / "recipes.jsonl"


@dataclass(frozen=True, slots=True)
class Said:
    """A recipe and what we say to it; unknown: why nothing can be said."""

    recipe: dict[str, Any]
    verdict: Verdict | None
    unknown: str = ""

    @property
    def id(self) -> str:
        """Its own name."""
        return str(self.recipe["id"])

    @property
    def decision(self) -> Decision | None:
        """Allowed, warned of or denied; None if its model or GPU is not known."""
        return self.verdict.decision if self.verdict is not None else None

    @property
    def estimate(self) -> Estimate | None:
        """What a rank needs there, if anything was estimated."""
        return self.verdict.estimate if self.verdict is not None else None


@lru_cache(maxsize=1)
def recipes() -> tuple[dict[str, Any], ...]:
    """All of them, in order."""
    return tuple(map(json.loads, RECIPES.read_text("utf-8").splitlines()))


@lru_cache(maxsize=1)
def answers() -> tuple[Said, ...]:
    """What we say to each."""
    return tuple(map(said_of, recipes()))


def said_of(recipe: dict[str, Any]) -> Said:
    """What we say to a recipe, or to a start-up written as one.

    held_by_others_gib: what other processes hold of each GPU, where it says so.
    """
    model = resolve(uri=f"hf://{recipe['model']}")
    accelerator = accelerators.find(recipe["gpu"])
    if model.architecture is None:
        return Said(recipe, None, "model")
    if accelerator is None:
        return Said(recipe, None, "gpu")
    held = round(recipe.get("held_by_others_gib", 0) * GIB)
    accelerator = replace(accelerator, reserved=held)
    engine = registry.engine(recipe["engine"])
    typed = EngineSettings(engine.name, recipe.get("version", ""))
    reading = engine.read_arguments(recipe["args"], typed, NOTHING_ASKED)
    request = Request(
        model,
        reading.settings,
        wanted=Wanted(
            allowed=(accelerator.name,), gpus_per_replica=recipe["gpus"], split=reading.split
        ),
        problems=reading.problems,
    )
    knowledge = Knowledge({engine.name: engine}, (accelerator,))
    return Said(recipe, decide(request, knowledge=knowledge))
