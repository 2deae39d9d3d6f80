"""How far the start of an engine gets: the gates that are passed, and the first that is not.

Also the page of all gates, docs/gates.md.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import gates

if TYPE_CHECKING:
    from plimsoll.decision.walk import Walk
    from plimsoll.engines.gates import Gate, Span
    from plimsoll.report.rules import RuleText

_HEAD: Final = """# Gates

Every reason for which an engine refuses to start, or dies while starting, in the order in which
a start meets them. `plimsoll estimate MODEL --gpu NAME` says how many of them are passed, and which
one is not. A gate without versions holds in every release that is known here. Made by `make rules`
from the table in the program.
"""


def stop_line(walk: Walk | None) -> str:
    """The gate at which a start stops, for a denial; "" where there is none."""
    if walk is None or walk.stopped is None:
        return ""
    return f"Gate: {_called(walk.stopped)}; {len(walk.passed)} before it are passed"


def at_gate(walk: Walk | None) -> str:
    """The gate at which a start stops, for the end of a condition's message; "" for none."""
    if walk is None or walk.stopped is None:
        return ""
    return f" (gate {walk.stopped.rule}, {_text(walk.stopped).id})"


def gates_line(walk: Walk | None) -> str:
    """How many gates are passed and which is not, for a terminal; "" if it came to none."""
    if walk is None:
        return ""
    passed = f"gates: {len(walk.passed)} passed"
    if walk.stopped is None:
        return passed
    fails = "the next one fails" if walk.certain else "the next one is in doubt"
    return f"{passed}, {fails}: {_called(walk.stopped)}"


def walk_dict(walk: Walk | None) -> dict[str, Any] | None:
    """How far a start gets, for machines; None if it came to no gate."""
    if walk is None:
        return None
    return {
        "passed": len(walk.passed),
        "stopped": gate_dict(walk.stopped) if walk.stopped else None,
        "certain": walk.certain,
    }


def gate_dict(gate: Gate) -> dict[str, str]:
    """A gate's names, for machines."""
    return {"rule": _text(gate).id, "name": gate.rule, "stage": gate.stage}


def every_gate() -> list[dict[str, Any]]:
    """All gates with their versions, sources and tests, for machines."""
    return [
        gate_dict(gate)
        | {
            "engines": {
                name: [asdict(span) for span in spans] for name, spans in gate.engines.items()
            },
            "test": gate.test,
        }
        for gate in gates.table().values()
    ]


def page() -> str:
    """All gates as a page in Markdown: docs/gates.md."""
    lines = [_HEAD]
    for stage, title in gates.stages().items():
        own = [gate for gate in gates.table().values() if gate.stage == stage]
        if not own:
            continue
        lines += [f"## {title}", "", "| gate | engines | where that was read | test |"]
        lines += ["|---|---|---|---|"]
        lines += [_row(gate) for gate in own]
        lines.append("")
    return "\n".join(lines)


def _row(gate: Gate) -> str:
    rule = _text(gate)
    sources: dict[str, list[str]] = {}
    for engine, spans in gate.engines.items():
        for span in spans:
            sources.setdefault(span.source, []).append(f"{engine}{_versions(span)}")
    engines = "<br>".join(", ".join(names) for names in sources.values())
    where = "<br>".join(_cell(source) for source in sources)
    name = f"[{rule.id}](rules.md#{rule.id.lower()}) {rule.title}"
    file, _, test = gate.test.partition("::")
    return f"| {_cell(name)} | {engines} | {where} | [{test[5:].replace('_', ' ')}](../{file}) |"


def _versions(span: Span) -> str:
    """From which version on, and before which."""
    since = f" from {span.since}" if span.since else ""
    return since + (f" before {span.until}" if span.until else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _text(gate: Gate) -> RuleText:
    from plimsoll.report.rules import rule_of  # a check that fits needs no texts of rules

    return rule_of(gate.rule)


def _called(gate: Gate) -> str:
    """A gate by its name, its id and its stage."""
    stage = gates.stages()[gate.stage]
    return f"{gate.rule} ({_text(gate).id}: {stage[0].lower()}{stage[1:]})"
