"""`plimsoll check`: the verdict of admission on manifests, before they reach a cluster.

It must not have an opinion of its own: request, inventory and policy go to `decide`, as they do
in admission.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from plimsoll.api_group import POLICY_LABEL, WORKLOADS_LABEL
from plimsoll.cli import apart
from plimsoll.cli.calibrate import calibration_option, knowledge_of
from plimsoll.cli.given import (
    NO_POLICIES,
    Policies,
    given_inventory,
    given_policies,
    inventory_option,
    policy_option,
)
from plimsoll.cli.memory import gpu_memory_option, in_use_option
from plimsoll.cli.output import Table, dump, format_option, show
from plimsoll.cli.own_accelerators import accelerators_option, read_own
from plimsoll.cli.price_list import prices_option, read_prices
from plimsoll.report.as_data import problem_dict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.policy import Policy
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.results import CheckReport
    from plimsoll.workloads.files import Manifest, Manifests
    from plimsoll.workloads.kinds import Kind
    from plimsoll.workloads.resolved import Profiles
    from plimsoll.workloads.roles import Served

PIPELINES = ("sarif", "junit", "github", "markdown")
"""Outputs that other programs show beside the lines of a file."""
REFUSED = "REFUSED"
"""The word for an object that does not pass; in capitals, so that nobody overlooks it."""
Checked = tuple["Manifest", "Served", "Verdict"]
"""One engine of an object, and what admission decides on it."""


@click.command("check")
@click.argument("sources", metavar="FILE|DIR|-", nargs=-1)
@click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", help="The same, as in kubectl."
)
@inventory_option
@gpu_memory_option
@in_use_option
@accelerators_option
@prices_option
@policy_option
@click.option("--require", is_flag=True, help="Exit code 1 if nothing in them serves an LLM.")
@click.option(
    "--select",
    multiple=True,
    metavar="RULE",
    help="Look at these rules alone: ids such as PL001, names, or PL3 for all that begin so.",
)
@click.option("--ignore", multiple=True, metavar="RULE", help="Do not look at these rules.")
@click.option(
    "--fail-on",
    type=click.Choice(["deny", "warn", "never"]),
    default="deny",
    show_default=True,
    help="What ends the check with 1: a refusal, a warning too, or nothing.",
)
@click.option(
    "--baseline",
    metavar="FILE",
    help="What is in this file was there before and does not count.",
)
@click.option(
    "--write-baseline", is_flag=True, help="Write what counts now into the --baseline FILE."
)
@click.option(
    "--from-hub",
    is_flag=True,
    help="Read models that the catalogue lacks from their hub (HF_ENDPOINT, HF_TOKEN).",
)
@calibration_option
@format_option("table", "json", "yaml", *PIPELINES)
def command(
    sources: tuple[str, ...],
    files: tuple[str, ...],
    inventory_file: str | None,
    gpu_memory: int | None,
    in_use: int | None,
    own_file: str | None,
    prices_file: str | None,
    policy: tuple[str, ...],
    require: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    baseline: str | None,
    write_baseline: bool,
    from_hub: bool,
    calibration: Path | None,
    output: str,
) -> None:
    """Say of each object in these files and folders that serves an LLM whether its model fits.

    An LLMDeployment is judged as admission judges it. Of Deployments and the other kinds that start
    an engine, image, command, arguments, environment and GPUs are read. Namespaces and ConfigMaps
    among the manifests count. Objects that serve no LLM are passed over.

    An annotation that overrides a refusal is named, but does not count: only the cluster knows who
    applies the object and whether they may override.

    An annotation plimsoll.dev/ignore with lines such as `PL001: the reason` says which rules do
    not count for its object, here and not in admission. `plimsoll explain` lists the rules.

    \b
    Exit code: 0 all are admitted, 1 one is refused, 2 the input cannot be read. Without anything
    to check: 0, and 1 with --require.
    """
    from plimsoll.decision.policy import outcome
    from plimsoll.inventory.pools import with_own
    from plimsoll.workloads.files import load
    from plimsoll.workloads.llmdeployment import ignored_rules

    if not sources and not files:
        raise click.UsageError("say which FILE or DIR to check, or - for standard input")
    if write_baseline and baseline is None:
        raise click.UsageError("--write-baseline goes with --baseline FILE, which it writes")
    manifests = load((*sources, *files), _profiles(from_hub=from_hub))
    inventory = given_inventory(inventory_file, output)
    own = read_own(own_file, output)
    inventory = replace(with_own(inventory, own), prices=read_prices(prices_file, own, output))
    known = knowledge_of(calibration, output)
    policies = given_policies(policy, output)
    deployments = manifests.deployments

    def of(index: int) -> list[tuple[Served, Verdict]]:
        every = judged(
            deployments[index], manifests, inventory, policies, gpu_memory, in_use, known
        )
        return [(served, verdict) for _, served, verdict in every]

    alone = 1 if from_hub else None  # what one process asks a hub another would ask again
    found = apart.each(of, len(deployments), alone)
    checked = [
        (manifest, *one)
        for manifest, engines in zip(deployments, found, strict=True)
        for one in engines
    ]
    report: CheckReport | None = None
    asked = select or ignore or baseline or fail_on != "deny" or output in PIPELINES
    if asked or any(ignored_rules(manifest.obj) for manifest in manifests.deployments):
        from plimsoll.cli import results

        rules = results.gate(select, ignore, fail_on, baseline, write=write_baseline)
        requests = [(manifest, served.request, verdict) for manifest, served, verdict in checked]
        report = results.report(requests, manifests, rules)
        if write_baseline and baseline is not None:
            results.write_baseline(baseline, report, rules)
            sys.exit(2 if manifests.problems else 0)
    if report is not None and output in PIPELINES:
        click.echo(results.printed(report, output))
    elif output != "table":
        _dump(checked, manifests, output)
    elif checked or manifests.problems:
        _show(checked, manifests, report)
    else:
        click.echo(_nothing(manifests))
    if manifests.problems:
        sys.exit(2)
    if not checked:
        sys.exit(1 if require else 0)
    if report is not None:
        failed = any(one.failed for one in report.objects) and fail_on != "never"
    else:
        failed = not all(outcome(verdict).let_in for _, _, verdict in checked)
    sys.exit(1 if failed else 0)


def _profiles(*, from_hub: bool) -> Profiles | None:
    """Where models are looked up that the catalogue lacks, if they are to be."""
    if not from_hub:
        return None
    from plimsoll.cli.documents import HubProfiles

    return HubProfiles()


def _nothing(manifests: Manifests) -> str:
    """That there was nothing to check, and what there was instead."""
    from plimsoll.units import counted

    others = f"{counted(manifests.others, 'object')}, and none serves an LLM that is read here"
    passed = f"; passed over, as no objects of Kubernetes: {counted(manifests.passed, 'document')}"
    return f"nothing to check: {others}{passed if manifests.passed else ''}"


def judged(
    manifest: Manifest,
    manifests: Manifests,
    inventory: Inventory,
    policies: Policies = NO_POLICIES,
    gpu_memory: int | None = None,
    in_use: int | None = None,
    known: Knowledge | None = None,
) -> list[Checked]:
    """What admission decides on each engine of one object.

    policies: what the command line says of them. gpu_memory, in_use: bytes of one GPU, and
    what others hold of it, for objects that state none. known: what to decide by, if not by what
    we ship.
    """
    from plimsoll.decision.decide import decide

    served = manifest.served or manifest.kind.read(manifest.obj, manifests.beside(manifest))
    return [
        (
            manifest,
            one,
            decide(
                on_card(one.request, gpu_memory, in_use),
                inventory,
                policy_there(manifest.kind, one.facts.namespace, manifests, policies),
                known,
            ),
        )
        for one in served
    ]


def on_card(request: Request, gpu_memory: int | None, in_use: int | None) -> Request:
    """A request on a GPU of that memory, if one is given and it states none itself."""
    wanted = request.wanted
    if gpu_memory is not None and wanted.memory is None:
        wanted = replace(wanted, memory=gpu_memory)
    if in_use is not None and wanted.reserved is None:
        wanted = replace(wanted, reserved=in_use)
    return replace(request, wanted=wanted)


def policy_there(
    kind: Kind, namespace: str, manifests: Manifests, policies: Policies = NO_POLICIES
) -> Policy:
    """What the namespace says if it is among the manifests, else what the command line says; and
    what the SizingPolicies of the command line bound.

    Whoever checks other people's kinds wants them checked: without a word of the namespace on them
    they are held to what it says of LLMDeployments.
    """
    from plimsoll.decision.policy import Mode, Policy, policy_of, ruled, workloads_policy

    labels = manifests.labels.get(namespace)
    found, named = policies.rulings(kind, namespace, labels)
    said = labels or {}
    if kind.reader is not None:
        policy = workloads_policy(namespace, said.get(WORKLOADS_LABEL), found, named=named)
        if policy is not None:
            return policy
    if POLICY_LABEL in said:
        return policy_of(namespace, said[POLICY_LABEL], found)
    return ruled(Policy(Mode(policies.mode), "--policy") if policies.mode else Policy(), found)


def _outcome(verdict: Verdict) -> str:
    """What becomes of it, in a word or two."""
    from plimsoll.decision.policy import Outcome, outcome

    match outcome(verdict):
        case Outcome.ALLOWED:
            return "fits"
        case Outcome.DOUBTED:
            return "warning"
        case Outcome.DENIED:
            return REFUSED
    return f"does not fit ({verdict.policy.mode})"


def _override(manifest: Manifest, verdict: Verdict) -> str:
    """The reason for which an annotation overrides the refusal; empty if none does."""
    from plimsoll.decision.policy import Outcome, outcome
    from plimsoll.workloads.llmdeployment import override_reason

    reason = override_reason(manifest.obj)
    overridden = outcome(verdict, overridden=bool(reason)) is Outcome.OVERRIDDEN
    return reason if overridden else ""


def _show(checked: list[Checked], manifests: Manifests, report: CheckReport | None) -> None:
    """A table of all, then every word on those that are not plainly fine."""
    from plimsoll.units import gib_down, gib_up

    if checked:
        table = Table(
            ("object", "verdict", "GPUs", "accelerator", "need/GPU", "have/GPU", "file"),
            right=frozenset({"GPUs", "need/GPU", "have/GPU"}),
            drop=("file", "need/GPU", "have/GPU", "accelerator"),
        )
        for index, (manifest, served, verdict) in enumerate(checked):
            asked = served.request
            e, p = verdict.estimate, verdict.placement
            said = _outcome(verdict)
            if report is not None and said == REFUSED and not report.objects[index].failed:
                said = "ignored"
            table.add(
                asked.name,
                said,
                str(p.gpus_per_replica) if p else "–",
                p.accelerator if p else verdict.accelerator,
                gib_up(e.required) if e else "",
                gib_down(e.usable) if e else "",
                _place(manifest),
            )
        show(table)
    if report is None:
        _tell(checked)
    else:
        _tell_judged(checked, report)
    for problem in manifests.problems:
        click.echo(f"plimsoll: {problem}", err=True)


def _tell(checked: list[Checked]) -> None:
    """Everything that admission would say."""
    from plimsoll.report import messages

    for manifest, served, verdict in checked:
        asked = served.request
        where = f"{asked.name} ({_place(manifest)})"
        if verdict.denied:
            click.echo(f"\n{where}:")
            for line in messages.denial(asked, verdict).splitlines():
                click.echo(f"  {line}")
            if override := _override(manifest, verdict):
                click.echo(f"  {messages.overridden_line(override)}")
            click.echo(f"  Rules: {', '.join(_rules(verdict))} (plimsoll explain RULE)")
        else:
            for warning in messages.warning(asked, verdict):
                click.echo(f"\n{where}: {warning}")


def _rules(verdict: Verdict) -> list[str]:
    """The ids of the rules that deny an object."""
    from plimsoll.decision.verdict import Reason
    from plimsoll.findings import Finding

    named = [
        one.rule if isinstance(one, Finding) else Reason.INVALID_SPEC for one in verdict.problems
    ]
    return _ids(named or [verdict.reason])


def _ids(names: Iterable[str]) -> list[str]:
    """The id of each rule, each once."""
    from plimsoll.report.rules import rule_of

    return list(dict.fromkeys(rule_of(name).id for name in names))


def _tell_judged(checked: list[Checked], report: CheckReport) -> None:
    """Everything that counts, each with its rule, and why the rest does not."""
    from plimsoll.report import messages

    for (manifest, served, verdict), judged in zip(checked, report.objects, strict=True):
        for one in judged.results:
            line = one.span.line if one.span else manifest.line
            where = f"{served.request.name} ({judged.span.file}:{line})"
            if one.ignored:
                click.echo(f"\n{where}: {one.rule.id} ignored: {one.ignored}")
                continue
            click.echo(f"\n{where}: {one.severity} {one.rule.id}: {one.message}")
            for detail in one.detail.splitlines():
                click.echo(f"  {detail}")
        if judged.failed and (override := _override(manifest, verdict)):
            click.echo(f"  {messages.overridden_line(override)}")


def _place(manifest: Manifest) -> str:
    """Where a manifest is: in its file, and of which template it was rendered."""
    place = f"{manifest.file}:{manifest.line}"
    return f"{place}, {manifest.source}" if manifest.source else place


def _dump(checked: list[Checked], manifests: Manifests, output: str) -> None:

    results = [_result(*one) for one in checked]
    problems = [problem_dict(problem) for problem in manifests.problems]
    whole = {"results": results, "problems": problems, "otherObjects": manifests.others}
    dump({**whole, "passedOver": manifests.passed, "madeByOthers": manifests.parts}, output)


def _result(manifest: Manifest, served: Served, verdict: Verdict) -> dict[str, Any]:
    """What was read and what was decided.

    Of an LLMDeployment `name`, `model` and `accelerator` are the verdict's, as they always were;
    of every other kind they are what was read, and the verdict's model is `resolvedModel`.
    """
    from plimsoll.findings import Finding
    from plimsoll.report import messages
    from plimsoll.report.as_data import verdict_dict
    from plimsoll.workloads.roles import spelled

    asked, decided = served.request, verdict_dict(served.request, verdict)
    warnings = [one.rule for one in verdict.warnings if isinstance(one, Finding)]
    read = spelled(served.facts)
    denying = _rules(verdict) if verdict.denied else []
    common = {
        "file": manifest.file,
        "line": manifest.line,
        "source": manifest.source or None,
        "resolvedModel": decided["model"],
        "plannedAccelerator": decided["accelerator"],
        "gpusPerReplica": asked.wanted.gpus_per_replica,
        "rules": list(dict.fromkeys([*denying, *_ids(warnings)])),
        "override": _override(manifest, verdict) or None,
        "message": messages.denial(asked, verdict) if verdict.denied else "",
    }
    if manifest.kind.reader is None:
        return {**read, **common, **decided}
    return {**decided, **common, **read}
