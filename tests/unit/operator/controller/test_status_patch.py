"""Claims about the patch from one status to another: exact, and empty if they are equal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.controller.status import merge_patch, shortened

scalars = st.one_of(st.booleans(), st.integers(), st.text(max_size=5))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
statuses = st.dictionaries(st.text(max_size=3), values, max_size=5)


def merged(old: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = merged(new.get(key), value)
    return new


@pytest.mark.sweep
@given(statuses, statuses)
def test_the_patch_makes_the_old_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert merged(old, merge_patch(old, new)) == new


@pytest.mark.sweep
@given(statuses)
def test_equal_statuses_need_no_patch(status: dict[str, Any]) -> None:
    assert merge_patch(status, dict(status)) == {}


def test_only_what_changed_is_in_the_patch() -> None:
    old = {"a": {"x": 1, "y": 2}, "b": [1, 2], "c": "stays"}
    new = {"a": {"x": 1, "y": 3}, "c": "stays"}
    assert merge_patch(old, new) == {"a": {"y": 3}, "b": None}


def test_a_shortened_text_is_never_longer_than_asked_and_shows_that_it_was_cut() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("x" * 11, 10) == "x" * 9 + "…"
