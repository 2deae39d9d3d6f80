"""What a command is given beside its manifests: a cluster's nodes, a policy, small YAML files."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from errno import EFBIG
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from plimsoll.cli.output import bad_input
from plimsoll.errors import Invalid, Problem, shown, shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.cli.output import Command
    from plimsoll.decision.policy import Ruling
    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.kinds import Kind
    from plimsoll.workloads.sizing_policy import SizingPolicy

Read = TypeVar("Read")
MODES: Final = ("enforce", "warn", "audit")
MAX_INVENTORY: Final = 256 << 20
"""Bytes of a saved inventory that are read at most."""
MAX_FILE: Final = 1 << 20
"""Bytes of a small file that are read at most."""
MAX_KEPT: Final = 64 << 20
"""Bytes of a baseline, a config.json or kept start-ups that are read at most."""


def bytes_of(path: str | Path, most: int) -> bytes:
    """What is in a file. Raises `OSError` for one that cannot be read or holds more bytes than
    `most`: what a device or a pipe holds, no size says."""
    with Path(path).open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OSError(EFBIG, f"more than {most >> 20} MiB", str(path))
    return raw


def text_of(path: str | Path, most: int) -> str:
    """The text in a file of UTF-8. Raises as `bytes_of` does, and `UnicodeDecodeError`."""
    return bytes_of(path, most).decode("utf-8").replace("\r\n", "\n")


def inventory_option(command: Command) -> Command:
    """Add ``--inventory`` to a command."""
    text = "The cluster's nodes, saved with `plimsoll inventory -o json`."
    return click.option("--inventory", "inventory_file", metavar="FILE", help=text)(command)


@dataclass(frozen=True, slots=True)
class Policies:
    """What ``--policy`` says. mode: of namespaces that are not among the manifests, None: enforce.

    sizing: the SizingPolicies that are given.
    """

    mode: str | None = None
    sizing: tuple[SizingPolicy, ...] = ()

    def beside(self, more: tuple[SizingPolicy, ...]) -> Policies:
        """The same with those of a cluster."""
        return replace(self, sizing=(*self.sizing, *more))

    def rulings(
        self, kind: Kind, namespace: str, labels: Mapping[str, str] | None
    ) -> tuple[list[Ruling], bool]:
        """What they say of objects of a kind in a namespace, and whether one names that kind.

        labels: its own, None if it is not among the manifests: then a policy whose selector goes by
        more than the name is taken to select it.
        """
        from plimsoll.workloads.sizing_policy import NAME_LABEL, rulings

        if labels is None:
            return rulings(self.sizing, kind, lambda one: one.may_select(namespace))
        known = {**labels, NAME_LABEL: namespace}
        return rulings(self.sizing, kind, lambda one: one.selects(known))


NO_POLICIES: Final = Policies()


def policy_option(command: Command) -> Command:
    """Add ``--policy`` to a command."""
    text = (
        "Policy of namespaces that are not among the manifests, or a file of SizingPolicies. May "
        "be repeated.  [default: enforce]"
    )
    return click.option(
        "--policy", "policy", multiple=True, metavar="enforce|warn|audit|FILE", help=text
    )(command)


def given_policies(said: tuple[str, ...], output: str) -> Policies:
    """What ``--policy`` says; exit code 2 if it is bad."""
    modes = [one for one in said if one in MODES]
    if len(modes) > 1:
        bad_input(Problem("--policy", ", ".join(modes), "one of the modes at most"), output)
    files = [one for one in said if one not in MODES]
    sizing = tuple(one for source in files for one in _sizing_policies(source, output))
    return Policies(modes[0] if modes else None, sizing)


def _sizing_policies(source: str, output: str) -> list[SizingPolicy]:
    """The SizingPolicies in a file; exit code 2 if there are none, or one cannot be read."""
    from plimsoll.workloads import sizing_policy

    found = []
    for value in read_documents("--policy", source, output):
        obj = value if isinstance(value, dict) else {}
        listed = obj.get("items") if obj.get("kind") in ("List", "SizingPolicyList") else None
        for one in listed if isinstance(listed, list) else [obj]:
            if isinstance(one, dict) and one.get("kind") == sizing_policy.KIND:
                found.append(sizing_policy.read(one))
    problems = [
        replace(problem, path=f"{source}: {one.name}: {problem.path}")
        for one in found
        for problem in one.problems
    ]
    if problems:
        bad_input(tuple(problems), output)
    if not found:
        wanted = f"enforce, warn, audit, or a file with a {sizing_policy.KIND} in it"
        bad_input(Problem("--policy", shown_path(source), wanted), output)
    return found


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
        return text_of(source, MAX_INVENTORY)
    except (OSError, UnicodeDecodeError) as error:
        why = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        fix = "make one with `plimsoll inventory -o json` or `kubectl get nodes -o json`"
        wanted = f"a readable file ({why})"
        bad_input(Problem("--inventory", shown_path(source), wanted, fix), output)


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
    return next(iter(read_documents(option, source, output)), None)


def read_documents(option: str, source: str, output: str) -> list[object]:
    """The documents of the YAML file that an option names; exit code 2 if one is bad."""
    from plimsoll.workloads.yaml_text import NotYaml, documents

    try:
        text = text_of(source, MAX_FILE)
    except (OSError, UnicodeDecodeError) as error:
        wanted = f"a readable file ({getattr(error, 'strerror', None) or type(error).__name__})"
        bad_input(Problem(option, shown_path(source), wanted), output)
    found: list[object] = []
    for _, value in documents(text):
        if isinstance(value, NotYaml):
            first = value.faults[0]
            where = f"{source}:{first.line}"
            bad_input(Problem(where, first.given, first.wanted, first.fix), output)
        found.append(value)
    return found
