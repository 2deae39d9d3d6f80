"""Whose failure an exception was: the engine's own "no" is a refusal, all else is unknown."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import pytest

from plimsoll_drystart import facts

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = """
def refuses(value):
    if value > 3:
        raise ValueError(
            f"max_num_seqs ({value})"
            " is too large")

def asserts(value):
    assert value < 3, "only small values"

def asserts_without_words(value):
    assert value < 3

def trips(value):
    return {}["missing"]

def calls(function):
    return function()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    """A module that lies where an engine is installed."""
    folder = tmp_path / "site-packages" / "vllm"
    folder.mkdir(parents=True)
    path = folder / "made.py"
    path.write_text(ENGINE, "utf-8")
    spec = importlib.util.spec_from_file_location("made_engine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(function: Any, *given: Any) -> dict[str, Any]:
    try:
        function(*given)
    except BaseException as error:
        return facts.verdict(error)
    raise AssertionError("nothing was raised")


def test_what_the_engine_raises_with_words_is_its_refusal(engine: Any) -> None:
    found = said(engine.refuses, 7)["refused"]
    assert found["class"] == "ValueError"
    assert found["message"] == "max_num_seqs (7) is too large"
    assert found["places"][-1].startswith("vllm/made.py:4")
    assert "refused" in said(engine.asserts, 7)


def test_what_the_engine_trips_over_is_unknown(engine: Any) -> None:
    assert "unknown" in said(engine.trips, 1)
    assert "unknown" in said(engine.asserts_without_words, 7)


def test_what_the_harness_raises_below_the_engine_is_unknown(engine: Any) -> None:
    def ours() -> None:
        raise ValueError("no shape function")

    assert "unknown" in said(engine.calls, ours)
    assert "unknown" in said(ours)


def test_a_command_line_that_the_engine_cannot_read_is_a_refusal() -> None:
    def read() -> None:
        raise SystemExit("error: unrecognized arguments: --max-model-length")

    assert "unrecognized" in said(read)["refused"]["message"]


def test_a_message_is_one_line_of_a_bounded_length() -> None:
    text = facts.message(ValueError("two\nlines " + "long " * 1000))
    assert text.startswith("two lines long")
    assert len(text) == facts.MOST
    outer = RuntimeError("outer")
    outer.__cause__ = ValueError("inner")
    assert facts.message(outer) == "outer <- ValueError: inner"


@pytest.mark.parametrize("words", ["no " * 300, "é\x1b\u4e2d" * 300, '"\\' * 450])
def test_facts_in_brief_fit_into_what_a_container_ends_with(words: str) -> None:
    place = "vllm/" + "deep/" * 900 + "made.py:3 check"
    ended = {"class": "ValueError", "message": words, "places": ["first", place]}
    row = {
        "id": "m" * 4000,
        "version": "0.33.0",
        "harness": "1",
        "reached": "config",
        "moved": ["a"] * 5000,
        "layers": [{"page_bytes": 1}] * 1000,
        "resolved": {"max_model_len": 8192, "cudagraph_sizes": 51},
        "weights": {"counted": 1 << 40},
        "profile": {"peak": 1, "unseen": ["x"] * 900},
        "refused": ended,
    }
    text = facts.brief(row)
    assert len(text.encode()) <= facts.BRIEF < 4096
    read = json.loads(text)
    assert read["resolved"] == {"max_model_len": 8192}
    assert read["weights"] == {"counted": 1 << 40}
    assert words.startswith(read["refused"]["message"][:20])
    assert (read["reached"], read["moved"], read["profile"]) == ("config", 5000, {"peak": 1})
