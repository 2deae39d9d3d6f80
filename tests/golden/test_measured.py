"""How near estimates come to measured start-ups, and that neither they nor the page drift unseen.

The rows are in tests/data/measured.jsonl, each with its source; `make accuracy` writes
docs/accuracy.md and its pictures again.
"""

from __future__ import annotations

import pytest

from accuracy import ranges
from accuracy.data import measured, reasons, scored, sources, sweep
from accuracy.page import PAGE, far, halves, page
from accuracy.pictures import FOLDER, PICTURES, draw
from plimsoll.decision.verdict import Decision
from plimsoll.measured.rows import OUTCOME, STARTED, TermId
from plimsoll.measured.score import (
    FEWEST,
    LARGE_CACHE_GIB,
    Point,
    Summary,
    failed,
    of_physical,
    outcomes,
    points_of,
    shares,
    summary,
)

MOST_PICTURE = 120_000


def worst(points: list[Point]) -> str:
    """The five points that are furthest off, for a failure's message."""
    found = sorted(points, key=lambda p: -(p.pct or 0.0))[:5]
    return "; ".join(f"{p.row.id} {p.row.model} {p.pct:.2f} %" for p in found if p.pct)


def holds(points: list[Point], median: float, p95: float, *, physical: bool = False) -> Summary:
    """The summary of enough points, with both errors in per cent within their limits."""
    found = of_physical(points) if physical else summary(points)
    assert found.n >= FEWEST
    assert found.median_pct is not None
    assert found.p95_pct is not None
    assert found.median_pct <= median, worst(points)
    assert found.p95_pct <= p95, worst(points)
    return found


def test_weights_are_within_half_a_percent_at_the_median_and_three_at_the_95th() -> None:
    assert holds(points_of(scored(), TermId.WEIGHTS), 0.5, 3.0).n >= 100


def test_tokens_of_a_cache_of_known_size_are_within_a_fifth_of_a_percent() -> None:
    assert holds(points_of(scored(), TermId.TOKENS_GIVEN_GIB), 0.2, 1.0).n >= 70


def test_the_cache_is_within_one_percent_of_physical_memory_and_two_of_a_large_cache() -> None:
    points = points_of(scored(), TermId.KV_GIB)
    assert holds(points, 1.0, 2.5, physical=True).n >= 60
    large = [point for point in points if point.measured > LARGE_CACHE_GIB]
    assert holds(large, 2.0, 8.0).n >= 50


def test_the_activation_peak_is_within_five_percent_and_three_tenths_of_a_gib() -> None:
    found = holds(points_of(scored(), TermId.ACTIVATION), 5.0, 100.0)
    assert found.p95 is not None
    assert found.p95 <= 0.3


@pytest.mark.parametrize("term", [TermId.WEIGHTS, TermId.ACTIVATION, TermId.KV_GIB])
def test_both_halves_of_the_sweep_and_what_is_not_in_it_hold_the_median(term: TermId) -> None:
    outside = [p for p in points_of(scored(), term) if p.row.id not in sweep()]
    for part in (*halves(term), outside):
        found = summary(part)
        assert found.n >= FEWEST
        assert found.median_pct is not None
        assert found.median_pct <= 5.0, worst(part)


def test_no_start_up_that_failed_is_allowed_and_few_that_went_well_are_not() -> None:
    found = outcomes(scored())
    judged = [one for one in failed(scored()) if one.verdict is not None]
    allowed = {one.row.id for one in judged if one.verdict is Decision.ALLOW}
    assert len(judged) >= 5
    assert found["n"] >= 80
    assert allowed - explained(OUTCOME) == set(), "say why in tests/data/known_errors.json"
    assert found["false_refusals"] <= 0.03 * found["n"]
    well = [one for one in scored() if one.row.outcome == STARTED and one.verdict is not None]
    warned = [one.row.id for one in well if one.verdict is Decision.WARN]
    assert len(warned) <= 0.1 * len(well), warned


def test_nine_of_ten_rows_with_the_inputs_of_a_term_are_scored() -> None:
    for term, _, had, n in shares(scored()):
        assert n >= 0.9 * had, term


def test_every_row_is_scored_or_left_out_with_a_reason_for_everything_that_it_measured() -> None:
    for one in scored():
        for term in TermId:
            told = term in one.points or one.left_out.get(term)
            given = TermId.KV_GIB in one.row.measured or term is not TermId.TOKENS_GIVEN_GIB
            assert told or term.measured_as not in one.row.measured or not given, one.row.id
        assert one.verdict is not None or one.left_out["outcome"]


def test_every_row_is_there_once_and_names_its_source() -> None:
    assert len({row.id for row in measured()}) == len(measured()) >= 180
    assert all(sources()[row.id] for row in measured())
    assert not [row.id for row in measured() if row.wrong]


def test_every_row_that_stays_wrong_says_what_is_known_about_why() -> None:
    wrong = {(point.row.id, point.term) for point in far()}
    assert sorted(wrong - reasons().keys()) == [], "say why in tests/data/known_errors.json"
    scored_points = {(one.row.id, term) for one in scored() for term in one.points}
    named = {key for key in reasons() if key[1] != OUTCOME}
    assert sorted(named - scored_points) == []


def explained(term: str) -> set[str]:
    """Rows whose error in a term has a reason."""
    return {row for row, what in reasons() if what == term}


@pytest.mark.parametrize("name", ranges.TERMS)
def test_nine_of_ten_rows_lie_within_ranges_that_were_made_without_them(name: str) -> None:
    found = ranges.left_out(name)[""]
    assert found.rows >= 50
    assert found.share >= 90


def test_nine_of_ten_caches_lie_within_the_range_that_is_stated_without_them() -> None:
    found = summary(ranges.caches_left_out())
    assert found.n >= 70
    assert found.coverage is not None
    assert found.coverage >= 90


def test_the_file_of_ranges_is_what_the_rows_give() -> None:
    assert ranges.FILE.read_text("utf-8") == ranges.written(), "run `make ranges`"


def test_the_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make accuracy` and look at the difference"


@pytest.mark.sweep
def test_the_pictures_are_current_and_small() -> None:
    drawn = draw()
    assert sorted(drawn) == sorted(path.name for path in FOLDER.glob("*.svg"))
    assert len(drawn) == len(PICTURES)
    for name, text in drawn.items():
        assert (FOLDER / name).read_text("utf-8") == text, f"{name}: run `make accuracy`"
        assert len(text.encode()) <= MOST_PICTURE
        assert f"accuracy/{name}" in PAGE.read_text("utf-8")
