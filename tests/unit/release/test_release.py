"""Claims about releasing: one version everywhere, and each kind of disagreement refuses the tag."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

import plimsoll
from release.__main__ import main
from release.check import CHANGELOG, CHART, DEPLOY, IMAGE, PACKAGE, ROOT, notes, problems, stated
from release.manifest import pinned

if TYPE_CHECKING:
    from pathlib import Path

VERSION = plimsoll.__version__
TAG = f"v{VERSION}"
HEADING = f"## {VERSION} - 2026-11-23"
NEWS = "\n\n### Added\n\n- Something.\n\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The places that state a version, as of this tree, with a changelog that is ready."""
    for name in (PACKAGE, CHART):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / DEPLOY, tmp_path / DEPLOY)
    (tmp_path / CHANGELOG).write_text(
        f"# Changelog\n\n## Unreleased\n\n{HEADING}{NEWS}## 0.0.9 - 2026-01-01{NEWS}"
    )
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_one_version_is_everywhere() -> None:
    places = stated()
    assert {place.place: place.version for place in places if place.version != VERSION} == {}
    named = {place.place for place in places}
    assert {f"{CHART} version", f"{CHART} appVersion", "deploy/plimsoll.yaml"} <= named
    assert "deploy/base/crd.yaml" in named


def test_a_tag_that_agrees_with_everything_is_released(tree: Path) -> None:
    assert problems(TAG, tree) == []


@pytest.mark.parametrize("tag", [VERSION, "v0.1", "version-0.1.0", "v01.0.0", "v", ""])
def test_what_is_no_version_is_refused(tag: str, tree: Path) -> None:
    (problem,) = problems(tag, tree)
    assert "wanted v and a version of SemVer" in problem


def test_a_tag_of_another_version_names_every_place(tree: Path) -> None:
    wrong = problems("v9.9.9", tree)
    assert f"{PACKAGE} __version__: {VERSION}, wanted 9.9.9 of the tag v9.9.9" in wrong
    assert len(wrong) == len(stated(tree)) + 1


@pytest.mark.parametrize(
    ("name", "old", "new", "place"),
    [
        (PACKAGE, VERSION, "0.0.8", f"{PACKAGE} __version__: 0.0.8"),
        (CHART, f"\nversion: {VERSION}", "\nversion: 0.0.8", f"{CHART} version: 0.0.8"),
        (CHART, f'appVersion: "{VERSION}"', 'appVersion: "0.0.8"', f"{CHART} appVersion: 0.0.8"),
        (CHART, f"plimsoll:{VERSION}", "plimsoll:0.0.8", f"{CHART} artifacthub.io/images: 0.0.8"),
        (
            "deploy/plimsoll.yaml",
            f"image: ghcr.io/plimsoll/plimsoll:{VERSION}",
            "image: ghcr.io/plimsoll/plimsoll:0.0.8",
            "deploy/plimsoll.yaml: 0.0.8",
        ),
        (
            "deploy/base/crd.yaml",
            f"app.kubernetes.io/version: {VERSION}",
            "app.kubernetes.io/version: 0.0.8",
            "deploy/base/crd.yaml: 0.0.8",
        ),
    ],
)
def test_one_place_that_disagrees_refuses_the_tag(
    name: str, old: str, new: str, place: str, tree: Path
) -> None:
    change(tree / name, old, new)
    assert problems(TAG, tree) == [f"{place}, wanted {VERSION} of the tag {TAG}"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (HEADING, "## 0.0.95 - 2026-11-23", "give what is unreleased its version and date"),
        (HEADING, f"## {VERSION}", "has no date"),
        (f"{HEADING}{NEWS}", f"{HEADING}\n\n", "nothing stands under"),
        ("## Unreleased\n", "## Unreleased\n\n- More.\n", "something stands under `## Unreleased`"),
        (HEADING, f"## 0.2.0 - 2026-12-01{NEWS}{HEADING}", "`## 0.2.0` stands above"),
    ],
)
def test_a_changelog_that_is_not_ready_refuses_the_tag(
    old: str, new: str, said: str, tree: Path
) -> None:
    change(tree / CHANGELOG, old, new)
    (problem,) = problems(TAG, tree)
    assert said in problem


def test_brackets_and_parentheses_of_keep_a_changelog_are_read(tree: Path) -> None:
    change(tree / CHANGELOG, HEADING, f"## [{VERSION}] (2026-11-23)")
    assert problems(TAG, tree) == []


def test_notes_are_the_section_of_that_version_alone(tree: Path) -> None:
    assert notes(VERSION, tree) == "### Added\n\n- Something.\n"
    with pytest.raises(ValueError, match="no heading `## 7"):
        notes("7.0.0", tree)


def test_a_refused_tag_ends_with_an_error_that_names_each_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "v9.9.9"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{CHART} appVersion: {VERSION}, wanted 9.9.9 of the tag v9.9.9" in said.err


DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def test_the_manifest_of_a_release_has_every_image_by_digest_and_none_by_tag_alone(
    tmp_path: Path,
) -> None:
    written = tmp_path / "plimsoll.yaml"
    assert main(["manifest", DIGEST, str(written)]) == 0
    pods = [
        obj["spec"]["template"]["spec"]
        for obj in yaml.safe_load_all(written.read_text())
        if obj["kind"] == "Deployment"
    ]
    images = [c["image"] for pod in pods for c in pod["containers"] + pod.get("initContainers", [])]
    assert images == [f"{IMAGE}:{VERSION}@{DIGEST}"] * 2
    source = (ROOT / DEPLOY / "plimsoll.yaml").read_text()
    assert written.read_text().replace(f"@{DIGEST}", "") == source, "nothing else is changed"


@pytest.mark.parametrize(
    ("manifest", "digest", "said"),
    [
        (f"image: {IMAGE}:1.0.0\n", "sha256:abc", "64 hexadecimal digits"),
        (f"image: {IMAGE}:1.0.0\n", "", "64 hexadecimal digits"),
        ("kind: Namespace\n", DIGEST, "no line `image: "),
        (f"image: {IMAGE}:1.0.0\nimage: other/sidecar:2\n", DIGEST, "other/sidecar:2"),
    ],
)
def test_a_manifest_that_cannot_be_pinned_whole_is_not_released(
    manifest: str, digest: str, said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        pinned(manifest, digest)
