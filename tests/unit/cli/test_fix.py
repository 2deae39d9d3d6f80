"""Claims about `fix`: what it writes passes, and nothing else in the file is touched."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from commands import run

if TYPE_CHECKING:
    from pathlib import Path

TOO_SMALL = """\
# What nobody may lose.
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: small, namespace: chat}  # mine
spec:
  accelerator:
    gpusPerReplica: 2   # two is what we have
    allowed: [nvidia-a100-80gb]
  model:
    uri: 'hf://meta-llama/Llama-3.3-70B-Instruct'
  engine:
    maxModelLen: 32768
    # a comment at the end of the engine
  workload: {concurrentSequences: 8, inputTokens: 7168, outputTokens: 1024}
"""
FITS = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: fits, namespace: chat}
spec: {model: {uri: "hf://Qwen/Qwen2.5-7B-Instruct"}}
"""
SHORT_CACHE = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata:
  name: long
spec:
  model:
    uri: hf://Qwen/Qwen2.5-7B-Instruct
  accelerator:
    allowed: [nvidia-l4]
    gpusPerReplica: 1
  engine:
    maxModelLen: 32768   # as long as it goes
  workload:
    concurrentSequences: 8
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two objects, of which the second does not fit."""
    path = tmp_path / "it.yaml"
    path.write_text(f"{FITS}---\n{TOO_SMALL}")
    return path


def lines_changed(before: str, after: str) -> list[str]:
    """The lines that went, and those that came."""
    diff = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in diff if line.startswith(("- ", "+ "))]


def test_fix_writes_the_first_way_out_and_keeps_everything_else(file: Path) -> None:
    before = file.read_text()
    assert run("check", file).exit_code == 1
    result = run("fix", file)
    assert result.exit_code == 0
    assert f"chat/small ({file}:7): spec.model.uri: hf://" in result.stderr
    assert run("check", file).exit_code == 0
    gone, came = lines_changed(before, file.read_text())
    assert gone == "-     uri: 'hf://meta-llama/Llama-3.3-70B-Instruct'"
    assert came.startswith("+     uri: 'hf://RedHatAI/")


@pytest.mark.parametrize("text", [TOO_SMALL, SHORT_CACHE], ids=["model", "cache"])
@pytest.mark.parametrize("style", ["as it is", "block", "flow", "json"])
def test_every_way_out_that_check_lists_can_be_chosen_and_passes_when_written(
    tmp_path: Path, text: str, style: str
) -> None:
    obj = yaml.safe_load(text)
    written = {
        "as it is": lambda: text,
        "block": lambda: yaml.safe_dump(obj, sort_keys=False),
        "flow": lambda: yaml.safe_dump(obj, default_flow_style=True),
        "json": lambda: json.dumps(obj, indent=2),
    }[style]()
    file = tmp_path / "it.yaml"
    file.write_text(written)
    said = json.loads(run("check", file, "-o", "json").stdout)["results"][0]
    assert len(said["alternatives"]) >= 3
    for number, way_out in enumerate(said["alternatives"], 1):
        file.write_text(written)
        result = run("fix", file, "--choose", number)
        assert result.exit_code == 0, (number, result.stderr)
        assert run("check", file).exit_code == 0, number
        after = yaml.safe_load(file.read_text())
        for change in way_out["changes"]:
            holder = after
            for name in change["path"].split("."):
                holder = holder[name]
            assert str(holder).replace("'", "") == change["value"]
        assert file.read_text().count("#") == written.count("#")


def test_a_dry_run_prints_a_patch_that_applies_and_changes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    before = file.read_text()
    patch = run("fix", "it.yaml", "--dry-run", "--choose", 3).stdout
    assert patch.startswith("--- a/it.yaml\n+++ b/it.yaml\n")
    assert file.read_text() == before
    applied = subprocess.run(["git", "apply", "-"], input=patch, text=True, capture_output=True)
    assert applied.returncode == 0, applied.stderr
    by_git = file.read_text()
    file.write_text(before)
    run("fix", "it.yaml", "--choose", 3)
    assert file.read_text() == by_git != before


def test_line_ends_marks_and_rights_of_a_file_stay(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + TOO_SMALL.replace("\n", "\r\n").encode())
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    assert run("fix", link, "--choose", 3).exit_code == 0
    after = file.read_bytes()
    assert after.startswith(b"\xef\xbb\xbf# What")
    assert after.count(b"\r\n") == after.count(b"\n") >= TOO_SMALL.count("\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["it.yaml", "link.yaml"]


def test_what_an_anchor_shares_is_left_to_a_person(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    text = TOO_SMALL.replace("  model:", "  model: &model")
    file.write_text(text)
    result = run("fix", file)
    assert result.exit_code == 1
    assert "cannot be written by itself, do it by hand: spec.model.uri: hf://" in result.stderr
    assert file.read_text() == text


def test_wrong_fields_are_left_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    text = TOO_SMALL.replace("32768", "many")
    file.write_text(text)
    result = run("fix", file)
    assert result.exit_code == 1
    assert 'left as it is: spec.engine.maxModelLen: Invalid value: "many"' in result.stderr
    assert file.read_text() == text


def test_a_way_out_that_is_not_there_changes_nothing(file: Path) -> None:
    before = file.read_text()
    result = run("fix", file, "--choose", 99)
    assert result.exit_code == 1
    assert "ways out, none is number 99" in result.stderr
    assert file.read_text() == before


def test_what_helm_rendered_is_not_fixed_in_place(tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(f"---\n# Source: mine/templates/llm.yaml\n{TOO_SMALL}")
    assert "do it by hand" in run("fix", file).stderr


def test_standard_input_cannot_be_fixed() -> None:
    result = run("fix", "-", stdin=TOO_SMALL)
    assert result.exit_code == 2
    assert "fix writes into files: standard input cannot be written to" in result.stderr


def test_a_file_that_cannot_be_read_to_its_end_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    text = f"{TOO_SMALL}---\nkind: [\n"
    file.write_text(text)
    result = run("fix", file)
    assert result.exit_code == 2
    assert f"{file}: left as it is: it cannot be read to its end" in result.stderr
    assert file.read_text() == text


def test_a_file_that_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text("apiVersion: v1\nkind: [\n")
    assert run("fix", tmp_path).exit_code == 2


def test_below_a_folder_no_link_is_written_through_and_an_odd_name_stops_nothing(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(TOO_SMALL, encoding="utf-8")
    (tree / "a.yaml").symlink_to(elsewhere)
    (tree / "b\x1b[2J.yaml").write_text(TOO_SMALL, encoding="utf-8")
    (tree / "c.yaml").write_text(TOO_SMALL, encoding="utf-8")
    result = run("fix", str(tree))
    assert result.exit_code == 1
    assert "a.yaml: left as it is: it is a link" in result.stderr
    assert "[2J.yaml: left as it is: its name cannot be printed" in result.stderr
    assert "\x1b" not in result.stderr
    assert elsewhere.read_text(encoding="utf-8") == TOO_SMALL
    assert (tree / "c.yaml").read_text(encoding="utf-8") != TOO_SMALL
    assert run("fix", str(tree / "a.yaml")).exit_code == 0  # named, it is meant
    assert elsewhere.read_text(encoding="utf-8") != TOO_SMALL
