"""Made-up start-ups on both sides of the engine's own line: never allowed below, denied above.

How the truth is derived is told in `boundary_cases`, which does not use the memory model.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from boundary_cases import FAR, UTILIZATION, Case, cases
from plimsoll.accelerators.types import Accelerator
from plimsoll.decision.decide import decide
from plimsoll.decision.knowledge import Knowledge
from plimsoll.decision.request import Request, Wanted
from plimsoll.decision.verdict import Decision
from plimsoll.engines.base import AskedSplit, EngineSettings, Parallelism
from plimsoll.engines.registry import engine
from plimsoll.models import catalogue
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.models.config import architecture
from worded import problems_in

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

CASES = cases()
VLLM = engine("vllm")
_FAMILIES = {(9, 0): "hopper", (8, 0): "ampere", (8, 9): "ada", (8, 6): "ampere"}
_SHARE = {"spec.engine.gpuMemoryUtilization"}


def structure(case: Case) -> Architecture:
    """The case's model: of the catalogue, or as its config says."""
    if not case.model:
        return architecture(case.config)
    entry = catalogue.load().find(case.model)
    assert entry is not None
    return entry.architecture


@cache
def verdict(index: int) -> Decision:
    """What admission would say to a case."""
    case = CASES[index]
    own, split = structure(case), Parallelism(case.tp, case.pp)
    made_up = Accelerator(
        "made-up",
        "made up",
        case.total,
        "made.up/gpu",
        _FAMILIES[case.compute],
        case.compute,
        split.gpus,
    )
    settings = EngineSettings(
        version=case.version,
        max_model_len=case.length,
        max_num_seqs=16,
        max_num_batched_tokens=case.batch,
        kv_cache_dtype=case.kv_dtype,
        enforce_eager=case.eager,
        utilization=case.utilization,
        kv_cache_memory=case.fixed,
    )
    request = Request(
        Model("made up", ModelSource.CONFIG, own, own.parameters),
        settings,
        wanted=Wanted(
            allowed=("made-up",),
            gpus_per_replica=split.gpus,
            split=AskedSplit(split.tensor, case.pp, data=1, expert=False),
        ),
    )
    found = decide(request, knowledge=Knowledge({"vllm": VLLM}, (made_up,)))
    paths = {problem.path for problem in problems_in(found)}
    # A share of memory that is never free is an error of its field, not a sum that does not fit.
    assert paths <= (_SHARE if case.utilization != UTILIZATION else set()), problems_in(found)
    return found.decision


def indices(*, starts: bool, by: float | None = None) -> list[int]:
    """The cases of one side."""
    return [i for i, c in enumerate(CASES) if c.starts is starts and (by is None or c.by == by)]


def name(index: int) -> str:
    """A case's name, for a failure."""
    return CASES[index].name


def test_there_are_more_than_sixty_cases_and_many_on_both_sides() -> None:
    assert len(CASES) >= 180
    assert len({case.name for case in CASES}) == len(CASES)
    assert min(len(indices(starts=True)), len(indices(starts=False))) >= 50


@pytest.mark.parametrize("index", indices(starts=False), ids=name)
def test_a_start_up_that_the_engine_refuses_is_never_allowed(index: int) -> None:
    assert verdict(index) is not Decision.ALLOW


@pytest.mark.parametrize("index", indices(starts=True), ids=name)
def test_a_start_up_that_the_engine_takes_is_never_denied(index: int) -> None:
    assert verdict(index) is not Decision.DENY


@pytest.mark.parametrize("index", [i for i, c in enumerate(CASES) if c.by == FAR], ids=name)
def test_a_twentieth_from_the_line_no_verdict_is_a_warning(index: int) -> None:
    assert verdict(index) is (Decision.ALLOW if CASES[index].starts else Decision.DENY)


@pytest.mark.parametrize("index", [i for i, c in enumerate(CASES) if c.fixed is not None], ids=name)
def test_the_line_of_a_given_cache_is_exact_to_the_byte(index: int) -> None:
    assert verdict(index) is (Decision.ALLOW if CASES[index].starts else Decision.DENY)
