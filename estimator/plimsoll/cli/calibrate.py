"""`plimsoll calibrate`: keep measured start-ups in a file by which `--calibration` narrows ranges.

It must not compute: `plimsoll.measured.calibration` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from plimsoll.cli.completion import complete_gpu, complete_model
from plimsoll.cli.given import MAX_KEPT, text_of
from plimsoll.cli.gpu import gpus_named
from plimsoll.cli.output import bad_input, dump
from plimsoll.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.measured.rows import Row
    from plimsoll.start_ups import Calibration

_FILE: Final = click.Path(path_type=Path)


def calibration_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--calibration`` of commands that decide."""
    return click.option(
        "--calibration",
        type=_FILE,
        metavar="FILE",
        help="Start-ups kept by `plimsoll calibrate`, to narrow the ranges of like ones.",
    )(command)


def knowledge_of(file: Path | None, output: str) -> Knowledge | None:
    """What to decide by with a calibration file; None without one: what we ship."""
    if file is None:
        return None
    from plimsoll.decision.knowledge import shipped

    return shipped().calibrated(_read(file, output))


def _read(file: Path, output: str) -> Calibration:
    from plimsoll.errors import Problem, Unreadable, shown_path
    from plimsoll.start_ups import read

    try:
        return read(text_of(file, MAX_KEPT))
    except (OSError, UnicodeDecodeError) as error:
        why = str(getattr(error, "strerror", "") or "it is no text")
        bad_input(Problem("FILE", shown_path(file), "a file that can be read", why), output)
    except Unreadable as error:
        bad_input(Problem("FILE", shown_path(file), error.wanted), output)


@click.command("calibrate")
@click.argument("files", nargs=-1, type=_FILE, metavar="[ROWS.jsonl|LOG]...")
@click.option(
    "--models",
    "model_files",
    type=_FILE,
    multiple=True,
    metavar="MODELS.jsonl",
    help="Configs of models that the catalogue lacks, one a line with _model_id.",
)
@click.option(
    "--model",
    shell_complete=complete_model,
    metavar="MODEL",
    help="The catalogue's model that a log was of, where the log has only a path.",
)
@click.option("--gpu", shell_complete=complete_gpu, metavar="NAME", help="The kind of GPU of logs.")
@click.option(
    "--to",
    type=_FILE,
    metavar="FILE",
    help="Add to what this file keeps, and write it again.  [default: standard output]",
)
@click.option(
    "-o",
    "output",
    type=click.Choice(["json", "configmap"]),
    help="Print the file, or a ConfigMap for the operator.  [default: json without --to]",
)
@click.option("--name", default="plimsoll-calibration", show_default=True, help="Of the ConfigMap.")
def command(
    files: tuple[Path, ...],
    model_files: tuple[Path, ...],
    model: str | None,
    gpu: str | None,
    to: Path | None,
    output: str | None,
    name: str,
) -> None:
    """Keep what start-ups of your own measured, to narrow the ranges of start-ups like them.

    Each file is a log of vLLM or SGLang, or rows as `plimsoll read-log -o row` writes them. Of each
    start-up is kept how far its terms were from our estimate, and what it was like: engine and
    release, structure of the model, family of GPUs, split. What cannot be kept is named with the
    reason on standard error.

    \b
    plimsoll calibrate vllm.log --gpu nvidia-l4 --to calibration.json
    plimsoll calibrate rows.jsonl --models models.jsonl > calibration.json
    plimsoll check ./manifests --calibration calibration.json
    plimsoll calibrate --to calibration.json -o configmap | kubectl apply -n plimsoll-system -f -
    """
    from plimsoll import start_ups
    from plimsoll.measured import calibration, models
    from plimsoll.models.catalogue import load

    if not files and (to is None or not to.exists()):
        raise click.UsageError("say which ROWS.jsonl or LOG to keep, or --to FILE with some")
    if gpu is not None:
        gpu = gpus_named((gpu,), "table")[0].name
    kept = start_ups.NONE_KEPT
    if to is not None and to.exists():
        kept = _read(to, "table")
    try:
        configs = models.read(model_files)
        found = [one for file in files for one in _rows(file, model, gpu)]
    except OSError as error:
        from plimsoll.errors import Problem, shown_path

        why = str(error.strerror)
        wanted = "a file that can be read"
        bad_input(Problem("FILE", shown_path(error.filename), wanted, why), "table")
    more = []
    for row in found:
        if row.config_id and row.config_id not in configs.by_id:
            entry = load().find(row.config_id)
            if entry is not None:
                configs.made[row.config_id] = entry.architecture
        one = calibration.kept_of(row, configs)
        if isinstance(one, str):
            click.echo(f"{row.id}: not kept: {one}", err=True)
        else:
            more.append(one)
    kept = kept.with_more(more)
    of = counted(len(found), "start-up")
    click.echo(f"{len(more)} of {of} kept, {len(kept.kept)} in all", err=True)
    if to is not None:
        to.write_text(start_ups.written(kept), "utf-8")
    if output == "configmap":
        dump(_config_map(kept, name), "yaml")
    elif to is None or output is not None:
        click.echo(start_ups.written(kept), nl=False)


def _config_map(kept: Calibration, name: str) -> dict[str, Any]:
    """The ConfigMap that the operator reads."""
    from plimsoll.start_ups import KEY, written

    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "plimsoll"}},
        "data": {KEY: written(kept)},
    }


def _rows(file: Path, model: str | None, gpu: str | None) -> Iterator[Row]:
    """The rows of a file of rows, or those of a log's start-ups."""
    from plimsoll.measured import log_row, logs, rows

    with file.open("rb") as stream:
        if stream.read(1) == b"{":
            yield from rows.read(file)
            return
        stream.seek(0)
        try:
            log = logs.read(stream)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None
    if log.last is None:
        click.echo(f"{file.name}: not kept: no start-up in it; {logs.LOOKED_FOR}", err=True)
        return
    name = model or log_row.hub_name(str(log.last.said.get("model") or ""))
    filled = log_row.Filled(model or "", name, gpu or "", as_config=bool(name))
    yield rows.row_of(log_row.row_of(log.last, file.stem, filled), file.stem)
