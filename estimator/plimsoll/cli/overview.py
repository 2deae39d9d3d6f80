"""The overview of `plimsoll estimate MODEL`: each kind of GPU on one line, and what was assumed.

What a reader wants comes first: the fewest GPUs, and of those the least memory. Kinds on which the
engine would not start are named below the table, by reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from plimsoll.cli.output import Table, show
from plimsoll.units import gb, grouped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Estimate

SORTS: Final = ("gpus", "memory", "name")
"""By the fewest GPUs, by the least memory of all GPUs together, or by name."""
COMMON: Final = 8192
"""Tokens of the context that kinds are also compared at, where the model's own is far longer."""
FAR_LONGER: Final = 4
_UNHEARD: Final = 10**9


@dataclass(frozen=True, slots=True)
class Line:
    """What was decided for one kind of GPU. memory: bytes of one GPU. common: GPUs at `COMMON`
    tokens; None if that was not asked, 0 if no sensible number holds it."""

    name: str
    memory: int
    request: Request
    verdict: Verdict
    common: int | None = None

    @property
    def gpus(self) -> int:
        """GPUs of a replica; very many if there is no placement."""
        placement = self.verdict.placement
        return placement.gpus_per_replica if placement is not None else _UNHEARD

    def key(self, sort: str) -> tuple[object, ...]:
        """What lines are sorted by; what has no placement stands last, the least short first."""
        placed = self.gpus < _UNHEARD
        size = self.gpus * self.memory
        order: dict[str, tuple[object, ...]] = {
            "gpus": (self.gpus, size, self.verdict.short_by, self.name),
            "memory": (size, self.gpus, self.verdict.short_by, self.name),
            "name": (self.name,),
        }
        return (not placed, *order[sort]) if sort != "name" else order[sort]


def show_all(lines: Sequence[Line], sort: str) -> None:
    """Print it."""
    from plimsoll.report import messages
    from plimsoll.units import gib_down, gib_up

    first = lines[0].verdict
    click.echo(messages.model_message(first.model))
    known = [(line, line.verdict.estimate) for line in lines if line.verdict.estimate is not None]
    for sentence in _assumed([(line.request, estimate) for line, estimate in known if estimate]):
        click.echo(sentence)
    click.echo("")
    common = any(line.common is not None for line in lines)
    at_common = f"GPUs at {grouped(COMMON)}"
    table = Table(
        (
            *("accelerator", "GPUs", *((at_common,) if common else ())),
            *("TP", "PP", "need/GPU", "have/GPU", "KV tokens", "rule", "verdict"),
        ),
        right=frozenset(
            {"GPUs", at_common, "TP", "PP", "need/GPU", "have/GPU", "KV tokens", "rule"}
        ),
        drop=("rule", "PP", "TP", "KV tokens", "have/GPU", "need/GPU", at_common),
        wrap=frozenset({"verdict"}),
    )
    smallest = min((line for line, _ in known), key=lambda line: line.key("gpus"), default=None)
    for line, e in sorted(known, key=lambda each: each[0].key(sort)):
        assert e is not None
        rule = line.verdict.rule_of_thumb
        again = () if not common else (str(line.common or "–"),)
        table.add(
            line.name,
            str(line.gpus) if line.gpus < _UNHEARD else "–",
            *again,
            str(e.parallelism.tensor),
            str(e.parallelism.pipeline),
            gib_up(e.required),
            gib_down(e.usable),
            grouped(e.kv_tokens) if e.kv_capacity > 0 else "0",
            str(rule.gpus) if rule and rule.gpus else "",
            _verdict(line, smallest=line is smallest),
        )
    if table.rows:
        show(table)
    for sentence in _refused(lines):
        click.echo(sentence)
    if first.rule_of_thumb is not None:
        needed = gb(first.rule_of_thumb.needed)
        click.echo(f"\nrule of thumb: {needed} for the whole replica")


def _verdict(line: Line, *, smallest: bool) -> str:
    from plimsoll.decision.verdict import Reason
    from plimsoll.report import messages

    if line.verdict.reason is Reason.ENOUGH_MEMORY:
        return "fits, the smallest" if smallest else "fits"
    return messages.headline(line.request, line.verdict)


def _assumed(known: Sequence[tuple[Request, Estimate]]) -> list[str]:
    """What nobody said and the figures hang on, and the options that say it."""
    from plimsoll.engines.registry import engine

    if not known:
        return []
    request, estimate = known[0]
    settings, work = request.engine, request.workload
    said = [f"{engine(settings.name).title} {estimate.version}".rstrip()]
    options = [] if settings.version else ["--engine-version"]
    tokens = f"{grouped(estimate.max_model_len)} tokens"
    if settings.max_model_len is None:
        tokens += " (the longest that the model takes)"
        options.append("--max-model-len")
    if work.concurrent is None:
        options.append("--concurrent")
    held = work.concurrent or 1
    said.append(f"room for {held} request{'s' if held > 1 else ''} of {tokens}")
    if settings.utilization is None and len({e.utilization for _, e in known}) == 1:
        said.append(f"{estimate.utilization} of each GPU's memory")
        options.append("--gpu-memory-utilization")
    lines = [f"with {', '.join(said)}"]
    if options:
        lines.append(f"other than that: {', '.join(options)}")
    return lines


def _refused(lines: Iterable[Line]) -> list[str]:
    """The kinds of which there is nothing to estimate, by reason."""
    from plimsoll.report import messages

    by_reason: dict[str, list[str]] = {}
    for line in lines:
        if line.verdict.estimate is None and line.verdict.rule_of_thumb is None:
            reason = messages.headline(line.request, line.verdict)
            by_reason.setdefault(reason, []).append(line.name)
    return [f"not on {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
