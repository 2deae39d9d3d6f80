"""`plimsoll estimate`: what a model needs per GPU, term by term, or on every kind of GPU.

It must not read a cluster, and it must not have a way of its own to say what is wanted: flags
become a manifest and go the manifest's way.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from plimsoll.cli.asked import as_meant, documents_of, parameter_of, request_of, spec_options
from plimsoll.cli.calibrate import calibration_option, knowledge_of
from plimsoll.cli.completion import complete_gpu, complete_model
from plimsoll.cli.gpu import gpus_named
from plimsoll.cli.memory import gpu_memory_option, in_use_option
from plimsoll.cli.output import Table, bad_input, bar, dump, format_option, show
from plimsoll.cli.overview import COMMON, FAR_LONGER, SORTS, Line, show_all
from plimsoll.cli.own_accelerators import accelerators_option, read_own
from plimsoll.decision.stated import NAME as STATED
from plimsoll.units import GIB, MIB, gb, grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import RuleOfThumb, Verdict
    from plimsoll.engines.base import Estimate, Limit, State


@click.command("estimate")
@click.argument("model", required=False, shell_complete=complete_model)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A config.json or a profile, instead of MODEL.",
)
@click.option(
    "--from-hub",
    is_flag=True,
    help="Read the headers of MODEL's weights from its hub (HF_ENDPOINT, HF_TOKEN).",
)
@click.option("--parameters", metavar="COUNT", help="A size alone (70B): the rule of thumb.")
@click.option("--bits", type=int, help="Bits per parameter, with --parameters.  [default: 16]")
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    shell_complete=complete_gpu,
    metavar="NAME",
    help="An accelerator (see `plimsoll accelerators`); more than once to compare.",
)
@gpu_memory_option
@in_use_option
@accelerators_option
@spec_options
@calibration_option
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default=SORTS[0],
    help="What the overview begins with.  [default: the fewest GPUs]",
)
@click.option(
    "--plot", is_flag=True, help="Draw one GPU's memory, and what fits by context and requests."
)
@format_option("table", "json", "yaml")
def command(
    model: str | None,
    config_file: Path | None,
    from_hub: bool,
    parameters: str | None,
    bits: int | None,
    gpus: tuple[str, ...],
    calibration: Path | None,
    sort: str,
    plot: bool,
    gpu_memory: int | None,
    in_use: int | None,
    own_file: str | None,
    output: str,
    **said: Any,
) -> None:
    """What MODEL needs per GPU.

    MODEL is an id of the catalogue, or a checkpoint on this machine: a folder with config.json and
    safetensors files, one of these files, or a GGUF file. Its headers are read, not its tensors.
    With --from-hub it is an id on a hub, whose headers are fetched.

    With --gpu: term by term, on the smallest count that fits or on the one that you give.
    Without: one line for each kind of GPU that clouds offer. With --gpu-memory: on a card of that
    memory, whether or not it is in a table.

    \b
    plimsoll estimate meta-llama/Llama-3.3-70B-Instruct --gpu nvidia-a100-80gb
    plimsoll estimate Qwen/Qwen3-32B --max-model-len 32768 --concurrent 16
    plimsoll estimate --config ./config.json --gpu nvidia-h100-80gb --tp 2
    plimsoll estimate ./my-model --gpu nvidia-l40s
    plimsoll estimate Qwen/Qwen3-32B --gpu-memory 47.5GiB --compute-capability 8.9
    plimsoll estimate --from-hub Qwen/Qwen3-32B-AWQ --gpu nvidia-l4
    plimsoll estimate --parameters 70B --bits 16
    plimsoll estimate Qwen/Qwen3-32B --gpu nvidia-a100-80gb --plot
    """
    from plimsoll.decision.decide import decide
    from plimsoll.decision.knowledge import shipped
    from plimsoll.errors import Problem, shown
    from plimsoll.models.architecture import ModelSource
    from plimsoll.report.starts import gates_line
    from plimsoll.report.wording import problems, problems_of

    if sum(x is not None for x in (model, config_file, parameters)) != 1:
        raise click.UsageError("say one of MODEL, --config FILE or --parameters COUNT")
    if bits is not None and parameters is None:
        raise click.UsageError("--bits goes with --parameters; a model's own bits are known")
    if from_hub and model is None:
        raise click.UsageError("--from-hub goes with MODEL, an id on the hub")
    if plot and (len(gpus) + (gpu_memory is not None and not gpus) != 1 or output != "table"):
        raise click.UsageError("--plot goes with one --gpu NAME or --gpu-memory SIZE, and no -o")
    documents = documents_of(model, config_file, output, hub=from_hub)
    if model is not None and documents.text is None:
        model = as_meant(model, said)
    if in_use is not None:
        said["accelerator_reserved"] = f"{in_use // MIB}Mi"
    added = read_own(own_file, output)
    knowledge = (knowledge_of(calibration, output) or shipped()).adding(added)
    if gpu_memory is not None:
        said["accelerator_memory"] = f"{gpu_memory // MIB}Mi"
        names = gpus or (STATED,)
    else:
        fix = "; state another with --gpu-memory SIZE"
        named = gpus_named(gpus, output, knowledge, fix)
        names = tuple(a.name for a in named) or tuple(a.name for a in (*knowledge.usual, *added))
    decided: list[tuple[str, Request, Verdict]] = []

    def asked(name: str, **also: Any) -> tuple[Request, Verdict]:
        request = request_of(model, documents, (parameters, bits), name, said | also)
        return request, decide(request, knowledge=knowledge)

    for name in names:
        decided.append((name, *asked(name)))
    _, request, first = decided[0]
    if request.problems:
        bad_input(problems(request.problems, request.places), output)
    if first.model.source is ModelSource.UNKNOWN:
        near = " or ".join(first.model.suggestions)
        fix = f"did you mean {near}? " if near else ""
        own = "a model of your own: its folder, --from-hub, --config FILE, or --parameters COUNT"
        fix += f"{own} for the rule of thumb"
        bad_input(Problem("MODEL", shown(model or ""), "a model of the catalogue", fix), output)
    if (gpus or gpu_memory) and first.problems and all(v.problems for _, _, v in decided):
        bad_input(problems_of(first), output, gates_line(first.walk))
    if output != "table":
        from plimsoll.report.as_data import verdict_dict

        answers = [verdict_dict(r, v) | {"accelerator": name} for name, r, v in decided]
        dump(answers[0] if len(names) == 1 else answers, output)
    elif len(names) == 1:
        show_one(request, first)
        if plot:
            _plot(request, first, knowledge)
    else:
        _overview(decided, asked, sort)
        if not gpus:
            click.echo("\nothers: --gpu NAME (see `plimsoll accelerators`), or --gpu-memory SIZE")


def _overview(
    decided: list[tuple[str, Request, Verdict]],
    asked: Callable[..., tuple[Request, Verdict]],
    sort: str,
) -> None:
    """One line for each kind of GPU. asked: what is decided for one kind, with options changed."""
    from plimsoll.decision.knowledge import shipped

    lines = []
    for name, request, verdict in decided:
        settings, work, e = request.engine, request.workload, verdict.estimate
        own = settings.max_model_len is None and work.input_tokens is None
        common = None
        if own and e is not None and e.max_model_len >= FAR_LONGER * COMMON:
            placement = asked(name, **{parameter_of("engine.maxModelLen"): COMMON})[1].placement
            common = placement.gpus_per_replica if placement is not None else 0
        accelerator = shipped().find(name)
        memory = accelerator.memory if accelerator is not None else 0
        lines.append(Line(name, memory, request, verdict, common))
    show_all(lines, sort)


def show_one(request: Request, verdict: Verdict) -> None:
    """Term by term on one kind of GPU."""
    from plimsoll.engines.registry import engine
    from plimsoll.report import messages
    from plimsoll.report.arithmetic import worst_stage
    from plimsoll.report.starts import gates_line
    from plimsoll.report.wording import notes_of

    click.echo(messages.model_message(verdict.model))
    estimate = verdict.estimate
    if estimate is not None:
        title = engine(request.engine.name).title
        click.echo(f"on {_where(verdict, estimate)}, {title} {estimate.version}".rstrip() + "\n")
        show(_terms(estimate))
        for note in (*worst_stage(estimate), *notes_of(estimate, verdict.places)):
            click.echo(f"note: {note}")
    if verdict.rule_of_thumb is not None:
        click.echo(f"\n{_rule(verdict.rule_of_thumb)}")
    click.echo("")
    for line in messages.summary(request, verdict):
        click.echo(line)
    if verdict.walk is not None and not verdict.denied:
        click.echo(gates_line(verdict.walk))


def _plot(request: Request, verdict: Verdict, knowledge: Knowledge) -> None:
    """The same as pictures, where there is an estimate to draw."""
    from plimsoll.cli.plot import show as draw
    from plimsoll.decision.grid import grid

    estimate, architecture = verdict.estimate, verdict.model.architecture
    if estimate is None or architecture is None:
        return
    split = estimate.parallelism
    longest = max(architecture.max_model_len, estimate.max_model_len)

    def fits(lengths: Sequence[int], counts: Sequence[int]) -> tuple[tuple[State, ...], ...]:
        return grid(request, split, lengths, counts, knowledge)

    click.echo("")
    draw(estimate, _where(verdict, estimate), longest, fits)


def _rule(rule: RuleOfThumb) -> str:
    """What the rule of thumb says, and what it is."""
    gpus = f", {rule.gpus} GPUs" if rule.gpus else ""
    return (
        f"rule of thumb: {gb(rule.needed)}{gpus} "
        "(P x 4 bytes / (32 / Q) x 1.2; knows no context and no concurrency)"
    )


def _terms(estimate: Estimate) -> Table:
    """What each term takes, what they need together, what there is, and what that leaves."""
    from plimsoll.engines.base import TermName
    from plimsoll.report.arithmetic import TERMS

    labels = {**TERMS, TermName.ACTIVATION: "activation peak"}
    table = Table(
        ("per GPU", "GiB", "between", "known", "", "from"), right=frozenset({"GiB", "between"})
    )

    def add(label: str, size: int, low: int, high: int, known: str = "", basis: str = "") -> None:
        share = size / estimate.usable if estimate.usable else 1.0
        between = f"{low / GIB:.2f} – {high / GIB:.2f}"
        table.add(label, f"{size / GIB:.2f}", between, known, bar(share), basis)

    for term in estimate.terms:
        add(labels[term.name], term.bytes, term.low, term.high, str(term.known), term.basis)
    add("needs", estimate.required, estimate.required_low, estimate.required_high)
    share = f"{estimate.physical / GIB:.2f} GiB x {estimate.utilization}"
    table.add("has", f"{estimate.usable / GIB:.2f}", "", "", "", share)
    table.add("spare", f"{estimate.spare / GIB:.2f}", "", "", "", _spare(estimate))
    for limit in estimate.limits:
        table.add(*_limit(limit))
    return table


def _limit(limit: Limit) -> tuple[str, str, str, str, str, str]:
    """What a start needs beside the budget, and of how much."""
    from plimsoll.report.arithmetic import LIMITS

    name, known, need, has = LIMITS[limit.name], str(limit.known), limit.need, limit.has
    if limit.each != 1:
        between = f"{grouped(has.low)} – {grouped(has.high)}"
        of = f"of {grouped(has.middle)} blocks ({between}), {limit.basis}"
        return name, grouped(need.middle), "", known, "", of
    left = [f"{max(0, size) / GIB:.2f}" for size in (has.middle, has.low, has.high)]
    between = f"{need.low / GIB:.2f} – {need.high / GIB:.2f}"
    of = f"of {left[0]} ({left[1]} – {left[2]}): {limit.basis}"
    return name, f"{need.middle / GIB:.2f}", between, known, "", of


def _where(verdict: Verdict, estimate: Estimate) -> str:
    p = estimate.parallelism
    split = f"TP {p.tensor}" + "".join(
        f" x {word} {n}" for word, n in (("PP", p.pipeline), ("DP", p.data)) if n > 1
    )
    return f"{p.gpus} x {verdict.accelerator} ({split}{', expert parallel' if p.expert else ''})"


def _spare(estimate: Estimate) -> str:
    """What the cache can hold, in tokens and requests."""
    from plimsoll.engines.base import NO_CACHE, TermName

    if estimate.terms[TermName.KV_CACHE].basis == NO_CACHE:
        return NO_CACHE
    if estimate.kv_capacity <= 0:
        return "no room for KV cache"
    return (
        f"room for {grouped(estimate.kv_tokens)} tokens of KV cache, "
        f"{estimate.max_concurrency:.2f} requests of {grouped(estimate.max_model_len)}"
    )
