"""``--prices FILE``: what GPUs cost, for ``prefer: Cheapest``, with where and when that was read.

source: https://example.com/prices    # required: where they were read
date: 2026-11-01                      # required: when
prices:                               # of one GPU an hour, in one currency
  nvidia-h100-80gb: 3.93
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

import click

from plimsoll.cli.given import read_document
from plimsoll.cli.output import bad_input

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.cli.output import Command
    from plimsoll.errors import Problem

KEYS: Final = ("source", "date", "prices")

Prices = tuple[tuple[str, int], ...]


def prices_option(command: Command) -> Command:
    """Add ``--prices`` to a command."""
    text = "Prices of one GPU an hour, for prefer: Cheapest (docs/accelerators.md)."
    return click.option("--prices", "prices_file", metavar="FILE", help=text)(command)


def read_prices(source: str | None, own: tuple[Accelerator, ...], output: str) -> Prices:
    """The prices in a file, by accelerator, in millionths; exit code 2 if it is bad."""
    if source is None:
        return ()
    prices, problems = _read(read_document("--prices", source, output), own)
    if problems:
        bad_input(problems, output)
    return prices


def _read(data: object, own: tuple[Accelerator, ...]) -> tuple[Prices, tuple[Problem, ...]]:
    from plimsoll.accelerators import catalogue
    from plimsoll.errors import Problem, shown
    from plimsoll.inventory.declared import parse_price

    if not isinstance(data, dict):
        wanted = f"a mapping with {', '.join(KEYS)}"
        return (), (Problem("prices", shown(type(data).__name__), wanted),)
    problems = [
        Problem(str(key)[:60], "", f"one of {', '.join(KEYS)}") for key in data if key not in KEYS
    ]
    if not isinstance(data.get("source"), str) or not data["source"].strip():
        problems.append(Problem("source", shown(data.get("source", "")), "where they were read"))
    if not _is_date(data.get("date")):
        wanted = "when they were read, as 2026-11-01"
        problems.append(Problem("date", shown(data.get("date", "")), wanted))
    listed = data.get("prices")
    if not isinstance(listed, dict) or not listed:
        problems.append(Problem("prices", shown(type(listed).__name__), "prices by accelerator"))
        return (), tuple(problems)
    found: dict[str, int] = {}
    for key, value in listed.items():
        name, price = str(key), parse_price(value)
        card = next((one for one in own if one.name == name), None) or catalogue.find(name)
        place = f"prices.{name[:60]}"
        if card is None:
            fix = "`plimsoll accelerators` lists the names"
            problems.append(Problem(place, shown(name), "an accelerator that is known", fix))
        elif price is None:
            problems.append(Problem(place, shown(value), "a price above 0 of one GPU an hour"))
        else:
            found[card.name] = price
    return tuple(sorted(found.items())), tuple(problems)


def _is_date(value: object) -> bool:
    if isinstance(value, datetime.date):
        return True
    try:
        datetime.date.fromisoformat(str(value))
    except ValueError:
        return False
    return True
