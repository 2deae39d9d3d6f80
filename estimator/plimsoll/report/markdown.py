"""A report as Markdown for a comment on a pull request: a table, and the details folded away."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

from plimsoll.report.messages import headline
from plimsoll.units import counted, gib_down, gib_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.report.results import CheckReport, Judged, Result

LONGEST: Final = 60_000
"""Characters of a comment: GitHub takes 65,536."""
MOST_ROWS: Final = 100
"""Rows of the table, and files that could not be read, that are listed."""
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~!])")

_LINKS: Final = re.compile(r"@|(?:https?|ftp):/(?=/)|\bwww\.|mailto:", re.IGNORECASE)
"""What makes a mention or a link of a text (GitHub's autolinks)."""


def markdown(report: CheckReport) -> str:
    """The whole report; what does not fit into a comment is counted at its end."""
    failed = sum(judged.failed for judged in report.objects)
    lines = [f"### Plimsoll: {_sum(len(report.objects), failed, len(report.unread))}", ""]
    if report.objects:
        lines += ["| object | verdict | GPUs | need/GPU | have/GPU | where |"]
        lines += ["|---|---|--:|--:|--:|---|"]
        lines += [_row(judged) for judged in report.objects[:MOST_ROWS]]
        if len(report.objects) > MOST_ROWS:
            lines += ["", f"and {counted(len(report.objects) - MOST_ROWS, 'more object')}"]
    lines += [f"- {text(one.message)}" for one in report.unread[:MOST_ROWS]]
    folded = [_folded(judged) for judged in report.objects if judged.results]
    if left_out := add_details(lines, folded):
        lines += ["", f"Details of {counted(left_out, 'more object')}: `plimsoll check`."]
    return "\n".join(lines)


def add_details(lines: list[str], details: Sequence[str]) -> int:
    """Add as many details to a comment as it has room for; for how many it has none."""
    left = LONGEST - sum(len(line) + 1 for line in lines)
    for index, one in enumerate(details):
        left -= len(one) + 1
        if left < 0:
            return len(details) - index
        lines += ["", one]
    return 0


def _sum(objects: int, failed: int, unread: int) -> str:
    said = f"{counted(objects, 'object')} checked, {failed} failed"
    return said + (f", {unread} not read" if unread else "")


def _row(judged: Judged) -> str:
    verdict = judged.verdict
    estimate, placement = verdict.estimate, verdict.placement
    cells = (
        text(judged.subject),
        f"{_mark(judged)} {text(headline(judged.request, verdict))}",
        str(placement.gpus_per_replica) if placement else "–",
        gib_up(estimate.required) if estimate else "",
        gib_down(estimate.usable) if estimate else "",
        text(f"{judged.span.file}:{judged.span.line}"),
    )
    return f"| {' | '.join(cells)} |"


def _mark(judged: Judged) -> str:
    if judged.failed:
        return "❌"
    return "⚠️" if judged.counted else "✅"


def _folded(judged: Judged) -> str:
    ids = ", ".join(dict.fromkeys(one.rule.id for one in judged.results))
    subject = _without_links(html.escape(judged.subject))
    head = f"<details><summary>{subject}: {ids}</summary>"
    return "\n".join((head, "", *map(_told, judged.results), "", "</details>"))


def _told(result: Result) -> str:
    line = f"**{result.rule.id}** {text(result.message)}"
    if result.ignored:
        line += f" (ignored: {text(result.ignored)})"
    if not result.detail:
        return f"{line}\n"
    return f"{line}\n\n{fenced(result.detail)}\n"


def fenced(detail: str) -> str:
    """A text of several lines that Markdown prints as it is."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", detail)), default=0))
    return f"{fence}text\n{detail}\n{fence}"


def text(said: str) -> str:
    """A text that Markdown prints as it is, in one line: no mentions, no links, no cells."""
    plain = _SPECIAL.sub(r"\\\1", said.replace("\n", " "))
    return _without_links(plain.replace("&", "&amp;"))


def _without_links(said: str) -> str:
    """A text in which nobody is mentioned, and no address becomes a link."""
    return _LINKS.sub("\\g<0>\N{ZERO WIDTH SPACE}", said)
