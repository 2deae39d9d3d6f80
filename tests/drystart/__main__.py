"""``make drystart VERSION=0.33.0``: ask a release, write its facts, compare our formulas."""

from __future__ import annotations

import argparse
from pathlib import Path

from drystart import changes, release
from drystart.causes import comparable_shares
from drystart.report import differences, table


def main() -> None:
    """Make the environment, run what is left of the cases, pack the facts, print the shares."""
    parser = argparse.ArgumentParser(prog="make drystart", description=__doc__)
    parser.add_argument("version", nargs="?", help="a release of vLLM; none: only compare")
    parser.add_argument("--python", type=Path, help="an environment that has the release")
    parser.add_argument("--most", type=int, help="only the first so many cases")
    parser.add_argument("--pack", action="store_true", help="run nothing, pack what there is")
    parser.add_argument("--keep", action="store_true", help="do not remove the environment")
    parser.add_argument("--differences", action="store_true", help="print every figure that is off")
    parser.add_argument("--changes", nargs=2, metavar=("OLD", "NEW"), help="minor releases")
    given = parser.parse_args()
    if given.changes:
        print(f"written: {changes.write(*given.changes)}")
        return
    if given.version:
        if not given.pack:
            if given.python is None:
                release.install(given.version)
            python = given.python or release.python_of(given.version)
            release.run(given.version, python, given.most)
        print(f"{release.write(given.version)} facts of vLLM {given.version}")
        if not (given.keep or given.pack or given.python or given.most):
            release.remove(given.version)
    print(table())
    for kind, (good, whole) in comparable_shares().items():
        print(f"{kind}: {good} of {whole} that a dry start can see, {good / whole:.1%}")
    if given.differences:
        print("\n".join(differences()))


if __name__ == "__main__":
    main()
