"""Every rule that `plimsoll check` can report: its stable id, how grave it is, what it means.

The table is `data/rules.json`. An id is never given to another rule, and never taken away; a test
holds the table against the ids that were given out before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

UNREADABLE: Final = "unreadable"
"""The name of the rule for a file that could not be read."""
READER_WARNING: Final = "reader-warning"
"""The name of the rule for what the reader of a manifest says in its own words."""
UNREAD_IGNORE: Final = "unread-ignore"
"""The name of the rule for an annotation that should ignore something and does not."""


class Severity(StrEnum):
    """How grave a result is. error: it is refused; warning: it may be; note: good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class RuleText:
    """One rule in words. name: the `Rule` or the `Reason` that it stands for, or one of ours.

    title: what is wrong, in a few words; help: what it means and what to do.
    see: the page in docs/ that says more, with its anchor; group: the heading that it stands under.
    """

    id: str
    name: str
    severity: Severity
    title: str
    help: str
    see: str
    group: str


@cache
def table() -> dict[str, RuleText]:
    """All rules by id, in the order of the table."""
    data = json.loads((Path(__file__).parent / "data" / "rules.json").read_text("utf-8"))
    rules: dict[str, RuleText] = {}
    for rule_id, row in data["rules"].items():
        group = data["groups"][rule_id[:3]]
        rules[rule_id] = RuleText(
            id=rule_id,
            name=row["name"],
            severity=Severity(row["severity"]),
            title=row["title"],
            help=row["help"],
            see=group["see"],
            group=group["title"],
        )
    return rules


@cache
def _by_name() -> dict[str, RuleText]:
    return {rule.name.lower(): rule for rule in table().values()}


def rule_of(name: str) -> RuleText:
    """The rule that a `Rule`, a `Reason` or one of the names above stands for."""
    return _by_name()[name.lower()]


def find(text: str) -> RuleText | None:
    """The rule that a person means by its id or by its name, in any case; None if there is none."""
    return table().get(text.upper()) or _by_name().get(text.lower())


def page() -> str:
    """All rules as a page in Markdown: docs/rules.md."""
    lines = [
        "# Rules",
        "",
        "Every result of `plimsoll check` has one of these ids. An id never changes its meaning.",
        "`plimsoll explain PL001` prints one of them, [check-outputs](check-outputs.md) says how",
        "to select, ignore and accept them. Made by `make rules` from the table in the program.",
    ]
    group = ""
    for rule in table().values():
        if rule.group != group:
            group = rule.group
            lines += ["", f"## {group}", "", f"More on these: [{rule.see}]({rule.see})."]
        lines += [
            "",
            f"### {rule.id}",
            "",
            f"**{rule.title}** ({rule.severity}, `{rule.name}`). {rule.help}",
        ]
    return "\n".join(lines) + "\n"
