"""`plimsoll read-log`: the start-up log of an engine as a measured row, beside its prediction.

It must not read a figure or predict one itself: `plimsoll.measured` does both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from plimsoll.cli.completion import complete_gpu, complete_model
from plimsoll.cli.gpu import gpus_named
from plimsoll.cli.output import Table, bad_input, dump, figure, format_option, show
from plimsoll.units import counted, grouped

if TYPE_CHECKING:
    from plimsoll.measured.logs import Log
    from plimsoll.measured.score import Scored
    from plimsoll.models.architecture import Architecture

_READ: Final = (
    ("engine", "engine"), ("version", "engine_version"), ("model", "model"),
    ("GPU", "gpu"), ("GPU memory, GiB", "gpu_total_gib"), ("GPUs", "num_gpus"),
    ("tensor parallel", "tensor_parallel"), ("pipeline parallel", "pipeline_parallel"),
    ("data parallel", "data_parallel"), ("expert parallel", "expert_parallel"),
    ("dtype", "dtype"), ("quantization", "quantization"), ("KV cache dtype", "kv_cache_dtype"),
    ("context length", "max_model_len"), ("sequences", "max_num_seqs"),
    ("batched tokens", "max_num_batched_tokens"), ("utilization", "gpu_memory_utilization"),
    ("eager", "enforce_eager"), ("block size", "block_size"), ("outcome", "outcome"),
    ("notes", "notes"),
)  # fmt: skip


@click.command("read-log")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--model",
    shell_complete=complete_model,
    metavar="MODEL",
    help="The catalogue's model that was served, where the log has only a path.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The config.json of the model that was served, or its profile.",
)
@click.option("--gpu", shell_complete=complete_gpu, metavar="NAME", help="The kind of GPU.")
@format_option("table", "json", "row")
def command(
    file: Path, model: str | None, config_file: Path | None, gpu: str | None, output: str
) -> None:
    """Read a vLLM or SGLang start-up log: a measured row, beside its prediction.

    FILE is a log, or - for standard input. Of several start-ups in it the last one that measured
    anything counts.

    \b
    plimsoll read-log vllm.log
    kubectl logs deploy/llama | plimsoll read-log - --gpu nvidia-l4
    plimsoll read-log vllm.log -o row >> rows.jsonl
    """
    from plimsoll.errors import Problem, shown
    from plimsoll.measured import log_row, logs

    form = "table" if output == "row" else output
    cards = gpus_named((gpu,) if gpu else (), form)
    log = _read(file, form)
    start_up = log.last
    name = "standard input" if str(file) == "-" else file.name
    if start_up is None:
        wanted = f"a start-up log; looked for {logs.LOOKED_FOR} in {counted(log.lines, 'line')}"
        bad_input(Problem("FILE", shown(name), wanted), form)
    title, architecture = _model(model, config_file, start_up.said.get("model"), form)
    filled = log_row.Filled(
        model=model or "",
        config_id=title if architecture is not None else "",
        gpu=cards[0].name if cards else "",
        as_config=architecture is not None,
    )
    row = log_row.row_of(start_up, file.stem if str(file) != "-" else "log", filled)
    if output == "row":
        click.echo(json.dumps(row, ensure_ascii=False))
        return
    scored = log_row.scored(row, architecture)
    lacking = log_row.missing(row, architecture)
    if output == "json":
        dump({"row": row, "comparison": _comparison(scored), "missing": lacking}, output)
    else:
        _show(row, scored, log, lacking)


def _read(file: Path, output: str) -> Log:
    from plimsoll.errors import Problem, shown, shown_path
    from plimsoll.measured.logs import read

    try:
        if str(file) == "-":
            return read(sys.stdin.buffer)
        with file.open("rb") as stream:
            return read(stream)
    except OSError as error:
        why = str(error.strerror)
        name = shown("standard input") if str(file) == "-" else shown_path(file)
        bad_input(Problem("FILE", name, "a file that can be read", why), output)


def _model(
    model: str | None, config_file: Path | None, logged: object, output: str
) -> tuple[str, Architecture | None]:
    """The model to predict with, by name; none if the log's own is not in the catalogue."""
    from plimsoll.cli.documents import FileDocument
    from plimsoll.errors import Problem, shown
    from plimsoll.measured.log_row import hub_name
    from plimsoll.models.resolve import Unresolved, resolve
    from plimsoll.paths import NO_PLACES
    from plimsoll.report import wording

    if config_file is not None:
        document = FileDocument(config_file)
        if document.problem is not None:
            bad_input([document.problem], output)
        name = model or (hub_name(logged) if isinstance(logged, str) else "") or config_file.stem
        try:
            resolved = resolve(uri=f"file://{name}", document=document.text)
        except Unresolved as error:
            bad_input(wording.problems(error.placed(NO_PLACES), NO_PLACES), output)
        return name, resolved.architecture
    if model is None:
        name = hub_name(logged) if isinstance(logged, str) else ""
        return name, resolve(uri=f"hf://{name}").architecture if name else None
    resolved = resolve(uri=f"hf://{model}")
    if resolved.architecture is None:
        near = " or ".join(resolved.suggestions)
        fix = f"did you mean {near}? " if near else ""
        problem = Problem(
            "--model", shown(model), "a model of the catalogue", f"{fix}or give --config FILE"
        )
        bad_input([problem], output)
    return model, resolved.architecture


def _comparison(scored: Scored) -> dict[str, Any]:
    from plimsoll.measured.score import as_dict

    comparison: dict[str, Any] = as_dict([scored])["rows"][0]
    for term, point in scored.points.items():
        pct = point.pct
        comparison["terms"][term] |= {
            "error": round(point.error, 4),
            "error_pct": None if pct is None else round(pct, 4),
        }
    return comparison


def _show(row: dict[str, Any], scored: Scored, log: Log, lacking: str) -> None:
    """What was read, then term by term what was predicted."""
    if len(log.start_ups) + log.earlier > 1:
        number = len(log.start_ups) + log.earlier
        lines = counted(log.lines, "line")
        click.echo(f"{counted(number, 'start-up')} in {lines}; this is the last that measured\n")
    table = Table(("read", "value"), wrap=frozenset({"value"}))
    for label, key in _READ:
        if row[key] is not None:
            table.add(label, _value(row[key]))
    show(table)
    click.echo("")
    columns = ("term", "predicted", "measured", "error", "error %", "")
    table = Table(columns, right=frozenset(columns[1:5]))
    for term, point in scored.points.items():
        p = point.prediction
        between = "" if p.low == p.high else f"{figure(p.low)} – {figure(p.high)}"
        table.add(
            term,
            figure(p.middle),
            figure(point.measured),
            figure(point.error),
            figure(point.pct),
            between,
        )
    for name, why in scored.left_out.items():
        measured = scored.row.measured.get(name)
        if name != "outcome" and measured is not None:
            table.add(name, "–", figure(measured), "–", "–", why)
    show(table)
    if scored.verdict is not None:
        click.echo(f"\nverdict: {scored.verdict.value.lower()}; the start-up: {row['outcome']}")
    else:
        click.echo(f"\nno verdict: {scored.left_out.get('outcome', '')}")
    if lacking:
        click.echo(lacking)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return grouped(value)
    return str(value)
