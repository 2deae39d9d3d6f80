"""What to make of a refusal where nobody names the release of the engine.

The newest release is taken then. A gate that an earlier one has not refuses by itself only what
the earlier one refuses as well, for that or for another reason: else it is a warning.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.decision.verdict import Decision, Reason
from plimsoll.engines import gates
from plimsoll.findings import Finding, Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.assemble import Engine


def decisive(verdict: Verdict, engine: Engine) -> tuple[Finding, ...]:
    """For each problem of a refusal the release that began to refuse, as a warning; nothing if one
    of them is older than every release that may run.
    """
    if verdict.decision is not Decision.DENY:
        return ()
    found = [_begun(one, engine) if isinstance(one, Finding) else None for one in verdict.problems]
    return tuple(one for one in found if one) if all(found) else ()


def earlier(request: Request, engine: Engine, late: tuple[Finding, ...]) -> Request:
    """The request with the last release before all that refuse it."""
    rules = {dict(one.facts)["refused"] for one in late}
    table = engine.table
    assert table is not None, "a gate with versions is of an engine that has some"
    before = min((str(dict(one.facts)["before"]) for one in late), key=table.parse)
    problems = tuple(
        one
        for one in request.problems
        if not isinstance(one, Finding) or str(one.rule) not in rules
    )
    settings = replace(request.engine, version=before)
    return replace(request, engine=settings, problems=problems, any_release="")


def doubted(verdict: Verdict, late: tuple[Finding, ...]) -> Verdict:
    """The verdict of the earlier release, as no more than a warning."""
    reason = Reason.NOT_ALL_READ if verdict.decision is Decision.ALLOW else verdict.reason
    warnings = (*late, *verdict.warnings)
    return replace(verdict, decision=Decision.WARN, reason=reason, warnings=warnings)


def _begun(problem: Finding, engine: Engine) -> Finding | None:
    """Since when an engine refuses for it; None if it always did, or as far as is known."""
    gate = gates.table().get(str(problem.rule))
    since = gate.begun(engine.name, engine.table) if gate else ""
    before = engine.table.before(since) if since and engine.table else ""
    if not before:
        return None
    return finding(
        Rule.RELEASE_DECIDES,
        Field.VERSION,
        engine=engine.title,
        since=since,
        before=before,
        refused=str(problem.rule),
    )
