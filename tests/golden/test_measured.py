"""Estimates against measured start-ups: how near they come, and that they do not drift unseen.

The rows are in tests/data/measured.json, each with its source; `make accuracy` writes
docs/accuracy.md and tests/golden/estimates.json anew.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from accuracy.report import (
    GOLDEN,
    PAGE,
    Comparison,
    golden,
    left_for_cache,
    page,
    rows,
    tokens,
    weights,
)
from plimsoll.engines.base import TermName
from plimsoll.units import GIB


def worst(comparison: Comparison) -> str:
    """The five rows that are furthest off, for a failure's message."""
    points = sorted(comparison.points, key=lambda point: -abs(point.error))[:5]
    return "; ".join(f"{p.row['id']} {p.row['model']} {p.error:+.2%}" for p in points)


def test_weights_are_within_a_tenth_of_a_percent_at_the_median_and_many_were_compared() -> None:
    compared = weights()
    assert len(compared.points) >= 75
    assert compared.median <= 0.001, worst(compared)
    assert compared.errors()[int(0.9 * len(compared.points))] <= 0.03, worst(compared)


def test_tokens_of_a_measured_cache_are_within_a_twentieth_of_a_percent_at_the_median() -> None:
    compared = tokens()
    assert len(compared.points) >= 60
    assert compared.median <= 0.0005, worst(compared)


def test_what_is_left_for_the_cache_is_within_half_a_percent_at_the_median() -> None:
    compared = left_for_cache()
    assert len(compared.points) >= 50
    assert compared.median <= 0.005, worst(compared)


def test_every_row_is_either_compared_or_left_out_with_a_reason() -> None:
    for compared in (weights(), tokens(), left_for_cache()):
        ids = [p.row["id"] for p in compared.points] + [row["id"] for row, _ in compared.left_out]
        assert sorted(ids) == sorted(row["id"] for row in rows())
        assert all(why for _, why in compared.left_out)


def test_every_row_names_its_source_once() -> None:
    assert len({row["id"] for row in rows()}) == len(rows())
    assert all(row["source"] for row in rows())


CASES = json.loads(GOLDEN.read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[f"{c['row']} {c['model']}" for c in CASES])
def test_each_estimate_is_near_what_was_measured(case: dict[str, Any]) -> None:
    estimated, measured = case["estimate"], case["measured"]
    if case["split"][1] > 1:  # the log is of the lightest stage, the estimate of the worst
        assert estimated["weights"] / GIB >= measured["weights_gib"] - 0.01
        return
    assert estimated["weights"] / GIB == pytest.approx(measured["weights_gib"], rel=0.06)
    if "activation_gib" in measured:
        activation = estimated[TermName.ACTIVATION] / GIB
        assert activation == pytest.approx(measured["activation_gib"], rel=0.1, abs=0.3)
    if "non_torch_gib" in measured:
        buffers = estimated[TermName.NON_TORCH] / GIB
        assert buffers == pytest.approx(measured["non_torch_gib"], rel=0.15, abs=0.25)


def test_the_golden_estimates_are_current() -> None:
    assert GOLDEN.read_text("utf-8") == golden(), "run `make accuracy` and look at the difference"


def test_the_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make accuracy` and look at the difference"
