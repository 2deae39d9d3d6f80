"""Claims about deploy/: made from the chart, and the same objects.

Needs the real helm and kubectl and no API server; test_chart_objects.py shows them to one.
"""

from __future__ import annotations

import pytest
import yaml

from chart import HELM_ONLY, OVERLAYS, by_name, kustomize, plain, render
from chart.deploy import DEPLOY, one_file, resources
from chart.readme import readme


def test_the_checked_in_files_are_the_generated_ones() -> None:
    made = resources() | dict([one_file(), readme()])
    stale = [path.name for path, text in made.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make generate`"


def test_the_namespace_is_the_same_in_both_files() -> None:
    base = yaml.safe_load((DEPLOY / "base" / "namespace.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load((DEPLOY / "namespace.yaml").read_text(encoding="utf-8")) == base


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_the_objects_of_the_chart(overlay: str) -> None:
    by_helm = by_name(plain(obj) for obj in render(OVERLAYS[overlay]))
    by_kustomize = by_name(kustomize(overlay))
    assert by_kustomize.pop(("Namespace", "", "plimsoll-system"))
    assert by_kustomize.keys() == by_helm.keys()
    for key, obj in by_helm.items():
        assert by_kustomize[key] == obj, key


def test_every_overlay_is_tested() -> None:
    assert {path.name for path in (DEPLOY / "overlays").iterdir()} == set(OVERLAYS)


def test_nothing_of_helm_is_left_in_what_kubectl_applies() -> None:
    text = (DEPLOY / "plimsoll.yaml").read_text(encoding="utf-8")
    for names in HELM_ONLY.values():
        assert [name for name in names if name in text] == []
