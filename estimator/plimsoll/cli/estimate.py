"""`plimsoll estimate`: what a model needs per GPU, term by term, or on every kind of GPU.

It must not read a cluster, and it must not have a way of its own to say what is wanted: flags
become a manifest and go the manifest's way.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from plimsoll.cli.output import Table, bad_input, bar, dump, format_option, show
from plimsoll.engines.registry import NAMES as ENGINES

if TYPE_CHECKING:
    from plimsoll.cli.documents import FileDocument
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import RuleOfThumb, Verdict
    from plimsoll.engines.base import Estimate


def complete_model(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Catalogue ids that begin with `text`, in any case."""
    from plimsoll.models.catalogue import load

    return [CompletionItem(e.id) for e in load() if e.id.lower().startswith(text.lower())]


def complete_gpu(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Accelerator names that begin with `text`."""
    from plimsoll.accelerators.catalogue import everything

    return [CompletionItem(a.name) for a in everything() if a.name.startswith(text.lower())]


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
@click.option("--gpus", "gpu_count", type=int, metavar="N", help="GPUs per replica.")
@click.option("--tp", type=int, metavar="N", help="Tensor parallel size.")
@click.option("--pp", type=int, metavar="N", help="Pipeline parallel size.")
@click.option("--dp", type=int, metavar="N", help="Data parallel size.")
@click.option("--ep", is_flag=True, default=None, help="Expert parallel.")
@click.option("--max-model-len", type=int, metavar="TOKENS", help="Unset: the model's maximum.")
@click.option("--max-num-seqs", type=int, metavar="N")
@click.option("--max-num-batched-tokens", type=int, metavar="TOKENS")
@click.option("--concurrent", type=int, metavar="N", help="Sequences that must be held at once.")
@click.option("--input-tokens", type=int, metavar="TOKENS", help="Of one of them.")
@click.option("--output-tokens", type=int, metavar="TOKENS", help="Of one of them.")
@click.option("--dtype", metavar="DTYPE")
@click.option("--quantization", metavar="METHOD", help="Applied when the engine loads the model.")
@click.option("--stored-quantization", metavar="METHOD", help="How the checkpoint is stored.")
@click.option("--kv-cache-dtype", metavar="DTYPE")
@click.option("--gpu-memory-utilization", metavar="SHARE", help="Unset: the engine's default.")
@click.option("--enforce-eager", is_flag=True, default=None)
@click.option("--engine", type=click.Choice(ENGINES), help="Unset: vllm.")
@click.option("--engine-version", metavar="VERSION", help="Unset: the newest that is known.")
@format_option("table", "json", "yaml")
def command(
    model: str | None, config_file: Path | None, from_hub: bool, parameters: str | None,
    bits: int | None, gpus: tuple[str, ...], output: str, **flags: Any,
) -> None:  # fmt: skip
    """What MODEL needs per GPU.

    MODEL is an id of the catalogue, or a checkpoint on this machine: a folder with config.json and
    safetensors files, one of these files, or a GGUF file. Its headers are read, not its tensors.
    With --from-hub it is an id on a hub, whose headers are fetched.

    With --gpu: term by term, on the smallest count that fits or on the one that you give.
    Without: one line for each kind of GPU.

    \b
    plimsoll estimate meta-llama/Llama-3.3-70B-Instruct --gpu nvidia-a100-80gb
    plimsoll estimate Qwen/Qwen3-32B --max-model-len 32768 --concurrent 16
    plimsoll estimate --config ./config.json --gpu nvidia-h100-80gb --tp 2
    plimsoll estimate ./my-model --gpu nvidia-l40s
    plimsoll estimate --from-hub Qwen/Qwen3-32B-AWQ --gpu nvidia-l4
    plimsoll estimate --parameters 70B --bits 16
    """
    from plimsoll.accelerators.catalogue import full_gpus
    from plimsoll.decision.decide import decide
    from plimsoll.errors import Problem, shown
    from plimsoll.models.model import ModelSource
    from plimsoll.report.wording import problems, problems_of

    if sum(x is not None for x in (model, config_file, parameters)) != 1:
        raise click.UsageError("say one of MODEL, --config FILE or --parameters COUNT")
    if bits is not None and parameters is None:
        raise click.UsageError("--bits goes with --parameters; a model's own bits are known")
    if from_hub and model is None:
        raise click.UsageError("--from-hub goes with MODEL, an id on the hub")
    documents = _documents(model, config_file, output, hub=from_hub)
    names = gpus or tuple(a.name for a in full_gpus())
    decided: list[tuple[str, Request, Verdict]] = []
    for name in names:
        request = _request(model, documents, parameters, bits, name, flags)
        decided.append((name, request, decide(request)))
    _, request, first = decided[0]
    if request.problems:
        bad_input(problems(request.problems, request.places), output)
    if first.model.source is ModelSource.UNKNOWN:
        near = " or ".join(first.model.suggestions)
        fix = f"did you mean {near}? " if near else ""
        fix += ("a model of your own: its folder, --from-hub, --config FILE, or --parameters COUNT "
                "for the rule of thumb")  # fmt: skip
        bad_input([Problem("MODEL", shown(model or ""), "a model of the catalogue", fix)], output)
    if gpus and first.problems and all(v.problems for _, _, v in decided):
        bad_input(problems_of(first), output)
    if output != "table":
        from plimsoll.report.as_data import verdict_dict

        answers = [verdict_dict(r, v) | {"accelerator": name} for name, r, v in decided]
        dump(answers[0] if len(gpus) == 1 else answers, output)
    elif len(gpus) == 1:
        _show_one(request, first)
    else:
        _show_all(decided)


def _documents(
    model: str | None, config_file: Path | None, output: str, *, hub: bool
) -> FileDocument:
    """What stands in the place of a ConfigMap: a file, or what a checkpoint's headers say."""
    from plimsoll.cli.documents import FileDocument
    from plimsoll.models.checkpoint.source import is_local

    if model is not None and (hub or is_local(model)):
        from plimsoll.cli.sources import document_from

        return document_from(model, output, hub=hub)
    documents = FileDocument(config_file)
    if documents.problem is not None:
        bad_input([documents.problem], output)
    return documents


def _request(
    model: str | None, documents: FileDocument, parameters: str | None, bits: int | None,
    gpu: str, flags: dict[str, Any],
) -> Request:  # fmt: skip
    """The manifest that the flags stand for, read the manifest's way."""
    from plimsoll.workloads.llmdeployment import request

    spec_model: dict[str, Any] = {}
    if documents.text is not None:
        name = documents.reference["name"]
        spec_model |= {"uri": f"file://{name}", "configMapRef": documents.reference}
    elif model is not None:
        spec_model["uri"] = model if "://" in model else f"hf://{model}"
    else:
        spec_model |= {"parameters": parameters, "bits": bits if bits is not None else 16}
    spec_model["quantization"] = flags["stored_quantization"]
    spec = {
        "model": spec_model,
        "engine": {
            "name": flags["engine"],
            "version": flags["engine_version"],
            "dtype": flags["dtype"],
            "quantization": flags["quantization"],
            "maxModelLen": flags["max_model_len"],
            "maxNumSeqs": flags["max_num_seqs"],
            "maxNumBatchedTokens": flags["max_num_batched_tokens"],
            "kvCacheDtype": flags["kv_cache_dtype"],
            "gpuMemoryUtilization": flags["gpu_memory_utilization"],
            "enforceEager": flags["enforce_eager"],
            "parallelism": {
                "tensor": flags["tp"],
                "pipeline": flags["pp"],
                "data": flags["dp"],
                "expert": flags["ep"],
            },
        },
        "workload": {
            "concurrentSequences": flags["concurrent"],
            "inputTokens": flags["input_tokens"],
            "outputTokens": flags["output_tokens"],
        },
        "accelerator": {"allowed": [gpu], "gpusPerReplica": flags["gpu_count"]},
    }
    metadata = {"name": "estimate", "namespace": "default"}
    return request({"metadata": metadata, "spec": _said(spec)}, documents)


def _said(value: Any) -> Any:
    """The same without what was not said: None values, and mappings left empty by that."""
    if not isinstance(value, dict):
        return value
    said = {k: _said(v) for k, v in value.items() if v is not None}
    return {k: v for k, v in said.items() if v != {}}


def _show_one(request: Request, verdict: Verdict) -> None:
    """Term by term on one kind of GPU."""
    from plimsoll.engines.base import TermName
    from plimsoll.engines.registry import engine
    from plimsoll.report import messages
    from plimsoll.report.wording import notes_of
    from plimsoll.units import GIB

    click.echo(messages.model_message(verdict.model))
    estimate = verdict.estimate
    if estimate is not None:
        title = engine(request.engine.name).title
        click.echo(f"on {_where(verdict, estimate)}, {title} {estimate.version}".rstrip() + "\n")
        table = Table(
            ("per GPU", "GiB", "between", "known", "", "from"), right=frozenset({"GiB", "between"})
        )
        labels = {
            TermName.WEIGHTS: "weights", TermName.KV_CACHE: "KV cache",
            TermName.ACTIVATION: "activation peak", TermName.NON_TORCH: "non-torch",
            TermName.CUDA_GRAPHS: "CUDA graphs", TermName.LORA: "LoRA slots",
            TermName.DRAFT: "draft model",
        }  # fmt: skip
        for term in estimate.terms:
            table.add(
                labels[term.name], f"{term.bytes / GIB:.2f}",
                f"{term.low / GIB:.2f} – {term.high / GIB:.2f}", str(term.known),
                bar(term.bytes / estimate.usable if estimate.usable else 1.0), term.basis,
            )  # fmt: skip
        share = f"{estimate.physical / GIB:.2f} GiB x {estimate.utilization}"
        table.add(
            "needs", f"{estimate.required / GIB:.2f}",
            f"{estimate.required_low / GIB:.2f} – {estimate.required_high / GIB:.2f}", "",
            bar(estimate.required / estimate.usable if estimate.usable else 1.0), "",
        )  # fmt: skip
        table.add("has", f"{estimate.usable / GIB:.2f}", "", "", "", share)
        table.add("spare", f"{estimate.spare / GIB:.2f}", "", "", "", _room(estimate))
        show(table)
        for note in notes_of(estimate, verdict.places):
            click.echo(f"note: {note}")
    if verdict.rule_of_thumb is not None:
        click.echo(f"\n{_rule(verdict.rule_of_thumb)}")
    click.echo("")
    for line in messages.summary(request, verdict):
        click.echo(line)


def _where(verdict: Verdict, estimate: Estimate) -> str:
    p = estimate.parallelism
    split = f"TP {p.tensor}" + "".join(
        f" x {word} {n}" for word, n in (("PP", p.pipeline), ("DP", p.data)) if n > 1
    )
    return f"{p.gpus} x {verdict.accelerator} ({split}{', expert parallel' if p.expert else ''})"


def _room(estimate: Estimate) -> str:
    from plimsoll.engines.base import NO_CACHE, TermName

    if estimate.terms[TermName.KV_CACHE].basis == NO_CACHE:
        return NO_CACHE
    if estimate.kv_capacity <= 0:
        return "no room for KV cache"
    return (
        f"room for {estimate.kv_tokens:,} tokens of KV cache, "
        f"{estimate.max_concurrency:.2f} requests of {estimate.max_model_len:,}"
    )


def _rule(rule: RuleOfThumb) -> str:
    gpus = f", {rule.gpus} GPUs" if rule.gpus else ""
    return (
        f"rule of thumb: {rule.needed / 1e9:.0f} GB{gpus} "
        "(P x 4 bytes / (32 / Q) x 1.2; knows no context and no concurrency)"
    )


def _show_all(decided: list[tuple[str, Request, Verdict]]) -> None:
    """One line for each kind of GPU."""
    from plimsoll.report import messages
    from plimsoll.units import gib_down, gib_up

    click.echo(messages.model_message(decided[0][2].model))
    table = Table(
        ("accelerator", "GPUs", "TP", "PP", "need/GPU", "have/GPU", "KV tokens", "rule", "verdict"),
        right=frozenset({"GPUs", "TP", "PP", "need/GPU", "have/GPU", "KV tokens", "rule"}),
    )
    for name, request, verdict in decided:
        e, rule = verdict.estimate, verdict.rule_of_thumb
        placed = verdict.placement is not None
        thumb = f"{rule.gpus} GPUs" if rule and rule.gpus else ""
        if e is None:
            table.add(name, "", "", "", "", "", "", thumb, messages.headline(request, verdict))
            continue
        table.add(
            name, str(e.parallelism.gpus) if placed else "–", str(e.parallelism.tensor),
            str(e.parallelism.pipeline), gib_up(e.required), gib_down(e.usable),
            f"{e.kv_tokens:,}" if e.kv_capacity > 0 else "0", thumb,
            messages.headline(request, verdict),
        )  # fmt: skip
    show(table)
    rule = decided[0][2].rule_of_thumb
    if rule is not None:
        click.echo(f"\nrule of thumb: {rule.needed / 1e9:.0f} GB for the whole replica")
