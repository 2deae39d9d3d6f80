"""One version everywhere: read what every place states, and refuse a tag that disagrees with any.

It must not import what it checks, so that it reads the files as they will be packaged, and it
never repairs anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = "estimator/plimsoll/__init__.py"
CHART: Final = "charts/plimsoll/Chart.yaml"
CHANGELOG: Final = "CHANGELOG.md"
DEPLOY: Final = "deploy"
IMAGE: Final = "ghcr.io/plimsoll/plimsoll"

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
_HEADING = re.compile(r"^## \[?(?P<name>[^\]\s]+)\]?(?: [-–(] ?(?P<date>\S+?)\)?)?$", re.MULTILINE)
_IN_MANIFESTS = re.compile(
    rf"app\.kubernetes\.io/version: *\"?(?P<label>[^\s\"]+)"
    rf"|image: *\"?{re.escape(IMAGE)}:(?P<tag>[^\s\"]+)"
)
_DEVELOPMENT = "dev"
"""Tag of the image in deploy/overlays/dev: whoever develops builds it."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A version and the place that states it, in words that a reader finds it by."""

    place: str
    version: str


def stated(root: Path = ROOT) -> list[Stated]:
    """Every place that states the version, CHANGELOG's heading apart.

    Raises OSError if a file is missing, ValueError if one states no version.
    """
    found = re.search(r'^__version__ = "([^"]+)"$', (root / PACKAGE).read_text(), re.MULTILINE)
    if not found:
        raise ValueError(f'{PACKAGE}: no line __version__ = "..."')
    places = [Stated(f"{PACKAGE} __version__", found[1])]
    chart = yaml.safe_load((root / CHART).read_text(encoding="utf-8"))
    places += [Stated(f"{CHART} {key}", str(chart.get(key))) for key in ("version", "appVersion")]
    listed = str(chart.get("annotations", {}).get("artifacthub.io/images", ""))
    places += [
        Stated(f"{CHART} artifacthub.io/images", tag)
        for tag in re.findall(rf"{re.escape(IMAGE)}:(\S+)", listed) or ["none"]
    ]
    for path in sorted((root / DEPLOY).rglob("*.yaml")):
        name = path.relative_to(root).as_posix()
        versions = {
            match["label"] or match["tag"]
            for match in _IN_MANIFESTS.finditer(path.read_text(encoding="utf-8"))
        }
        places += [Stated(name, version) for version in sorted(versions - {_DEVELOPMENT})]
    return places


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Why this tag cannot be released, all of it at once; empty if it can."""
    version = tag.removeprefix("v")
    if not tag.startswith("v") or not _SEMVER.fullmatch(version):
        return [f"tag: {tag}: wanted v and a version of SemVer; such as v0.1.0"]
    wrong = [
        f"{place.place}: {place.version}, wanted {version} of the tag {tag}"
        for place in stated(root)
        if place.version != version
    ]
    return wrong + _changelog_problems(version, root)


def notes(version: str, root: Path = ROOT) -> str:
    """What CHANGELOG.md says of that version, without its heading.

    Raises ValueError if it has no such heading.
    """
    text = (root / CHANGELOG).read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    for number, heading in enumerate(headings):
        if heading["name"] == version:
            end = headings[number + 1].start() if number + 1 < len(headings) else len(text)
            return text[heading.end() : end].strip() + "\n"
    raise ValueError(f"{CHANGELOG}: no heading `## {version}`")


def _changelog_problems(version: str, root: Path) -> list[str]:
    headings = list(_HEADING.finditer((root / CHANGELOG).read_text(encoding="utf-8")))
    names = [heading["name"] for heading in headings]
    wanted = f"wanted `## {version} - YYYY-MM-DD` as its newest heading"
    if version not in names:
        found = f"`## {names[0]}`" if names else "no heading"
        return [f"{CHANGELOG}: {found}, {wanted}: give what is unreleased its version and date"]
    wrong = []
    newest = next(name for name in names if name != "Unreleased")
    if newest != version:
        wrong.append(f"{CHANGELOG}: `## {newest}` stands above `## {version}`, {wanted}")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", headings[names.index(version)]["date"] or ""):
        wrong.append(f"{CHANGELOG}: `## {version}` has no date, {wanted}")
    if names[0] == "Unreleased" and notes("Unreleased", root).strip():
        wrong.append(f"{CHANGELOG}: something stands under `## Unreleased`: release it or drop it")
    if not notes(version, root).strip():
        wrong.append(f"{CHANGELOG}: nothing stands under `## {version}`")
    return wrong
