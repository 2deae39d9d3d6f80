"""`plimsoll report`: one page of HTML for a tree of manifests, a saved listing or a cluster.

It decides nothing of its own: every object is judged as `plimsoll check` judges it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from plimsoll.cli import apart
from plimsoll.cli.calibrate import calibration_option, knowledge_of
from plimsoll.cli.check import judged
from plimsoll.cli.given import given_inventory, given_policies, inventory_option, policy_option
from plimsoll.cli.kubectl import Kubectl, kubectl_options
from plimsoll.cli.memory import gpu_memory_option, in_use_option
from plimsoll.cli.output import bad_input
from plimsoll.cli.own_accelerators import accelerators_option, read_own
from plimsoll.cli.price_list import prices_option, read_prices
from plimsoll.errors import Invalid, Problem, clean, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.page.changes import Before
    from plimsoll.report.page.html import About
    from plimsoll.report.page.objects import Row
    from plimsoll.workloads.files import Manifests
    from plimsoll.workloads.listing import Listing
    from plimsoll.workloads.sizing_policy import SizingPolicy

DEFAULT: Final = "plimsoll.html"
MOST_BEFORE: Final = 64 << 20
"""Bytes of another page that are read."""


@click.command("report")
@click.argument("sources", metavar="[FILE|DIR|-]...", nargs=-1)
@click.option("--cluster", is_flag=True, help="Read the cluster that kubectl speaks to.")
@kubectl_options
@inventory_option
@click.option(
    "--since", metavar="PAGE", help="A page that was made before: say what changed since."
)
@click.option(
    "--to",
    metavar="FILE",
    default=DEFAULT,
    show_default=True,
    help="Where the page is written; - for standard output.",
)
@gpu_memory_option
@in_use_option
@accelerators_option
@prices_option
@policy_option
@calibration_option
def command(
    sources: tuple[str, ...],
    cluster: bool,
    context: str | None,
    kubeconfig: str | None,
    kubectl: str,
    inventory_file: str | None,
    since: str | None,
    to: str,
    gpu_memory: int | None,
    in_use: int | None,
    own_file: str | None,
    prices_file: str | None,
    policy: tuple[str, ...],
    calibration: Path | None,
) -> None:
    """Make one page of HTML: each object against the load line, its ways out, and the GPUs.

    FILE and DIR hold manifests, or what `kubectl get -o json` printed; nodes and pods in such a
    listing are the inventory. The page needs nothing beside it and fetches nothing.

    \b
    plimsoll report deploy/
    plimsoll report --cluster --since plimsoll.html
    kubectl get llmd,deploy,nodes,pods -A -o json | plimsoll report -

    \b
    Exit code: 0 the page is made, 2 something could not be read (which the page says too).
    """
    from plimsoll.inventory.pools import NO_INVENTORY, with_own
    from plimsoll.report.page.html import page
    from plimsoll.report.page.objects import row
    from plimsoll.units import counted
    from plimsoll.workloads import files, kinds
    from plimsoll.workloads.listing import PLACE
    from plimsoll.workloads.llmdeployment import ignored_rules, override

    if not sources and not cluster:
        raise click.UsageError(
            "say which FILE or DIR to report on, - for standard input, or --cluster"
        )
    before = _read_before(since) if since is not None else None
    found = [(files.load(sources), NO_INVENTORY)] if sources else []
    problems: list[Problem] = []
    there: tuple[SizingPolicy, ...] = ()
    if cluster:
        listed, problems = _of_cluster(Kubectl(kubectl, context, kubeconfig, "table"))
        found.append((listed.manifests, listed.inventory))
        there = listed.policies
    inventory = _inventory(inventory_file, found)
    own = read_own(own_file, "table")
    prices = read_prices(prices_file, own, "table")
    inventory = replace(with_own(inventory, own), prices=prices or inventory.prices)
    known = knowledge_of(calibration, "table")
    policies = given_policies(policy, "table").beside(there)
    todo = [
        (manifest, manifests)
        for manifests, _ in found
        for manifest in manifests.deployments
        if not kinds.owned(manifest.obj)
    ]

    def of(index: int) -> list[Row]:
        manifest, beside = todo[index]
        engines = judged(manifest, beside, inventory, policies, gpu_memory, in_use, known)
        ignored, over = ignored_rules(manifest.obj), override(manifest.obj)
        file, kind = manifest.file, manifest.kind.name
        where = ("", 0) if file == PLACE else (file, manifest.line)
        return [
            row(kind, one.request, verdict, ignored, *where, override=over)
            for _, one, verdict in engines
        ]

    rows = [one for engines in apart.each(of, len(todo)) for one in engines]
    problems += [problem for manifests, _ in found for problem in manifests.problems]
    about = _about(sources, context, cluster=cluster)
    text = page(rows, list(map(str, problems)), inventory, about, before)
    _write(to, text)
    refused = sum(one.refused for one in rows)
    if to != "-":
        size = f"{len(text.encode()) / 1024:,.0f} KiB"
        objects = counted(len(rows), "object")
        click.echo(f"{to}: {objects}, {refused:,} refused; {size}")
    for problem in problems:
        click.echo(f"plimsoll: {problem}", err=True)
    sys.exit(2 if problems else 0)


def _about(sources: Iterable[str], context: str | None, *, cluster: bool) -> About:
    """What the page says of itself."""
    from datetime import UTC, datetime

    from plimsoll import __version__
    from plimsoll.report.page.html import About

    named = [f"cluster {context}" if context else "cluster"] if cluster else []
    named += ["standard input" if source == "-" else source for source in sources]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return About(clean(", ".join(named[:3]) + more, 200), made, __version__)


def _of_cluster(kubectl: Kubectl) -> tuple[Listing, list[Problem]]:
    """What a cluster lists, and what it did not; ends the program with code 2 if it is no list."""
    from plimsoll.cli.running import listed

    try:
        return listed(kubectl, None)
    except Invalid as error:
        bad_input(error.problems)


def _inventory(source: str | None, found: list[tuple[Manifests, Inventory]]) -> Inventory:
    """The nodes of a file of their own, of the cluster, or those that lie among the objects."""
    from plimsoll.inventory.pools import NO_INVENTORY
    from plimsoll.inventory.saved import from_dict

    if source is not None:
        return given_inventory(source, "table")
    for _, inventory in reversed(found):
        if inventory.known:
            return inventory
    items = [one for manifests, _ in found for one in manifests.of_cluster]
    if not any(one.get("kind") == "Node" for one in items):
        return NO_INVENTORY
    try:
        return from_dict({"kind": "List", "items": items})
    except Invalid as error:
        bad_input(error.problems)


def _read_before(file: str) -> Before:
    """Another page of ours; ends the program with exit code 2 if it is none."""
    from plimsoll.report.page.changes import read

    try:
        with Path(file).open(encoding="utf-8") as opened:
            found = read(opened.read(MOST_BEFORE))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        bad_input(Problem("--since", shown_path(file), f"a page that can be read ({why})"))
    if found is None:
        fix = "make one with `plimsoll report`"
        bad_input(Problem("--since", shown_path(file), "a page of `plimsoll report`", fix))
    return found


def _write(file: str, text: str) -> None:
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        bad_input(
            Problem("--to", shown_path(file), f"a file that can be written ({error.strerror})")
        )
