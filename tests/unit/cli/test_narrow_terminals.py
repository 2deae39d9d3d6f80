"""Claims about what people see in a terminal: no name and no number is ever cut."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from commands import as_json, run
from plimsoll.accelerators.catalogue import full_gpus
from plimsoll.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTHS = (60, 80, 100, 200)
MODEL = "meta-llama/Llama-3.3-70B-Instruct"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines that a command prints in a terminal of so many columns."""
    monkeypatch.setattr(output, "in_terminal", lambda: True)
    monkeypatch.setenv("TERM", "dumb")

    def lines(width: int, *arguments: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        return re.sub(r"\x1b\[[0-9;]*m", "", run(*arguments).output).splitlines()

    return lines


@pytest.mark.parametrize("width", WIDTHS)
def test_every_gpu_stands_whole_in_a_line_of_its_own(
    screen: Callable[..., list[str]], width: int
) -> None:
    usual = [gpu for gpu in full_gpus() if gpu.usual]
    for command, gpus in ((["accelerators"], full_gpus()), (["estimate", MODEL], usual)):
        shown = screen(width, *command)
        begins = {line.split()[0] for line in shown if line.strip()}
        assert {gpu.name for gpu in gpus} <= begins
        table = [line for line in shown if line.startswith(("nvidia", "amd"))]
        assert max(map(len, table)) <= width
        assert not any("…" in line for line in shown)


@pytest.mark.parametrize("width", WIDTHS)
def test_ids_of_models_are_never_cut(screen: Callable[..., list[str]], width: int) -> None:
    whole = {found["id"] for found in as_json("models", "list", "llama")}
    assert len(whole) > 10
    shown = screen(width, "models", "list", "llama")
    assert whole <= {line.split()[0] for line in shown if line.strip()}


def test_a_narrow_terminal_does_without_columns_in_an_order() -> None:
    table = output.Table(("name", "a", "b", "text"), drop=("b", "a"), wrap=frozenset({"text"}))
    table.add("n" * 20, "1" * 10, "2" * 10, "words " * 20)
    assert output.shown_columns(table, 200) == ("name", "a", "b", "text")
    assert output.shown_columns(table, 60) == ("name", "a", "text")
    assert output.shown_columns(table, 50) == ("name", "text")
    assert output.shown_columns(table, 10) == ("name", "text")


def test_the_overview_says_what_it_assumed_and_how_to_say_otherwise() -> None:
    lines = run("estimate", MODEL).output.splitlines()
    assert "room for 1 request of 131,072 tokens (the longest that the model takes)" in lines[1]
    assert lines[2].startswith("other than that: --engine-version, --max-model-len, --concurrent")
    said = run("estimate", MODEL, "--max-model-len", "16384", "--concurrent", "4").output
    assert "room for 4 requests of 16,384 tokens, " in said.splitlines()[1]
    assert "--concurrent" not in said


def test_the_overview_begins_with_the_fewest_gpus_and_compares_at_a_common_length() -> None:
    lines = run("estimate", MODEL).output.splitlines()[4:]
    head, first = lines[0], lines[1]
    assert "GPUS AT 8,192" in head
    assert "fits, the smallest" in first
    gpus = [int(found[1]) for line in lines[1:] if (found := re.match(r"\S+\s+(\d+) ", line))]
    assert gpus == sorted(gpus)
    assert "GPUS AT" not in run("estimate", MODEL, "--max-model-len", "16384").output
    named = run("estimate", MODEL, "--sort", "name").output.splitlines()
    named = [line for line in named if line.startswith(("nvidia-", "amd-"))]
    assert len(named) > 20
    assert named == sorted(named)
