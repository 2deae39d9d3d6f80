"""Figures by version, as engines' data files give them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.engines.sglang.settings import TABLE as SGLANG
from plimsoll.engines.tables import VersionTable
from plimsoll.engines.tgi.settings import TABLE as TGI
from plimsoll.errors import Unreadable

if TYPE_CHECKING:
    from pathlib import Path


def table(folder: Path, figures: dict[str, Any], **more: object) -> VersionTable:
    """A table of two versions."""
    file = folder / "constants.json"
    file.write_text(json.dumps({"oldest": "1.2", "newest": "2.0.1", "figures": figures, **more}))
    return VersionTable("Engine", file)


def entry(since: str, value: float) -> dict[str, object]:
    """One figure from a version on."""
    return {"since": since, "value": value, "known": "exact", "source": "here"}


def test_a_version_between_two_entries_takes_the_older_one(tmp_path: Path) -> None:
    own = table(tmp_path, {"a": [entry("1.2", 1), entry("2.0", 2)]})
    assert own.constants("1.9.9.post3").number("a") == 1
    assert own.constants("v2.0.0rc1").number("a") == 2
    assert own.constants().number("a") == 2


def test_a_version_beyond_the_newest_says_so(tmp_path: Path) -> None:
    own = table(tmp_path, {"a": [entry("1.2", 1)]})
    assert own.constants("2.0.2").newer
    assert not own.constants("2.0.1").newer


@pytest.mark.parametrize("text", ["1.1.9", "soon", "1", "1.2.3.4.5x" * 20])
def test_other_texts_are_unreadable_and_fall_back_to_the_newest(tmp_path: Path, text: str) -> None:
    own = table(tmp_path, {"a": [entry("1.2", 1), entry("2.0", 2)]})
    with pytest.raises(Unreadable):
        own.constants(text)
    assert own.or_newest(text).number("a") == 2


def test_the_digest_changes_with_figures_and_tables(tmp_path: Path) -> None:
    first = table(tmp_path, {"a": [entry("1.2", 1)]}).constants().digest
    assert table(tmp_path, {"a": [entry("1.2", 3)]}).constants().digest != first
    assert table(tmp_path, {"a": [entry("1.2", 1)]}, tiers=[1]).constants().digest != first


@pytest.mark.parametrize("own", [SGLANG, TGI], ids=["sglang", "tgi"])
def test_every_figure_has_a_source_and_starts_with_the_oldest_version(own: VersionTable) -> None:
    oldest = own.parse(own.data["oldest"])
    for name, entries in own.data["figures"].items():
        versions = [own.parse(e["since"]) for e in entries]
        assert versions == sorted(set(versions)), name
        assert versions[0] == oldest, name
        assert all(e["source"] for e in entries), name


@given(st.text(max_size=40))
def test_any_text_gives_figures_or_the_newest(text: str) -> None:
    assert SGLANG.or_newest(text).figures.keys() == SGLANG.constants().figures.keys()
