"""`plimsoll explain`: what a rule of `plimsoll check` means, and what to do about it."""

from __future__ import annotations

import difflib
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.errors import Problem, shown
from plimsoll.report.rules import find, page, table

if TYPE_CHECKING:
    from plimsoll.report.rules import RuleText

WIDTH = 88
"""Characters of a line of help."""


@click.command("explain")
@click.argument("rule", metavar="[RULE]", required=False)
@click.option("--gates", is_flag=True, help="List why engines refuse to start, by their versions.")
@format_option("table", "json", "yaml", "markdown")
def command(rule: str | None, gates: bool, output: str) -> None:
    """Say what RULE means and what to do about it; without RULE, list them all.

    RULE is an id such as PL001, or the name of a rule such as NotEnoughMemory. With --gates, list
    those for which an engine would not start, in the order of a start.

    \b
    Exit code: 0 it is known, 2 it is not.
    """
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
        bad_input(Problem("RULE", shown(rule), "the id or the name of a rule", fix), output)
    return known


def _tell(rule: RuleText) -> None:
    click.echo(f"{rule.id}  {rule.title}\n")
    click.echo(textwrap.fill(rule.help, WIDTH))
    click.echo(f"\nseverity: {rule.severity}\nname:     {rule.name}")
    click.echo(f"see also: docs/rules.md#{rule.id.lower()}, docs/{rule.see}")
