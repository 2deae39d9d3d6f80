"""`plimsoll estimate MODEL --gpu NAME --plot`: one GPU's memory, and a map of what fits.

    a stretch of the bar = characters x its share of the larger of what the GPU has and is needed
    a cell of the map    = one context with so many requests, each as long as the context

It holds from 60 columns on, in a terminal and in a pipe, with colour and without.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from plimsoll.cli.output import painted
from plimsoll.engines.base import State, TermName
from plimsoll.report.arithmetic import TERMS, have, need, tenths_of
from plimsoll.units import gib_down, grouped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.engines.base import Estimate

NARROWEST, WIDEST = 60, 100
"""Columns of a plot."""
COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Requests at once, in the map."""
LEAST_LENGTH: Final = 1024
"""Tokens of the shortest context of the map."""
MOST_LENGTHS: Final = 9
"""Contexts in the map."""
_DRAWN: Final = {
    TermName.WEIGHTS: ("█", "blue"),
    TermName.KV_CACHE: ("▓", "cyan"),
    TermName.ACTIVATION: ("▒", "green"),
}
_REST: Final = ("░", "white")
_CELLS: Final = {
    State.FITS: ("●", "green"),
    State.WITHIN_ERROR: ("◐", "yellow"),
    State.DOES_NOT_FIT: ("·", "red"),
}
_PLAIN: Final = dict(zip("█▓▒░●◐·┃–", "#=-.O?.|-", strict=True))
"""What stands in their place where a terminal cannot print them."""

Grid = Callable[["Sequence[int]", "Sequence[int]"], tuple[tuple[State, ...], ...]]
"""What fits, by contexts and by requests at once."""


def width() -> int:
    """Columns that a plot takes here."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((80, 24)).columns))


def show(estimate: Estimate, where: str, longest: int, grid: Grid) -> None:
    """Print both. longest: tokens that the model takes at most; grid: what fits, by both."""
    columns = width()
    for line in (*bar(estimate, where, columns), "", *fits(estimate, longest, grid)):
        click.echo(_printable(line))


def bar(estimate: Estimate, where: str, columns: int) -> list[str]:
    """One GPU's memory, stacked by term, against the load line."""
    room = columns - 1
    whole = max(estimate.physical, estimate.required, estimate.usable)

    def at(size: int) -> int:
        return round(room * size / whole)

    cells, upto = [" "] * room, 0
    for term in estimate.terms:
        glyph, colour = _DRAWN.get(term.name, _REST)
        begin, upto = upto, upto + term.bytes
        for index in range(at(begin), at(upto)):
            over = index >= at(estimate.usable)
            cells[index] = painted(glyph, "red" if over else colour)
    for index in range(at(upto), at(estimate.physical)):
        cells[index] = " " if index < at(estimate.usable) else painted("·", "white")
    cells.insert(at(estimate.usable), painted("┃", "bright_white"))
    line = f"load line {have(estimate)} of {gib_down(estimate.physical)}"
    needs = f"needs {need(estimate)}"
    legend = "   ".join(_legend(estimate))
    return [
        f"one GPU of {where}",
        "".join(cells).rstrip(),
        needs + line.rjust(columns - len(needs)) if len(needs + line) < columns else needs,
        *_wrapped(legend, columns),
    ]


def _legend(estimate: Estimate) -> Iterable[str]:
    rest = 0
    for name, tenths in tenths_of(estimate).items():
        if name in _DRAWN:
            yield f"{_DRAWN[name][0]} {TERMS[name]} {tenths / 10:.1f}".replace(" ", "\xa0")
        else:
            rest += tenths
    yield f"{_REST[0]} the rest {rest / 10:.1f}".replace(" ", "\xa0")


def _wrapped(text: str, columns: int) -> list[str]:
    """Lines of a text whose hard blanks hold, each glyph in its colour."""
    colours = dict((*_DRAWN.values(), _REST))
    lines = textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)
    return [
        "".join(painted(c, colours[c]) if c in colours else c for c in line.replace("\xa0", " "))
        for line in lines
    ]


def lengths(longest: int, asked: int) -> list[int]:
    """The contexts of the map, the longest first: powers of two, the model's own and the asked."""
    powers = [LEAST_LENGTH << n for n in range(24) if LEAST_LENGTH << n < longest]
    return sorted({*powers[-(MOST_LENGTHS - 2) :], longest, min(asked, longest)}, reverse=True)


def fits(estimate: Estimate, longest: int, grid: Grid) -> list[str]:
    """The map of what fits: contexts against requests at once."""
    asked = lengths(longest, estimate.max_model_len)
    counts = [count for count in COUNTS if count <= max(1, estimate.max_num_seqs or COUNTS[-1])]
    states = grid(asked, counts)
    label = max(len("context"), *(len(grouped(n)) for n in asked))
    lines = [
        "requests at once, each as long as the context",
        "context".rjust(label) + "".join(f"{count:>5}" for count in counts),
    ]
    for length, row in zip(asked, states, strict=True):
        cells = "".join("    " + painted(*_CELLS[state]) for state in row)
        lines.append(grouped(length).rjust(label) + cells)
    words = {State.FITS: "fits", State.WITHIN_ERROR: "too close", State.DOES_NOT_FIT: "does not"}
    said = "   ".join(f"{painted(*_CELLS[state])} {word}" for state, word in words.items())
    return [*lines, said]


def _printable(line: str) -> str:
    """The line in what standard output can print."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_PLAIN.get(character, character) for character in line)
    return line
