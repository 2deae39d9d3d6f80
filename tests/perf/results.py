"""One figure with its baseline and its aim, the table of all of them, and build/bench.json.

It must not measure.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    value, baseline: in `unit`; baseline None where there is nothing to compare with.
    aim: ``<= 2.0`` or ``>= 800`` on the value, ``ratio <= 1.5`` on value / baseline;
        empty for a figure that is there to compare with.
    load: of the machine in the last minute when it was measured, by processes that want a core.
    """

    name: str
    value: float
    unit: str
    baseline: float | None
    aim: str
    load: float

    @property
    def ratio(self) -> float | None:
        """Value over baseline."""
        return self.value / self.baseline if self.baseline else None

    @property
    def ok(self) -> bool:
        """Whether the aim is met; there may be none."""
        if not self.aim:
            return True
        words = self.aim.split()
        measured = self.ratio if words[0] == "ratio" else self.value
        if measured is None:
            return False
        bound = float(words[-1])
        return measured <= bound if words[-2] == "<=" else measured >= bound


@dataclass
class Report:
    """All figures of a run, printed as they come."""

    figures: list[Figure] = field(default_factory=list)

    def add(
        self, name: str, value: float, unit: str, aim: str, baseline: float | None = None
    ) -> None:
        """Add a figure and print it."""
        figure = Figure(name, value, unit, baseline, aim, os.getloadavg()[0])
        self.figures.append(figure)
        shown = "" if figure.baseline is None else f"{figure.baseline:>10.2f}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
        print(
            f"{'ok  ' if figure.ok else 'MISS'}  {name:<58}{value:>10.2f} {unit:<6}{shown:>10}"
            f"{ratio:>8}{figure.load:>6.1f}  {aim}",
            flush=True,
        )

    def write(self, path: Path) -> None:
        """Write all as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(f) | {"ratio": f.ratio, "ok": f.ok} for f in self.figures]
        path.write_text(json.dumps(rows, indent=2) + "\n")


def head() -> None:
    """The head of the table."""
    print(f"{os.cpu_count()} cores; load: of the last minute, which counts our own processes, too")
    print(
        f"{'':6}{'what':<58}{'value':>10} {'unit':<6}{'baseline':>10}{'ratio':>8}{'load':>6}  aim"
    )


def percentile(samples: list[float], share: float) -> float:
    """The value below which that share of the samples lies."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
