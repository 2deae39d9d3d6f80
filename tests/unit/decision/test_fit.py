"""Claims about the one comparison of need and possession."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.decision.fit import fit
from plimsoll.engines.base import Estimate, Known, Parallelism, State, Term, TermName, Terms
from plimsoll.units import GIB


def needing(low: int, bytes: int, high: int, usable: int) -> Estimate:
    term = Term(TermName.WEIGHTS, bytes, low, high, Known.MODELLED)
    return Estimate(
        parallelism=Parallelism(),
        terms=Terms((term,)),
        stage=0,
        physical=usable,
        usable=usable,
        utilization=Decimal(1),
        version="",
        max_model_len=1,
        max_num_seqs=1,
        max_num_batched_tokens=1,
        kv_cache_dtype="",
        kv_capacity=0,
        kv_tokens=0,
        max_concurrency=0.0,
        largest_max_model_len=0,
    )


def test_a_need_equal_to_what_is_usable_fits() -> None:
    found = fit(needing(GIB, GIB, GIB, GIB))
    assert found.fits
    assert (found.short_by, found.spare) == (0, 0)


def test_a_need_that_fits_only_without_its_error_is_within_error() -> None:
    found = fit(needing(90, 95, 101, 100))
    assert found.state is State.WITHIN_ERROR
    assert found.spare == 5


def test_a_need_that_could_just_be_less_is_within_error_and_says_what_is_missing() -> None:
    found = fit(needing(100, 105, 110, 100))
    assert found.state is State.WITHIN_ERROR
    assert found.short_by == 5


def test_a_need_that_is_surely_more_does_not_fit() -> None:
    found = fit(needing(101, 105, 110, 100))
    assert found.state is State.DOES_NOT_FIT
    assert found.short_by == 5


@given(st.tuples(*[st.integers(0, 10**15)] * 3), st.integers(0, 10**15))
def test_a_misfit_is_always_short_and_a_fit_never(sizes: tuple[int, int, int], usable: int) -> None:
    found = fit(needing(sorted(sizes)[0], sorted(sizes)[1], sorted(sizes)[2], usable))
    assert found.state is not State.DOES_NOT_FIT or found.short_by > 0
    assert not found.fits or found.short_by == 0
    assert min(found.short_by, found.spare) == 0
