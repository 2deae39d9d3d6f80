"""How the command line prints: tables and bars in a terminal, plain text in a pipe, JSON, YAML.

It must not know what is printed, and it must not compute a figure.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NoReturn

import click

from plimsoll.errors import Problem
from plimsoll.report.as_data import problem_dict

Command = Callable[..., Any]


def format_option(*formats: str) -> Callable[[Command], Command]:
    """The option ``-o/--output`` that every command takes; the first format is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print the result.",
    )


@dataclass
class Table:
    """Rows of text under columns.

    right: names of the columns that are set flush right. drop: those that a narrow terminal does
    without, the first to go first. wrap: those whose text may go on in the next line; every other
    cell stands whole, in a line of its own, however narrow the terminal is.
    """

    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    right: frozenset[str] = frozenset()
    drop: Sequence[str] = ()
    wrap: frozenset[str] = frozenset()

    def add(self, *cells: str) -> None:
        """Add one row, a cell for each column."""
        self.rows.append(cells)

    def width(self, column: str) -> int:
        """Characters of the widest cell of a column, its name included."""
        index = list(self.columns).index(column)
        return max(map(len, (column, *(row[index] for row in self.rows))))


GAP: Final = 3
"""Blanks between two columns."""
NARROWEST: Final = 20
"""Characters of a column whose text goes on in the next line, at least."""


def in_terminal() -> bool:
    """Whether a person is reading standard output as it comes."""
    return sys.stdout.isatty()


def shown_columns(table: Table, width: int) -> tuple[str, ...]:
    """The columns that are shown in a terminal of so many characters, in their order."""
    left = list(table.columns)
    needed = {
        name: min(NARROWEST, table.width(name)) if name in table.wrap else table.width(name)
        for name in left
    }
    for name in table.drop:
        if sum(needed[each] + GAP for each in left) - GAP <= width:
            break
        left.remove(name)
    return tuple(left)


def show(table: Table) -> None:
    """Print a table: with rich in a terminal, as wide as that is; as aligned columns in a pipe."""
    if in_terminal():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        console = Console(highlight=False)
        columns = shown_columns(table, console.width)
        rich = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in columns:
            side: Literal["right", "left"] = "right" if name in table.right else "left"
            whole = name not in table.wrap
            least = table.width(name) if whole else None
            rich.add_column(name, justify=side, no_wrap=whole, min_width=least, overflow="fold")
        kept = [list(table.columns).index(name) for name in columns]
        for row in table.rows:
            rich.add_row(*(Text.from_ansi(row[index]) for index in kept))
        console.print(rich)
        return
    for line in plain(table):
        click.echo(line)


def plain(table: Table) -> list[str]:
    """The lines of a table as aligned columns, without trailing blanks."""
    rows = [[c.upper() for c in table.columns], *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    return [
        "  ".join(
            cell.rjust(width) if name in table.right else cell.ljust(width)
            for cell, width, name in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in rows
    ]


def bar(share: float, width: int = 24) -> str:
    """A bar for a share of 0 to 1 in a terminal; nothing in a pipe."""
    if not in_terminal():
        return ""
    full = max(0, min(width, round(share * width)))
    return "█" * full + "·" * (width - full)


def painted(text: str, colour: str) -> str:
    """The text in a colour, where a person reads it in a terminal and NO_COLOR does not say no."""
    if os.environ.get("NO_COLOR") or not in_terminal():
        return text
    return click.style(text, fg=colour)


def figure(value: float | None) -> str:
    """A measured or estimated figure: two decimals, none from ten thousand on; – for none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.2f}"


def dump(value: object, output: str) -> None:
    """Print a value as ``json`` or ``yaml``."""
    if output == "json":
        click.echo(_escaped(_json(value)))
        return
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
    if not all(line.isprintable() for line in text.split("\n")):
        text = yaml.safe_dump(value, sort_keys=False).rstrip()
    click.echo(text)


def _json(value: object) -> str:
    """A value as JSON, two spaces a level.

    Python's own writer takes as long for a large report as deciding a fifth of it.
    """
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value, indent=2, inf_nan_mode="constants").decode()
    except (PydanticSerializationError, UnicodeError):  # such as half a surrogate pair
        return json.dumps(value, indent=2, ensure_ascii=False)


def _escaped(text: str) -> str:
    """JSON in which only what is to be printed stands as it is."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else json.dumps(c, ensure_ascii=True)[1:-1] for c in text
    )


def bad_input(
    wrong: Problem | Sequence[Problem], output: str = "table", also: str = ""
) -> NoReturn:
    """Say what was wrong with the command's input and leave with exit code 2.

    also: one more line for people, after the problems.
    """
    problems = [wrong] if isinstance(wrong, Problem) else wrong
    if output in ("json", "yaml"):
        dump({"problems": [problem_dict(p) for p in problems]}, output)
    else:
        for problem in problems:
            click.echo(f"plimsoll: {problem}", err=True)
        if also:
            click.echo(also, err=True)
    sys.exit(2)
