"""What the page shows of each object: its verdict, its bar against the load line, its ways out.

the load line stands at the same place of every bar, so that the eye runs down one line
share of a bar = LINE x bytes / usable, cut where the bar ends
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.decision.policy import Outcome, Override, outcome
from plimsoll.engines.base import NO_CACHE, TermName
from plimsoll.engines.registry import engine
from plimsoll.errors import clean
from plimsoll.report.arithmetic import TERMS, fix, have, leaves, need, room, short_of, tenths_of
from plimsoll.report.gate import Gate
from plimsoll.report.results import Judged, Span, results
from plimsoll.units import ceil_mib, count, gib_down

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Estimate
    from plimsoll.report.results import Result

LINE: Final = 70.0
"""Where the load line stands, in hundredths of a bar's width."""
_WHOLE: Final = 100.0
"""Where a bar ends."""
REFUSED: Final = "refused"
OVERRIDDEN: Final = "overridden"
"""One that is refused, and let in or to be let in by an override."""
OVER, DOUBT, FITS = "over", "doubt", "fits"
"""An object that does not fit or is wrong, one that nobody can be sure of, and one that fits."""
RANK: Final = (OVER, DOUBT, FITS)
"""The gravest first: the order in which they are shown."""
COLOURS: Final = {
    TermName.WEIGHTS: "w",
    TermName.KV_CACHE: "k",
    TermName.ACTIVATION: "a",
    TermName.CUDA_GRAPHS: "g",
}
"""The style of a term in a bar; those that are small share the last, `OTHER`."""
OTHER: Final = "o"
_LARGE: Final = ("w", "k")
_RULES: Final = Gate()
MOST_RESULTS: Final = 12
"""Results of one object that are shown."""
MOST_IN_FULL: Final = 40
"""Objects, the gravest first, that are shown with every way out and every term.

Of the others the first way out is, and what is neither weights nor cache is one figure.
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a GPU must hold against what the engine may use of it, in hundredths of the bar.

    style: where each stretch ends, from where to where the need may turn out to be, and how far
    it is over the load line, as properties of CSS; where a bar's end is meant, nothing is said.
    beyond: whether it is over that line.
    """

    style: str
    beyond: bool


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that is said of an object. ways: each way out, with what it leaves.

    more: ways out that are not shown.
    """

    rule: str
    message: str
    ways: tuple[tuple[str, str], ...]
    ignored: str
    more: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One object as the page shows it. key: by which the next page knows it again.

    file, place: where it stands, "" for one of a cluster. state: one of `RANK`; word: the verdict.
    terms: (style, name, GiB, what it comes from). fits_on: the placement. override: what it says of
    one that holds, "" without. data: what the next page compares, see
    `plimsoll.report.page.changes`.
    """

    key: str
    name: str
    kind: str
    file: str
    place: str
    state: str
    word: str
    model: str
    engine: str
    fits_on: str
    gpus: int
    accelerator: str
    replicas: int
    need: str
    have: str
    spare: str
    bar: Bar | None
    terms: tuple[tuple[str, str, str, str], ...]
    told: tuple[Told, ...]
    override: str
    data: str

    @property
    def refused(self) -> bool:
        """Whether `plimsoll check` would end with 1 for it."""
        return self.word in (REFUSED, OVERRIDDEN)


def row(
    kind: str,
    request: Request,
    verdict: Verdict,
    ignored: str,
    file: str = "",
    line: int = 0,
    override: Override | None = None,
) -> Row:
    """One object, judged as `plimsoll check` judges it.

    kind: its name. ignored: what its annotation says of rules to ignore. file: where it stands;
    empty for one of a cluster. override: what it says of one.
    """
    subject = f"{kind} {request.name}"
    said = _RULES.judge(results(subject, request, verdict), ignored)
    judged = Judged(subject, Span(file, line), request, verdict, said, _RULES.fails(said))
    return _row(judged, kind, override)


def arranged(found: Iterable[Row]) -> list[Row]:
    """Every object by a key of its own, the gravest first, then by name."""
    seen: dict[str, int] = {}
    rows = list(found)
    folder = _shared(row.file for row in rows)
    for index, row in enumerate(rows):
        key = row.key
        if key in seen and row.file:
            key = f"{row.key} @ {row.file}"
        seen[key] = seen.get(key, 0) + 1
        key = key if seen[key] == 1 else f"{key} #{seen[key]}"
        rows[index] = replace(row, key=key, place=row.place[len(folder) :])
    rows.sort(key=lambda row: (RANK.index(row.state), row.name, row.key))
    return [*rows[:MOST_IN_FULL], *map(_in_short, rows[MOST_IN_FULL:])]


def _in_short(row: Row) -> Row:
    """The row with the first way out alone, if it has any, and the small terms as one figure."""
    if not any(told.ways for told in row.told):
        return row
    told = (replace(one, ways=one.ways[:1], more=len(one.ways[1:])) for one in row.told)
    small = [term for term in row.terms if term[0] not in _LARGE]
    rest = f"{sum(round(float(size) * 10) for _, _, size, _ in small) / 10:.1f}"
    large = tuple(term for term in row.terms if term[0] in _LARGE)
    terms = (*large, (OTHER, "the rest", rest, "")) if small else large
    return replace(row, told=tuple(told), terms=terms)


def _shared(files: Iterable[str]) -> str:
    """The folder in which all these files are, with its last stroke; "" if there is none."""
    folders = {os.path.dirname(file) for file in files if file}
    if not folders or len({os.path.isabs(folder) for folder in folders}) > 1:
        return ""
    common = os.path.commonpath(list(folders))
    return f"{common}/" if common else ""


def _row(judged: Judged, kind: str, override: Override | None) -> Row:
    request, verdict, span = judged.request, judged.verdict, judged.span
    e, p, model = verdict.estimate, verdict.placement, verdict.model
    state, word = _state(judged)
    holds = override if word == REFUSED else None
    gpus = p.gpus_per_replica if p else e.parallelism.gpus if e else 0
    accelerator = p.accelerator if p else verdict.accelerator
    size = f" · {count(model.parameters)}" if model.parameters else ""
    return Row(
        key=judged.subject,
        name=request.name,
        kind=kind,
        file=span.file,
        place=f"{span.file}:{span.line}" if span.file else "",
        state=state,
        word=OVERRIDDEN if holds else word,
        model=clean(model.name, 200) + size,
        engine=_engine(request, e),
        fits_on=f"{gpus} × {accelerator}" if gpus else accelerator,
        gpus=gpus if p else 0,
        accelerator=accelerator,
        replicas=request.replicas,
        need=need(e) if e else "",
        have=have(e) if e else "",
        spare=gib_down(e.spare) if e and e.spare >= 0 else "",
        bar=_bar(e) if e and e.usable else None,
        terms=_terms(e) if e else (),
        told=tuple(_told(one, verdict, request) for one in judged.results[:MOST_RESULTS]),
        override=_overridden(holds) if holds else "",
        data=f"{state} {ceil_mib(e.required)[:-2] if e else 0} {gpus} {accelerator or '-'}",
    )


def _overridden(override: Override) -> str:
    """What is known of an override: whether it is on record, why, and who made it."""
    said = (
        f"on record in its status since {override.since}"
        if override.since
        else "claimed by its annotation, on record nowhere here: admission lets it in for users "
        "with the verb override alone"
    )
    who = f"written by {override.by}; which user that was" if override.by else "who wrote it"
    return f"{said}; {who} stands in the API server's audit log. Reason: {override.reason}"


def _state(judged: Judged) -> tuple[str, str]:
    match outcome(judged.verdict):
        case Outcome.ALLOWED:
            return FITS, "fits"
        case Outcome.DOUBTED:
            return DOUBT, "warning"
        case Outcome.DENIED if judged.failed:
            return OVER, REFUSED
        case Outcome.DENIED:
            return DOUBT, "ignored"
    return OVER, "does not fit"


def _engine(request: Request, estimate: Estimate | None) -> str:
    title = engine(request.engine.name).title
    return f"{title} {estimate.version if estimate else request.engine.version}".rstrip()


def _bar(estimate: Estimate) -> Bar:
    def at(size: int) -> float:
        return min(_WHOLE, max(0.0, LINE * size / estimate.usable))

    sizes = dict.fromkeys((*COLOURS.values(), OTHER), 0)
    for term in estimate.terms:
        sizes[COLOURS.get(term.name, OTHER)] += term.bytes
    upto, ends = 0, {}
    for style, size in sizes.items():
        upto += size
        ends[style] = at(upto)
    ends["l"], ends["h"] = at(estimate.required_low), at(estimate.required_high)
    stretches = {name: end for name, end in ends.items() if end < _WHOLE}
    beyond = at(upto) - LINE
    if 0 < beyond < _WHOLE - LINE:
        stretches["u"] = beyond
    style = ";".join(f"--{name}:{_percent(end)}%" for name, end in stretches.items())
    return Bar(style if "l" in stretches else f"{style};--n:none".lstrip(";"), beyond > 0)


def _percent(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _terms(estimate: Estimate) -> tuple[tuple[str, str, str, str], ...]:
    """The terms that add up to the need as it is shown; those of no tenth of a GiB are left out."""
    basis = estimate.terms[TermName.KV_CACHE].basis
    from_what = {TermName.KV_CACHE: "" if basis == NO_CACHE else basis}
    return tuple(
        (COLOURS.get(name, OTHER), TERMS[name], f"{n / 10:.1f}", from_what.get(name, ""))
        for name, n in tenths_of(estimate).items()
        if n
    )


def _told(result: Result, verdict: Verdict, request: Request) -> Told:
    ways = [(fix(way, verdict.places), leaves(way, verdict)) for way in result.alternatives]
    message, e = result.message, verdict.estimate
    if ways and verdict.denied and verdict.limit is None and e is not None:
        message = f"{short_of(e)}; {room(request.workload, e)}"  # the row has the rest
    return Told(result.rule.id, message, tuple(ways), result.ignored)
