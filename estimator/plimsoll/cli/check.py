"""`plimsoll check`: the verdict of admission on manifests, before they reach a cluster.

It must not have an opinion of its own: request, inventory and policy go to `decide`, as they do
in admission.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.report.as_data import problem_dict

if TYPE_CHECKING:
    from plimsoll.decision.policy import Policy
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.files import Manifest, Manifests

Checked = tuple["Manifest", "Request", "Verdict"]


@click.command("check")
@click.argument("sources", metavar="FILE|DIR|-", nargs=-1)
@click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", help="The same, as in kubectl."
)
@click.option(
    "--inventory",
    "inventory_file",
    metavar="FILE",
    help="The cluster's nodes, saved with `plimsoll inventory -o json`.",
)
@click.option(
    "--policy",
    type=click.Choice(["enforce", "warn", "audit"]),
    help="Policy of namespaces that are not among the manifests.  [default: enforce]",
)
@format_option("table", "json", "yaml")
def command(
    sources: tuple[str, ...],
    files: tuple[str, ...],
    inventory_file: str | None,
    policy: str | None,
    output: str,
) -> None:
    """Say of each LLMDeployment in these files and folders what admission will say.

    Namespaces and ConfigMaps among the manifests count: a policy label holds, and configMapRef
    finds its model. Objects of other kinds are passed over.

    An annotation that overrides a refusal is named, but does not count: only the cluster knows who
    applies the object and whether they may override.

    \b
    Exit code: 0 all are admitted, 1 one is refused, 2 the input cannot be read.
    """
    from plimsoll.decision.policy import outcome
    from plimsoll.inventory.pools import NO_INVENTORY
    from plimsoll.workloads.files import load

    if not sources and not files:
        raise click.UsageError("say which FILE or DIR to check, or - for standard input")
    manifests = load((*sources, *files))
    inventory: Inventory = NO_INVENTORY
    if inventory_file is not None:
        from plimsoll.cli.inventory import read_inventory

        inventory = read_inventory(inventory_file, output)
    if not manifests.deployments and not manifests.problems:
        from plimsoll.api_group import API_VERSION, KIND
        from plimsoll.errors import Problem

        others = f"{manifests.others} objects of other kinds"
        bad_input(
            Problem(
                ", ".join((*sources, *files)), others, f"an object of kind {KIND} ({API_VERSION})"
            ),
            output,
        )
    checked = [_check(manifest, manifests, inventory, policy) for manifest in manifests.deployments]
    if output == "table":
        _show(checked, manifests)
    else:
        _dump(checked, manifests, output)
    if manifests.problems:
        sys.exit(2)
    sys.exit(0 if all(outcome(verdict).let_in for _, _, verdict in checked) else 1)


def _check(
    manifest: Manifest, manifests: Manifests, inventory: Inventory, default: str | None
) -> Checked:
    from plimsoll.decision.decide import decide

    asked = manifest.kind.request(manifest.obj, manifests)
    namespace = asked.name.partition("/")[0]
    return manifest, asked, decide(asked, inventory, _policy(namespace, manifests, default))


def _policy(namespace: str, manifests: Manifests, default: str | None) -> Policy:
    from plimsoll.decision.policy import Mode, Policy, policy_of

    if namespace in manifests.modes:
        return policy_of(namespace, manifests.modes[namespace])
    return Policy(Mode(default), "--policy") if default else Policy()


def _outcome(verdict: Verdict) -> str:
    """What becomes of it, in a word or two."""
    from plimsoll.decision.policy import Outcome, outcome

    match outcome(verdict):
        case Outcome.ALLOWED:
            return "fits"
        case Outcome.DOUBTED:
            return "warning"
        case Outcome.DENIED:
            return "REFUSED"
    return f"does not fit ({verdict.policy.mode})"


def _override(manifest: Manifest, verdict: Verdict) -> str:
    """The reason for which an annotation overrides the refusal; empty if none does."""
    from plimsoll.decision.policy import Outcome, outcome
    from plimsoll.workloads.llmdeployment import override_reason

    reason = override_reason(manifest.obj)
    overridden = outcome(verdict, overridden=bool(reason)) is Outcome.OVERRIDDEN
    return reason if overridden else ""


def _show(checked: list[Checked], manifests: Manifests) -> None:
    """A table of all, then every word on those that are not plainly fine."""
    from plimsoll.report import messages
    from plimsoll.units import gib_down, gib_up

    if checked:
        table = Table(
            ("object", "verdict", "GPUs", "accelerator", "need/GPU", "have/GPU", "file"),
            right=frozenset({"GPUs", "need/GPU", "have/GPU"}),
        )
        for manifest, asked, verdict in checked:
            e, p = verdict.estimate, verdict.placement
            table.add(
                asked.name,
                _outcome(verdict),
                str(p.gpus_per_replica) if p else "–",
                p.accelerator if p else verdict.accelerator,
                gib_up(e.required) if e else "",
                gib_down(e.usable) if e else "",
                f"{manifest.file}:{manifest.line}",
            )
        show(table)
    for manifest, asked, verdict in checked:
        where = f"{asked.name} ({manifest.file}:{manifest.line})"
        if verdict.denied:
            click.echo(f"\n{where}:")
            for line in messages.denial(asked, verdict).splitlines():
                click.echo(f"  {line}")
            if override := _override(manifest, verdict):
                click.echo(f"  {messages.overridden_line(override)}")
        else:
            for warning in messages.warning(asked, verdict):
                click.echo(f"\n{where}: {warning}")
    for problem in manifests.problems:
        click.echo(f"plimsoll: {problem}", err=True)


def _dump(checked: list[Checked], manifests: Manifests, output: str) -> None:
    from plimsoll.report import messages
    from plimsoll.report.as_data import verdict_dict

    results: list[dict[str, Any]] = []
    for manifest, asked, verdict in checked:
        results.append(
            {
                "file": manifest.file,
                "line": manifest.line,
                **verdict_dict(asked, verdict),
                "override": _override(manifest, verdict) or None,
                "message": messages.denial(asked, verdict) if verdict.denied else "",
            }
        )
    problems = [problem_dict(problem) for problem in manifests.problems]
    dump({"results": results, "problems": problems, "otherObjects": manifests.others}, output)
