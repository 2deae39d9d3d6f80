"""The comparison cut in the ways that say more than one median: by cache size, sweep, family.

It must not compute an error; `plimsoll.measured.score` does.

    sweep      the rows of the one version, GPU and utilization that most rows share: constants
               may be fitted to it, so it is reported apart from everything else
    halves     the sweep by family of architectures: every second family by name, and the rest
    points     rows where every input is known, so that nothing is a range
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.measured.rows import FAILED
from plimsoll.measured.score import Summary, of_physical, points_of, summary
from plimsoll.measured.terms import TermId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.measured.rows import Row
    from plimsoll.measured.score import Scored

LARGE_CACHE_GIB: Final = 8.0
FEWEST: Final = 10
"""No claim is made on fewer rows."""
_SWEEP_LEAST: Final = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut. what: of which term and rows, in words. unit: what `Summary.median_pct` is of."""

    what: str
    unit: str
    summary: Summary


def cuts(scored: Sequence[Scored]) -> list[Cut]:
    """Every cut that has a point, in the order in which they are shown."""
    kv = points_of(scored, TermId.KV_GIB)
    found = [
        Cut("KV cache GiB", "% of GPU memory", of_physical(kv)),
        Cut(
            f"KV cache GiB, where over {LARGE_CACHE_GIB:g} GiB",
            "%",
            summary([p for p in kv if p.measured > LARGE_CACHE_GIB]),
        ),
    ]
    sweep = sweep_of(one.row for one in scored)
    for term in TermId:
        points = points_of(scored, term)
        exact = [p for p in points if p.prediction.low == p.prediction.high]
        found.append(Cut(f"{term}: every input known", "%", summary(exact)))
        if sweep:
            inside = [p for p in points if p.row.id in sweep]
            outside = [p for p in points if p.row.id not in sweep]
            found.append(Cut(f"{term}: the sweep", "%", summary(inside)))
            found.append(Cut(f"{term}: everything else", "%", summary(outside)))
    if sweep:
        inside = [p for p in kv if p.row.id in sweep]
        found.append(Cut("KV cache GiB: the sweep", "% of GPU memory", of_physical(inside)))
        outside = [p for p in kv if p.row.id not in sweep]
        found.append(Cut("KV cache GiB: everything else", "% of GPU memory", of_physical(outside)))
        found += list(_halves(scored, sweep))
    return [cut for cut in found if cut.summary.n]


def _halves(scored: Sequence[Scored], sweep: frozenset[str]) -> Iterable[Cut]:
    """The sweep by families: two halves of them by name, and each family."""
    for term in (TermId.WEIGHTS, TermId.ACTIVATION, TermId.KV_GIB):
        inside = [p for p in points_of(scored, term) if p.row.id in sweep]
        names = sorted({p.row.family for p in inside})
        first = set(names[::2])
        one = [p for p in inside if p.row.family in first]
        other = [p for p in inside if p.row.family not in first]
        yield Cut(f"{term}: the sweep, one half of the families", "%", summary(one))
        yield Cut(f"{term}: the sweep, the other half", "%", summary(other))
        for group in sorted({p.row.group for p in inside}):
            kept = [p for p in inside if p.row.group == group]
            yield Cut(f"{term}: the sweep, {group or 'no family'}", "%", summary(kept))


def sweep_of(rows: Iterable[Row]) -> frozenset[str]:
    """Ids of the rows of the largest group of one version, GPU memory and utilization."""
    groups: dict[tuple[str, int, str], list[str]] = {}
    for row in rows:
        if row.version_text and row.total and row.utilization:
            key = (row.version_text, row.total, str(row.utilization))
            groups.setdefault(key, []).append(row.id)
    largest = max(groups.values(), key=len, default=[])
    return frozenset(largest) if len(largest) >= _SWEEP_LEAST else frozenset()


def shares(scored: Sequence[Scored]) -> list[tuple[TermId, int, int, int]]:
    """Per term: rows that measured it, rows that had its inputs, rows scored."""
    measured = Counter(
        term for one in scored for term in TermId if term in one.points or term in one.left_out
    )
    had = Counter(term for one in scored for term in TermId if one.had(term))
    scored_ = Counter(term for one in scored for term in one.points)
    return [(term, measured[term], had[term], scored_[term]) for term in TermId]


def failed(scored: Iterable[Scored]) -> list[Scored]:
    """Rows whose start-up failed for lack of memory."""
    return [one for one in scored if one.row.outcome in FAILED]


def as_dict(scored: Sequence[Scored]) -> dict[str, Any]:
    """The cuts for machines, under a key of their own beside what was asked for."""
    return {
        "cuts": [
            {
                "what": cut.what,
                "of": cut.unit,
                "n": cut.summary.n,
                "median_pct": _rounded(cut.summary.median_pct),
                "p95_pct": _rounded(cut.summary.p95_pct),
            }
            for cut in cuts(scored)
        ],
        "coverage": {
            term: {"measured": measured, "had_inputs": had, "scored": n}
            for term, measured, had, n in shares(scored)
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
