"""`python -m fuzz`: all targets for so many seconds, or one case again; see `make fuzz`.

It says every half minute how far it is, and ended by SIGTERM or SIGINT it prints what it has.
Without a seed it goes on after the seeds of all runs before, which are counted together in
build/fuzz.json.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING

from fuzz.counts import Counts
from fuzz.harness import Fault, Report, drawn, run
from fuzz.targets import OPEN, TARGETS

if TYPE_CHECKING:
    from types import FrameType


class Ending:
    """Whether the run was asked to end; asked twice, it ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def __call__(self) -> bool:
        return self.asked

    def restore(self) -> None:
        """Have signals treated as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.restore()


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if anything was found that is not known."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, help="this one alone")
    parser.add_argument("--seed", type=int, help="a run with the same seed draws the same cases")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--case", type=int, help="this case alone, with its input in full")
    chosen = parser.parse_args(arguments)
    counts = Counts()
    seed = counts.next_seed() if chosen.seed is None else chosen.seed
    if chosen.case is not None:
        if chosen.target is None or chosen.seed is None:
            parser.error("--case needs the --target and the --seed that it is of")
        target = TARGETS[chosen.target]
        print(ascii(drawn(target, seed, chosen.case)))
        return shown([run(target, seed, cases=1, first=chosen.case)])
    names = [chosen.target] if chosen.target else list(TARGETS)
    print(f"seed {seed}, {chosen.seconds:.0f} s for {len(names)} targets", flush=True)
    ending = Ending()
    reports = []
    for name in names:
        if ending.asked:
            break
        report = run(
            TARGETS[name],
            seed,
            seconds=chosen.seconds / len(names),
            told=lambda so_far: told(counts, so_far),
            ended=ending,
        )
        told(counts, report)
        reports.append(report)
    ending.restore()
    found = shown(reports)
    print("\nall runs together", *counts.lines(), sep="\n")
    return found


def told(counts: Counts, report: Report) -> None:
    """Print the figures of a report, and keep them."""
    print(report.line(), flush=True)
    counts.keep(report)


def shown(reports: list[Report]) -> int:
    """Print the sum and every fault that was kept; 1 if one is not known yet."""
    cases, seconds = sum(r.cases for r in reports), sum(r.seconds for r in reports)
    worst = max(r.worst_seconds[0] for r in reports), max(r.worst_mib[0] for r in reports)
    print(
        f"{cases} cases in {seconds:.0f} s, seed {reports[0].seed}; the worst case took "
        f"{worst[0]:.3f} s of the processor, another {worst[1]:.1f} MiB"
    )
    for report in reports:
        for fault in report.faults:
            known = OPEN.get((report.target, fault.kind))
            print(f"\n{fault.kind}: {fault.details}" + (f" (known: {known})" if known else ""))
            print(f"  {fault.given}\n  {fault.reproducer}")
    return 1 if any(unknown(report) for report in reports) else 0


def unknown(report: Report) -> list[Fault]:
    """The faults that nobody knows of yet."""
    return [fault for fault in report.faults if (report.target, fault.kind) not in OPEN]


if __name__ == "__main__":
    sys.exit(main())
