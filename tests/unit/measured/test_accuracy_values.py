"""Single values of a row: what is read, and what stays unknown."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given

from json_values import JSON
from plimsoll.measured.printed import number, share, whole, words, yes_or_no


@pytest.mark.parametrize(
    ("given_", "read"),
    [(61.66, 61.66), ("61.66", 61.66), ("61.66 GiB", 61.66), (-1.44, -1.44), (0, 0.0)],
)
def test_a_number_is_read_as_a_number_or_as_text(given_: object, read: float) -> None:
    assert number(given_) == read


@pytest.mark.parametrize("given_", [True, "about 8", "", None, float("nan"), float("inf"), [8], {}])
def test_what_is_not_plainly_a_number_is_unknown(given_: object) -> None:
    assert number(given_) is None


def test_a_count_is_a_whole_number_from_one() -> None:
    assert whole(8192.0) == 8192
    assert whole("8192") == 8192
    assert [whole(value) for value in (0, -1, 8.5, True, 10**12)] == [None] * 5


def test_booleans_are_read_in_the_ways_people_write_them() -> None:
    assert [yes_or_no(value) for value in (True, 1, "True", "yes")] == [True] * 4
    assert [yes_or_no(value) for value in (False, 0, "false", "off")] == [False] * 4
    assert [yes_or_no(value) for value in (None, 2, "perhaps", 0.5)] == [None] * 4


def test_a_share_is_kept_exactly_as_written() -> None:
    assert share(0.95) == Decimal("0.95")
    assert share("0.9") == Decimal("0.9")
    assert [share(value) for value in (0, 1.5, -0.2, "90 %", True, None)] == [None] * 6


def test_words_that_say_nothing_is_known_are_empty() -> None:
    assert words("  Tesla   V100 ") == "tesla v100"
    assert [words(value) for value in ("N/A", "unknown", "None", 3, None)] == [""] * 5


@given(JSON)
def test_no_value_raises(value: object) -> None:
    for read in (number, whole, yes_or_no, share, words):
        read(value)
