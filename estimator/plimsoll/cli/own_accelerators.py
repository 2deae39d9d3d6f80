"""``--accelerators FILE``: cards that the table lacks, for one run of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from plimsoll.cli.given import read_document
from plimsoll.cli.output import bad_input

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.cli.output import Command


def accelerators_option(command: Command) -> Command:
    """Add ``--accelerators`` to a command."""
    text = "Accelerators that are in no table: name and memory of each (docs/accelerators.md)."
    return click.option("--accelerators", "own_file", metavar="FILE", help=text)(command)


def read_own(source: str | None, output: str) -> tuple[Accelerator, ...]:
    """The accelerators in a file; exit code 2 if it is bad."""
    if source is None:
        return ()
    from plimsoll.accelerators.own import read

    own, problems = read(read_document("--accelerators", source, output))
    if problems:
        bad_input(problems, output)
    return own
