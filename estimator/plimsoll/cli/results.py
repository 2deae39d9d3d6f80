"""What `plimsoll check` found, as one report: each result at its field's line, and judged.

Imported only if an output, an option or an annotation asks for more than the table.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plimsoll import __version__
from plimsoll.cli.given import MAX_KEPT, bytes_of, text_of
from plimsoll.cli.output import bad_input
from plimsoll.errors import Invalid, Problem, shown_path
from plimsoll.report.arithmetic import fix
from plimsoll.report.gate import FailOn, Gate, baseline, ids_of, read_baseline
from plimsoll.report.results import CheckReport, Judged, Replacement, Span, results, unreadable
from plimsoll.units import counted
from plimsoll.workloads.edits import edit_of
from plimsoll.workloads.files import MAX_FILE, STANDARD_INPUT
from plimsoll.workloads.llmdeployment import ignored_rules
from plimsoll.workloads.positions import Text, in_template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.report.results import Result
    from plimsoll.workloads.files import Manifest, Manifests


def gate(
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    baseline_file: str | None,
    *,
    write: bool,
) -> Gate:
    """What the options want to count; ends the program with code 2 if they cannot be read."""
    try:
        selected = ids_of("--select", select) if select else None
        ignored = ids_of("--ignore", ignore)
    except Invalid as error:
        bad_input(error.problems)
    if baseline_file is None:
        return Gate(selected, ignored, FailOn(fail_on))
    home = os.path.dirname(os.path.abspath(baseline_file))
    accepted = frozenset() if write else _accepted(baseline_file)
    return Gate(selected, ignored, FailOn(fail_on), accepted, home)


def _accepted(file: str) -> frozenset[tuple[str, str, str, str]]:
    try:
        return read_baseline(text_of(file, MAX_KEPT))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or "it is something else"
        fix_it = "make it with --write-baseline"
        bad_input(Problem("--baseline", shown_path(file), f"a baseline ({why})", fix_it))


def write_baseline(file: str, report: CheckReport, rules: Gate) -> None:
    """Accept everything that counts now."""
    accepted = [one for judged in report.objects for one in judged.counted]
    try:
        Path(file).write_text(baseline(accepted, rules.home), encoding="utf-8")
    except OSError as error:
        wanted = f"a file that can be written ({error.strerror})"
        bad_input(Problem("--baseline", shown_path(file), wanted))
    click.echo(f"{file}: {counted(len(accepted), 'result')} accepted", err=True)


def report(
    checked: Iterable[tuple[Manifest, Request, Verdict]], manifests: Manifests, rules: Gate
) -> CheckReport:
    """Everything that is said of these objects, at its place and judged."""
    places = _Places(manifests)
    objects = []
    for manifest, asked, verdict in checked:
        subject = f"{manifest.kind.name} {asked.name}"
        said = [places.put(one, manifest, verdict) for one in results(subject, asked, verdict)]
        annotation = ignored_rules(manifest.obj)
        judged = tuple(
            one if one.span else places.put(one, manifest, verdict)
            for one in rules.judge(said, annotation)
        )
        judged = tuple(replace(one, subject=subject) for one in judged)
        where = judged[0].span if judged else None
        file = where.file if where else manifest.file
        line = manifest.line if file == manifest.file else 1
        failed = rules.fails(judged)
        objects.append(Judged(subject, Span(file, line), asked, verdict, judged, failed))
    return CheckReport(tuple(objects), tuple(map(unreadable, manifests.problems)))


class _Places:
    """The texts of the files, the last one kept: objects of a file follow each other."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self._file = ""
        self._text: Text | None = None

    def put(self, result: Result, manifest: Manifest, verdict: Verdict) -> Result:
        """The result at the place of its field, with the ways out that are one edit."""
        text = self._of(manifest.file)
        root = text.root(manifest) if text else None
        if text is None or root is None:
            return replace(result, span=Span(manifest.file, manifest.line))
        if source := text.source(root):
            return replace(result, span=in_template(source, result.path))
        fixes = []
        for way_out in result.alternatives:
            if len(way_out.changes) != 1 or manifest.file == STANDARD_INPUT:
                continue
            (change,) = way_out.changes
            made = edit_of(text, root, change, verdict.places)
            if made is not None:
                span = text.between(manifest.file, made.start, made.end)
                fixes.append(Replacement(fix(way_out, verdict.places), span, made.text))
        span = text.span(manifest.file, root, result.path)
        return replace(result, span=span, fixes=tuple(fixes))

    def _of(self, file: str) -> Text | None:
        if file != self._file:
            self._file, self._text = file, self._read(file)
        return self._text

    def _read(self, file: str) -> Text | None:
        try:
            raw = (
                self._manifests.standard_input
                if file == STANDARD_INPUT
                else bytes_of(file, MAX_FILE)
            )
            return Text(raw.decode("utf-8-sig"))
        except (OSError, ValueError):
            return None


def printed(said: CheckReport, output: str) -> str:
    """The report as ``sarif``, ``junit``, ``github`` or ``markdown``."""
    match output:
        case "sarif":
            from plimsoll.report.sarif import sarif

            return sarif(said, __version__)
        case "junit":
            from plimsoll.report.junit import junit

            return junit(said)
        case "github":
            from plimsoll.report.github import github

            return github(said)
    from plimsoll.report.markdown import markdown

    return markdown(said)
