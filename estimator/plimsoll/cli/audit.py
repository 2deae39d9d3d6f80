"""`plimsoll audit`: what already runs in a cluster, against what it needs.

Each engine gets the verdict of `plimsoll check`; `decision.surplus` says what could come back.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from plimsoll.cli.calibrate import calibration_option, knowledge_of
from plimsoll.cli.check import judged
from plimsoll.cli.given import bytes_of, given_policies, policy_option
from plimsoll.cli.kubectl import Kubectl, kubectl_options
from plimsoll.cli.memory import gpu_memory_option, in_use_option
from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.cli.own_accelerators import accelerators_option, read_own
from plimsoll.errors import Invalid, Problem, shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from plimsoll.report.audit import Audited
    from plimsoll.workloads.listing import Listing

MAX_FILE = 1 << 30
"""Bytes of a saved listing that are read at most."""


@click.command("audit")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="FILE",
    help="What `kubectl get deployments,...,nodes -A -o json` printed (- for standard input), "
    "instead of asking the cluster.",
)
@click.option("-n", "--namespace", metavar="NAME", help="Of this namespace alone.  [default: all]")
@kubectl_options
@click.option(
    "--requests",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="How many requests of the whole context at once must be held where nothing says it.",
)
@gpu_memory_option
@in_use_option
@accelerators_option
@policy_option
@calibration_option
@click.option(
    "--fail-on",
    type=click.Choice(["misfits", "waste", "never"]),
    default="misfits",
    show_default=True,
    help="What ends it with 1: what does not fit, what could come back too, or nothing.",
)
@format_option("table", "json", "yaml", "markdown")
def command(
    sources: tuple[str, ...],
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
    kubectl: str,
    requests: int,
    gpu_memory: int | None,
    in_use: int | None,
    own_file: str | None,
    policy: tuple[str, ...],
    calibration: Path | None,
    fail_on: str,
    output: str,
) -> None:
    """What runs and does not fit, what lies idle, and which GPUs could come back.

    \b
    plimsoll audit                                      what kubectl lists
    plimsoll audit --from listing.json                  what it listed before
    kubectl get deploy,sts,nodes -A -o json | plimsoll audit --from -

    Every kind that `plimsoll check` reads is looked at, but for those that others complete, such
    as a ServingRuntime; a Deployment counts once, not with its ReplicaSets and Pods. GPUs could
    come back if fewer or smaller ones surely hold the same load.

    \b
    Exit code: 0 everything fits, 1 something does not, or with --fail-on waste could do with
    less, 2 something cannot be read.
    """
    from plimsoll.inventory.pools import with_own
    from plimsoll.workloads import listing

    asked = Kubectl(kubectl, context, kubeconfig, output)
    problems: list[Problem] = []
    try:
        if sources:
            found = listing.read([_parsed(source, output) for source in sources])
        else:
            from plimsoll.cli.running import listed

            found, problems = listed(asked, namespace)
    except Invalid as error:
        bad_input(error.problems, output)
    inventory = with_own(found.inventory, read_own(own_file, output))
    problems += found.manifests.problems
    from plimsoll.decision.surplus import surplus
    from plimsoll.report.audit import Audited

    known = knowledge_of(calibration, output)
    policies = given_policies(policy, output).beside(found.policies)
    audited = []
    for manifest in found.manifests.deployments:
        if manifest.kind.part:
            continue
        checked = judged(manifest, found.manifests, inventory, policies, gpu_memory, in_use, known)
        for _, served, verdict in checked:
            if namespace is not None and served.facts.namespace != namespace:
                continue
            back = surplus(served.request, verdict, inventory, known, requests)
            unreadable = served.facts.unreadable
            kind = manifest.kind.name
            audited.append(Audited(kind, served.request, verdict, back, unreadable))
    _print(audited, found, problems, requests, output)
    if problems:
        sys.exit(2)
    failing = fail_on != "never" and any(one.verdict.denied for one in audited)
    wasteful = fail_on == "waste" and any(one.wasteful for one in audited)
    sys.exit(1 if failing or wasteful else 0)


def _parsed(source: str, output: str) -> object:
    """The document in a file; ends the program with code 2 if there is none."""
    try:
        raw = sys.stdin.buffer.read(MAX_FILE) if source == "-" else bytes_of(source, MAX_FILE)
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        fix = "save it with `kubectl get deployments,statefulsets,nodes -A -o json`"
        bad_input(Problem("--from", shown_path(source), f"JSON ({error})", fix), output)
    except OSError as error:
        wanted = f"a file that can be read ({error.strerror})"
        bad_input(Problem("--from", shown_path(source), wanted), output)


def _print(
    audited: Sequence[Audited],
    found: Listing,
    problems: Sequence[Problem],
    requests: int,
    output: str,
) -> None:
    from plimsoll.report import audit
    from plimsoll.report.as_data import problem_dict

    if output == "markdown":
        click.echo(audit.markdown(audited, [str(problem) for problem in problems], requests))
        return
    if output != "table":
        whole = {
            "totals": audit.totals_dict(audited),
            "results": [audit.as_data(one) for one in audited],
            "problems": [problem_dict(problem) for problem in problems],
            "otherObjects": found.manifests.others,
            "madeByOthers": found.parts,
        }
        dump(whole, output)
        return
    table = Table(
        audit.COLUMNS, right=audit.RIGHT, drop=("have/GPU", "need/GPU", "to win", "would do")
    )
    ranked = audit.ranked(audited)
    for one in ranked:
        table.add(*audit.row(one))
    if table.rows:
        show(table)
        click.echo()
        for line in audit.summary(audited, requests):
            click.echo(line)
    else:
        click.echo(_nothing(found))
    for one in ranked:
        said = audit.lines(one)
        if said:
            click.echo(f"\n{one.subject}:")
            for line in said:
                click.echo(f"  {line}")
    for problem in problems:
        click.echo(f"plimsoll: {problem}", err=True)


def _nothing(found: Listing) -> str:
    """That nothing serves an LLM, and what there was instead."""
    from plimsoll.units import counted

    there = counted(found.manifests.others, "object")
    others = f"nothing to audit: {there}, and none serves an LLM"
    made = f"; {counted(found.parts, 'object')} more made by others, which have to be listed too"
    return others + (made if found.parts else "")
