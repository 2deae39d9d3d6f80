"""Other people's formulas, written from their descriptions, against ours on the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from accuracy.answers import ASKED, answers
from accuracy.asked import questions
from accuracy.data import configs
from accuracy.peers import PEERS, Case, bits
from accuracy.versus import Duel, duels
from plimsoll.engines.base import Parallelism
from plimsoll.measured.rows import TermId
from plimsoll.measured.score import FEWEST
from plimsoll.models.catalogue import load
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

BY_NAME = {peer.name: peer for peer in PEERS}


def model(name: str) -> Architecture:
    entry = load().find(name)
    assert entry is not None
    return entry.architecture


LLAMA = Case(
    model("meta-llama/Llama-3.1-8B-Instruct"), Parallelism(), "auto", 8192, 72 * GIB, given=10.0
)


@pytest.mark.parametrize("duel", duels(), ids=lambda d: f"{d.term} {d.peer.name}")
def test_ours_is_ahead_of_every_formula_on_the_same_rows(duel: Duel) -> None:
    """By the median, or, if the log's rounding hides both, by the 95th percentile."""
    ours, theirs = duel.summaries
    assert ours.n == theirs.n
    assert ours.n >= FEWEST
    assert ours.median_pct is not None
    assert theirs.median_pct is not None
    assert ours.p95_pct is not None
    assert theirs.p95_pct is not None
    assert (ours.median_pct, ours.p95_pct) < (theirs.median_pct, theirs.p95_pct)
    assert ours.p95_pct < theirs.p95_pct
    near, nearer = duel.close
    assert near > nearer


def test_aiconfigurator_was_asked_what_the_rows_say_today() -> None:
    """`make peers` asks again if rows, their inputs or the catalogue's models changed."""
    asked = {question["row"]: question["digest"] for question in questions()}
    answered = {row: answer["asked"] for row, answer in answers().items()}
    assert answered.items() <= asked.items()
    assert len(answered) >= 0.8 * len(asked)
    assert {answer["release"] for answer in answers().values()} == {ASKED.read}
    refused = [answer["refused"] for answer in answers().values() if "refused" in answer]
    assert all("is not supported" in why or "Unsupported" in why for why in refused)


def test_every_formula_speaks_of_weights_and_all_but_one_of_what_is_left_for_the_cache() -> None:
    for peer in PEERS:
        assert TermId.WEIGHTS in peer.formulas
        assert (TermId.KV_GIB in peer.formulas) is (peer.name != "hf-mem")
        assert peer.link.startswith("https://")


def test_kaito_takes_two_gib_and_a_third_and_five_percent_beside_the_weights() -> None:
    found = BY_NAME["KAITO"].formulas
    weights = found[TermId.WEIGHTS](LLAMA)
    assert weights == pytest.approx(1.02 * LLAMA.file / GIB)
    assert weights is not None
    assert found[TermId.KV_GIB](LLAMA) == pytest.approx(72 - 2.3 - 1.05 * weights)
    assert found[TermId.TOKENS_GIVEN_GIB](LLAMA) == 10 * GIB / 131072


def test_llmd_takes_one_activation_figure_per_class_and_shares_it_over_the_gpus() -> None:
    activation = BY_NAME["llm-d"].formulas[TermId.ACTIVATION]
    assert activation(LLAMA) == 4.8
    assert activation(replace(LLAMA, split=Parallelism(tensor=2))) == 2.4
    for name, gib in (
        ("Qwen/Qwen3-8B", 5.6),
        ("Qwen/Qwen3-30B-A3B", 8.0),
        ("google/gemma-2-9b", 5.5),
        ("google/gemma-3-4b-it", 2.5),
    ):
        assert activation(replace(LLAMA, architecture=model(name))) == gib


def test_the_rule_of_thumb_is_168_gb_for_70_billion_parameters_at_16_bits() -> None:
    own = model("meta-llama/Llama-3.1-70B-Instruct")
    case = replace(LLAMA, architecture=own, budget=200e9)
    left = BY_NAME["rule of thumb"].formulas[TermId.KV_GIB](case)
    assert left is not None
    assert 200e9 - left * GIB == pytest.approx(own.parameters * 2 * 1.2)


def test_bits_are_those_of_the_name_on_the_checkpoint() -> None:
    assert bits(model("openai/gpt-oss-20b")) == 4
    assert bits(model("Qwen/Qwen3-30B-A3B-FP8")) == 8
    assert bits(model("Qwen/Qwen3-8B")) == 16


def test_a_formula_of_one_gpu_says_nothing_of_two() -> None:
    two = replace(LLAMA, split=Parallelism(tensor=2))
    assert BY_NAME["hf-mem"].formulas[TermId.WEIGHTS](two) is None
    assert BY_NAME["hf-mem"].formulas[TermId.TOKENS_GIVEN_GIB](two) is None


def test_every_model_of_a_row_is_in_the_catalogue() -> None:
    assert all(not isinstance(own, str) for own in configs().made.values())
