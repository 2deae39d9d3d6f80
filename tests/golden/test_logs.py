"""What other engines' logs print lies in what we state (tests/data/engine_logs.jsonl)."""

from __future__ import annotations

from collections import Counter

import pytest

from accuracy.logs import Figure, figures, rows

KNOWN: dict[tuple[str, str], str] = {
    ("g02", "before"): "a desktop under Windows holds half a GiB of the card more",
}
"""Figures outside, by row and name, with what is known about why."""


def named(figure: Figure) -> str:
    return f"{figure.row['id']}-{figure.what}"


def test_each_row_is_there_once_and_says_where_it_is_from_and_what_was_not_in_the_log() -> None:
    assert len({row["id"] for row in rows()}) == len(rows()) >= 25
    assert all(row["source"] and row["measured"] for row in rows())
    assert all(set(row.get("inferred", ())) <= row.keys() for row in rows())
    assert set(Counter(row["engine"] for row in rows())) == {
        "llama.cpp",
        "sglang",
        "tensorrt-llm",
        "tgi",
    }


@pytest.mark.parametrize("figure", figures(), ids=named)
def test_a_printed_figure_lies_in_the_range_that_we_state(figure: Figure) -> None:
    key = (figure.row["id"], figure.what)
    assert figure.held is (key not in KNOWN), f"{figure.low} {figure.measured} {figure.high}"


def test_caches_of_llama_cpp_are_as_printed() -> None:
    found = [f for f in figures() if f.row["engine"] == "llama.cpp" and f.what == "cache"]
    assert len(found) >= 15
    assert max(f.pct for f in found) < 0.2, "logs round to whole MiB"


def test_what_is_gone_before_weights_is_near_what_sglang_prints() -> None:
    found = [f for f in figures() if f.what == "before" and f.held]
    assert len(found) >= 7
    assert max(f.pct for f in found) < 1.0
