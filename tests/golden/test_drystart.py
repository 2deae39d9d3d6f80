"""Our formulas held to what releases of vLLM said of themselves, without an engine.

The facts are in tests/data/drystart; `make drystart VERSION=...` writes them. A share that falls is
a fault; who makes one rise writes it down here, so that it cannot fall again.
"""

from __future__ import annotations

import pytest

from drystart.cases import beside_measured, everything
from drystart.causes import causes, comparable_shares, explained
from drystart.compare import KINDS
from drystart.files import FOLDER, facts
from drystart.report import AIMS, all_compared, table
from plimsoll.measured.rows import TermId
from plimsoll.units import GIB
from plimsoll_drystart import REVISION

MOST_BYTES = 5_000_000
HELD = {
    "weights": 0.97,
    "cache": 0.99,
    "defaults": 0.996,
    "refusals": 0.988,
    "activation": 0.915,
}
"""Shares of figures that a dry start can see and we reproduce, when this was last looked at."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_of_figures_that_we_reproduce_does_not_fall(kind: str) -> None:
    good, whole = comparable_shares()[kind]
    share = good / whole
    print(f"{kind}: {share:.2%} of {whole}, aim {AIMS[kind]:.1%}, held {HELD[kind]:.1%}")
    assert share >= HELD[kind], table()


def test_every_difference_has_a_cause() -> None:
    _, without = explained()
    assert [str(one) for one in without] == [], "say why in tests/data/drystart/causes.json"


@pytest.mark.sweep
def test_every_cause_explains_something() -> None:
    by_cause, _ = explained()
    assert [cause.cause for cause in causes() if cause not in by_cause] == []


def test_nothing_that_an_engine_takes_is_refused_by_us() -> None:
    denied = [one for one in all_compared() if one.kind == "refusals" and one.ours > one.theirs]
    assert [str(one) for one in denied] == []


def test_facts_are_of_this_harness_each_once_and_small() -> None:
    ids = [(fact.release, fact.case.id) for fact in facts()]
    assert len(set(ids)) == len(ids) >= 4000
    assert {fact.said["harness"] for fact in facts()} == {REVISION}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MOST_BYTES


def test_facts_are_of_many_releases_models_and_gpus() -> None:
    minors = {".".join(fact.release.split(".")[:2]) for fact in facts()}
    models = {(f.case.model, f.case.quantization) for f in facts()}
    assert len(minors) >= 10
    assert len(models) >= 150
    assert len({fact.case.gpu for fact in facts()}) >= 12


def test_every_fact_answers_a_case_of_the_list_and_most_are_known() -> None:
    asked = {r: {c.id for c in everything(r)} for r in {fact.release for fact in facts()}}
    assert [f.case.id for f in facts() if f.case.id not in asked[f.release]] == []
    known = [fact for fact in facts() if fact.known]
    assert len(known) >= 0.9 * len(facts())


def test_what_a_release_says_of_itself_is_what_was_measured_on_a_gpu() -> None:
    by_id = {(fact.release, fact.case.id): fact for fact in facts() if fact.known}
    weights, peaks = set(), set()
    for release in sorted({fact.release for fact in facts()}):
        for row, case in beside_measured(release):
            fact = by_id.get((release, case.id))
            if fact is None or "profile" not in fact.said:
                continue
            said = fact.said["weights"]["counted"] / GIB
            logged = row.measured[TermId.WEIGHTS.measured_as]
            weights.add((case.model, round(said, 3), logged))
            peak = row.measured.get(TermId.ACTIVATION.measured_as)
            if peak is not None:
                peaks.add((case.model, fact.said["profile"]["peak"] / GIB, peak))
    assert len(weights) >= 10
    off = [one for one in weights if abs(one[1] - one[2]) > max(0.02, 0.002 * one[2])]
    assert off == [("Qwen/Qwen3-8B", 7.639, 7.7)], "0.22.1 on two T4, 0.8 % more; cause unknown"
    near = [one for one in peaks if abs(one[1] - one[2]) <= max(0.01, 0.02 * one[2])]
    assert len(near) >= 0.8 * len(peaks), sorted(peaks - set(near))
