"""Claims about what a plain `check` imports: nothing that only a pipeline asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_plain_check_imports_nothing_of_the_outputs_for_pipelines() -> None:
    code = (
        "import sys\nfrom plimsoll.cli import main\n"
        "main(args=['check', 'deploy/samples/smallest.yaml'], standalone_mode=False)"
    )
    late = ("report.results", "report.rules", "report.gate", "cli.results", "workloads.positions")
    said = f"\nprint([m for m in {late!r} if 'plimsoll.' + m in sys.modules], file=sys.stderr)"
    program = code.replace("\nmain(", "\ntry:\n  main(") + "\nfinally:\n " + said.strip()
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert "default/smallest" in result.stdout
    assert result.stderr.strip() == "[]"
