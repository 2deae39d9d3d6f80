"""`plimsoll accuracy`: estimates beside measured start-ups, term by term.

It must not compute: `plimsoll.measured` does, and this prints what it found.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from plimsoll.cli.output import Table, bad_input, dump, figure, format_option, show
from plimsoll.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.measured.score import Scored, Summary

WORST: Final = 15
"""Rows that are listed as furthest off."""
_FILE: Final = click.Path(path_type=Path)


@click.command("accuracy")
@click.argument("rows_file", metavar="ROWS.jsonl", type=_FILE)
@click.option(
    "--models",
    "model_files",
    type=_FILE,
    multiple=True,
    required=True,
    metavar="MODELS.jsonl",
    help="Configs of the models, one a line with _model_id; more than once for more files.",
)
@format_option("table", "csv", "json")
def command(rows_file: Path, model_files: tuple[Path, ...], output: str) -> None:
    """Compare estimates with measured start-ups.

    ROWS.jsonl holds one start-up a line: model, GPU, engine, flags, and what its log said. A row's
    unknown input is unknown: what hangs on it is left out, or predicted as a range.

    \b
    plimsoll accuracy rows.jsonl --models models.jsonl
    plimsoll accuracy rows.jsonl --models a.jsonl --models b.jsonl -o json
    """
    from plimsoll.errors import Problem, shown_path
    from plimsoll.measured import models, rows, score

    try:
        configs = models.read(model_files)
        scored = score.score(rows.read(rows_file), configs)
    except OSError as error:
        name = shown_path(error.filename or rows_file)
        bad_input(Problem("FILE", name, "a file that can be read", str(error.strerror)), output)
    for line in configs.skipped:
        click.echo(f"plimsoll: {line}", err=True)
    if output == "json":
        dump(score.as_dict(scored) | {"summary": score.cuts_as_dict(scored)}, output)
    elif output == "csv":
        click.echo(_csv(scored), nl=False)
    else:
        _show(scored)


def _csv(scored: Sequence[Scored]) -> str:
    """One line for each row and term, then one for each reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            "id",
            "term",
            "predicted",
            "low",
            "high",
            "measured",
            "error",
            "error_pct",
            "verdict",
            "outcome",
            "left_out",
        )
    )
    for one in scored:
        row = one.row
        for term, point in one.points.items():
            p, pct = point.prediction, point.pct
            writer.writerow(
                (
                    _safe(row.id),
                    term,
                    round(p.middle, 4),
                    round(p.low, 4),
                    round(p.high, 4),
                    point.measured,
                    round(point.error, 4),
                    "" if pct is None else round(pct, 4),
                    "",
                    "",
                    "",
                )
            )
        for name, reason in one.left_out.items():
            writer.writerow((_safe(row.id), name, *[""] * 8, _safe(reason)))
        if one.verdict is not None:
            verdict = one.verdict.value.lower()
            writer.writerow((_safe(row.id), "outcome", *[""] * 6, verdict, _safe(row.outcome), ""))
    return text.getvalue()


def _safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t" else text


def _show(scored: Sequence[Scored]) -> None:
    """The tables for people."""
    from plimsoll.measured import score
    from plimsoll.measured.rows import TermId

    columns = ("term", "n", "median %", "p95 %", "median GiB", "p95 GiB", "of rows with inputs")
    table = Table(columns, right=frozenset(columns[1:]))
    shares = {term: rest for term, *rest in score.shares(scored)}
    for term in TermId:
        errors = score.summary(score.points_of(scored, term))
        gib = (figure(errors.median), figure(errors.p95)) if term.in_gib else ("", "")
        had, n = shares[term][1:]
        of = f"{n} of {had} ({100 * n / had:.0f} %)" if had else "–"
        table.add(term, str(errors.n), *_shares(errors), *gib, of)
    click.echo("errors are absolute; a range errs by 0 where it holds the measured value\n")
    show(table)
    outcome = score.outcomes(scored)
    failed = [one for one in score.failed(scored) if one.verdict is not None]
    click.echo(
        f"\noutcome: {outcome['n']} verdicts, {len(failed)} on start-ups that failed for lack of "
        f"memory: {outcome['false_fits']} false fits, {outcome['false_refusals']} false refusals, "
        f"{outcome['warned']} warned\n"
    )
    _show_cuts(scored)
    _show_failed(scored)
    _show_worst(scored)
    click.echo("\nleft out, whole or in part:")
    for reason, count in score.left_out(scored).items():
        click.echo(f"  {counted(count, 'row'):>10}  {reason}")


def _show_cuts(scored: Sequence[Scored]) -> None:
    from plimsoll.measured import score

    table = Table(("cut", "n", "median", "p95", "of"), right=frozenset({"n", "median", "p95"}))
    for cut in score.cuts(scored):
        few = " (fewer than 10 rows: no claim)" if cut.summary.n < score.FEWEST else ""
        table.add(cut.what, str(cut.summary.n), *_shares(cut.summary), cut.unit + few)
    show(table)


def _show_failed(scored: Sequence[Scored]) -> None:
    from plimsoll.decision.verdict import Decision
    from plimsoll.measured import score

    failed = score.failed(scored)
    doubtful = [
        one
        for one in scored
        if one.verdict is not None and one.verdict is not Decision.ALLOW and one not in failed
    ]
    for title, some in (
        ("start-ups that failed for lack of memory", failed),
        ("start-ups that went well and are not plainly allowed", doubtful),
    ):
        if not some:
            continue
        click.echo(f"\n{title}:")
        table = Table(("row", "outcome", "verdict", "model", "why none"))
        for one in some:
            verdict = one.verdict.value.lower() if one.verdict is not None else "–"
            why = one.left_out.get("outcome", "")
            table.add(one.row.id, one.row.outcome, verdict, one.row.model[:40], why)
        show(table)


def _show_worst(scored: Sequence[Scored]) -> None:
    from plimsoll.measured import score

    columns = ("row", "term", "predicted", "low", "high", "measured", "error %", "of")
    click.echo("\nfurthest off:")
    table = Table(columns, right=frozenset(columns[2:7]))
    for point in score.worst(scored, WORST):
        p, row = point.prediction, point.row
        table.add(
            row.id,
            point.term,
            figure(p.middle),
            figure(p.low),
            figure(p.high),
            figure(point.measured),
            figure(point.pct),
            f"{row.model[:32]}, {row.engine} {row.version_text[:16]}, {row.gpu_said[:20]}",
        )
    show(table)


def _shares(errors: Summary) -> tuple[str, str]:
    return figure(errors.median_pct), figure(errors.p95_pct)
