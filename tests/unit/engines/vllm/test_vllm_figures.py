"""The table of figures by version: what holds when, and that each says where it comes from."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.engines.base import Known
from plimsoll.engines.vllm.options import TABLE
from plimsoll.errors import Unreadable


@pytest.mark.parametrize(
    ("version", "share"),
    [("0.19.0", "0.9"), ("0.22", "0.92"), ("", "0.92"), ("0.6.3.post1", "0.9"), ("9.0", "0.92")],
)
def test_the_default_share_of_memory_is_that_of_the_version(version: str, share: str) -> None:
    assert TABLE.constants(version).utilization == Decimal(share)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.19.0", (0, 19, 0)),
        ("v0.9.2", (0, 9, 2)),
        ("0.23.1rc1.dev280+gc0b2d8f47", (0, 23, 1)),
        ("0.6.6.post1", (0, 6, 6)),
        ("0.8.x V1", (0, 8, 0)),
        (" 0.10 ", (0, 10, 0)),
    ],
)
def test_versions_are_read_as_people_and_wheels_write_them(
    text: str, numbers: tuple[int, int, int]
) -> None:
    assert TABLE.parse(text) == numbers


@pytest.mark.parametrize("text", ["latest", "2026-04", "0.5.4", "0", "x" * 10_000, "٠.١٩", "0.-1"])
def test_what_is_no_version_or_too_old_is_refused_in_words(text: str) -> None:
    with pytest.raises(Unreadable, match="vLLM version"):
        TABLE.constants(text)


def test_a_version_newer_than_the_table_takes_the_newest_figures_and_says_so() -> None:
    assert TABLE.constants("1.0").newer
    assert not TABLE.constants("0.33.5").newer
    assert TABLE.constants("1.0").digest == TABLE.constants("").digest


def test_every_figure_names_its_source_and_how_it_is_known() -> None:
    for name, entries in TABLE.data["figures"].items():
        assert entries[0]["since"] == TABLE.data["oldest"], name
        order = [TABLE.parse(entry["since"]) for entry in entries]
        assert order == sorted(set(order)), name
        for entry in entries:
            assert Known(entry["known"]), name
            assert len(entry["source"]) > 5, name
            assert 0 <= entry["error"] <= 1, name


def test_the_digest_changes_with_the_figures_and_with_nothing_else() -> None:
    assert TABLE.constants("0.19.0").digest == TABLE.constants("0.19.1").digest
    assert TABLE.constants("0.19").digest != TABLE.constants("0.22").digest


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_a_version(text: str) -> None:
    with contextlib.suppress(Unreadable):
        assert TABLE.constants(text).figures
