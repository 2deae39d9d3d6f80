"""`python -m release check TAG`, `notes VERSION` and `chart FOLDER`, for `make dist` and releases.

It must hold no logic of its own.
"""

from __future__ import annotations

import argparse
import sys

from chart import CHART, HelmError, helm
from controlplane.errors import ControlPlaneError
from release.check import notes, problems, stated


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 where the tag disagrees with a place, which standard error names."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="refuse a tag that disagrees with any place")
    check.add_argument("tag", help="such as v0.1.0")
    show = commands.add_parser("notes", help="what CHANGELOG.md says of a version")
    show.add_argument("version", help="such as 0.1.0")
    package = commands.add_parser("chart", help="package the chart; builds helm where it is not")
    package.add_argument("folder", help="where to put it")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "notes":
            print(notes(chosen.version), end="")
            return 0
        if chosen.command == "chart":
            print(helm("package", str(CHART), "--destination", chosen.folder).stdout, end="")
            return 0
        wrong = problems(chosen.tag)
        places = len(stated()) if not wrong else 0
    except (OSError, ValueError, HelmError, ControlPlaneError) as error:
        wrong, places = [str(error)], 0
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"{chosen.tag}: {places} places and CHANGELOG.md agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
