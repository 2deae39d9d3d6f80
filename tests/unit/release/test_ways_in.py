"""Claims about the ways into a pipeline: what each runs exists, and says what `check` says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import run

ROOT = Path(__file__).resolve().parents[3]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the samples in it, in which one works."""
    shutil.copytree(ROOT / "deploy/samples", tmp_path / "my samples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_hook_checks_the_whole_tree_with_a_command_that_exists(tree: Path) -> None:
    (hook,) = read(".pre-commit-hooks.yaml")
    assert hook["entry"] == "plimsoll check"
    words = ["check", *map(str, hook["args"])]
    assert hook["pass_filenames"] is False
    assert run(*words).exit_code == 1
    (tree / "my samples/refused.yaml").unlink()
    assert run(*words).exit_code == 0


def test_the_action_pipes_nothing_that_a_stranger_words_into_a_shell() -> None:
    for step in read("action.yml")["runs"]["steps"]:
        assert "${{" not in step["run"], step["name"]


def test_nothing_of_a_checkout_is_imported_by_what_installs_or_checks_it() -> None:
    scripts = [step["run"] for step in read("action.yml")["runs"]["steps"]]
    scripts += read("deploy/ci/gitlab.yml")["plimsoll-check"]["script"]
    started = [line for text in scripts for line in text.splitlines() if " -m " in line]
    assert len(started) == 4
    assert [line for line in started if " -P -m " not in line] == []


def test_the_action_installs_what_is_locked_by_hash_and_nothing_else() -> None:
    (script,) = (
        step["run"] for step in read("action.yml")["runs"]["steps"] if "pip install" in step["run"]
    )
    assert "--require-hashes" in script
    assert (ROOT / "requirements/operator.lock").exists()


@pytest.mark.parametrize(
    ("paths", "arguments", "code"),
    [
        ("my samples", "", 1),
        ("my samples\n", "--fail-on=never\n", 0),
        ("my samples/smallest.yaml\nmy samples/moe.yaml", "", 0),
        ("$(touch broken)", "", 2),
    ],
)
def test_the_check_of_the_action_annotates_summarizes_and_ends_as_check_does(
    tree: Path, paths: str, arguments: str, code: int
) -> None:
    for name in ("click.py", "json.py", "venv.py", "logging.py"):  # in the checkout, a stranger's
        (tree / name).write_text("raise SystemExit(3)")
    (tree / "plimsoll").mkdir()
    (tree / "plimsoll/__init__.py").write_text("raise SystemExit(3)")
    step = read("action.yml")["runs"]["steps"][-1]
    python = tree / "temp/plimsoll/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    result = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={
            "PATH": os.environ["PATH"],
            "RUNNER_TEMP": str(tree / "temp"),
            "GITHUB_STEP_SUMMARY": str(tree / "summary.md"),
            "ACTION": str(ROOT),
            "PATHS": paths,
            "ARGUMENTS": arguments,
            "SARIF_FILE": "out.sarif",
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == code, result.stderr
    assert ("::error file=my samples/refused.yaml,line=13" in result.stdout) == (
        paths.strip() == "my samples"
    )
    assert (tree / "summary.md").read_text().startswith("### Plimsoll: ")
    assert json.loads((tree / "out.sarif").read_text())["version"] == "2.1.0"
    assert not (tree / "broken").exists()


def test_the_gitlab_job_reports_junit_even_if_something_is_refused(tree: Path) -> None:
    job = read("deploy/ci/gitlab.yml")["plimsoll-check"]
    bin_folder = tree / ".plimsoll/bin"
    bin_folder.mkdir(parents=True)
    program = bin_folder / "plimsoll"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m plimsoll.cli "$@"\n')
    program.chmod(0o755)
    lines = [line for line in job["script"] if "plimsoll check" in line]
    assert len(lines) == 2
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "estimator"),
        **job["variables"],
    }
    codes = [subprocess.run(["sh", "-ec", line], env=environment).returncode for line in lines]
    assert codes == [0, 1]
    assert job["artifacts"]["when"] == "always"
    assert 'failures="1"' in (tree / job["artifacts"]["reports"]["junit"]).read_text()
    assert (tree / "plimsoll.md").read_text().startswith("### Plimsoll: ")
