"""Claims about the table of rules: complete, in words, and with ids that never move."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from commands import as_json, run
from plimsoll.decision.verdict import Reason
from plimsoll.findings import Rule
from plimsoll.report import refusals, rules, wording
from plimsoll.report.rules import RuleText, Severity

ROOT = Path(__file__).resolve().parents[3]
GIVEN_OUT = json.loads((ROOT / "tests/data/rule_ids.json").read_text("utf-8"))
OURS = {rules.UNREADABLE, rules.READER_WARNING, rules.UNREAD_IGNORE}


def test_no_id_that_was_given_out_was_taken_away_or_given_to_another_rule() -> None:
    now = {rule.id: rule.name for rule in rules.table().values()}
    assert {rule_id: now.get(rule_id) for rule_id in GIVEN_OUT} == GIVEN_OUT


def test_every_id_is_among_those_given_out_so_that_it_never_moves_later() -> None:
    new = {rule.id: rule.name for rule in rules.table().values() if rule.id not in GIVEN_OUT}
    assert new == {}, "add these to tests/data/rule_ids.json; nothing there ever changes"


def test_every_rule_and_every_reason_that_can_be_a_result_has_one_id() -> None:
    names = [rule.name for rule in rules.table().values()]
    results = {*map(str, Rule), *map(str, set(Reason) - {Reason.ENOUGH_MEMORY}), *OURS}
    assert results - set(names) == set(), "give each a row in report/data/rules.json"
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rule", Rule, ids=str)
def test_the_severity_is_that_of_the_way_in_which_the_rule_is_told(rule: Rule) -> None:
    told = Severity.WARNING
    if rule in wording.TEXTS:
        told = Severity.ERROR
    elif rule in refusals.ASSUMED:
        told = Severity.NOTE
    assert rules.rule_of(rule).severity is told


@pytest.mark.parametrize("rule", rules.table().values(), ids=lambda rule: rule.id)
def test_every_rule_has_a_title_help_and_a_page_that_says_more(rule: RuleText) -> None:
    assert re.fullmatch(r"PL\d{3}", rule.id)
    assert 10 < len(rule.title) <= 80
    assert rule.title[-1] not in ".;:"
    assert rule.help.endswith((".", "`")), rule.help
    assert (ROOT / "docs" / rule.see.partition("#")[0]).exists()


def test_the_page_of_rules_is_what_the_table_makes() -> None:
    assert (ROOT / "docs/rules.md").read_text("utf-8") == rules.page(), "run `make rules`"


@pytest.mark.parametrize("name", ["PL001", "pl001", "NotEnoughMemory", "notenoughmemory"])
def test_explain_finds_a_rule_by_id_and_by_name_in_any_case(name: str) -> None:
    result = run("explain", name)
    assert result.exit_code == 0
    assert result.stdout.startswith("PL001  The model does not fit\n")
    assert "Take one of the ways out" in " ".join(result.stdout.split())
    assert "docs/rules.md#pl001" in result.stdout


def test_explain_without_a_rule_lists_them_all() -> None:
    lines = run("explain").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(rules.table())
    assert [row["id"] for row in as_json("explain")] == list(rules.table())


def test_a_rule_that_does_not_exist_ends_with_2_and_the_nearest_names() -> None:
    result = run("explain", "idle-gpu")
    assert result.exit_code == 2
    assert 'RULE: Invalid value: "idle-gpu": the id or the name of a rule' in result.stderr
    assert "did you mean idle-gpus? `plimsoll explain` lists them all" in result.stderr
