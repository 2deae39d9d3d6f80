"""docs/accuracy.md: how near estimates come to measured start-ups, and where they do not.

It must not compute an error: `plimsoll.measured`, `accuracy.versus` do, and this lays it out. The
same rows and constants always give the same page.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from accuracy import logs, ranges, recipes
from accuracy.answers import ASKED, answers
from accuracy.data import ROOT, measured, reasons, scored, sources, sweep
from accuracy.peers import PEERS
from accuracy.pictures import PICTURES
from accuracy.versus import CLOSE_PCT, ROUNDED_GIB, duels
from accuracy.words import NONE, amount, cell, percent
from plimsoll.decision.verdict import Decision
from plimsoll.measured.rows import OUTCOME, STARTED, TermId
from plimsoll.measured.score import (
    FEWEST,
    LARGE_CACHE_GIB,
    Summary,
    failed,
    of_physical,
    outcomes,
    points_of,
    shares,
    summary,
)
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from plimsoll.measured.score import Point

PAGE: Final = ROOT / "docs" / "accuracy.md"
TITLES: Final = {
    TermId.WEIGHTS: "weights per GPU",
    TermId.ACTIVATION: "activation peak",
    TermId.NON_TORCH: "non-torch",
    TermId.GRAPHS: "CUDA graphs",
    TermId.GRAPHS_CHARGED: "CUDA graphs, as the engine estimates",
    TermId.KV_GIB: "KV cache, GiB per GPU",
    TermId.KV_TOKENS: "KV cache, tokens",
    TermId.TOKENS_GIVEN_GIB: "tokens in a cache of known size",
    TermId.CONCURRENCY: "maximum concurrency",
}
FAR_PCT: Final = {
    TermId.WEIGHTS: 1.0,
    TermId.ACTIVATION: 5.0,
    TermId.NON_TORCH: 20.0,
    TermId.GRAPHS: 30.0,
    TermId.GRAPHS_CHARGED: 60.0,
    TermId.KV_GIB: 1.0,
    TermId.KV_TOKENS: 1.0,
    TermId.TOKENS_GIVEN_GIB: 0.2,
    TermId.CONCURRENCY: 1.0,
}
"""Rows that err by more are listed, each with what is known about why."""


def page() -> str:
    """The page, in Markdown."""
    parts = (
        _head(),
        _terms(),
        _coverage(),
        _pictures(),
        _cuts(),
        _outcome(),
        _recipes(),
        logs.lines(),
        _peers(),
        _far(),
        _left_out(),
        _rows(),
        _sources(),
    )
    return "\n".join(line for part in parts for line in (*part, "")).rstrip("\n") + "\n"


def far() -> list[Point]:
    """Every point that errs by more than `FAR_PCT`, by term, the furthest off first."""
    return [
        point
        for term in TermId
        for point in sorted(points_of(scored(), term), key=lambda p: (-(p.pct or 0.0), p.row.id))
        if (point.pct or 0.0) > FAR_PCT[term]
    ]


def halves(term: TermId) -> tuple[list[Point], list[Point]]:
    """The sweep's points by family of architectures: every second one by name, and the rest."""
    inside = [p for p in points_of(scored(), term) if p.row.id in sweep()]
    first = set(sorted({p.row.family for p in inside})[::2])
    return (
        [p for p in inside if p.row.family in first],
        [p for p in inside if p.row.family not in first],
    )


def _head() -> list[str]:
    engines = sorted({row.engine for row in measured()})
    return [
        "# Estimates beside measured start-ups",
        "",
        f"Made by `make accuracy`. {len(measured())} start-ups of {' and '.join(engines)} are in "
        "tests/data/measured.jsonl, one a line, each with its source; their models come from the "
        "catalogue. The scoring is that of `plimsoll accuracy`, which does the same for your own "
        "rows. Errors are absolute. What a row does not state is unknown: the term is then a range "
        "over every plausible value, which counts only where it is narrower than 5 % of the GPU's "
        "memory and errs by 0 where it holds the measured value; else the term is left out. "
        f"Nothing is claimed on fewer than {FEWEST} rows.",
    ]


def _terms() -> list[str]:
    lines = [
        "## By term",
        "",
        "The error is to the nearer end of what a row may be; from the middle it is to the middle "
        "of that. The range is the one that `plimsoll estimate` prints, BETWEEN.",
        "",
        "| term | rows | median error | 95th percentile | median, absolute | 95th, absolute "
        "| median from the middle | in the range | its median width "
        "| scored of rows with the inputs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for term, _, had, n in shares(scored()):
        found = summary(points_of(scored(), term))
        unit = " GiB" if term.in_gib else ""
        lines.append(
            f"| {TITLES[term]} | {found.n} | {percent(found.median_pct)} "
            f"| {percent(found.p95_pct)} | {amount(found.median, gib=term.in_gib)}{unit} "
            f"| {amount(found.p95, gib=term.in_gib)}{unit} | {percent(found.middle)} "
            f"| {found.held} ({percent(found.coverage)}) "
            f"| {amount(found.width, gib=term.in_gib)}{unit} | {n} of {had} |"
        )
    return lines


def _coverage() -> list[str]:
    """Ranges against rows that they were not made from, and by group."""
    lines = [
        "## Ranges, and rows that they were not made from",
        "",
        "What only a GPU tells has its range from the rows themselves, by group "
        "(tests/accuracy/ranges.py, `make ranges`). So each row is also held against ranges that "
        "were made without it and without every row of the same engine version, GPU family, "
        "tensor size and class of model: "
        "**left out**. A group of which nothing was measured is stated one and a half times as "
        "wide as the widest that was.",
        "",
        "| term | rows | in the range | left out, in the range |",
        "|---|--:|--:|--:|",
    ]
    for name, one in ranges.TERMS.items():
        term = one.term
        found, left = summary(points_of(scored(), term)), ranges.left_out(name)[""]
        lines.append(
            f"| {TITLES[term]} | {left.rows} | {percent(found.coverage)} | {percent(left.share)} |"
        )
    kv = summary(points_of(scored(), TermId.KV_GIB))
    apart = summary(ranges.caches_left_out())
    lines += [
        f"| {TITLES[TermId.KV_GIB]} | {apart.n} | {percent(kv.coverage)} "
        f"| {percent(apart.coverage)} |",
        "",
        "The KV cache by group, left out; a group of fewer than "
        f"{FEWEST} rows is shown and claims nothing:",
        "",
        "| cut | rows | in the range | median error from the middle | median width |",
        "|---|--:|--:|--:|--:|",
    ]
    for cut, of in _GROUPS.items():
        by_value: dict[str, list[Point]] = defaultdict(list)
        for point in ranges.caches_left_out():
            by_value[of(point)].append(point)
        for value, points in sorted(by_value.items()):
            found = summary(points)
            lines.append(
                f"| {cut}: {value or 'not stated'} | {found.n} | {found.held} "
                f"({percent(found.coverage)}) | {percent(found.middle)} "
                f"| {amount(found.width, gib=True)} GiB |"
            )
    return lines


_GROUPS: Final[dict[str, Callable[[Point], str]]] = {
    "engine": lambda p: f"{p.row.engine} {'.'.join(p.row.version_text.split('.')[:2])}",
    "GPU": lambda p: p.row.gpu,
    "tensor size": lambda p: str(p.row.tensor or ""),
    "class of model": lambda p: p.row.family,
}


def _pictures() -> list[str]:
    lines = ["## Pictures", ""]
    for picture in PICTURES:
        name = f"{TITLES[picture.term]}: predicted against measured"
        lines += [f"![{name}](accuracy/{picture.name}.svg)", ""]
    return lines[:-1]


def _cuts() -> list[str]:
    kv = points_of(scored(), TermId.KV_GIB)
    large = [p for p in kv if p.measured > LARGE_CACHE_GIB]
    lines = [
        "## Cut by size, sweep and family",
        "",
        f"The sweep is {len(sweep())} start-ups of one version on one kind of GPU at one "
        "utilization; constants may lean on it, so it is apart from everything else. Its halves "
        "are the families of architectures, every second one by name.",
        "",
        "| cut | rows | median error | 95th percentile | 95th, absolute | per cent of |",
        "|---|--:|--:|--:|--:|---|",
        _cut("KV cache GiB, of physical memory", of_physical(kv), "physical memory"),
        _cut(f"KV cache GiB, where over {LARGE_CACHE_GIB:g} GiB", summary(large), "measured"),
    ]
    for term in TermId:
        points = points_of(scored(), term)
        inside = [p for p in points if p.row.id in sweep()]
        outside = [p for p in points if p.row.id not in sweep()]
        one, other = halves(term)
        lines += [
            _cut(f"{TITLES[term]}: the sweep", summary(inside), "measured", gib=term.in_gib),
            _cut(f"{TITLES[term]}: the sweep, one half", summary(one), "measured", gib=term.in_gib),
            _cut(
                f"{TITLES[term]}: the sweep, the other half",
                summary(other),
                "measured",
                gib=term.in_gib,
            ),
            _cut(f"{TITLES[term]}: everything else", summary(outside), "measured", gib=term.in_gib),
        ]
        if term is TermId.KV_GIB:
            lines += [
                _cut(f"{TITLES[term]}: {name}", of_physical(found), "physical memory")
                for name, found in (("the sweep", inside), ("everything else", outside))
            ]
    return lines


def _cut(what: str, found: Summary, of: str, *, gib: bool = True) -> str:
    if found.n < FEWEST:
        return f"| {what} | {found.n} | {NONE} | {NONE} | {NONE} | fewer than {FEWEST}: no claim |"
    high = f"{amount(found.p95, gib=True)} GiB" if gib else NONE
    return (
        f"| {what} | {found.n} | {percent(found.median_pct)} | {percent(found.p95_pct)} | {high} "
        f"| {of} |"
    )


def _outcome() -> list[str]:
    found = outcomes(scored())
    lost = [one for one in failed(scored()) if one.verdict is not None]
    lines = [
        "## Verdicts",
        "",
        f"{found['n']} start-ups have all that a verdict needs; {len(lost)} of them failed for "
        f'lack of memory. False "fits": {found["false_fits"]}. False refusals: '
        f"{found['false_refusals']}. Warned: {found['warned']}. Below: every start-up that failed, "
        "and those that went well and are not plainly allowed.",
        "",
        "| row | model | what happened | verdict | why none, or why it is wrong |",
        "|---|---|---|---|---|",
    ]
    unsure = [
        one
        for one in scored()
        if one.row.outcome == STARTED and one.verdict not in (None, Decision.ALLOW)
    ]
    for one in (*failed(scored()), *unsure):
        verdict = one.verdict.value if one.verdict is not None else NONE
        why = one.left_out.get(OUTCOME) or reasons().get((one.row.id, OUTCOME), "")
        lines.append(
            f"| {one.row.id} | {cell(one.row.model)} | {one.row.outcome} | {verdict} | {why} |"
        )
    return lines


def _recipes() -> list[str]:
    """Published recipes: all start, so what is not allowed is our fault or the guide's."""
    said = recipes.answers()
    known = [one for one in said if one.decision is not None]
    counts = {d: sum(one.decision is d for one in known) for d in Decision}
    tried = sum(one.decision is Decision.WARN and "doubt" in one.recipe for one in known)
    unknown = sorted({str(one.recipe["model"]) for one in said if one.decision is None})
    lines = [
        "## Published recipes",
        "",
        f"{len(said)} serving recipes of vendors' guides (tests/data/recipes.jsonl: model, GPUs, "
        "flags, each with its source), under the newest release that is known, since guides name "
        f"the oldest alone. All start. Of {len(known)} whose model and GPU are known, "
        f"{counts[Decision.ALLOW]} are allowed, {counts[Decision.WARN]} warned of and "
        f"{counts[Decision.DENY]} denied. For {tried} of those that are warned of, the last "
        "column says what somebody met who tried them or their like.",
        "",
        "| recipe | model | GPUs | we say | GiB of a GPU: needs | has | source |",
        "|---|---|---|---|--:|--:|---|",
    ]
    for one in known:
        if one.decision is Decision.ALLOW:
            continue
        recipe, estimate = one.recipe, one.estimate
        needs = (
            f"{estimate.required_low / GIB:.1f} to {estimate.required_high / GIB:.1f} "
            f"| {estimate.usable / GIB:.1f}"
            if estimate is not None
            else f"{NONE} | {NONE}"
        )
        doubt = f" {recipe['doubt']}" if "doubt" in recipe else ""
        lines.append(
            f"| {one.id} | {recipe['model']} | {recipe['gpus']} x {recipe['gpu']} "
            f"| {one.decision} | {needs} | [guide]({recipe['source']}){doubt} |"
        )
    if unknown:
        lines += ["", f"Models that the catalogue does not have: {', '.join(unknown)}."]
    return lines


def _refused() -> int:
    return sum("refused" in answer for answer in answers().values())


def _peers() -> list[str]:
    lines = [
        "## Beside other estimators",
        "",
        "The same rows under formulas that others have published. Each is written from its "
        "description, not copied, and wherever that leaves something open the reading was taken "
        "that is better for it (tests/accuracy/peers.py): the physical memory that the machine "
        "reported, the row's own utilization, the exact bytes of the checkpoint. Both sides fill "
        "in a default for what a row does not state, so that one value stands against one value. "
        f"Of tokens in a cache of known size, the log's rounding of that size ({ROUNDED_GIB:g} "
        "GiB) is nobody's error: on plain dense models every formula is then exact, and what "
        "tells them apart is the rest. AIConfigurator was run (`make peers`), not written: told "
        "the row's config, memory, share, split and batch. Of "
        f"{len(answers())} start-ups on GPUs that it has tables of, it refused {_refused()}, "
        "whose architecture or quantization it does not know.",
        "",
        "| formula | what it says | described in | as of |",
        "|---|---|---|---|",
    ]
    lines += [f"| {p.name} | {p.says} | [source]({p.link}) | {p.read} |" for p in (*PEERS, ASKED)]
    lines += [
        "",
        f"| term | formula | rows | median: ours | theirs | 95th percentile: ours | theirs "
        f"| within {CLOSE_PCT:g} %: ours | theirs |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for duel in duels():
        (ours, theirs), (near, nearer) = duel.summaries, duel.close
        lines.append(
            f"| {TITLES[duel.term]} | {duel.peer.name} | {ours.n} | {percent(ours.median_pct)} "
            f"| {percent(theirs.median_pct)} | {percent(ours.p95_pct)} | {percent(theirs.p95_pct)} "
            f"| {near} | {nearer} |"
        )
    return lines


def _far() -> list[str]:
    limits = ", ".join(f"{TITLES[term]} {limit:g} %" for term, limit in FAR_PCT.items())
    lines = [
        "## Rows that stay wrong",
        "",
        f"Every row that errs by more than: {limits}.",
        "",
        "| term | row | model | version | predicted | measured | error | what is known |",
        "|---|---|---|---|--:|--:|--:|---|",
    ]
    for point in far():
        row, gib = point.row, point.term.in_gib
        lines.append(
            f"| {TITLES[point.term]} | {row.id} | {cell(row.model)} | {row.version_text or NONE} "
            f"| {_said(point)} | {amount(point.measured, gib=gib)} | {percent(point.pct)} "
            f"| {reasons().get((row.id, point.term), 'Not looked into yet.')} |"
        )
    return lines


def _said(point: Point) -> str:
    gib, found = point.term.in_gib, point.prediction
    low, high = amount(found.low, gib=gib), amount(found.high, gib=gib)
    return low if low == high else f"{low} to {high}"


def _left_out() -> list[str]:
    lines = ["## Left out, and why", "", "| term | reason | rows |", "|---|---|---|"]
    for term in (*map(str, TermId), OUTCOME):
        by_reason: dict[str, list[str]] = defaultdict(list)
        for one in scored():
            if term in one.left_out:
                by_reason[one.left_out[term]].append(one.row.id)
        title = "verdict" if term == OUTCOME else TITLES[TermId(term)]
        ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
        lines += [f"| {title} | {cell(why)} | {', '.join(ids)} |" for why, ids in ordered]
    return lines


_SHOWN: Final = (TermId.WEIGHTS, TermId.ACTIVATION, TermId.KV_GIB, TermId.TOKENS_GIVEN_GIB)


def _rows() -> list[str]:
    heads = " | ".join(f"{TITLES[term]}: predicted | measured" for term in _SHOWN)
    lines = [
        "## Every row that is scored",
        "",
        "<details><summary>By row</summary>",
        "",
        f"| row | model | weights as | engine | GPUs | {heads} |",
        "|---|---|---|---|--:|" + "--:|" * (2 * len(_SHOWN)),
    ]
    for one in scored():
        if not one.points:
            continue
        row = one.row
        cells = [_pair(one.points.get(term)) for term in _SHOWN]
        lines.append(
            f"| {row.id} | {cell(row.model)} | {row.weights_format or NONE} "
            f"| {row.engine} {cell(row.version_text)} | {row.gpus or NONE} | {' | '.join(cells)} |"
        )
    return [*lines, "", "</details>"]


def _pair(point: Point | None) -> str:
    if point is None:
        return f"{NONE} | {NONE}"
    return f"{_said(point)} | {amount(point.measured, gib=point.term.in_gib)}"


def _sources() -> list[str]:
    by_source: dict[str, list[str]] = defaultdict(list)
    for row in measured():
        by_source[sources()[row.id]].append(row.id)
    return ["## Sources", "", *_listed(by_source.items())]


def _listed(found: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    return [f"- {', '.join(ids)}: {source}" for source, ids in found]
