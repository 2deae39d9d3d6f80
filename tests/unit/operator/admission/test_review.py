"""AdmissionReviews in and out: what is one, what is not, and what the API server is told."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.admission.review import (
    MAX_WARNING,
    MAX_WARNINGS,
    Answer,
    NotAReview,
    fitting,
    read_review,
    write_answer,
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an AdmissionReview"),
        (b'{"kind": "Pod"}', "not an AdmissionReview"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}', "apiVersion"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}', "no request"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {}}', "uid"),
    ],
)
def test_what_is_no_review_is_refused_in_words(body: bytes, said: str) -> None:
    with pytest.raises(NotAReview, match=said):
        read_review(body)


@given(st.binary(max_size=400))
def test_no_body_does_anything_but_be_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(NotAReview):
        assert read_review(body).uid


def test_a_denial_has_code_422_and_no_reason_so_that_kubectl_shows_the_message() -> None:
    status = json.loads(write_answer("u", Answer(False, "too small")))["response"]["status"]
    assert status == {"code": 422, "message": "too small"}


def test_the_uid_goes_back() -> None:
    assert json.loads(write_answer("abc", Answer(True)))["response"]["uid"] == "abc"


def test_warnings_are_cut_to_what_the_api_server_passes_on() -> None:
    kept = fitting(["x" * 1000, "two\nlines", *["y" * 200] * 100])
    assert all(len(line) <= MAX_WARNING for line in kept)
    assert sum(map(len, kept)) <= MAX_WARNINGS
    assert kept[0].endswith("…")
    assert kept[1] == "two lines"
