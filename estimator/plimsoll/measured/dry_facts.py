"""What a dry start said, read from whatever was printed, beside what we predict of the same.

weights     the engine's own figure: bytes that the allocator holds for the model
beside      what the engine's runner holds beside it before it profiles
activation  the peak of the profile run; eager, so that compiled code may need less or more
cache       what the engine found left on that rank; it saw no CUDA context and no CUDA graphs
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import TermName
from plimsoll.errors import Unreadable
from plimsoll.measured.dry_start import PREFIX
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.engines.base import Estimate

END: Final = "end"
"""How far a start-up came that ended well."""
MOST: Final = 1 << 20
"""Letters of a line of facts; a longer one is none."""
_NEAR: Final = 0.02
"""How far two sizes may be apart before it is called a difference."""
_WORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a dry start said. outcome: ``starts``, ``refused`` or ``unknown``.

    words: the engine's, or what the harness met. place: where in the engine's code.
    """

    version: str
    outcome: str
    reached: str
    words: str
    place: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that both say. engine, ours: as they are shown; differs: whether they disagree."""

    name: str
    engine: str
    ours: str
    differs: bool


def read(printed: str) -> Answer:
    """The last line of facts in what was printed. Raises `Unreadable` where there is none."""
    lines = [line for line in printed.splitlines() if line.startswith(PREFIX)]
    if not lines:
        raise Unreadable("what the dry start printed", f"a line that begins with {PREFIX.strip()}")
    text = lines[-1].removeprefix(PREFIX)
    try:
        facts = json.loads(text) if len(text) <= MOST else None
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("reached"), str):
        raise Unreadable("a line of facts of another shape", "the harness's own output")
    ended = "starts" if facts["reached"] == END else "unknown"
    outcome = next((w for w in ("refused", "unknown") if isinstance(facts.get(w), dict)), ended)
    said = facts.get(outcome)
    said = said if isinstance(said, dict) else {}
    places = said.get("places")
    return Answer(
        version=_clean(facts.get("version", "")),
        outcome=outcome,
        reached=_clean(facts.get("reached", "")),
        words=_clean(said.get("message", "")),
        place=_clean(places[-1]) if isinstance(places, list) and places else "",
        facts=facts,
    )


def _clean(text: object) -> str:
    """A foreign text on one line, of a bounded length, without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:_WORDS].strip()


def _number(facts: Mapping[str, Any], part: str, name: str) -> int | float | None:
    holder = facts.get(part)
    value = holder.get(name) if isinstance(holder, dict) else None
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return value if good else None


def beside(answer: Answer, estimate: Estimate | None) -> list[Row]:
    """Everything that both say, and what only the engine does."""
    facts, out = answer.facts, []
    ours: dict[str, Any] = {}
    if estimate is not None:
        ours = {
            "max_model_len": estimate.max_model_len,
            "max_num_seqs": estimate.max_num_seqs,
            "max_num_batched_tokens": estimate.max_num_batched_tokens,
            "gpu_memory_utilization": float(estimate.utilization),
        }
    for name in (
        "max_model_len",
        "max_num_seqs",
        "max_num_batched_tokens",
        "gpu_memory_utilization",
    ):
        said = _number(facts, "resolved", name)
        if said is not None:
            mine = ours.get(name)
            out.append(Row(name, f"{said:,}", _shown(mine), mine is not None and mine != said))
    terms = estimate.terms if estimate is not None else None
    for title, part, name, term in (
        ("weights, GiB", "weights", "counted", TermName.WEIGHTS),
        ("runner's own state, GiB", "weights", "runner", None),
        ("activation peak, GiB", "profile", "peak", TermName.ACTIVATION),
        ("left for the cache, GiB", "profile", "available", None),
    ):
        said = _number(facts, part, name)
        if said is None:
            continue
        mine = terms[term].bytes if terms is not None and term is not None else None
        far = mine is not None and abs(mine - said) > _NEAR * max(abs(said), 1)
        out.append(
            Row(title, f"{said / GIB:.3f}", "–" if mine is None else f"{mine / GIB:.3f}", far)
        )
    for title, name in (("blocks of the cache", "blocks"), ("tokens of the cache", "tokens")):
        said = _number(facts, "cache", name)
        if said is not None:
            out.append(Row(title, f"{said:,}", "–", False))
    return out


def _shown(value: object) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)
