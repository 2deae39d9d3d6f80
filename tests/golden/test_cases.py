"""40 start-ups of all engines, term by term: what the memory models say must not drift unseen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accuracy.cases import GOLDEN, Case, as_dict, cases
from plimsoll.engines.base import TermName
from plimsoll.engines.registry import NAMES
from plimsoll.measured.rows import TermId
from plimsoll.units import GIB

WRITTEN: list[dict[str, Any]] = json.loads(GOLDEN.read_text("utf-8"))
AGAIN = "run `make accuracy` and look at the difference"


@pytest.mark.parametrize(
    ("case", "written"),
    list(zip(cases(), WRITTEN, strict=True)),
    ids=[case.name for case in cases()],
)
def test_each_case_is_estimated_as_written_down(case: Case, written: dict[str, Any]) -> None:
    assert as_dict(case) == written, AGAIN


@pytest.mark.parametrize(
    "case", [c for c in cases() if TermId.WEIGHTS in c.said], ids=lambda case: case.name
)
def test_weights_are_near_what_the_start_up_logged(case: Case) -> None:
    logged = case.said[TermId.WEIGHTS]
    found = case.estimate().terms[TermName.WEIGHTS]
    assert found.bytes / GIB == pytest.approx(logged, rel=0.02, abs=0.02)


def test_there_are_forty_cases_of_every_engine_and_each_names_its_source() -> None:
    assert len(cases()) == 40
    assert {case.engine.name for case in cases()} == set(NAMES)
    assert all(case.source for case in cases())
    assert len({case.name for case in cases()}) == 40


def test_the_cases_span_kinds_of_gpu_and_versions() -> None:
    kinds = " ".join(case.accelerator.name for case in cases())
    for kind in ("a100", "h100", "h200", "b200", "l4", "rtx", "mi300x", "mig"):
        assert kind in kinds
    assert len({case.settings.version for case in cases() if case.engine.name == "vllm"}) >= 12
    assert {case.split.gpus for case in cases()} >= {1, 2, 4, 8}


def test_terms_add_up_and_what_they_leave_is_the_cache() -> None:
    for case in cases():
        found = case.estimate()
        rest = sum(t.bytes for t in found.terms if t.name is not TermName.KV_CACHE)
        if case.engine.name == "vllm":
            assert found.usable - rest == found.kv_capacity, case.name
