"""Claims about the files beside the manifests that a command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from plimsoll.cli import calibrate, given, results
from plimsoll.cli.check import command

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
