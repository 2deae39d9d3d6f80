"""Claims about `plimsoll estimate --plot`: the pictures say what the figures beside them say."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest

from commands import as_json, run
from plimsoll.cli import output
from plimsoll.cli.plot import COUNTS

MODEL = "meta-llama/Llama-3.3-70B-Instruct"
GPU = ("--gpu", "nvidia-a100-80gb", "--gpus", "4")


def plot(*options: str) -> list[str]:
    """The lines from the picture on."""
    lines = run("estimate", MODEL, *GPU, "--plot", *options).stdout.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("one GPU of")) :]


def cells(lines: list[str]) -> dict[int, list[str]]:
    """The map: the cells of each context."""
    rows = (re.fullmatch(r" *([\d,]+)((?: +[●◐·])+)", line) for line in lines)
    return {int(row[1].replace(",", "")): row[2].split() for row in rows if row}


@pytest.mark.parametrize("columns", [20, 60, 80, 100, 200])
def test_a_picture_holds_in_a_window_of_any_width(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    widest = max(map(len, plot("--max-model-len", "32768", "--concurrent", "8")))
    assert widest <= max(60, min(100, columns))


def test_the_load_line_stands_where_the_usable_share_of_the_memory_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    bar = plot("--max-model-len", "8192")[1]
    per_gpu = as_json("estimate", MODEL, *GPU, "--max-model-len", "8192")["estimate"]["perGPU"]
    share = per_gpu["usable"] / per_gpu["physical"]
    assert bar.index("┃") == round(99 * share)
    drawn = sum(bar.count(glyph) for glyph in "█▓▒░")
    assert drawn == pytest.approx(99 * per_gpu["required"] / per_gpu["physical"], abs=1)


def test_what_is_too_large_is_drawn_beyond_the_load_line() -> None:
    lines = run(
        *("estimate", MODEL, "--gpu", "nvidia-l40s", "--gpus", "1", "--max-model-len", "4096"),
        "--plot",
    ).stdout.splitlines()
    bar = next(line for line in lines if "┃" in line)
    assert "█" in bar.partition("┃")[2]


def test_the_terms_of_the_picture_add_up_to_the_need() -> None:
    text = " ".join(plot("--max-model-len", "32768", "--concurrent", "8"))
    need = re.search(r"needs ([\d.]+) GiB", text)
    terms = re.findall(r"[█▓▒░] [A-Za-z ]+ ([\d.]+)", text)
    assert need
    assert sum(map(float, terms)) == pytest.approx(float(need[1]))


def test_every_cell_is_what_the_estimate_of_that_case_says() -> None:
    found = cells(plot("--max-model-len", "32768"))
    words = {"allow": "●", "warn": "◐", "deny": "·"}
    for length, count in ((32768, 8), (32768, 16), (8192, 32), (8192, 64), (1024, 256)):
        options = ("--max-model-len", length, "--concurrent", count)
        decision = as_json("estimate", MODEL, *GPU, *options)["decision"]
        assert found[length][COUNTS.index(count)] == words[decision], (length, count)


def test_more_never_fits_where_less_does_not() -> None:
    found = cells(plot())
    assert max(found) == 131072
    order = "●◐·"
    rows = [found[length] for length in sorted(found)]
    for row in rows:
        assert row == sorted(row, key=order.index)
    for shorter, longer in itertools.pairwise(rows):
        assert all(order.index(a) <= order.index(b) for a, b in zip(shorter, longer, strict=True))


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.painted("x", "red") == "x"
    monkeypatch.setattr(output, "in_terminal", lambda: True)
    assert output.painted("x", "red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.painted("x", "red") == "x"


def test_a_pipe_that_knows_ascii_alone_gets_a_picture_in_ascii() -> None:
    code = "from plimsoll.cli.plot import _printable; print(_printable('█▓▒░ ●◐· ┃'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "#=-. O?. |\n"


@pytest.mark.parametrize(
    "options", [(), ("--gpu", "nvidia-l4", "--gpu", "nvidia-l40s"), (*GPU, "-o", "json")]
)
def test_a_plot_is_of_one_gpu(options: tuple[str, ...]) -> None:
    told = run("estimate", MODEL, "--plot", *options)
    assert told.exit_code == 2
    assert "--plot goes with one --gpu" in told.stderr


def test_a_text_that_no_model_holds_is_said() -> None:
    said = run("models", "list", "Llama-3.3-70B-Instrukt").stdout
    assert said.startswith('nothing in the catalogue holds "Llama-3.3-70B-Instrukt"')
    assert "did you mean " in said
    assert "meta-llama/Llama-3.3-70B-Instruct" in said
