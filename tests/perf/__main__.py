"""`python -m perf [PART ...]`: run the benchmarks, print the table, write build/bench.json.

It must not stop at a figure that misses its aim; the exit code says at the end.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from perf import admission, attack, check, controller, decide, fleet, guard, parts, race, start_up
from perf.results import Report, head

PARTS = {
    "parts": parts.run,
    "decide": decide.run,
    "start-up": start_up.run,
    "check": check.run,
    "admission": admission.run,
    "guard": guard.run,
    "race": race.run,
    "attack": attack.run,
    "controller": controller.run,
    "fleet": fleet.run,
}


def main(chosen: list[str]) -> int:
    """0 where every aim is met, 1 where one is missed, 2 for an unknown part."""
    unknown = set(chosen) - PARTS.keys()
    if unknown:
        print(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
        return 2
    report = Report()
    start = time.perf_counter()
    head()
    for name in chosen or PARTS:
        PARTS[name](report)
    path = Path("build") / "bench.json"
    report.write(path)
    missed = [figure.name for figure in report.figures if not figure.ok]
    print(f"{len(report.figures)} figures in {time.perf_counter() - start:.0f} s, in {path}")
    if missed:
        print("missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
