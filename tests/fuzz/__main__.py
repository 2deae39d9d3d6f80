"""`python -m fuzz`: all targets for so many seconds, or one case again; see `make fuzz`."""

from __future__ import annotations

import argparse
import sys
from random import SystemRandom

from fuzz.harness import Fault, Report, drawn, run
from fuzz.targets import OPEN, TARGETS


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if anything was found that is not known."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, help="this one alone")
    parser.add_argument("--seed", type=int, help="a run with the same seed draws the same cases")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--case", type=int, help="this case alone, with its input in full")
    chosen = parser.parse_args(arguments)
    seed = SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    if chosen.case is not None:
        if chosen.target is None or chosen.seed is None:
            parser.error("--case needs the --target and the --seed that it is of")
        target = TARGETS[chosen.target]
        print(ascii(drawn(target, seed, chosen.case)))
        return shown([run(target, seed, cases=1, first=chosen.case)])
    names = [chosen.target] if chosen.target else list(TARGETS)
    print(f"seed {seed}, {chosen.seconds:.0f} s for {len(names)} targets", flush=True)
    return shown(
        [shown_at_once(run(TARGETS[n], seed, seconds=chosen.seconds / len(names))) for n in names]
    )


def shown_at_once(report: Report) -> Report:
    """The same report, its figures printed."""
    print(report.line(), flush=True)
    return report


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
