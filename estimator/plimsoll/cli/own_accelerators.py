"""``--accelerators FILE``: cards that the table lacks, for one run of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from plimsoll.cli.output import bad_input

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.cli.output import Command

MAX_FILE: Final = 1 << 20
"""Bytes of such a file that are read at most."""


def accelerators_option(command: Command) -> Command:
    """Add ``--accelerators`` to a command."""
    text = "Accelerators that are in no table: name and memory of each (docs/accelerators.md)."
    return click.option("--accelerators", "own_file", metavar="FILE", help=text)(command)


def read_own(source: str | None, output: str) -> tuple[Accelerator, ...]:
    """The accelerators in a file; exit code 2 if it is bad."""
    if source is None:
        return ()
    from plimsoll.accelerators.own import read
    from plimsoll.errors import Problem, shown
    from plimsoll.workloads.yaml_text import NotYaml, documents

    try:
        path = Path(source)
        if path.stat().st_size > MAX_FILE:
            bad_input(Problem("--accelerators", shown(source), "a file below 1 MiB"), output)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        wanted = f"a readable file ({type(error).__name__})"
        bad_input(Problem("--accelerators", shown(source), wanted), output)
    data = next((value for _, value in documents(text)), None)
    if isinstance(data, NotYaml):
        first = data.faults[0]
        place = f"{source}:{first.line}"
        bad_input(Problem(place, first.given, first.wanted, first.fix), output)
    own, problems = read(data)
    if problems:
        bad_input(problems, output)
    return own
