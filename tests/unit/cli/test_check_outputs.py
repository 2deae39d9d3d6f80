"""Claims about `check` in a pipeline: what other programs read of it, and what counts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands import run

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "deploy" / "samples"
SCHEMA = json.loads((ROOT / "tests/data/sarif-schema-2.1.0.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())

TOO_SMALL = """\
# What nobody may lose.
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: small, namespace: chat}
spec:
  model:
    uri: hf://meta-llama/Llama-3.3-70B-Instruct  # the big one
  engine: {maxModelLen: 32768}
  accelerator:
    allowed: [nvidia-a100-80gb]
    gpusPerReplica: 2
  workload:
    concurrentSequences: 8
    inputTokens: 7168
    outputTokens: 1024
"""
WRONG = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: wrong, namespace: chat}
spec:
  model: {uri: "hf://Qwen/Qwen2.5-7B-Instruct"}
  accelerator: {allowed: [nvidia-l4]}
  engine:
    maxModelLen: 999999
    maxNumSeqs: many
    extraArgs:
      - --unheard-of
"""
UNKNOWN = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: unknown, namespace: chat}
spec:
  model: {uri: "hf://nobody/knows-it"}
  engine:
    extraArgs: [--unheard-of]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that one works in, with one file of each sort."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(TOO_SMALL)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    (tmp_path / "unknown.yaml").write_text(UNKNOWN)
    return tmp_path


def sarif(*arguments: object, stdin: str | None = None) -> dict[str, Any]:
    """The one run of what `check -o sarif` prints, after the official schema took it."""
    text = run("check", *arguments, "-o", "sarif", stdin=stdin).stdout
    whole = json.loads(text)
    VALIDATOR.validate(whole)
    (found,) = whole["runs"]
    assert isinstance(found, dict)
    for result in found["results"]:
        rules = found["tool"]["driver"]["rules"]
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    return found


def region(result: dict[str, Any]) -> tuple[str, str]:
    """The file of a result, and the words of it that the region covers."""
    place = result["locations"][0]["physicalLocation"]
    file, there = unquote(place["artifactLocation"]["uri"]), place["region"]
    lines = Path(file).read_text("utf-8").split("\n")
    assert there["startLine"] == there["endLine"]
    return file, lines[there["startLine"] - 1][there["startColumn"] - 1 : there["endColumn"] - 1]


# -- SARIF -----------------------------------------------------------------------------------------


def test_sarif_names_the_file_and_the_very_value_of_each_field(folder: Path) -> None:
    results = sarif("small.yaml", "wrong.yaml", "unknown.yaml")["results"]
    assert [(one["ruleId"], one["level"], *region(one)) for one in results] == [
        ("PL001", "error", "small.yaml", "2"),
        ("PL003", "error", "wrong.yaml", "many"),
        ("PL416", "warning", "unknown.yaml", "--unheard-of"),
        ("PL124", "warning", "unknown.yaml", "model"),
    ]


def test_every_fix_in_sarif_makes_the_object_fit_and_keeps_comments(folder: Path) -> None:
    (result,) = sarif("small.yaml")["results"]
    assert len(result["fixes"]) >= 2
    for fix in result["fixes"]:
        (change,) = fix["artifactChanges"]
        (replacement,) = change["replacements"]
        there = replacement["deletedRegion"]
        lines = TOO_SMALL.split("\n")
        start, end = (
            sum(len(line) + 1 for line in lines[: there[f"{which}Line"] - 1])
            + there[f"{which}Column"]
            - 1
            for which in ("start", "end")
        )
        after = TOO_SMALL[:start] + replacement["insertedContent"]["text"] + TOO_SMALL[end:]
        assert "# What nobody may lose." in after
        assert run("check", "-", stdin=after).exit_code == 0, fix["description"]["text"]


def test_sarif_explains_the_rules_that_occur_and_stays_valid_with_nothing_to_say() -> None:
    rules = sarif(SAMPLES / "refused.yaml")["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["PL001"]
    assert rules[0]["help"]["text"].startswith("The model does not fit. ")
    assert sarif(SAMPLES / "smallest.yaml")["results"] == []


def test_a_file_that_cannot_be_read_is_a_result_at_its_line_and_ends_with_2(folder: Path) -> None:
    (folder / "a b.yaml").write_text("apiVersion: v1\nkind: [\n")
    found = sarif("a b.yaml")
    (result,) = found["results"]
    assert result["ruleId"] == "PL010"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a%20b.yaml"
    assert found["invocations"] == [{"executionSuccessful": False}]
    assert run("check", "a b.yaml", "-o", "sarif").exit_code == 2


def test_json_manifests_and_items_of_a_list_have_lines_and_columns_too(folder: Path) -> None:
    objects = [yaml.safe_load(text) for text in (UNKNOWN, TOO_SMALL)]
    whole = {"apiVersion": "v1", "kind": "List", "items": objects}
    (folder / "list.json").write_text(json.dumps(whole, indent=2))
    results = sarif("list.json")["results"]
    assert [region(one)[1] for one in results] == ['"--unheard-of"', '"model"', "2"]


def test_what_helm_rendered_is_told_at_the_line_of_the_template(folder: Path) -> None:
    template = folder / "templates" / "llm.yaml"
    template.parent.mkdir()
    template.write_text(
        "{{ if .Values.on }}\n" + TOO_SMALL.replace("gpusPerReplica: 2", "gpusPerReplica: {{ .n }}")
    )
    rendered = f"---\n# Source: mine/templates/llm.yaml\n{TOO_SMALL}"
    (result,) = sarif("-", stdin=rendered)["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "templates/llm.yaml"
    assert place["region"]["startLine"] == 12
    assert "fixes" not in result
    template.unlink()
    (result,) = sarif("-", stdin=rendered)["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "mine/templates/llm.yaml"
    assert place["region"] == {"startLine": 1, "startColumn": 1}


# -- JUnit, annotations, Markdown ------------------------------------------------------------------


def test_junit_has_one_test_case_for_each_object_and_counts_them(folder: Path) -> None:
    (folder / "broken.yaml").write_text("apiVersion: v1\nkind: [\n")
    result = run("check", str(SAMPLES / "smallest.yaml"), ".", "-o", "junit")
    assert result.exit_code == 2
    suite = ElementTree.fromstring(result.stdout.encode()).find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
        "skipped": "0",
    }
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    failure = cases["LLMDeployment chat/small"].find("failure")
    assert failure is not None
    assert failure.get("type") == "PL001"
    assert "Any one of these fits:" in (failure.text or "")
    assert cases["LLMDeployment default/smallest"].find("failure") is None
    assert cases["broken.yaml"].find("error") is not None
    told = cases["LLMDeployment chat/unknown"].findtext("system-out") or ""
    assert "warning PL124: model" in told


def test_annotations_for_github_stand_at_the_field_and_are_one_line_each(folder: Path) -> None:
    lines = run("check", ".", "-o", "github").stdout.splitlines()
    heads = [line.partition("::LLMDeployment")[0] for line in lines]
    assert heads == [
        "::error file=small.yaml,line=11,col=21,endLine=11,endColumn=22,"
        "title=PL001%3A The model does not fit",
        "::warning file=unknown.yaml,line=7,col=17,endLine=7,endColumn=29,"
        "title=PL416%3A A flag that is not known",
        "::warning file=unknown.yaml,line=5,col=3,endLine=5,endColumn=8,"
        "title=PL124%3A The model is unknown%3A nothing was checked",
        "::error file=wrong.yaml,line=9,col=17,endLine=9,endColumn=21,"
        "title=PL003%3A A field is wrong",
    ]
    assert "%0A  needs " in lines[0]


def test_what_a_stranger_writes_cannot_break_out_of_an_annotation_or_a_comment(
    folder: Path,
) -> None:
    nasty = UNKNOWN.replace("hf://nobody/knows-it", "x|y @team <b> %0A::error::`")
    (folder / "nasty, 100%.yaml").write_text(nasty)
    (folder / "unknown.yaml").unlink()
    said = run("check", "nasty, 100%.yaml", "-o", "github").stdout
    assert "file=nasty%2C 100%25.yaml," in said
    assert all(line.startswith(("::warning file=", "::error file=")) for line in said.splitlines())
    assert "%250A" in said
    comment = run("check", "nasty, 100%.yaml", "-o", "markdown").stdout
    assert "@team" not in comment
    assert re.search(r"(?<!\\)<b>", comment) is None


def test_the_comment_is_a_table_with_the_details_folded(folder: Path) -> None:
    comment = run("check", ".", "-o", "markdown").stdout
    assert comment.startswith("### Plimsoll: 3 objects checked, 2 failed\n")
    rows = [line for line in comment.splitlines() if line.startswith("| LLMDeployment")]
    assert [row.split("|")[2].split()[0] for row in rows] == ["❌", "⚠️", "❌"]
    assert all(row.count("|") == 7 for row in rows)
    assert comment.count("<details>") == comment.count("</details>") == 3
    assert "<summary>LLMDeployment chat/small: PL001</summary>" in comment


def test_a_comment_is_never_longer_than_github_takes(folder: Path) -> None:
    many = "---\n".join(TOO_SMALL.replace("name: small", f"name: small-{n}") for n in range(120))
    comment = run("check", "-", "-o", "markdown", stdin=many).stdout
    assert len(comment) < 65_536
    assert "and 20 more objects" in comment
    assert re.search(r"Details of \d+ more objects: `plimsoll check`\.", comment)


# -- what counts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 1),
        (["--ignore", "PL001"], 0),
        (["--ignore", "NotEnoughMemory"], 0),
        (["--ignore", "PL0"], 0),
        (["--select", "PL3,PL4"], 0),
        (["--select", "pl001"], 1),
        (["--fail-on", "never"], 0),
    ],
)
def test_what_is_selected_and_ignored_says_whether_a_check_fails(
    folder: Path, options: list[str], code: int
) -> None:
    for output in ("table", "json", "sarif", "junit", "github", "markdown"):
        assert run("check", "small.yaml", *options, "-o", output).exit_code == code, output


def test_a_warning_fails_only_if_that_is_asked_for(folder: Path) -> None:
    assert run("check", "unknown.yaml").exit_code == 0
    assert run("check", "unknown.yaml", "--fail-on", "warn").exit_code == 1
    options = ("--fail-on", "warn", "--ignore", "unknown-model,unknown-flag")
    assert run("check", "unknown.yaml", *options).exit_code == 0


def test_what_cannot_be_read_ends_with_2_whatever_is_ignored(folder: Path) -> None:
    (folder / "broken.yaml").write_text("apiVersion: v1\nkind: [\n")
    options = ("--ignore", "PL010", "--fail-on", "never")
    assert run("check", "broken.yaml", *options).exit_code == 2


def test_notes_of_an_estimate_are_results_only_if_they_are_selected() -> None:
    asks = yaml.safe_load((SAMPLES / "smallest.yaml").read_text())
    asks["spec"]["engine"] = {"name": "tgi"}
    text = yaml.safe_dump(asks)
    assert sarif("-", stdin=text)["results"] == []
    (note,) = sarif("-", "--select", "PL513", stdin=text)["results"]
    assert note["level"] == "note"


def test_a_rule_that_does_not_exist_is_said_with_all_the_others(folder: Path) -> None:
    result = run("check", ".", "--select", "PL999,nothing")
    assert result.exit_code == 2
    assert '--select: Invalid value: "PL999": the id or the name of a rule' in result.stderr
    assert '--select: Invalid value: "nothing"' in result.stderr


def annotated(said: str) -> str:
    return TOO_SMALL.replace(
        "namespace: chat}", f"namespace: chat, annotations: {{plimsoll.dev/ignore: {said!r}}}}}"
    )


def test_an_annotation_with_a_reason_ignores_a_rule_and_is_told(folder: Path) -> None:
    text = annotated("PL001: sized by hand, see ticket 7")
    result = run("check", "-", stdin=text)
    assert result.exit_code == 0
    assert "PL001 ignored: sized by hand, see ticket 7" in result.stdout
    assert "REFUSED" not in result.stdout
    (said,) = sarif("-", stdin=text)["results"]
    assert said["suppressions"] == [
        {"kind": "inSource", "justification": "sized by hand, see ticket 7"}
    ]
    assert run("check", "-", "-o", "github", stdin=text).stdout.strip() == ""
    suite = ElementTree.fromstring(run("check", "-", "-o", "junit", stdin=text).stdout.encode())
    assert suite.get("skipped") == "1"


@pytest.mark.parametrize("said", ["PL001", "PL001:", "PL999: because", "because"])
def test_an_annotation_without_a_rule_or_a_reason_ignores_nothing_and_says_so(said: str) -> None:
    result = run("check", "-", stdin=annotated(said))
    assert result.exit_code == 1
    assert "warning PL012: metadata.annotations[plimsoll.dev/ignore]" in result.stdout
    assert "RULE: a reason, with the id or the name of a rule" in result.stdout


def test_a_baseline_accepts_what_was_there_and_nothing_else(folder: Path) -> None:
    written = run("check", ".", "--baseline", ".known.json", "--write-baseline")
    assert written.exit_code == 0
    assert ".known.json: 4 results accepted" in written.stderr
    assert run("check", ".", "--baseline", ".known.json").exit_code == 0
    (folder / "small.yaml").write_text("# moved\n\n" + TOO_SMALL)
    assert run("check", "small.yaml", "--baseline", ".known.json").exit_code == 0
    (folder / "new.yaml").write_text(TOO_SMALL.replace("name: small", "name: new"))
    result = run("check", ".", "--baseline", ".known.json")
    assert result.exit_code == 1
    assert "PL001 ignored: in the baseline" in result.stdout
    results = sarif(".", "--baseline", ".known.json")["results"]
    assert [one["ruleId"] for one in results if "suppressions" not in one] == ["PL001"]


def test_a_baseline_names_files_from_its_own_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    run("check", str(folder / "small.yaml"), "--baseline", "sub/b.json", "--write-baseline")
    assert json.loads((folder / "sub/b.json").read_text())["results"][0]["file"] == "../small.yaml"
    assert run("check", "./small.yaml", "--baseline", "sub/b.json").exit_code == 0


@pytest.mark.parametrize("content", [None, "", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_baseline_that_is_none_ends_with_2(folder: Path, content: str | None) -> None:
    if content is not None:
        (folder / ".known.json").write_text(content)
    result = run("check", "small.yaml", "--baseline", ".known.json")
    assert result.exit_code == 2
    assert '--baseline: Invalid value: ".known.json": a baseline' in result.stderr
    assert "make it with --write-baseline" in result.stderr


def test_a_namespace_that_only_warns_turns_errors_into_warnings(folder: Path) -> None:
    (result,) = sarif("small.yaml", "--policy", "warn")["results"]
    assert (result["ruleId"], result["level"]) == ("PL001", "warning")
    assert run("check", "small.yaml", "--policy", "warn", "--fail-on", "warn").exit_code == 1
    assert run("check", "small.yaml", "--policy", "audit", "--fail-on", "warn").exit_code == 0


def test_the_table_names_the_rules_of_what_is_refused(folder: Path) -> None:
    assert "Rules: PL001 (plimsoll explain RULE)" in run("check", "small.yaml").stdout
    assert "Rules: PL003 (plimsoll explain RULE)" in run("check", "wrong.yaml").stdout


# -- bad input -------------------------------------------------------------------------------------

PIECES = [
    "",
    " ",
    "\n",
    "- ",
    "{",
    "]",
    ": ",
    "&a ",
    "*a",
    "|",
    "'",
    '"',
    "#",
    "\t",
    "null",
    "é",
    "\\",
    "%",
]
PIECES += [
    "metadata: []",
    "kind: List",
    "items:",
    "---\n",
    "plimsoll.dev/ignore: [PL001]",
    "🙂",
    "<x>",
]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.sampled_from([TOO_SMALL, WRONG, UNKNOWN, json.dumps(yaml.safe_load(TOO_SMALL))]),
    wounds=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(PIECES)), max_size=4
    ),
)
def test_whatever_a_file_holds_every_output_can_be_read_and_says_the_same(
    folder: Path, text: str, wounds: list[tuple[float, int, str]]
) -> None:
    for place, length, piece in wounds:
        start = int(place * len(text))
        text = text[:start] + piece + text[start + length :]
    (folder / "it.yaml").write_text(text)
    code = run("check", "it.yaml").exit_code
    assert code in (0, 1, 2)
    for output in ("sarif", "junit", "github", "markdown"):
        result = run("check", "it.yaml", "-o", output)
        assert result.exit_code == code
        if output == "sarif" and result.stdout.startswith('{\n  "$schema"'):
            VALIDATOR.validate(json.loads(result.stdout))
        elif output == "junit" and result.stdout.startswith("<?xml"):
            ElementTree.fromstring(result.stdout.encode())
    before = (folder / "it.yaml").read_bytes()
    fixed = run("fix", "it.yaml")
    assert fixed.exit_code in (0, 1, 2)
    if (folder / "it.yaml").read_bytes() != before:
        assert run("check", "it.yaml").exit_code < 2
