"""What a command is given beside its manifests: a cluster's nodes, a policy, small YAML files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from plimsoll.cli.output import bad_input
from plimsoll.errors import Invalid, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.cli.output import Command
    from plimsoll.inventory.pools import Inventory

Read = TypeVar("Read")
MAX_INVENTORY: Final = 256 << 20
"""Bytes of a saved inventory that are read at most."""
MAX_FILE: Final = 1 << 20
"""Bytes of a small file that are read at most."""


def inventory_option(command: Command) -> Command:
    """Add ``--inventory`` to a command."""
    text = "The cluster's nodes, saved with `plimsoll inventory -o json`."
    return click.option("--inventory", "inventory_file", metavar="FILE", help=text)(command)


def policy_option(command: Command) -> Command:
    """Add ``--policy`` to a command."""
    text = "Policy of namespaces that are not among the manifests.  [default: enforce]"
    modes = click.Choice(["enforce", "warn", "audit"])
    return click.option("--policy", type=modes, help=text)(command)


def given_inventory(source: str | None, output: str) -> Inventory:
    """The inventory in a file (``-``: standard input), `NO_INVENTORY` without one; exit code 2 if
    it is bad."""
    from plimsoll.inventory.pools import NO_INVENTORY

    if source is None:
        return NO_INVENTORY
    from plimsoll.inventory.saved import from_dict

    return parsed(from_dict, read_saved(source, output), source, output)


def read_saved(source: str, output: str) -> str:
    """The text of a saved inventory (``-``: standard input); exit code 2 if it cannot be read."""
    try:
        if source == "-":
            return sys.stdin.read(MAX_INVENTORY)
        path = Path(source)
        if path.stat().st_size > MAX_INVENTORY:
            bad_input(Problem("--inventory", shown(source), "a file below 256 MiB"), output)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        fix = "make one with `plimsoll inventory -o json` or `kubectl get nodes -o json`"
        wanted = f"a readable file ({why})"
        bad_input(Problem("--inventory", shown(source), wanted, fix), output)


def parsed(read: Callable[[object], Read], text: str, source: str, output: str) -> Read:
    """What a function makes of the document in a text; exit code 2 if there is none in it."""
    try:
        return read(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        fix = "make it with `plimsoll inventory -o json`"
        bad_input(Problem(source, shown(text[:40]), f"JSON ({error})", fix), output)
    except Invalid as error:
        bad_input(error.problems, output)


def read_document(option: str, source: str, output: str) -> object:
    """The first document of the YAML file that an option names; exit code 2 if it is bad."""
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
