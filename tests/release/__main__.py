"""`python -m release check TAG`, `notes VERSION`, `chart FOLDER` and `manifest DIGEST FILE`.

It must hold no logic of its own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chart import CHART, HelmError, helm
from controlplane.errors import ControlPlaneError
from release.check import DEPLOY, ROOT, notes, problems, stated
from release.manifest import pinned


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if the tag disagrees with a place, which standard error names."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="refuse a tag that disagrees with any place")
    check.add_argument("tag", help="such as v0.1.0")
    show = commands.add_parser("notes", help="what CHANGELOG.md says of a version")
    show.add_argument("version", help="such as 0.1.0")
    package = commands.add_parser("chart", help="package the chart; builds helm where it is not")
    package.add_argument("folder", help="where to put it")
    install = commands.add_parser("manifest", help="deploy/plimsoll.yaml with the image's digest")
    install.add_argument("digest", help="of the image, sha256:...")
    install.add_argument("file", type=Path, help="where to write it")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "notes":
            print(notes(chosen.version), end="")
            return 0
        if chosen.command == "chart":
            print(helm("package", str(CHART), "--destination", chosen.folder).stdout, end="")
            return 0
        if chosen.command == "manifest":
            source = (ROOT / DEPLOY / "plimsoll.yaml").read_text(encoding="utf-8")
            chosen.file.write_text(pinned(source, chosen.digest), encoding="utf-8")
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
