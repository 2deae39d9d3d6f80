"""How long the command line takes to start, against an interpreter that imports what it must.

Whole processes, in turn, medians of pairs.
"""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perf.results import Report

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 15


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - start


def run(report: Report) -> None:
    """`plimsoll --help` and `plimsoll check` of one file."""
    for folder in ("estimator", "operator"):  # as pip leaves an installed package
        compileall.compile_dir(str(ROOT / folder), quiet=1)
    plimsoll = str(Path(sys.executable).parent / "plimsoll")
    bare = [sys.executable, "-c", "import pydantic, yaml; pydantic.BaseModel"]
    commands = {
        "plimsoll --help": [plimsoll, "--help"],
        "plimsoll check of one file": [plimsoll, "check", "deploy/samples/smallest.yaml"],
    }
    for name, command in commands.items():
        _seconds(bare), _seconds(command)
        pairs = [(_seconds(bare), _seconds(command)) for _ in range(ROUNDS)]
        report.add(
            name,
            statistics.median(b for _, b in pairs) * 1e3,
            "ms",
            "ratio <= 2.5",
            statistics.median(a for a, _ in pairs) * 1e3,
        )
