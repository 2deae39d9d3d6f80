"""Claims about the files beside the manifests that a command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from plimsoll.cli import calibrate, cli, given, results
from plimsoll.cli.check import command
from plimsoll.measured import log_lines, rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "option", ["--inventory", "--policy", "--accelerators", "--baseline", "--calibration"]
)
def test_a_file_beside_the_manifests_is_read_no_further_than_its_bound(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "MAX_INVENTORY", 1 << 20)
    monkeypatch.setattr(results, "MAX_KEPT", 1 << 20)
    monkeypatch.setattr(calibrate, "MAX_KEPT", 1 << 20)
    endless = tmp_path / "endless"  # its size says 0, as in a folder of somebody else
    endless.symlink_to("/dev/zero")
    manifest = tmp_path / "chat.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", encoding="utf-8")
    answer = CliRunner().invoke(command, [str(manifest), option, str(endless)])
    assert answer.exit_code == 2
    assert "more than 1 MiB" in answer.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("read-log", "ENDLESS"),
        ("read-log", "-"),
        ("calibrate", "ENDLESS", "--to", "KEPT"),
        ("calibrate", "ROWS", "--models", "ENDLESS", "--to", "KEPT"),
        ("accuracy", "ENDLESS", "--models", "MODELS"),
        ("accuracy", "ROWS", "--models", "ENDLESS"),
    ],
)
@pytest.mark.parametrize(
    "content",
    [b"\0" * 100, b"words " * 400 + b"\n", b'{"a": "b"}' + b" " * 2000 + b"\n"],
    ids=["zeros", "words", "rows"],
)
def test_logs_and_rows_are_read_no_further_than_their_bound(
    arguments: tuple[str, ...], content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose size says 0, and a pipe of lines that do not end."""
    monkeypatch.setattr(log_lines, "MOST_LOG", 1 << 20)
    monkeypatch.setattr(rows, "MOST_FILE", 1 << 20)
    much = content * ((1 << 20) // len(content) + 1)
    paths = {name: tmp_path / name.lower() for name in ("ENDLESS", "ROWS", "MODELS", "KEPT")}
    if content[0]:
        paths["ENDLESS"].write_bytes(much)
    else:
        paths["ENDLESS"].symlink_to("/dev/zero")
    paths["ROWS"].write_text("{}\n", "utf-8")
    paths["MODELS"].write_text('{"_model_id": "a"}\n', "utf-8")
    given_as = [str(paths.get(one, one)) for one in arguments]
    answer = CliRunner().invoke(cli, given_as, input=much)
    assert answer.exit_code == 2, answer.output
    assert "more than 1 MiB" in answer.output
    assert "standard input" in answer.output if "-" in arguments else "endless" in answer.output
    assert not paths["KEPT"].exists()
