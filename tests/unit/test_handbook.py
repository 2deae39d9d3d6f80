"""Claims about the site of the documents: every page has its place, links lead, it asks nobody.

mkdocs itself is not here: `make docs` builds the site, and CI does.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from handbook.links import MORE_PAGES, REPOSITORY, for_site, origin
from handbook.markdown import plain, table

ROOT = Path(__file__).resolve().parents[2]


class Loader(yaml.SafeLoader):
    """Reads the settings of mkdocs; what names a function of Python stays a name."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def settings() -> dict[str, Any]:
    read: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    return read


def places(entries: list[Any]) -> list[str]:
    """Every page that the navigation names."""
    found: list[str] = []
    for entry in entries:
        for value in entry.values():
            found += places(value) if isinstance(value, list) else [value]
    return found


def test_every_page_has_one_place_in_the_navigation() -> None:
    named = places(settings()["nav"])
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    assert sorted(named) == sorted(pages | set(MORE_PAGES.values()))


def test_pages_are_sorted_by_what_a_reader_wants_of_them() -> None:
    kinds = [next(iter(entry)) for entry in settings()["nav"]]
    assert kinds == ["Plimsoll", "Tutorial", "How to", "Reference", "Explanation"]
    reference = settings()["nav"][3]["Reference"]
    assert {"cli.md", "crd.md", "metrics.md", "rules.md", "gates.md"} <= set(places(reference))


def test_a_document_outside_docs_that_is_a_page_is_linked_as_one() -> None:
    assert for_site("see [it](../CHANGELOG.md#fixed)", "upgrade.md") == (
        "see [it](changelog.md#fixed)"
    )
    assert for_site("[chart](../../charts/plimsoll/README.md)", "releases/x.md") == (
        "[chart](../chart.md)"
    )


def test_any_other_path_outside_docs_leads_to_the_repository() -> None:
    assert for_site("[it](../Dockerfile)", "air-gapped.md") == (
        f"[it]({REPOSITORY}/blob/main/Dockerfile)"
    )
    assert for_site("[it](deploy/samples)", "index.md") == (
        f"[it]({REPOSITORY}/blob/main/deploy/samples)"
    )


def test_links_of_the_readme_to_docs_are_links_between_pages() -> None:
    assert origin("index.md") == "README.md"
    assert for_site("[i](docs/install.md#which-way)", "index.md") == "[i](install.md#which-way)"


def test_other_addresses_anchors_and_code_stay_as_they_are() -> None:
    text = "[a](https://example.com/x) [b](#here)\n```md\n[c](../Dockerfile)\n```\n"
    assert for_site(text, "install.md") == text


def test_what_code_says_of_itself_is_shown_by_markdown_as_it_is() -> None:
    assert plain("a | b < c, HF_TOKEN,\n  `x|y`") == "a \\| b \\< c, HF\\_TOKEN, `x\\|y`"
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_the_sites_own_dependencies_are_locked_apart_and_name_no_registry() -> None:
    lock = (ROOT / "requirements/docs.lock").read_text()
    assert re.search(r"^mkdocs-material==", lock, re.MULTILINE)
    assert "http" not in lock
    for pin in re.findall(r"^\S+==\S+.*$", lock, re.MULTILINE):
        assert pin.endswith("\\"), f"{pin} has no hash"
    assert "mkdocs" not in (ROOT / "requirements/dev.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "mkdocs" not in str(project["dependency-groups"])


def test_the_site_asks_nobody_for_fonts_or_scripts() -> None:
    made = settings()
    assert made["theme"]["font"] is False
    assert not {"extra_javascript", "extra_css"} & set(made)
    assert made["plugins"] == ["search"]
