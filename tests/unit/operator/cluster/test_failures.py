"""Claims about failures in a log: one line for one cause, however many it strikes."""

from __future__ import annotations

from plimsoll_operator.cluster.client import ApiError, OncePerCause, in_words


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_thousand_failures_of_one_cause_are_one_line_and_then_one_with_their_number() -> None:
    clock = Clock()
    failures = OncePerCause(clock)
    away = OSError("connection refused")
    said = [failures.news(away) for _ in range(1000)]
    assert [line for line in said if line] == ["connection refused"]
    clock.now = 61
    assert failures.news(away) == "connection refused (and 999 times more before)"
    assert failures.news(away) == ""


def test_another_cause_is_another_line() -> None:
    failures = OncePerCause(Clock())
    assert failures.news(OSError("connection refused"))
    assert failures.news(TimeoutError()) == "TimeoutError"
    assert failures.news(ApiError(500, "InternalError", "etcd: no space"))


def test_the_same_answer_about_two_objects_is_one_cause_unless_it_is_about_the_object() -> None:
    failures = OncePerCause(Clock())
    assert failures.news(ApiError(403, "Forbidden", "cannot patch a"))
    assert not failures.news(ApiError(403, "Forbidden", "cannot patch b"))
    assert failures.news(ApiError(422, "Invalid", "a is invalid"))
    assert failures.news(ApiError(422, "Invalid", "b is invalid"))


def test_an_answer_of_several_lines_is_one_line_of_a_log() -> None:
    """As the API server answers for a group that it does not serve."""
    assert in_words(ApiError(404, "", "404 page not found\n")).endswith("404 page not found")
    assert "\n" not in in_words(ValueError("one\ntwo"))
