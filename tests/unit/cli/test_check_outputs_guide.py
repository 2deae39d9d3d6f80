"""The guide on results in a pipeline, run: every command in it, in its order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from commands import run

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/check-outputs.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in re.findall(r"^\$ plimsoll (.*)$", block, re.MULTILINE)
]
FAILING = {
    "check deploy/samples -o sarif": 1,
    "check deploy/samples -o junit": 1,
    "check deploy/samples -o github": 1,
    "check deploy/samples -o markdown": 1,
    "check deploy/samples --select PL0,PL1": 1,
    "check deploy/samples --fail-on warn": 1,
    "check deploy/samples/refused.yaml": 1,
}
"""Commands that are to fail on the samples, one of which is refused; all others end with 0."""


def test_every_command_of_the_guide_does_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "deploy/samples", tmp_path / "deploy/samples")
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) >= 15
    for command in COMMANDS:
        words, _, file = command.partition(" > ")
        result = run(*shlex.split(words))
        assert result.exit_code == FAILING.get(words, 0), command
        assert result.output.strip(), command
        if file:
            Path(file).write_text(result.stdout)
    assert json.loads(Path("plimsoll.sarif").read_text())["version"] == "2.1.0"
    assert run("check", "deploy/samples/refused.yaml").exit_code == 0


def test_the_annotation_in_the_guide_ignores_what_it_says(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\nmetadata:\n(.*?)```", GUIDE, re.DOTALL)
    text = (ROOT / "deploy/samples/refused.yaml").read_text()
    file = tmp_path / "it.yaml"
    file.write_text(text.replace("metadata:\n", f"metadata:\n{block}"))
    result = run("check", file)
    assert result.exit_code == 0
    assert "PL001 ignored: sized by hand, see ticket 7" in result.stdout
