"""Which results count: what is selected, what is ignored and why, and what makes a check fail."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem, clean, shown
from plimsoll.report.results import Result
from plimsoll.report.rules import UNREAD_IGNORE, Severity, find, rule_of, table

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_REASON: Final = 200
"""Characters of the reason for which a result is ignored that are repeated."""
MOST_LINES: Final = 100
"""Lines of an annotation that are read."""
_IGNORED: Final = re.compile(r"\s*([\w-]+)\s*:\s*(\S.*?)\s*")
_BASELINE_VERSION: Final = 1
Known = tuple[str, str, str, str]
"""What a baseline remembers of a result: its rule, its object, its field and its file."""


class FailOn(StrEnum):
    """What ends a check with 1. deny: a refusal; warn: a warning too; never: nothing."""

    DENY = "deny"
    WARN = "warn"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a pipeline wants to count.

    select: ids of the rules that are looked at; None for all except notes of an estimate.
    ignore: ids of those that are not. accepted: what a baseline holds; home: the folder of that
    baseline, from which its files are named.
    """

    select: frozenset[str] | None = None
    ignore: frozenset[str] = frozenset()
    fail_on: FailOn = FailOn.DENY
    accepted: frozenset[Known] = frozenset()
    home: str = "."

    def judge(self, results: Iterable[Result], annotation: str) -> tuple[Result, ...]:
        """The results that are selected, each with why it does not count, if it does not.

        annotation: what the object's own annotation says of rules to ignore.
        """
        reasons, unread = ignored_by(annotation)
        judged = []
        for result in results:
            if not self._selected(result):
                continue
            reason = reasons.get(result.rule.id, "")
            if not reason and known(result, self.home) in self.accepted:
                reason = "in the baseline"
            judged.append(replace(result, ignored=reason))
        if judged or unread:
            judged += [one for one in _unread(unread, judged) if self._selected(one)]
        return tuple(judged)

    def fails(self, results: Iterable[Result]) -> bool:
        """Whether an object with these results fails, whatever the check ends with for it."""
        grave = {Severity.ERROR}
        if self.fail_on is FailOn.WARN:
            grave.add(Severity.WARNING)
        return any(not one.ignored and one.severity in grave for one in results)

    def _selected(self, result: Result) -> bool:
        rule = result.rule
        if self.select is None:
            return rule.severity is not Severity.NOTE and rule.id not in self.ignore
        return rule.id in self.select and rule.id not in self.ignore


def ids_of(option: str, texts: Iterable[str]) -> frozenset[str]:
    """The ids that an option means by ids, by names, or by how ids begin (``PL3``).

    Raises `Invalid` with every text that means no rule.
    """
    ids: set[str] = set()
    wrong = []
    for text in (part.strip() for word in texts for part in word.split(",")):
        rule = find(text)
        begin = text.upper()
        group = {i for i in table() if i.startswith(begin)} if len(begin) > 2 else set()
        if rule is not None:
            ids.add(rule.id)
        elif group:
            ids |= group
        else:
            fix = "`plimsoll explain` lists them all"
            wrong.append(Problem(option, shown(text), "the id or the name of a rule", fix))
    if wrong:
        raise Invalid(*wrong)
    return frozenset(ids)


def ignored_by(annotation: str) -> tuple[dict[str, str], list[str]]:
    """What an annotation wants ignored: the reason by the id of the rule; and lines that say none.

    One rule a line, or between semicolons: ``PL001: sized by hand``.
    """
    reasons: dict[str, str] = {}
    unread = []
    for line in re.split(r"[;\n]", annotation)[:MOST_LINES]:
        if not line.strip():
            continue
        said = _IGNORED.fullmatch(line)
        rule = find(said[1]) if said else None
        if said is None or rule is None:
            unread.append(line.strip())
        else:
            reasons[rule.id] = clean(said[2], LONGEST_REASON)
    return reasons, unread


def _unread(lines: Iterable[str], judged: list[Result]) -> list[Result]:
    """A warning for each line of an annotation that ignores nothing."""
    rule = rule_of(UNREAD_IGNORE)
    subject = judged[0].subject if judged else ""
    path = "metadata.annotations[plimsoll.dev/ignore]"
    wanted = "RULE: a reason, with the id or the name of a rule"
    return [
        Result(rule, rule.severity, subject, path, str(Problem(path, shown(line), wanted)))
        for line in lines
    ]


# -- what was there before -------------------------------------------------------------------------


def known(result: Result, home: str) -> Known:
    """How a baseline in the folder `home` remembers a result: without its line and its figures."""
    file = result.span.file if result.span else ""
    if os.path.exists(file):
        file = os.path.relpath(file, home).replace(os.sep, "/")
    return result.rule.id, result.subject, result.path, file


def baseline(results: Iterable[Result], home: str) -> str:
    """The text of a baseline that accepts these results."""
    entries = sorted({known(one, home) for one in results if one.severity is not Severity.NOTE})
    keys = ("rule", "object", "path", "file")
    rows = [
        json.dumps(dict(zip(keys, entry, strict=True)), ensure_ascii=False) for entry in entries
    ]
    lines = ",\n".join(f"    {row}" for row in rows)
    return f'{{\n  "version": {_BASELINE_VERSION},\n  "results": [\n{lines}\n  ]\n}}\n'


def read_baseline(text: str) -> frozenset[Known]:
    """What a baseline holds. Raises `ValueError` if the text is none."""
    data: Any = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != _BASELINE_VERSION:
        raise ValueError("no baseline of version 1")
    rows = data.get("results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("no list of results")
    return frozenset(
        (str(row.get("rule")), str(row.get("object")), str(row.get("path")), str(row.get("file")))
        for row in rows
    )
