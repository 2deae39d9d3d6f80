"""Claims about units: what is read is exact, what is absurd is refused, nobody is favoured."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.errors import Unreadable
from plimsoll.units import (
    GIB,
    MAX_BYTES,
    MAX_PARAMETERS,
    MIB,
    ceil_div,
    ceil_mib,
    count,
    floor_mib,
    gb,
    gib,
    gib_down,
    gib_up,
    grouped,
    parse_count,
    parse_fraction,
    parse_human_integer,
    parse_memory,
    parse_ratio,
)

ABSURD = [
    "",
    " ",
    "-1",
    "-80Gi",
    "1e9",
    "0x10",
    "NaN",
    "inf",
    "80 gigs",
    "٨٠Gi",
    "８０Gi",
    "1,000",
    "1_000",
    "80Gi80Gi",
    "9" * 65,
    "1" * (1 << 20),
    "é" * (1 << 20),
    "\x00",
    "80\nGi\n1",
]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("81559Mi", 81559 * MIB),
        ("80Gi", 80 * GIB),
        ("1.5GiB", 3 * GIB // 2),
        ("80G", 80 * 10**9),
        ("80GB", 80 * 10**9),
        ("1Ki", 1024),
        ("1k", 1000),
        ("2Ti", 2 << 40),
        (" 24 Gi ", 24 * GIB),
        ("0.000000001Ki", 0),
    ],
)
def test_memory_is_read_to_the_byte(text: str, value: int) -> None:
    assert parse_memory(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("70B", 70 * 10**9),
        ("70b", 70 * 10**9),
        ("494M", 494 * 10**6),
        ("1.5T", 15 * 10**11),
        ("70553706496", 70553706496),
        ("0.5B", 5 * 10**8),
        ("7K", 7000),
        ("1000T", 10**15),
    ],
)
def test_a_parameter_count_is_read_exactly(text: str, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ABSURD)
def test_what_is_no_quantity_is_refused_in_a_short_sentence(text: str) -> None:
    for parse in (parse_memory, parse_count, parse_fraction):
        with pytest.raises(Unreadable) as caught:
            parse(text)
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["0", "0B", "1001T", "1000000000000000000", "999999999T"])
def test_no_parameters_and_more_than_anybody_has_are_not_believed(text: str) -> None:
    with pytest.raises(Unreadable, match="is not a parameter count"):
        parse_count(text)


def test_more_than_an_exbibyte_is_not_believed() -> None:
    assert parse_memory(f"{MAX_BYTES // GIB}Gi") == MAX_BYTES
    with pytest.raises(Unreadable, match="at most 1Ei"):
        parse_memory(f"{MAX_BYTES // GIB + 1}Gi")


@pytest.mark.parametrize("text", ["0", "0.0", "1.0001", "-0.5", "2", "nan", "Infinity", "0.9.2"])
def test_a_share_is_above_nothing_and_at_most_all(text: str) -> None:
    with pytest.raises(Unreadable, match="above 0 and of at most 1"):
        parse_fraction(text)


def test_a_share_is_the_decimal_that_was_written() -> None:
    assert parse_fraction("0.92") == Decimal("0.92")
    assert parse_fraction("1") == 1


@given(st.text(max_size=80))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for parse, least, most in ((parse_memory, 0, MAX_BYTES), (parse_count, 1, MAX_PARAMETERS)):
        try:
            value = parse(text)
        except Unreadable:
            continue
        assert least <= value <= most


@given(st.integers(0, MAX_BYTES))
def test_a_need_is_never_rounded_down_and_a_possession_never_up(value: int) -> None:
    need, have = parse_memory(ceil_mib(value)), parse_memory(floor_mib(value))
    assert have <= value <= need
    assert need - have in (0, MIB)


@given(st.integers(0, 1 << 50))
def test_sentences_round_a_need_up_and_a_possession_down(value: int) -> None:
    up, down = (Decimal(said(value).removesuffix(" GiB")) for said in (gib_up, gib_down))
    assert down * GIB <= value <= up * GIB
    assert up - down <= Decimal("0.1")


@given(st.integers(0, 1 << 62), st.integers(1, 1 << 40))
def test_division_rounds_up_without_floats(numerator: int, denominator: int) -> None:
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator


def test_the_rule_of_thumb_and_whole_numbers_read_alike_wherever_they_stand() -> None:
    assert [gb(size) for size in (168 * 10**9, 168_000_000_001, 169_328_895_591)] == [
        "168 GB",
        "168 GB",
        "169 GB",
    ]
    assert [grouped(n) for n in (999, 8192, 131072, 1048576)] == [
        "999",
        "8,192",
        "131,072",
        "1,048,576",
    ]


def test_people_read_sizes_and_counts() -> None:
    assert gib(70_553_706_496) == "65.7 GiB"
    assert gib(GIB, 2) == "1.00 GiB"
    assert [count(n) for n in (70_553_706_496, 494_032_768, 15 * 10**11, 4096)] == [
        "70.55B",
        "494.03M",
        "1.50T",
        "4,096",
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [("8192", 8192), ("8k", 8000), ("8K", 8192), ("25.6k", 25600), ("2M", 2**21)],
)
def test_whole_numbers_are_read_as_engines_take_them(text: str, number: int) -> None:
    assert parse_human_integer(text) == number


@pytest.mark.parametrize("text", ["", "8.5K", "1.5", "-8", "8kk", "٨", "1e3", "9" * 40])
def test_other_whole_numbers_are_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_human_integer(text)


@pytest.mark.parametrize(
    ("text", "ratio"),
    [("0.8", (4, 5)), ("3", (3, 1)), ("1/4", (1, 4)), (" 2e-3 ", (1, 500)), ("0", (0, 1))],
)
def test_a_ratio_is_read_exactly(text: str, ratio: tuple[int, int]) -> None:
    assert parse_ratio(text) == Fraction(*ratio)


@pytest.mark.parametrize("text", ["1e999999999", "1/0", "-1", "nan", "", "1" * 13, "0x1"])
def test_a_ratio_that_could_never_be_worked_out_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_ratio(text)
