"""What all runs of the targets came to, in a file, so that a million cases may be run in pieces.

A run is counted under its target and seed once, however often it is repeated; one that begins
without a seed takes the next that no run had.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fuzz.harness import Report

KEPT: Final = Path(__file__).parents[2] / "build" / "fuzz.json"
"""Which git ignores; deleted, counting begins anew."""


class Counts:
    """The runs in the file by target and seed; a file that is not there holds none."""

    def __init__(self) -> None:
        self.path = KEPT

    def next_seed(self) -> int:
        """The first seed after those of all runs."""
        return 1 + max((int(seed) for runs in self._read().values() for seed in runs), default=0)

    def keep(self, report: Report) -> None:
        """Write down what a run came to so far, unless the same seed was run for longer before."""
        kept = self._read()
        runs = kept.setdefault(report.target, {})
        if runs.get(str(report.seed), {"cases": -1})["cases"] > report.cases:
            return
        runs[str(report.seed)] = {
            "cases": report.cases,
            "seconds": round(report.seconds, 1),
            "worst seconds": report.worst_seconds,
            "worst MiB": report.worst_mib,
            "found": dict(report.kinds),
            "repeated by": [fault.reproducer for fault in report.faults],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        beside.replace(self.path)

    def lines(self) -> list[str]:
        """A line for each target: what all of its runs came to."""
        return [_line(target, runs) for target, runs in sorted(self._read().items()) if runs]

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            kept: dict[str, dict[str, Any]] = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return kept


def _line(target: str, runs: dict[str, Any]) -> str:
    slowest = max((run["worst seconds"][0], seed) for seed, run in runs.items())
    largest = max((run["worst MiB"][0], seed) for seed, run in runs.items())
    found: Counter[str] = sum((Counter(run["found"]) for run in runs.values()), Counter())
    seeds = [int(seed) for seed in runs]
    return (
        f"{target:11} {sum(run['cases'] for run in runs.values()):9} cases "
        f"{sum(run['seconds'] for run in runs.values()):9.1f} s   of {len(seeds)} seeds from "
        f"{min(seeds)} to {max(seeds)}   worst {slowest[0]:6.3f} s (seed {slowest[1]}), "
        f"{largest[0]:5.1f} MiB (seed {largest[1]})   found: "
        + (", ".join(f"{kind} x {count}" for kind, count in sorted(found.items())) or "nothing")
    )
