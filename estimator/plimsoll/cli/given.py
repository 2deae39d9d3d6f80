"""What a command is given beside its manifests: the nodes of a cluster, and small YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from plimsoll.cli.output import bad_input

if TYPE_CHECKING:
    from plimsoll.cli.output import Command
    from plimsoll.inventory.pools import Inventory

MAX_FILE: Final = 1 << 20
"""Bytes of a small file that are read at most."""


def inventory_option(command: Command) -> Command:
    """Add ``--inventory`` to a command."""
    text = "The cluster's nodes, saved with `plimsoll inventory -o json`."
    return click.option("--inventory", "inventory_file", metavar="FILE", help=text)(command)


def given_inventory(source: str | None, output: str) -> Inventory:
    """The inventory in a file, `NO_INVENTORY` without one; exit code 2 if it is bad."""
    from plimsoll.inventory.pools import NO_INVENTORY

    if source is None:
        return NO_INVENTORY
    from plimsoll.cli.inventory import read_inventory

    return read_inventory(source, output)


def read_document(option: str, source: str, output: str) -> object:
    """The first document of the YAML file that an option names; exit code 2 if it is bad."""
    from plimsoll.errors import Problem, shown
    from plimsoll.workloads.yaml_text import NotYaml, documents

    try:
        path = Path(source)
        if path.stat().st_size > MAX_FILE:
            bad_input(Problem(option, shown(source), "a file below 1 MiB"), output)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        wanted = f"a readable file ({type(error).__name__})"
        bad_input(Problem(option, shown(source), wanted), output)
    data = next((value for _, value in documents(text)), None)
    if isinstance(data, NotYaml):
        first = data.faults[0]
        bad_input(Problem(f"{source}:{first.line}", first.given, first.wanted, first.fix), output)
    return data
