"""The summaries, the JSON shape, and the command."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

import made_rows
from commands import run
from plimsoll.measured import models, rows, score
from plimsoll.measured.predict import Prediction
from plimsoll.measured.rows import TermId

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A file of three rows and a broken line, and one of models with a broken line."""
    lines = [
        json.dumps(made_rows.KNOWN),
        json.dumps(made_rows.KNOWN | {"id": "=r2", "trust": "C"}),
        json.dumps(made_rows.KNOWN | {"id": "r3", "outcome": "oom", "gpu_total_gib": 16.0}),
        "{broken",
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), "utf-8")
    (tmp_path / "models.jsonl").write_text(f"[]\n{json.dumps(made_rows.LLAMA)}\n\n", "utf-8")
    return str(tmp_path / "rows.jsonl"), str(tmp_path / "models.jsonl")


def test_a_range_errs_by_nothing_within_and_by_the_distance_to_its_nearer_end() -> None:
    found = Prediction(2.0, 3.0, 2.0, 3.0)
    assert [found.error(x) for x in (1.5, 2.0, 2.7, 3.25)] == [0.5, 0.0, 0.0, 0.25]
    assert found.middle == 2.5


def test_a_range_counts_if_it_is_narrower_than_five_per_cent_of_the_gpu() -> None:
    assert Prediction(2.0, 5.9, 2.0, 5.9).counts(TermId.KV_GIB, 80.0)
    assert not Prediction(2.0, 6.0, 2.0, 6.0).counts(TermId.KV_GIB, 80.0)
    assert not Prediction(2.0, 5.9, 2.0, 5.9).counts(TermId.KV_GIB, None)
    assert Prediction(9_600, 10_000, 9_600, 10_000).counts(TermId.KV_TOKENS, 80.0)
    assert not Prediction(9_500, 10_000, 9_500, 10_000).counts(TermId.KV_TOKENS, 80.0)


def test_the_95th_percentile_is_the_error_that_95_per_cent_do_not_exceed() -> None:
    row = rows.row_of(made_rows.KNOWN, "x")
    points = [
        score.Point(
            row, TermId.WEIGHTS, Prediction(100 + i, 100 + i, 100 + i, 100 + i), 100.0, 80.0
        )
        for i in range(1, 21)
    ]
    found = score.summary(points)
    assert (found.n, found.median_pct, found.p95_pct) == (20, 10.5, 19.0)


def test_json_has_the_shape_that_was_promised(files: tuple[str, str]) -> None:
    result = run("accuracy", files[0], "--models", files[1], "-o", "json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert set(found) == {"terms", "outcome", "left_out", "rows", "summary"}
    assert set(found["terms"]) == {str(term) for term in TermId}
    for term in found["terms"].values():
        assert set(term) >= {"n", "median_pct", "p95_pct", "median_gib", "p95_gib"}
        assert set(term) >= {"coverage_pct", "middle_median_pct"}
    assert found["outcome"] == {"n": 2, "false_fits": 0, "false_refusals": 0, "warned": 0}
    assert [row["id"] for row in found["rows"]] == ["r1", "=r2", "r3", "line 4"]
    assert [row["verdict"] for row in found["rows"]] == ["allow", None, "deny", None]
    weights = found["rows"][0]["terms"]["weights_gib_per_gpu"]
    assert weights["low"] == weights["predicted"] == weights["high"]
    assert weights["measured"] == 14.99
    assert weights["least"] < weights["low"] < weights["most"]
    assert found["left_out"]["the line is not JSON"] == 1


def test_lines_that_are_no_model_are_named_on_standard_error(files: tuple[str, str]) -> None:
    result = run("accuracy", files[0], "--models", files[1], "-o", "json")
    assert result.stderr == "plimsoll: models.jsonl:1: no _model_id\n"


def test_of_two_files_with_the_same_model_the_later_holds(
    files: tuple[str, str], tmp_path: Path
) -> None:
    small = tmp_path / "small.jsonl"
    small.write_text(json.dumps(made_rows.LLAMA | {"num_hidden_layers": 16}), "utf-8")
    result = run("accuracy", files[0], "--models", files[1], "--models", str(small), "-o", "json")
    row = json.loads(result.stdout)["rows"][0]
    assert row["terms"]["weights_gib_per_gpu"]["predicted"] < 10


def test_csv_has_a_line_for_each_term_and_reason_and_no_formula(files: tuple[str, str]) -> None:
    result = run("accuracy", files[0], "--models", files[1], "-o", "csv")
    lines = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {line["id"] for line in lines} == {"r1", "'=r2", "r3", "line 4"}
    first = next(line for line in lines if line["term"] == "weights_gib_per_gpu")
    assert abs(float(first["error"]) - abs(float(first["predicted"]) - 14.99)) < 1e-3


def test_the_table_says_how_many_rows_each_claim_rests_on(files: tuple[str, str]) -> None:
    result = run("accuracy", files[0], "--models", files[1])
    assert result.exit_code == 0
    assert "outcome: 2 verdicts, 1 on start-ups that failed" in result.output
    assert "fewer than 10 rows: no claim" in result.output
    assert "1 row  trust C" in result.output


def test_a_file_that_is_not_there_is_bad_input(files: tuple[str, str]) -> None:
    for args in (("missing.jsonl", "--models", files[1]), (files[0], "--models", "missing.jsonl")):
        result = run("accuracy", *args)
        assert result.exit_code == 2
        assert "missing.jsonl" in result.output


def test_a_folded_list_is_written_out_only_if_its_items_are_alike() -> None:
    fold = {"_folded_list_of": 4, "first": ["full", "full"]}
    assert models.unfolded({"layer_types": fold}) == {"layer_types": ["full"] * 4}
    with pytest.raises(ValueError, match="folded"):
        models.unfolded({"layer_types": {"_folded_list_of": 4, "first": ["full", "sliding"]}})


def test_a_config_whose_fold_hides_something_leaves_its_rows_out() -> None:
    config = made_rows.LLAMA | {"layer_types": {"_folded_list_of": 4, "first": ["a", "b"]}}
    why = models.Configs({"x": config}).architecture("x")
    assert why == "model: a list in its config is folded and its rest unknown"


def test_the_sweep_is_the_largest_group_of_one_version_gpu_and_utilization() -> None:
    many = [rows.row_of(made_rows.KNOWN | {"id": f"s{i}"}, "x") for i in range(25)]
    other = rows.row_of(made_rows.KNOWN | {"id": "other", "engine_version": "0.11.0"}, "x")
    assert score.sweep_of([*many, other]) == {f"s{i}" for i in range(25)}
    assert score.sweep_of([other]) == frozenset()
