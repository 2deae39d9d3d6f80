"""How far a start gets: the gates that a request passes, and the first that it does not.

The gates are those of the engine's version (`plimsoll.engines.gates`), in the order of a start.
A gate stops a request if a problem has its rule, or if the verdict's reason is its rule; the gate
of memory is in doubt where the verdict only warns of memory. What lies behind the first gate that
stops it is neither passed nor failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.decision.verdict import Decision, Reason
from plimsoll.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.gates import Gate

_DOUBTS_MEMORY: Final = frozenset(
    {Reason.WITHIN_ERROR, Reason.UNREAD_FLAGS, Reason.UNKNOWN_ACCELERATOR, Reason.UNKNOWN_MODEL}
)


@dataclass(frozen=True, slots=True)
class Walk:
    """passed: the gates before the first that stops it. stopped: that one; None if all are passed.

    certain: whether it surely stops there.
    """

    passed: tuple[Gate, ...]
    stopped: Gate | None = None
    certain: bool = True


def walk(verdict: Verdict, gates: Sequence[Gate]) -> Walk | None:
    """How far the start of a decided request gets through the gates of its engine.

    None if it came to no gate: where nothing was estimated, or where what is wrong is no reason
    for an engine to refuse.
    """
    stops = _rules(verdict)
    for count, gate in enumerate(gates):
        if gate.rule in stops:
            return Walk(tuple(gates[:count]), gate, verdict.decision is Decision.DENY)
    return None if stops or verdict.estimate is None else Walk(tuple(gates))


def _rules(verdict: Verdict) -> set[str]:
    """The rules by which it is stopped; "" is one of a reader."""
    rules = {str(one.rule) if isinstance(one, Finding) else "" for one in verdict.problems}
    short = verdict.reason in _DOUBTS_MEMORY and verdict.placement is None
    if short or verdict.reason in (Reason.NOT_ENOUGH_MEMORY, Reason.WITHIN_ERROR):
        limit = verdict.limit
        rules.add(str(limit.said.rule if limit else Reason.NOT_ENOUGH_MEMORY))
    return rules
