"""The rule of thumb: what it says, and that it is not what is commonly printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.decision.by_size import gpus_needed, rule_of_thumb
from plimsoll.units import GB, GIB


def test_70b_at_16_bits_is_168_gb_and_not_21_or_210() -> None:
    assert rule_of_thumb(70 * 10**9, 16) == 168 * GB


def test_70b_at_4_bits_is_42_gb() -> None:
    assert rule_of_thumb(70 * 10**9, 4) == 42 * GB


@pytest.mark.parametrize(("bits", "needed"), [(32, 336), (8, 84)])
def test_other_widths_scale_with_their_bits(bits: float, needed: int) -> None:
    assert rule_of_thumb(70 * 10**9, bits) == needed * GB


def test_a_fraction_of_a_bit_is_counted_and_a_fraction_of_a_byte_rounded_up() -> None:
    assert rule_of_thumb(10**9, 4.25) == 637_500_000
    assert rule_of_thumb(1, 4) == 1


def test_it_counts_gpus_by_their_whole_memory() -> None:
    assert gpus_needed(rule_of_thumb(70 * 10**9, 16), int(79.19 * GIB)) == 2
    assert gpus_needed(1, 80 * GIB) == 1


@pytest.mark.parametrize(("parameters", "bits"), [(0, 16), (-1, 16), (1, 0), (1, -4), (1, 65)])
def test_what_cannot_be_a_model_is_refused(parameters: int, bits: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        rule_of_thumb(parameters, bits)


@given(st.integers(1, 10**15), st.sampled_from([2, 3, 4, 4.25, 4.5, 6, 8, 16, 32]))
def test_it_never_says_less_than_the_weights_themselves(parameters: int, bits: float) -> None:
    assert rule_of_thumb(parameters, bits) * 8 >= parameters * bits
