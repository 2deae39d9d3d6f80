"""Claims about `plimsoll explain FILE`: what is told of an object is all that is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from commands import run
from page_tree import deployment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One object that fits, and one that does not."""
    items = [deployment(0), deployment(9)]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return path


def test_every_object_is_told_term_by_term_with_its_ways_out_and_its_rules(file: Path) -> None:
    told = run("explain", file)
    assert told.exit_code == 0
    fits, _, refused = told.stdout.partition("LLMDeployment support/llama-3-3-70b-instruct-0, ")
    assert fits.startswith("LLMDeployment chat/qwen2-5-7b-instruct-0, ")
    for said in (fits, refused):
        assert "activation peak" in said
        assert "needs" in said
    assert "1 fits, with" in fits
    assert "Any one of these fits:" in refused
    assert "spec.accelerator.gpusPerReplica: 4" in refused
    assert "(plimsoll explain PL001)" in refused
    assert "PL001" not in fits


@pytest.mark.parametrize("name", ["llama-3-3-70b-instruct-0", "support/llama-3-3-70b-instruct-0"])
def test_one_object_is_told_by_its_name(file: Path, name: str) -> None:
    said = run("explain", file, "--object", name).stdout
    assert said.count("LLMDeployment ") == 1
    assert "support/llama-3-3-70b-instruct-0" in said
    (data,) = json.loads(run("explain", file, "--object", name, "-o", "json").stdout)
    assert data["decision"] == "deny"


def test_an_object_that_is_not_there_is_said(file: Path) -> None:
    told = run("explain", file, "--object", "other")
    assert told.exit_code == 2
    assert 'is called "other"' in told.stderr


def test_a_rule_is_told_even_where_a_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PL001").write_text("")
    assert run("explain", "PL001").stdout.startswith("PL001  ")


def test_what_is_neither_a_rule_nor_a_file_is_said() -> None:
    told = run("explain", "nowhere.yaml")
    assert told.exit_code == 2
    assert "the id or the name of a rule, or a file" in told.stderr
    assert (
        "--object and --inventory go with FILE"
        in run("explain", "PL001", "--inventory", "x").stderr
    )
