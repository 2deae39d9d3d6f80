"""`plimsoll inventory`: the GPU pools of a cluster, from kubectl or from a saved list of nodes.

It must not speak to an API server itself: kubectl has the user's credentials and context.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from plimsoll.cli.kubectl import Kubectl, kubectl_options
from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.errors import Invalid, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.inventory.pools import Inventory

Read = TypeVar("Read")
MAX_FILE = 256 << 20
"""Bytes of an inventory file that are read at most."""


@click.command("inventory")
@click.option(
    "--from",
    "source",
    metavar="FILE",
    help="The output of `kubectl get nodes -o json` (- for standard input); with pods "
    "(`nodes,pods -A`) it is known what is free.",
)
@kubectl_options
@format_option("table", "json", "yaml")
def command(
    source: str | None, context: str | None, kubeconfig: str | None, kubectl: str, output: str
) -> None:
    """The GPU pools of a cluster, and the GPU nodes that cannot be counted, each with the reason.

    Saved with -o json, `plimsoll check --inventory FILE` takes it, in a pipeline without a cluster.
    """
    from plimsoll.inventory.saved import from_dict, to_dict

    if source is None:
        asked = Kubectl(kubectl, context, kubeconfig, output)
        fix = "check the context, and the right to list nodes"
        text = asked.ask(["get", "nodes", "-o", "json"], "a list of nodes", fix)
        source = "kubectl"
    else:
        text = _read(source, output)
    if output == "table":
        show_inventory(_parsed(from_dict, text, source, output))
    else:
        dump(_parsed(to_dict, text, source, output), output)


def read_inventory(source: str, output: str) -> Inventory:
    """The inventory in a file (``-``: standard input); exit code 2 if it is bad."""
    from plimsoll.inventory.saved import from_dict

    return _parsed(from_dict, _read(source, output), source, output)


def _read(source: str, output: str) -> str:
    try:
        if source == "-":
            return sys.stdin.read(MAX_FILE)
        path = Path(source)
        if path.stat().st_size > MAX_FILE:
            bad_input(Problem("--inventory", shown(source), "a file below 256 MiB"), output)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        fix = "make one with `plimsoll inventory -o json` or `kubectl get nodes -o json`"
        wanted = f"a readable file ({why})"
        bad_input(Problem("--inventory", shown(source), wanted, fix), output)


def _parsed(read: Callable[[object], Read], text: str, source: str, output: str) -> Read:
    """What a function makes of the document in a text; exit code 2 if there is none in it."""
    try:
        return read(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        fix = "make it with `plimsoll inventory -o json`"
        bad_input(Problem(source, shown(text[:40]), f"JSON ({error})", fix), output)
    except Invalid as error:
        bad_input(error.problems, output)


def show_inventory(inventory: Inventory) -> None:
    """Pools, then the nodes set aside."""
    from plimsoll.units import MIB

    if not inventory.pools:
        click.echo("no GPU node that can be counted")
    else:
        table = Table(
            ("accelerator", "nodes", "ready", "GPUs/node", "MiB/GPU", "selector", "taints"),
            right=frozenset({"nodes", "ready", "GPUs/node", "MiB/GPU"}),
            drop=("taints", "ready", "MiB/GPU"),
            wrap=frozenset({"selector", "taints"}),
        )
        for pool in inventory.pools:
            table.add(
                pool.accelerator.name,
                str(pool.nodes),
                str(pool.ready),
                str(pool.gpus_per_node),
                str(pool.accelerator.memory // MIB),
                ",".join(f"{k}={v}" for k, v in pool.selector),
                ",".join(f"{k}{'=' + v if v else ''}:{e}" for k, v, e in pool.taints),
            )
        show(table)
    if inventory.set_aside:
        click.echo("\nnot counted:")
        for aside in inventory.set_aside:
            click.echo(f"  {aside.node}: {aside.why}")
