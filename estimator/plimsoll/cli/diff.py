"""`plimsoll diff`: what an upgrade, or a change of manifests, does to what starts and to what it
holds.

Both sides are decided as `plimsoll check` decides; `decision.comparison` says what changed.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plimsoll.cli.calibrate import calibration_option, knowledge_of
from plimsoll.cli.check import on_card, policy_there
from plimsoll.cli.given import (
    Policies,
    given_inventory,
    given_policies,
    inventory_option,
    policy_option,
)
from plimsoll.cli.memory import gpu_memory_option, in_use_option
from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.cli.own_accelerators import accelerators_option, read_own
from plimsoll.errors import Problem, Unreadable, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.decision.comparison import Ground
    from plimsoll.decision.policy import Policy
    from plimsoll.report.difference import Changed
    from plimsoll.workloads.files import Manifest, Manifests
    from plimsoll.workloads.pairs import Engine, Pair


@click.command("diff")
@click.argument("sources", metavar="BEFORE AFTER | FILE|DIR...", nargs=-1)
@click.option(
    "--engine-version",
    "versions",
    multiple=True,
    metavar="ENGINE=VERSION",
    help="Compare these manifests with themselves on that version of an engine.",
)
@click.option(
    "--git",
    "revisions",
    metavar="REV[..REV]",
    help="Compare what a revision has there with another one, or with the files as they are.",
)
@inventory_option
@gpu_memory_option
@in_use_option
@accelerators_option
@policy_option
@calibration_option
@click.option(
    "--least",
    type=click.IntRange(0, 100),
    default=5,
    show_default=True,
    metavar="PERCENT",
    help="A smaller loss of context or cache counts as none.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["stops", "loses", "never"]),
    default="stops",
    show_default=True,
    help="What ends it with 1: what does not start any more, what loses something too, or nothing.",
)
@format_option("table", "json", "yaml", "markdown")
def command(
    sources: tuple[str, ...],
    versions: tuple[str, ...],
    revisions: str | None,
    inventory_file: str | None,
    gpu_memory: int | None,
    in_use: int | None,
    own_file: str | None,
    policy: tuple[str, ...],
    calibration: Path | None,
    least: int,
    fail_on: str,
    output: str,
) -> None:
    """Say what stops starting, holds less or needs other flags after an upgrade or a change.

    \b
    plimsoll diff ./manifests --engine-version vllm=0.33    the same, on another version
    plimsoll diff ./before ./after                          two files or folders
    plimsoll diff --git main..HEAD ./manifests              two revisions
    plimsoll diff --git main ./manifests                    a revision, and the files as they are

    What asks for no more than a GPU that would do is compared on the GPU that it had before, as
    long as it fits there. The label of a namespace changes nothing: what does not start is said.

    \b
    Exit code: 0 everything that started still starts, 1 something does not, or is new and does
    not, or was refused and is worse; with --fail-on loses also if something takes more GPUs, holds
    less or is in doubt. 2 the input cannot be read.
    """
    from plimsoll.decision.comparison import LOSING, STOPPING, Ground
    from plimsoll.inventory.pools import with_own
    from plimsoll.workloads.pairs import pairs

    asked = _versions(versions, output)
    _whether_clear(sources, asked, revisions)
    inventory = with_own(given_inventory(inventory_file, output), read_own(own_file, output))
    ground = Ground(inventory, None, knowledge_of(calibration, output))
    before, after = _both(sources, asked, revisions, output)
    policies, loss = given_policies(policy, output), Fraction(least, 100)
    changes = [
        _changed(pair, (before, after), (gpu_memory, in_use), ground, policies, loss)
        for pair in pairs(_engines(before), _engines(after))
    ]
    problems = list(dict.fromkeys((*before.problems, *after.problems)))
    _print(changes, problems, output)
    if problems:
        sys.exit(2)
    failing = {"stops": STOPPING, "loses": STOPPING | LOSING, "never": frozenset()}[fail_on]
    sys.exit(1 if any(one.effect in failing for one in changes) else 0)


def _whether_clear(
    sources: Sequence[str], versions: Mapping[str, str], revisions: str | None
) -> None:
    """Whether it is said what is to be compared with what."""
    if versions and revisions:
        raise click.UsageError("--engine-version and --git: one of the two at a time")
    if "-" in sources and not versions:
        raise click.UsageError("standard input is one side: name files and folders")
    if versions and not sources:
        raise click.UsageError("say which FILE or DIR, or - for standard input")
    if not versions and not revisions and len(sources) != 2:
        raise click.UsageError("say BEFORE and AFTER, or --engine-version, or --git")


def _versions(given: Sequence[str], output: str) -> dict[str, str]:
    """Engines with the version that each is to have; ends the program with 2 for what is none."""
    from plimsoll.engines import registry

    versions: dict[str, str] = {}
    problems = []
    for text in given:
        name, sign, version = text.partition("=")
        table = registry.engine(name).table if name in registry.NAMES else None
        if table is None or not sign:
            known = [one for one in registry.NAMES if registry.engine(one).table is not None]
            wanted = f"ENGINE=VERSION, such as vllm=0.33, of {', '.join(sorted(known))}"
            problems.append(Problem("--engine-version", shown(text), wanted))
            continue
        try:
            table.parse(version)
        except Unreadable as error:
            problems.append(Problem("--engine-version", shown(text), error.wanted))
        versions[name] = version
    if problems:
        bad_input(problems, output)
    return versions


def _both(
    sources: tuple[str, ...], versions: Mapping[str, str], revisions: str | None, output: str
) -> tuple[Manifests, Manifests]:
    """The manifests before and after, each file by the name that both sides have for it."""
    from plimsoll.workloads.files import load
    from plimsoll.workloads.upgrade import upgraded

    if versions:
        before = load(sources)
        after = replace(
            before,
            deployments=[
                replace(one, served=upgraded(one.kind, one.obj, before.beside(one), versions))
                for one in before.deployments
            ],
        )
        return before, after
    if revisions:
        return _revisions(revisions, sources or (".",), output)
    old, new = sources
    return _inside(load((old,)), old), _inside(load((new,)), new)


def _inside(found: Manifests, source: str) -> Manifests:
    """The same with each file named from the folder on that was read, so that both sides match."""
    root = Path(source)
    if not root.is_dir():
        return replace(found, deployments=[replace(one, file="") for one in found.deployments])
    named = [
        replace(one, file=Path(one.file).relative_to(root).as_posix()) for one in found.deployments
    ]
    return replace(found, deployments=named)


def _revisions(given: str, paths: tuple[str, ...], output: str) -> tuple[Manifests, Manifests]:
    """A revision and another one; or a revision, and the files as they are."""
    old, dots, new = given.partition("..")
    old, new = old or "HEAD", new.removeprefix(".") or "HEAD"
    for path in paths:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            wanted = "a path below the folder that one is in"
            bad_input(Problem("--git", shown(path), wanted, "change into the repository"), output)
    return _at(old, paths, output), _at(new if dots else "", paths, output)


def _at(revision: str, paths: tuple[str, ...], output: str) -> Manifests:
    """The manifests of a revision; empty: of the folder that one is in."""
    from plimsoll.workloads.files import load

    if not revision:
        return load(paths)
    from plimsoll.cli.revisions import write_out

    with tempfile.TemporaryDirectory() as folder:
        there = write_out(revision, paths, Path(folder), output)
        with contextlib.chdir(folder):
            return load(tuple(there))


def _engines(manifests: Manifests) -> list[Engine]:
    """Every engine of every object."""
    return [
        (manifest, served)
        for manifest in manifests.deployments
        for served in manifest.served
        or manifest.kind.read(manifest.obj, manifests.beside(manifest))
    ]


def _changed(
    pair: Pair,
    sides: tuple[Manifests, Manifests],
    card: tuple[int | None, int | None],
    ground: Ground,
    policies: Policies,
    least: Fraction,
) -> Changed:
    """What became of one engine."""
    from plimsoll.decision.comparison import added, compare, removed
    from plimsoll.report.difference import Changed

    was, now = (
        (on_card(engine[1].request, *card), replace(ground, policy=_policy(engine, side, policies)))
        if engine
        else None
        for engine, side in zip((pair.before, pair.after), sides, strict=True)
    )
    shown_engine = pair.after or pair.before
    assert shown_engine is not None
    manifest, served = shown_engine
    named = (f"{manifest.kind.name} {served.request.name}", _place(manifest), served.request)
    before = was[1].decide(was[0]) if was else None
    if was is None or before is None:
        assert now is not None
        after = now[1].decide(now[0])
        return Changed(*named, added(after), None, after)
    if now is None:
        return Changed(*named, removed(before), before, None)
    after, found = compare(was[0], before, now[0], now[1], least)
    return Changed(*named, found, before, after)


def _policy(engine: Engine, manifests: Manifests, policies: Policies) -> Policy:
    return policy_there(engine[0].kind, engine[1].facts.namespace, manifests, policies)


def _place(manifest: Manifest) -> str:
    return f"{manifest.file}:{manifest.line}" if manifest.file else f"line {manifest.line}"


def _print(changes: list[Changed], problems: list[Problem], output: str) -> None:
    from plimsoll.report import difference
    from plimsoll.report.as_data import problem_dict

    if output == "markdown":
        click.echo(difference.markdown(changes, [str(problem) for problem in problems]))
        return
    if output != "table":
        results = [difference.as_data(one) for one in changes]
        dump({"results": results, "problems": [problem_dict(one) for one in problems]}, output)
        return
    shown_here = difference.grave(changes)
    table = Table(
        difference.COLUMNS,
        right=frozenset({"need/GPU", "context", "requests"}),
        drop=("where", "need/GPU", "GPUs"),
    )
    for one in shown_here:
        if one.effect not in difference.QUIET:
            table.add(*difference.row(one))
    if table.rows:
        show(table)
        click.echo()
    click.echo(difference.totals(changes))
    for one in shown_here:
        said = difference.lines(one)
        if said:
            click.echo(f"\n{one.subject} ({one.place}): {difference.WORDS[one.effect]}")
            for line in said:
                click.echo(f"  {line}")
    for problem in problems:
        click.echo(f"plimsoll: {problem}", err=True)
