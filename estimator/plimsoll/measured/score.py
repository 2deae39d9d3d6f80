"""All rows together: every term predicted and measured, summaries, and why rows are left out.

    pct        error / |measured| x 100          (a measured 0 has none)
    median     of the absolute errors
    p95        the smallest error that 95 % of the rows do not exceed (nearest rank)
    coverage   share of the rows whose measured value lies within the range that the estimate states
    scored     rows whose prediction counts (`plimsoll.measured.predict`)
    had        those, and the rows that were measured, have every input, and are not scored
               because something in them is not modelled

The cuts say more than one median:

    sweep      the rows of the one version, GPU and utilization that most rows share: constants
               may be fitted to it, so it is reported apart from everything else
    halves     the sweep by family of architectures: every second family by name, and the rest
    points     rows in which every input is known, so that nothing is a range
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from plimsoll.decision.verdict import Decision
from plimsoll.errors import shown
from plimsoll.measured import predict
from plimsoll.measured.inputs import AXES, NOT_MODELLED, Facts, facts
from plimsoll.measured.rows import FAILED, OUTCOME, STARTED, TermId
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from plimsoll.measured.models import Configs
    from plimsoll.measured.predict import Prediction
    from plimsoll.measured.rows import Row


P = ParamSpec("P")
T = TypeVar("T")
WIDE: Final = "range too wide"
_P95: Final = 0.95


@dataclass(frozen=True, slots=True)
class Point:
    """One term of one row. physical_gib: of its GPU, None if unknown."""

    row: Row
    term: TermId
    prediction: Prediction
    measured: float
    physical_gib: float | None

    @property
    def error(self) -> float:
        """Absolute, in the term's own unit."""
        return self.prediction.error(self.measured)

    @property
    def held(self) -> bool:
        """Whether the stated range holds the measured value."""
        return self.prediction.holds(self.term, self.measured)

    @property
    def off(self) -> float | None:
        """How far the middle is from the measured value, in per cent of it; None if that is 0."""
        away = abs(self.prediction.middle - self.measured)
        return 100 * away / abs(self.measured) if self.measured else None

    @property
    def pct(self) -> float | None:
        """The error in per cent of the measured value; None if that is 0."""
        return 100 * self.error / abs(self.measured) if self.measured else None


@dataclass(frozen=True)
class Scored:
    """One row: its points, its verdict, and the reason for everything that it has not."""

    row: Row
    points: dict[TermId, Point] = field(default_factory=dict)
    verdict: Decision | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    def had(self, term: TermId) -> bool:
        """Whether the row has what the term needs, so that not to score it is our own lack."""
        return term in self.points or self.left_out.get(term, "").startswith(NOT_MODELLED)


@dataclass(frozen=True, slots=True)
class Summary:
    """Errors of some points. None if there is no point that has one.

    held: points whose stated range holds the measured value. width: the median of these ranges'
    widths, in the term's own unit. middle: the median of how far the middle is off, in per cent.
    """

    n: int
    held: int
    width: float | None
    middle: float | None
    median_pct: float | None
    p95_pct: float | None
    median: float | None
    p95: float | None

    @property
    def coverage(self) -> float | None:
        """Per cent of the points that the stated range holds."""
        return 100 * self.held / self.n if self.n else None


def score(rows: Iterable[Row], configs: Configs) -> list[Scored]:
    """Every row, in order. Total: what goes wrong with a row is the reason why it is left out."""
    return [score_row(row, configs) for row in rows]


def score_row(row: Row, configs: Configs) -> Scored:
    """One row beside its predictions."""
    known = _guarded("row", facts, row, configs)
    if isinstance(known, str):
        named = [term for term in TermId if term.measured_as in row.measured]
        reasons = {str(term): known for term in named} | {OUTCOME: known}
        return Scored(row, left_out=reasons)
    points: dict[TermId, Point] = {}
    left: dict[str, str] = {}
    for term in TermId:
        value = predict.measured(row, term)
        if value == predict.NOT_MEASURED:
            continue
        if isinstance(value, str):
            left[term] = value
            continue
        predicted = _guarded("estimate", predict.predict, row, known, term)
        prediction = _checked(predicted, known, term)
        if isinstance(prediction, str):
            left[term] = prediction
        else:
            physical = known.physical / GIB if known.physical is not None else None
            points[term] = Point(row, term, prediction, value, physical)
    verdict = _guarded("verdict", predict.verdict, row, known)
    if isinstance(verdict, Decision):
        return Scored(row, points, verdict, left)
    return Scored(row, points, None, left | {OUTCOME: verdict})


def _guarded(what: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | str:
    """What a call returns, or what went wrong: one row of many must not end the run."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return f"{NOT_MODELLED}{what} failed: {type(error).__name__}: {shown(str(error))}"


def _checked(prediction: Prediction | str, known: Facts, term: TermId) -> Prediction | str:
    """A prediction that counts, or why it does not."""
    if isinstance(prediction, str):
        return prediction
    if not (math.isfinite(prediction.low) and math.isfinite(prediction.high)):
        return f"{NOT_MODELLED}estimate is not a number"
    gib = known.physical / GIB if known.physical is not None else None
    if not prediction.counts(term, gib):
        return f"{WIDE}: {_open(known, term)} unknown"
    return prediction


def _open(known: Facts, term: TermId) -> str:
    """What leaves the range of a term open, in words."""
    unknown = sorted(AXES[term].tried & known.unknown)
    if term is TermId.WEIGHTS or len(known.splits) > 1:
        unknown.append("rank" if len(known.splits) == 1 else "parallelism")
    if len(known.versions) > 1:
        unknown.append("version")
    return ", ".join(unknown or ["how the weights are stored"])


def summary(points: Sequence[Point]) -> Summary:
    """Median and 95th percentile of the errors of some points of one term."""
    shares = sorted(point.pct for point in points if point.pct is not None)
    errors = sorted(point.error for point in points)
    return _summary(points, shares, errors)


def _summary(points: Sequence[Point], shares: Sequence[float], errors: Sequence[float]) -> Summary:
    middles = [point.off for point in points if point.off is not None]
    widths = [p.prediction.most - p.prediction.least for p in points]
    return Summary(
        len(points),
        sum(point.held for point in points),
        _median(widths),
        _median(middles),
        _median(shares),
        _p95(shares),
        _median(errors),
        _p95(errors),
    )


def of_physical(points: Sequence[Point]) -> Summary:
    """The same in per cent of the GPU's memory, over the points for which that is known."""
    known = [p for p in points if p.physical_gib]
    shares = sorted(100 * p.error / p.physical_gib for p in known if p.physical_gib)
    errors = sorted(p.error for p in known)
    return _summary(known, shares, errors)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _p95(values: Sequence[float]) -> float | None:
    return values[max(0, math.ceil(_P95 * len(values)) - 1)] if values else None


def points_of(scored: Iterable[Scored], term: TermId) -> list[Point]:
    """The points of one term."""
    return [one.points[term] for one in scored if term in one.points]


def worst(scored: Iterable[Scored], most: int) -> list[Point]:
    """The points that are furthest off in per cent, the worst first."""
    points = [point for one in scored for point in one.points.values() if point.pct is not None]
    return sorted(points, key=lambda p: (-(p.pct or 0.0), p.row.id, p.term))[:most]


def outcomes(scored: Sequence[Scored]) -> dict[str, int]:
    """The verdicts against what happened."""
    judged = [one for one in scored if one.verdict is not None]
    failed = [one for one in judged if one.row.outcome in FAILED]
    started = [one for one in judged if one.row.outcome == STARTED]
    return {
        "n": len(judged),
        "false_fits": sum(one.verdict is Decision.ALLOW for one in failed),
        "false_refusals": sum(one.verdict is Decision.DENY for one in started),
        "warned": sum(one.verdict is Decision.WARN for one in judged),
    }


def left_out(scored: Iterable[Scored]) -> dict[str, int]:
    """How many rows each reason leaves something of out, the commonest first."""
    counts = Counter(reason for one in scored for reason in dict.fromkeys(one.left_out.values()))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def as_dict(scored: Sequence[Scored]) -> dict[str, Any]:
    """The result for machines, in the shape that `plimsoll accuracy -o json` has."""
    return {
        "terms": {term: _term_dict(points_of(scored, term), term) for term in TermId},
        "outcome": outcomes(scored),
        "left_out": left_out(scored),
        "rows": [_row_dict(one) for one in scored],
    }


def _term_dict(points: Sequence[Point], term: TermId) -> dict[str, float | int | None]:
    errors = summary(points)
    gib = term.in_gib
    return {
        "n": errors.n,
        "coverage_pct": _rounded(errors.coverage),
        "middle_median_pct": _rounded(errors.middle),
        "median_pct": _rounded(errors.median_pct),
        "p95_pct": _rounded(errors.p95_pct),
        "median_gib": _rounded(errors.median) if gib else None,
        "p95_gib": _rounded(errors.p95) if gib else None,
    }


def _row_dict(one: Scored) -> dict[str, Any]:
    return {
        "id": one.row.id,
        "verdict": None if one.verdict is None else one.verdict.value.lower(),
        "terms": {
            term: {
                "predicted": _rounded(point.prediction.middle),
                "low": _rounded(point.prediction.low),
                "high": _rounded(point.prediction.high),
                "least": _rounded(point.prediction.least),
                "most": _rounded(point.prediction.most),
                "measured": point.measured,
            }
            for term, point in one.points.items()
        },
        "left_out": one.left_out,
    }


LARGE_CACHE_GIB: Final = 8.0
FEWEST: Final = 10
"""No claim is made on fewer rows."""
_SWEEP_LEAST: Final = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut. what: its term and its rows, in words. unit: what `Summary.median_pct` is of."""

    what: str
    unit: str
    summary: Summary


def cuts(scored: Sequence[Scored]) -> list[Cut]:
    """Every cut that has a point, in the order in which they are shown."""
    kv = points_of(scored, TermId.KV_GIB)
    all_cuts = [
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
        all_cuts.append(Cut(f"{term}: every input known", "%", summary(exact)))
        if sweep:
            inside = [p for p in points if p.row.id in sweep]
            outside = [p for p in points if p.row.id not in sweep]
            all_cuts.append(Cut(f"{term}: the sweep", "%", summary(inside)))
            all_cuts.append(Cut(f"{term}: everything else", "%", summary(outside)))
    if sweep:
        inside = [p for p in kv if p.row.id in sweep]
        all_cuts.append(Cut("KV cache GiB: the sweep", "% of GPU memory", of_physical(inside)))
        outside = [p for p in kv if p.row.id not in sweep]
        all_cuts.append(
            Cut("KV cache GiB: everything else", "% of GPU memory", of_physical(outside))
        )
        all_cuts += list(_halves(scored, sweep))
    return [cut for cut in all_cuts if cut.summary.n]


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


def cuts_as_dict(scored: Sequence[Scored]) -> dict[str, Any]:
    """The cuts for machines, under a key of their own beside what was asked for."""
    return {
        "cuts": [
            {
                "what": cut.what,
                "of": cut.unit,
                "n": cut.summary.n,
                "coverage_pct": _rounded(cut.summary.coverage),
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
