"""What became of deployments, in words and as data: what `plimsoll diff` says.

lost       share of the context, or of the tokens of KV cache, in whole percent, rounded up
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.comparison import LOSING, STOPPING, Effect
from plimsoll.errors import clean
from plimsoll.findings import Finding
from plimsoll.report import messages
from plimsoll.report.arithmetic import TERMS, fixes, need, written
from plimsoll.report.as_data import alternative_dict
from plimsoll.report.markdown import MOST_ROWS, add_details, fenced, text
from plimsoll.report.rules import rule_of
from plimsoll.report.wording import problem, sentence
from plimsoll.units import gib, grouped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.decision.comparison import Comparison, Holds
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict

WORDS: Final = {
    Effect.STOPS: "stops starting",
    Effect.REFUSED: "new, does not start",
    Effect.WORSE: "refused as before, and worse",
    Effect.MORE_GPUS: "takes other GPUs",
    Effect.DOUBTED: "may stop starting",
    Effect.LOSES: "holds less",
    Effect.FLAGS: "needs a look at its flags",
    Effect.STILL_REFUSED: "refused as before",
    Effect.GAINS: "holds more",
    Effect.STARTS: "starts now",
    Effect.ADDED: "new",
    Effect.REMOVED: "gone",
    Effect.SAME: "as before",
}
"""What an effect is called in a table."""
_MARKS: Final = {**dict.fromkeys(STOPPING, "❌"), **dict.fromkeys(LOSING, "⚠️")}
QUIET: Final = frozenset({Effect.SAME, Effect.STILL_REFUSED})
"""What is only counted."""
NONE: Final = "–"
_LEAST_SHOWN: Final = 1 << 26
"""Bytes of a term that are worth a word: 64 MiB, a tenth of a GiB as it is shown."""
COLUMNS: Final = ("object", "becomes", "GPUs", "need/GPU", "context", "requests", "where")


@dataclass(frozen=True, slots=True)
class Changed:
    """One engine of an object, and what became of it. place: its file and line.

    before, after: the verdicts; None where it is not there.
    """

    subject: str
    place: str
    asked: Request
    comparison: Comparison
    before: Verdict | None
    after: Verdict | None

    @property
    def effect(self) -> Effect:
        """What became of it."""
        return self.comparison.effect


def grave(changes: Iterable[Changed]) -> list[Changed]:
    """The changes, the gravest first; those alike stay in their order."""
    rank = list(Effect)
    return sorted(changes, key=lambda one: rank.index(one.effect))


def row(one: Changed) -> tuple[str, ...]:
    """One line of a table, under `COLUMNS`."""
    was, now = one.comparison.before, one.comparison.after
    return (
        one.subject,
        WORDS[one.effect],
        _arrow(_gpus(was), _gpus(now)),
        _arrow(_need(one.before), _need(one.after)),
        _arrow(grouped(was.context) if was else "", grouped(now.context) if now else ""),
        _arrow(_requests(was), _requests(now)),
        one.place,
    )


def _arrow(before: str, after: str) -> str:
    if before == after:
        return before or NONE
    return f"{before or NONE} → {after or NONE}"


def _gpus(holds: Holds | None) -> str:
    return f"{holds.gpus} x {holds.accelerator}" if holds else ""


def _need(verdict: Verdict | None) -> str:
    return need(verdict.estimate) if verdict and verdict.estimate else ""


def _requests(holds: Holds | None) -> str:
    return f"{math.floor(holds.concurrency * 10) / 10:.1f}" if holds else ""


def lines(one: Changed) -> list[str]:
    """Everything that is to be said of one, line by line; nothing of what is as it was."""
    found, after = one.comparison, one.after
    if after is None or found.effect in QUIET | {Effect.ADDED}:
        return []
    said: list[str] = []
    if after.denied:
        said += messages.denial(one.asked, after).splitlines()[:-2]
    elif found.effect is Effect.MORE_GPUS:
        was = f", it was {_gpus(found.before)}" if found.before else ""
        said.append(messages.placement_message(after) + was)
    elif found.effect is Effect.DOUBTED:
        said.append(messages.fits_message(one.asked, after))
        said += fixes(after) if after.alternatives else []
    said += _losses(found)
    said += _why(found, one)
    if not after.denied:
        said += [f"new: {told}" for told in _told(found, after)]
    said += _keep(found, one)
    return said


def _losses(found: Comparison) -> list[str]:
    was, now = found.before, found.after
    if was is None or now is None:
        return []
    said = []
    if was.context != now.context:
        share = _share(found.context_lost)
        said.append(f"context: {grouped(was.context)} → {grouped(now.context)} tokens ({share})")
    if was.tokens != now.tokens:
        said.append(
            f"KV cache: {grouped(was.tokens)} → {grouped(now.tokens)} tokens "
            f"({_share(found.tokens_lost)}), which is "
            f"{_requests(was)} → {_requests(now)} requests of {grouped(now.context)}"
        )
    return said


def _share(lost: Any) -> str:
    """A loss or a gain in percent; a loss is rounded up and a gain down."""
    return f"{-math.ceil(lost * 100):+d} %"


def _why(found: Comparison, one: Changed) -> list[str]:
    """The terms that take more, and the settings that nobody says and that moved."""
    said = []
    grown = [(name, was, now) for name, was, now in found.grown if now - was >= _LEAST_SHOWN]
    if grown:
        terms = ", ".join(f"{TERMS[name]} {gib(was)} → {gib(now)}" for name, was, now in grown)
        said.append(f"takes more per GPU: {terms}")
    if found.moved:
        places = one.asked.places
        moved = (f"{places.name(m.field)} {m.before} → {m.after}" for m in found.moved)
        said.append(f"resolves to something else: {', '.join(moved)}")
    return said


def _keep(found: Comparison, one: Changed) -> list[str]:
    ways = [" and ".join(written(change, one.asked.places) for change in way) for way in found.keep]
    if not ways:
        return []
    return ["as before with:" if len(ways) == 1 else "as before with any one of:"] + [
        f"  {way}" for way in ways
    ]


def _told(found: Comparison, after: Verdict) -> list[str]:
    """What is wrong or doubted now and was not before, as sentences."""
    wrong = [str(problem(one, after.places)) for one in found.wrong]
    return wrong + [sentence(one, after.places) for one in found.told]


def _new(found: Comparison, after: Verdict | None) -> list[dict[str, str | None]]:
    """The same for machines, each with its rule; None for what a reader says in its own words."""
    if after is None:
        return []
    rules = [
        rule_of(one.rule).id if isinstance(one, Finding) else None
        for one in (*found.wrong, *found.told)
    ]
    sentences = _told(found, after)
    return [{"rule": rule, "message": said} for rule, said in zip(rules, sentences, strict=True)]


def totals(changes: Sequence[Changed]) -> str:
    """How many became what, in one sentence."""
    counts = {effect: sum(one.effect is effect for one in changes) for effect in Effect}
    said = ", ".join(f"{n} {WORDS[effect]}" for effect, n in counts.items() if n)
    return f"{len(changes)} compared: {said}" if changes else "nothing to compare"


def as_data(one: Changed) -> dict[str, Any]:
    """One change for machines, in bytes and tokens."""
    found = one.comparison
    after = one.after
    return {
        "object": one.subject,
        "where": one.place,
        "effect": str(one.effect),
        "before": _side(found.before, one.before),
        "after": _side(found.after, after),
        "contextLost": round(float(found.context_lost), 4),
        "cacheTokensLost": round(float(found.tokens_lost), 4),
        "grown": [
            {"term": str(name), "before": was, "after": now} for name, was, now in found.grown
        ],
        "moved": [
            {"path": one.asked.places.path(m.field), "before": m.before, "after": m.after}
            for m in found.moved
        ],
        "new": _new(found, after),
        "asBeforeWith": [
            [{"path": one.asked.places.path(change.field), "value": change.value} for change in way]
            for way in found.keep
        ],
        "alternatives": [alternative_dict(a, after.places) for a in after.alternatives]
        if after
        else [],
        "message": "\n".join(lines(one)),
    }


def _side(holds: Holds | None, verdict: Verdict | None) -> dict[str, Any] | None:
    """One side of a comparison; None where the object is not there."""
    if verdict is None:
        return None
    estimate = verdict.estimate
    return {
        "decision": str(verdict.decision),
        "reason": str(verdict.reason),
        "engineVersion": estimate.version if estimate else None,
        "accelerator": verdict.accelerator or None,
        "gpusPerReplica": holds.gpus if holds else None,
        "requiredPerGPU": estimate.required if estimate else None,
        "usablePerGPU": estimate.usable if estimate else None,
        "context": holds.context if holds else None,
        "cacheTokens": holds.tokens if holds else None,
        "requests": round(holds.concurrency, 4) if holds else None,
        "requestHash": verdict.request_hash,
    }


def markdown(changes: Sequence[Changed], unread: Sequence[str]) -> str:
    """The comparison as a comment on a pull request: what is as it was is only counted."""
    head = [f"### Plimsoll diff: {text(totals(changes))}", ""]
    shown = [one for one in grave(changes) if one.effect not in QUIET]
    if shown:
        head += [f"| {' | '.join(COLUMNS)} |", "|---|---|---|--:|--:|--:|---|"]
        head += [_markdown_row(one) for one in shown[:MOST_ROWS]]
        if len(shown) > MOST_ROWS:
            head += ["", f"and {len(shown) - MOST_ROWS} more"]
    head += [f"- {text(message)}" for message in unread[:MOST_ROWS]]
    if add_details(head, [_folded(one) for one in shown if lines(one)]):
        head += ["", "The details of the others: `plimsoll diff`."]
    return "\n".join(head)


def _folded(one: Changed) -> str:
    summary = html.escape(f"{one.subject}: {WORDS[one.effect]}")
    said = fenced(chr(10).join(lines(one)))
    return f"<details><summary>{summary}</summary>\n\n{said}\n\n</details>"


def _markdown_row(one: Changed) -> str:
    subject, becomes, *rest = map(text, map(clean, row(one)))
    mark = _MARKS.get(one.effect, "✅")
    return f"| {subject} | {mark} {becomes} | {' | '.join(rest)} |"
