"""What a config.json's text may be, and how little a stranger's may cost."""

from __future__ import annotations

import time

import pytest

from plimsoll.errors import Invalid
from plimsoll.models.files import MAX_DOCUMENT, parse_document


@pytest.mark.parametrize("keys", [2, 100_000])
def test_a_key_that_stands_twice_is_refused_at_once(keys: int) -> None:
    text = "{" + ",".join(f'"{i:x}":1' for i in range(keys)) + f',"{keys - 1:x}":1' + "}"
    assert len(text) < MAX_DOCUMENT
    start = time.perf_counter()
    with pytest.raises(Invalid, match="a key that stands twice"):
        parse_document(text, "config.json")
    assert time.perf_counter() - start < 1, "some 30 ms where nothing else runs"


def test_every_object_of_a_document_says_a_key_once() -> None:
    with pytest.raises(Invalid, match="a key that stands twice"):
        parse_document('{"b": [{"a": 1, "c": 2, "a": 1}]}', "config.json")
    assert parse_document('{"b": {"a": 1}, "a": 2}', "config.json") == {"b": {"a": 1}, "a": 2}
