"""`plimsoll explain`: what a rule of `plimsoll check` means, or an object's verdict in full."""

from __future__ import annotations

import difflib
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plimsoll.cli.given import given_inventory
from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.errors import Problem, shown, shown_path
from plimsoll.report.rules import find, page, table

if TYPE_CHECKING:
    from plimsoll.report.rules import RuleText

WIDTH = 88
"""Characters of a line of help."""


@click.command("explain")
@click.argument("rule", metavar="[RULE|FILE]", required=False)
@click.option(
    "--object",
    "wanted",
    metavar="NAME",
    help="With FILE: this object alone, by its name or namespace/name.",
)
@click.option(
    "--inventory",
    "inventory_file",
    metavar="FILE",
    help="With FILE: the cluster's nodes, saved with `plimsoll inventory -o json`.",
)
@click.option("--gates", is_flag=True, help="List why engines refuse to start, by their versions.")
@format_option("table", "json", "yaml", "markdown")
def command(
    rule: str | None, wanted: str | None, inventory_file: str | None, gates: bool, output: str
) -> None:
    """Say what RULE means and what to do about it; without RULE, list them all.

    RULE is an id such as PL001, or the name of a rule such as NotEnoughMemory. With --gates, list
    those for which an engine would not start, in the order of a start.

    With a FILE of manifests (or a folder): every object's verdict in full, term by term, with its
    ways out and the rules that speak of it.

    \b
    Exit code: 0 it is known, 2 it is not, or cannot be read.
    """
    if rule is not None and not gates and find(rule) is None and (Path(rule).exists() or wanted):
        _objects(rule, wanted, inventory_file, output)
        return
    if wanted is not None or inventory_file is not None:
        raise click.UsageError("--object and --inventory go with FILE")
    if gates:
        _list_gates(rule, output)
        return
    rules = list(table().values()) if rule is None else [_named(rule, output)]
    if output == "markdown":
        click.echo(page() if rule is None else f"**{rules[0].title}**\n\n{rules[0].help}", nl=False)
    elif output != "table":
        dump([asdict(one) | {"severity": str(one.severity)} for one in rules], output)
    elif rule is None:
        listing = Table(
            ("rule", "severity", "name", "meaning"), drop=("name",), wrap=frozenset({"meaning"})
        )
        for one in rules:
            listing.add(one.id, str(one.severity), one.name, one.title)
        show(listing)
    else:
        _tell(rules[0])


def _objects(source: str, wanted: str | None, inventory_file: str | None, output: str) -> None:
    """Each object's verdict in full; ends the program with code 2 if there is none to tell."""
    from plimsoll.cli.check import judged
    from plimsoll.cli.estimate import show_one
    from plimsoll.report.as_data import verdict_dict
    from plimsoll.report.results import results
    from plimsoll.workloads.files import load

    manifests = load((source,))
    if manifests.problems:
        bad_input(manifests.problems, output)
    inventory = given_inventory(inventory_file, output)
    found = [
        (manifest, served.request, verdict)
        for manifest in manifests.deployments
        for _, served, verdict in judged(manifest, manifests, inventory)
        if wanted in (None, served.request.name, served.facts.name)
    ]
    if not found:
        what = "an object that serves an LLM" + (
            f" and is called {shown(wanted)}" if wanted else ""
        )
        bad_input(Problem("FILE", shown_path(source), what), output)
    if output in ("json", "yaml"):
        dump([verdict_dict(request, verdict) for _, request, verdict in found], output)
        return
    for index, (manifest, request, verdict) in enumerate(found):
        click.echo("\n" * (index > 0) + f"{manifest.kind.name} {request.name}, {manifest.file}\n")
        show_one(request, verdict)
        told = {one.rule.id: one.rule.title for one in results("", request, verdict)}
        for name, title in told.items():
            click.echo(f"{name}: {title} (plimsoll explain {name})")


def _list_gates(rule: str | None, output: str) -> None:
    """All gates in the form that was asked for."""
    from plimsoll.report import starts

    if rule is not None:
        raise click.UsageError("--gates goes without RULE: it lists all gates")
    if output == "markdown":
        click.echo(starts.page(), nl=False)
    elif output != "table":
        dump(starts.every_gate(), output)
    else:
        listing = Table(("rule", "stage", "name", "engines"), drop=("engines",))
        for one in starts.every_gate():
            listing.add(one["rule"], one["stage"], one["name"], ", ".join(one["engines"]))
        show(listing)


def _named(rule: str, output: str) -> RuleText:
    """The rule of that id or name; ends the program with code 2 if there is none."""
    known = find(rule)
    if known is None:
        names = [name for one in table().values() for name in (one.id, one.name)]
        near = difflib.get_close_matches(rule[:80], names, n=2)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        fix = f"{meant}`plimsoll explain` lists them all"
        bad_input(
            Problem("RULE", shown(rule), "the id or the name of a rule, or a file", fix), output
        )
    return known


def _tell(rule: RuleText) -> None:
    click.echo(f"{rule.id}  {rule.title}\n")
    click.echo(textwrap.fill(rule.help, WIDTH))
    click.echo(f"\nseverity: {rule.severity}\nname:     {rule.name}")
    click.echo(f"see also: docs/rules.md#{rule.id.lower()}, docs/{rule.see}")
