"""Claims about what a plain `check` imports: nothing that only a pipeline asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
from plimsoll.cli import main

try:
    main(args=["check", "deploy/samples/smallest.yaml"])
finally:
    late = ("report.results", "report.rules", "report.gate", "cli.results", "workloads.positions")
    print([name for name in late if f"plimsoll.{name}" in sys.modules], file=sys.stderr)
"""


def test_a_plain_check_imports_nothing_of_the_outputs_for_pipelines() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True
    )
    assert "default/smallest" in result.stdout
    assert result.stderr.strip() == "[]"
