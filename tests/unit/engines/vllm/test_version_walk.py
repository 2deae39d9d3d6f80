"""Claims about what changes from release to release: nothing does that no table speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest

from gate_sides import RELEASES
from plimsoll.engines.vllm.options import TABLE
from version_walk import PAGE, STARTS, facts, figures_from, page, walk

ROOT = Path(__file__).resolve().parents[4]
DENSE = STARTS[0]


@pytest.mark.sweep
def test_nothing_changes_from_release_to_release_that_no_figure_and_no_gate_explains() -> None:
    unexplained = [(one.release, one.start, one.fact) for one in walk() if not one.by]
    assert unexplained == []


@pytest.mark.sweep
def test_the_page_of_versions_is_what_the_walk_finds() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make versions`"


def test_the_walk_knows_every_release_at_which_a_figure_steps() -> None:
    known = {TABLE.parse(release) for release in RELEASES["vllm"]}
    steps = {
        TABLE.parse(entry["since"]) for each in TABLE.data["figures"].values() for entry in each
    }
    assert sorted(steps - known) == []


def test_a_start_has_other_facts_after_a_step_than_before_it() -> None:
    before, after = facts(DENSE, "0.19.1"), facts(DENSE, "0.20.0")
    assert "utilization" in figures_from("0.20.0")
    assert before["usable"] != after["usable"]
    assert before["context"] == after["context"]
