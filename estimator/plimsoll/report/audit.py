"""What runs, audited, in words and as data: what does not fit, lies idle or could come back.

to win     idle GPUs, and of every deployment the saving with which most memory comes back; what
           lies idle anyway is not counted twice
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.policy import outcome
from plimsoll.decision.surplus import IDLE
from plimsoll.decision.verdict import Decision, Reason
from plimsoll.errors import clean
from plimsoll.findings import Finding
from plimsoll.report import messages
from plimsoll.report.as_data import alternative_dict, parallelism_dict
from plimsoll.report.markdown import MOST_ROWS, add_details, fenced, text
from plimsoll.report.rules import rule_of
from plimsoll.report.wording import sentence
from plimsoll.units import counted, gib_down, gib_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.request import Request
    from plimsoll.decision.surplus import Saving, Surplus
    from plimsoll.decision.verdict import Verdict

COLUMNS: Final = ("object", "verdict", "GPUs", "idle", "would do", "to win", "need/GPU", "have/GPU")
RIGHT: Final = frozenset({"GPUs", "idle", "to win", "need/GPU", "have/GPU"})
_NONE: Final = "–"


@dataclass(frozen=True, slots=True)
class Audited:
    """One engine of one object that runs. unreadable: what of it could not be read."""

    kind: str
    request: Request
    verdict: Verdict
    surplus: Surplus
    unreadable: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """Kind, namespace and name."""
        return f"{self.kind} {self.request.name}"

    @property
    def unread(self) -> bool:
        """Whether too much could not be read for a verdict."""
        return self.verdict.estimate is None and not self.verdict.denied

    @property
    def wasteful(self) -> bool:
        """Whether some of its GPUs could come back."""
        return bool(self.surplus.idle or self.surplus.best)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of an audit. memory: bytes. gpus_to_win may be negative where smaller GPUs are more."""

    engines: int
    gpus: int
    misfits: int
    doubted: int
    unread: int
    idle_gpus: int
    over: int
    gpus_to_win: int
    memory_to_win: int


def totals(audited: Sequence[Audited]) -> Totals:
    """The sums."""
    best = [one.surplus.best for one in audited]
    return Totals(
        engines=len(audited),
        gpus=sum(one.surplus.gpus for one in audited),
        misfits=sum(one.verdict.denied for one in audited),
        doubted=sum(one.verdict.decision is Decision.WARN and not one.unread for one in audited),
        unread=sum(one.unread for one in audited),
        idle_gpus=sum(one.surplus.idle for one in audited),
        over=sum(one is not None for one in best),
        gpus_to_win=sum(one.gpus_saved for one in best if one is not None),
        memory_to_win=sum(one.memory_saved for one in best if one is not None),
    )


def summary(audited: Sequence[Audited], requests: int) -> list[str]:
    """The sums in a few lines. requests: for how many at once, where nothing says."""
    sums = totals(audited)
    said = [
        f"engines: {sums.engines} with {counted(sums.gpus, 'GPU')}; not fitting: {sums.misfits}, "
        f"in doubt: {sums.doubted}, not read: {sums.unread}"
    ]
    if sums.idle_gpus:
        said.append(f"idle: {counted(sums.idle_gpus, 'GPU')} that no rank of an engine uses")
    if sums.over:
        said.append(
            f"over-provisioned: {sums.over}; {counted(sums.gpus_to_win, 'GPU')} and "
            f"{gib_down(sums.memory_to_win)} of GPU memory to win, with room for {requests} "
            "requests of the whole context at once where nothing says how many"
        )
    return said


def ranked(audited: Sequence[Audited]) -> list[Audited]:
    """The gravest first: misfits, then by memory that could come back, then what is in doubt."""

    def rank(one: Audited) -> tuple[int, int, int]:
        best = one.surplus.best
        won = best.memory_saved if best else 0
        doubt = one.verdict.decision is not Decision.WARN
        return (not one.verdict.denied, -won - one.surplus.idle, doubt)

    return sorted(audited, key=rank)


def row(one: Audited) -> tuple[str, ...]:
    """One line of a table, under `COLUMNS`."""
    estimate, surplus = one.verdict.estimate, one.surplus
    best = surplus.best
    return (
        one.subject,
        _said(one),
        str(surplus.gpus) if surplus.gpus else _NONE,
        str(surplus.idle) if surplus.idle else "",
        f"{best.gpus} x {best.accelerator}" if best else "",
        gib_down(best.memory_saved) if best else "",
        gib_up(estimate.required) if estimate else "",
        gib_down(estimate.usable) if estimate else "",
    )


def _said(one: Audited) -> str:
    if one.verdict.denied:
        return "does not fit" if one.verdict.reason is not Reason.INVALID_SPEC else "does not start"
    if one.unread:
        return "not read"
    return "fits" if one.verdict.decision is Decision.ALLOW else "warning"


def lines(one: Audited) -> list[str]:
    """Everything that is to be said of one; nothing of what fits and is well used."""
    said = messages.denial(one.request, one.verdict).splitlines()[:-2] if one.verdict.denied else []
    for finding in back(one):
        said.append(f"{rule_of(finding.rule).id}: {sentence(finding, one.verdict.places)}")
    if not one.verdict.denied and one.verdict.decision is Decision.WARN:
        said += messages.warning(one.request, one.verdict)
    unreadable = [f"not read: {clean(what, 200)}" for what in one.unreadable]
    return list(dict.fromkeys(said + (unreadable if one.unread else [])))


def back(one: Audited) -> tuple[Finding, ...]:
    """What could come back, as facts: idle GPUs first."""
    asked = one.surplus.gpus // max(1, one.request.replicas)
    idle = (told for told in one.verdict.warnings if isinstance(told, Finding))
    return (*(told for told in idle if told.rule in IDLE), *one.surplus.findings(asked))


def as_data(one: Audited) -> dict[str, Any]:
    """One engine for machines, in bytes."""
    verdict, surplus = one.verdict, one.surplus
    estimate = verdict.estimate
    told = (*verdict.problems, *verdict.warnings, *back(one))
    rules = [rule_of(finding.rule).id for finding in told if isinstance(finding, Finding)]
    if verdict.denied and not verdict.problems:
        rules.insert(0, rule_of(verdict.reason).id)
    return {
        "kind": one.kind,
        "name": one.request.name,
        "decision": str(verdict.decision),
        "reason": str(verdict.reason),
        "admitted": outcome(verdict).let_in,
        "requestHash": verdict.request_hash,
        "replicas": one.request.replicas,
        "gpus": surplus.gpus,
        "accelerator": verdict.accelerator or None,
        "requiredPerGPU": estimate.required if estimate else None,
        "usablePerGPU": estimate.usable if estimate else None,
        "idleGPUs": surplus.idle,
        "load": surplus.load or None,
        "fewer": _saving(surplus.fewer),
        "smaller": _saving(surplus.smaller),
        "unreadable": list(one.unreadable),
        "rules": list(dict.fromkeys(rules)),
        "alternatives": [alternative_dict(each, verdict.places) for each in verdict.alternatives],
        "message": "\n".join(lines(one)),
    }


def _saving(saving: Saving | None) -> dict[str, Any] | None:
    if saving is None:
        return None
    return {
        "accelerator": saving.accelerator,
        "gpusPerReplica": saving.gpus,
        "parallelism": parallelism_dict(saving.parallelism),
        "context": saving.context,
        "requests": round(saving.concurrency, 4),
        "gpusSaved": saving.gpus_saved,
        "memorySaved": saving.memory_saved,
    }


def totals_dict(audited: Sequence[Audited]) -> dict[str, int]:
    """The sums for machines."""
    sums = totals(audited)
    return {
        "engines": sums.engines,
        "gpus": sums.gpus,
        "misfits": sums.misfits,
        "doubted": sums.doubted,
        "notRead": sums.unread,
        "idleGPUs": sums.idle_gpus,
        "overProvisioned": sums.over,
        "gpusToWin": sums.gpus_to_win,
        "memoryToWin": sums.memory_to_win,
    }


def markdown(audited: Sequence[Audited], problems: Sequence[str], requests: int) -> str:
    """The audit as Markdown; the details folded away."""
    said = ["### Plimsoll audit", "", *(f"- {text(line)}" for line in summary(audited, requests))]
    shown = [one for one in ranked(audited) if one.verdict.denied or one.wasteful or lines(one)]
    if shown:
        said += ["", f"| {' | '.join(COLUMNS)} |"]
        said += [f"|{'|'.join('--:' if name in RIGHT else '---' for name in COLUMNS)}|"]
        said += [f"| {' | '.join(map(text, map(clean, row(one))))} |" for one in shown[:MOST_ROWS]]
        if len(shown) > MOST_ROWS:
            said += ["", f"and {len(shown) - MOST_ROWS} more"]
    said += [f"- {text(problem)}" for problem in problems[:MOST_ROWS]]
    details = [f"**{text(one.subject)}**\n\n{fenced(chr(10).join(lines(one)))}" for one in shown]
    if add_details(said, details):
        said += ["", "The details of the others: `plimsoll audit`."]
    return "\n".join(said)
