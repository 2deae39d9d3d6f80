"""Claims about the table of gates: complete against the code, sourced, and tested on both sides."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from commands import as_json, run
from gate_sides import SIDES, Sides, release_before, stopped
from plimsoll.engines import gates
from plimsoll.engines.gates import Gate, Span
from plimsoll.engines.registry import NAMES, engine
from plimsoll.errors import Unreadable
from plimsoll.findings import Rule
from plimsoll.report import starts, wording

ROOT: Final = Path(__file__).resolve().parents[3]
ENGINES: Final = ROOT / "estimator/plimsoll/engines"
PACKAGES: Final = {
    "vllm": "vllm",
    "sglang": "sglang",
    "tensorrt-llm": "tensorrt_llm",
    "llama.cpp": "llama_cpp",
    "tgi": "tgi",
    "generic": "generic",
}
CONTRADICTIONS: Final = {
    Rule.ANOTHER_MODEL,
    Rule.FLAG_CONTRADICTS_FIELD,
    Rule.FEATURE_CONTRADICTS_FIELD,
    Rule.LORA_SWITCHED_OFF,
    Rule.ATTENTION_RANKS_CONTRADICT,
    Rule.FILE_OF_OTHER_TYPE,
    Rule.UNKNOWN_STRUCTURE,
}
"""What an engine would start with: we refuse it, since two places say different things."""


def rules_in(*files: Path) -> set[Rule]:
    """The rules that some modules name and that are told as refusals."""
    names = {
        node.attr
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Rule"
    }
    rules = {Rule[name] for name in names}
    return {rule for rule in rules if rule in wording.TEXTS} - CONTRADICTIONS


def own_rules(name: str) -> set[Rule]:
    """The rules that an engine's own package names."""
    return rules_in(*(ENGINES / PACKAGES[name]).rglob("*.py"))


SHARED: Final = rules_in(*ENGINES.glob("*.py"), *(ENGINES / "layers").glob("*.py"))
"""The rules that all engines share; which of them an engine asks for, the table says."""


@pytest.mark.parametrize("name", NAMES)
def test_every_reason_that_an_engines_code_knows_has_a_gate_of_that_engine(name: str) -> None:
    listed = {rule for rule, gate in gates.table().items() if name in gate.engines}
    assert {str(rule) for rule in own_rules(name)} - listed == set(), "add rows to gates.json"


def test_every_shared_reason_has_a_gate() -> None:
    assert {str(rule) for rule in SHARED} - set(gates.table()) == set(), "add rows to gates.json"


@pytest.mark.parametrize("gate", gates.table().values(), ids=lambda gate: gate.rule)
def test_every_gate_is_asked_for_by_the_code_of_its_engines(gate: Gate) -> None:
    if gate.rule not in set(Rule):
        return  # a reason of the verdict: the comparison of memory
    rule = Rule(gate.rule)
    idle = [name for name in gate.engines if rule not in own_rules(name) | SHARED]
    assert idle == [], "no code finds this: remove the engine from the row"


@pytest.mark.parametrize("gate", gates.table().values(), ids=lambda gate: gate.rule)
def test_every_gate_has_versions_that_its_engine_has_a_source_and_a_test(gate: Gate) -> None:
    assert gate.stage in gates.stages()
    assert gate.engines
    for name, spans in gate.engines.items():
        table = engine(name).table
        assert all(len(span.source) > 12 for span in spans)
        ends = [end for span in spans for end in (span.since, span.until) if end]
        assert table is not None or not ends
        numbers = [table.parse(end) for end in ends] if table else []
        assert numbers == sorted(set(numbers)), "versions rise, and spans do not touch"
    file, _, test = gate.test.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text("utf-8"), gate.test


def _here(gate: Gate) -> bool:
    return gate.test.startswith("tests/unit/engines/test_gates.py::test_each_gate")


def test_both_sides_of_every_gate_are_written_down_for_each_of_its_engines() -> None:
    wanted = {(g.rule, name) for g in gates.table().values() if _here(g) for name in g.engines}
    assert {(row.rule, name) for row in SIDES for name in row.engines} == wanted


@pytest.mark.parametrize(
    ("sides", "name"),
    [
        pytest.param(row, name, id=f"{row.rule}-{name}-{at}")
        for at, row in enumerate(SIDES)
        for name in row.engines
    ],
)
def test_each_gate_lets_through_what_is_just_right_and_stops_what_is_not(
    sides: Sides, name: str
) -> None:
    until = gates.table()[sides.rule].engines[name][-1].until
    version = release_before(name, until) if until else ""
    assert sides.rule not in stopped(name, sides.passes, version)
    assert sides.rule in stopped(name, sides.fails, version)


@pytest.mark.parametrize(
    ("sides", "name", "span"),
    [
        pytest.param(row, name, span, id=f"{row.rule}-{name}-{span.since}-{span.until}")
        for row in SIDES
        for name in row.engines
        for span in gates.table()[row.rule].engines[name]
        if span.since or span.until
    ],
)
def test_a_gate_stops_the_releases_of_its_span_and_those_beside_it_start(
    sides: Sides, name: str, span: Span
) -> None:
    if "version" in sides.fails:
        return  # a row that says its version is about that one
    if span.since:
        assert sides.rule in stopped(name, sides.fails, span.since)
        assert sides.rule not in stopped(name, sides.fails, release_before(name, span.since))
    if span.until:
        assert sides.rule in stopped(name, sides.fails, release_before(name, span.until))
        assert sides.rule not in stopped(name, sides.fails, span.until)


def test_a_gate_is_in_force_from_its_first_version_to_before_its_last() -> None:
    spans = (gates.Span("0.9", "0.20", "a file of the engine"),)
    gate = Gate("heads-do-not-divide", "split", {"vllm": spans}, "")
    table = engine("vllm").table
    held = {
        version: gate.span("vllm", table, version) is not None
        for version in ("0.8.5", "0.9", "0.9.1", "0.19.1", "0.20", "0.33", "")
    }
    assert [version for version, yes in held.items() if yes] == ["0.9", "0.9.1", "0.19.1"]
    assert gate.span("sglang", engine("sglang").table, "0.5.9") is None
    assert table is not None
    with pytest.raises(Unreadable):
        table.parse("of today")
    assert gate.span("vllm", table, "of today") is None, "an unreadable version is the newest"


def test_the_page_of_gates_is_what_the_table_makes() -> None:
    assert (ROOT / "docs/gates.md").read_text("utf-8") == starts.page(), "run `make rules`"


def test_explain_lists_the_gates_in_the_order_of_a_start() -> None:
    rows = as_json("explain", "--gates")
    assert [row["name"] for row in rows] == list(gates.table())
    assert all(row["engines"] for row in rows)
    lines = run("explain", "--gates").stdout.splitlines()
    assert [line.split()[2] for line in lines[1:]] == list(gates.table())


def test_estimate_counts_the_gates_that_are_passed() -> None:
    result = run("estimate", "Qwen/Qwen3-8B", "--gpu", "nvidia-l4")
    last = result.stdout.splitlines()[-1]
    passed = re.fullmatch(r"gates: (\d+) passed", last)
    assert passed, last
    assert int(passed[1]) == len(engine("vllm").gates(""))


def test_estimate_names_the_first_gate_that_fails() -> None:
    result = run("estimate", "Qwen/Qwen3-8B", "--gpu", "nvidia-l4", "--tp", "3")
    assert result.exit_code == 2
    assert re.search(
        r"^gates: \d+ passed, the next one fails: heads-do-not-divide "
        r"\(PL203: heads, experts and groups against the split\)$",
        result.stderr,
        re.MULTILINE,
    )


def test_a_model_that_does_not_fit_stops_at_the_gate_of_memory() -> None:
    held = run("estimate", "Qwen/Qwen3-32B", "--gpu", "nvidia-l4", "--tp", "8")
    assert "Gate: " not in held.stdout
    short = run("estimate", "Qwen/Qwen3-32B", "--gpu", "nvidia-l4", "--tp", "1")
    said = r"^Gate: NotEnoughMemory \(PL001: .*\); \d+ before it are passed$"
    assert re.search(said, short.stdout, re.MULTILINE)
