"""``make ranges``: how far measured terms lie from estimates, by group, for the engines' ranges.

    residual      measured - estimate, GiB; of a row whose inputs are not all known, from the nearer
                  end of what it may be
    one start-up  rows of one model, version, GPU and split count once, with their median
    group         `GROUPINGS`, from the narrowest to the widest; a group with fewer
                  start-ups than `fewest` has no line of its own; a line that names no kind of
                  model holds for the kinds that it was made from
    range         from the least to the largest residual (without `TRIMMED` of them),
                  and `WIDENED` / n of its width further on either side
    elsewhere     for a group of which nothing was measured: `BEYOND` x the widest ends of all
                  lines with as many ranks, since nobody knows which of them it is like

    left out      all start-ups of one engine version, GPU family, tensor size and class of model
                  at once; the ranges are made again from the rest, and the share of the rows left
                  out that they hold is the coverage that docs/accuracy.md shows

It must not choose rows: what `plimsoll.measured` scores counts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from accuracy.data import ROOT, configs, scored
from plimsoll.engines.ranges import MANY, ONE, Group, RangeTable, gpu_group
from plimsoll.engines.vllm.options import RANGES, TABLE
from plimsoll.engines.vllm.traits import kind
from plimsoll.measured.inputs import facts
from plimsoll.measured.rows import TermId
from plimsoll.measured.score import score_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from plimsoll.measured.score import Point, Scored

FILE: Final = ROOT / "estimator/plimsoll/engines/vllm/data/ranges.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """A term that ranges are made for. eras: versions at which what it depends on changes.

    least: GiB of either side at least: what a log's rounding and a busy machine move. fewest:
    start-ups of a line; one that names the kind of model too has one more.
    """

    term: TermId
    eras: tuple[str, ...]
    least: float
    fewest: int = 4


WIDENED: Final = 1.0
BEYOND: Final = 1.5
TRIMMED: Final = (0.05, 0.08)
"""Share of a group's start-ups that may lie below, and above."""
TERMS: Final = {
    "activation": Measured(TermId.ACTIVATION, ("0.6", "0.17", "0.22"), 0.05, 3),
    "nonTorch": Measured(TermId.NON_TORCH, ("0.6", "0.18"), 0.05),
    "graphsCharged": Measured(TermId.GRAPHS_CHARGED, ("0.6",), 0.1),
    "graphsCaptured": Measured(TermId.GRAPHS, ("0.6", "0.19"), 0.1),
}
"""By the name in the file."""
NOTHING: Final[dict[str, Any]] = {
    name: {"groups": [], "elsewhere": {ranks: {"low": 0.0, "high": 0.0} for ranks in (ONE, MANY)}}
    for name in TERMS
}
"""Ranges as if nothing had been measured."""
FIRST: Final = 0.25
WITH_OWN: Final = frozenset({"activation"})
"""Terms that state a range of their own, which holds alone where nothing was measured."""
GROUPINGS: Final = (("gpu", "ranks", "kind"), ("gpu", "ranks"))


@dataclass(frozen=True)
class Residual:
    """One row's. key: what it is left out with; same: what counts as one start-up with it."""

    row: str
    value: float
    group: Group
    era: str
    key: tuple[str, ...]
    same: tuple[str, ...]


@lru_cache(maxsize=8)
def residuals(name: str) -> tuple[Residual, ...]:
    """Those of every scored row of vLLM that measured a term."""
    term, eras = TERMS[name].term, TERMS[name].eras
    found = []
    for one in scored():
        row = one.row
        point = one.points.get(term) or _instead(one, term)
        known = facts(row, configs())
        if point is None or isinstance(known, str) or known.engine.name != "vllm":
            continue
        value = _residual(one, point, name)
        gpus = {gpu_group(accelerator) for accelerator in known.accelerators}
        split = known.splits[0]
        many = split.tensor * (split.data if split.expert else 1) > 1
        version = TABLE.parse(known.versions[-1])
        group = Group(
            gpus.pop() if len(gpus) == 1 else "",
            MANY if many else ONE,
            kind(known.architecture),
            version,
        )
        era = [e for e in eras if TABLE.parse(e) <= version][-1]
        minor = f"{version[0]}.{version[1]}"
        key = (minor, group.gpu, str(split.tensor), row.family or row.model)
        found.append(
            Residual(
                row.id,
                value,
                group,
                era,
                key,
                (*key, row.config_id, row.gpu_said, *row.arguments.flags),
            )
        )
    return tuple(found)


def _residual(one: Scored, point: Point, name: str) -> float:
    """GiB from the estimate; none of a start that was a first one: the term's own range holds it.

    A log does not say which it was. One is taken for a first start if it lies within that range,
    and `FIRST` or more of the way to its end, which is one copy of the embedding or two.
    """
    value = point.prediction.residual(point.measured)
    if name not in WITH_OWN or value <= 0:
        return value
    with stated(NOTHING):
        alone = score_row(one.row, configs()).points[point.term].prediction
    reach = alone.most - alone.high
    return 0.0 if FIRST * reach < value <= reach else value


def _instead(one: Scored, term: TermId) -> Point | None:
    """Of a log from 0.19 on that does not print the engine's estimate, what capturing then took:
    the logs that print both differ little except on Hopper."""
    taken = one.points.get(TermId.GRAPHS)
    if term is not TermId.GRAPHS_CHARGED or taken is None or not _is_late(one):
        return None
    return taken


def _is_late(one: Scored) -> bool:
    low = one.row.version.low
    return low is not None and low >= (0, 19, 0)


def table(name: str, found: Sequence[Residual]) -> dict[str, Any]:
    """The lines of one term from some residuals."""
    eras = TERMS[name].eras
    lines = []
    for era, until in zip(eras, (*eras[1:], ""), strict=True):
        inside = [r for r in found if r.era == era]
        for names in GROUPINGS:
            lines += list(_lines(names, inside, era, until, TERMS[name]))
    elsewhere = {}
    for ranks in (ONE, MANY):
        alike = [line for line in lines if line["ranks"] == ranks]
        low = min((line["low"] for line in alike), default=0.0)
        high = max((line["high"] for line in alike), default=0.0)
        high = BEYOND * max(high, -low)
        low = -high
        if name in WITH_OWN:
            low = high = 0.0
        elsewhere[ranks] = {"low": round(low, 3), "high": round(high, 3)}
    return {"groups": lines, "elsewhere": elsewhere}


def _lines(
    names: Sequence[str], found: Sequence[Residual], era: str, until: str, of: Measured
) -> Iterable[dict[str, Any]]:
    groups: dict[tuple[str, ...], list[Residual]] = defaultdict(list)
    for one in found:
        values = tuple(getattr(one.group, name) for name in names)
        if all(values):
            groups[values].append(one)
    for values, rows in sorted(groups.items()):
        distinct = _distinct(rows)
        if len(distinct) >= of.fewest + ("kind" in names):
            low, high = _ends(distinct, of.least)
            line: dict[str, Any] = dict(zip(names, values, strict=True))
            if "kind" not in names:
                line["kinds"] = sorted({one.group.kind for one in rows})
            line |= {"since": era, "until": until, "rows": len(distinct)}
            yield line | {"low": round(low, 3), "high": round(high, 3)}


def _distinct(rows: Iterable[Residual]) -> list[float]:
    by_start: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for one in rows:
        by_start[one.same].append(one.value)
    return sorted(median(values) for values in by_start.values())


def _ends(values: Sequence[float], least: float) -> tuple[float, float]:
    n = len(values)
    below, above = (int(share * n + 0.2) for share in TRIMMED)
    low, high = values[below], values[n - 1 - above]
    more = max(least, WIDENED / n * (high - low))
    return low - more, high + more


def written() -> str:
    """The file of vLLM's ranges."""
    lines = []
    for name in TERMS:
        made = table(name, residuals(name))
        groups = ",\n   ".join(json.dumps(line) for line in made["groups"])
        lines.append(
            f' "{name}": {{\n  "groups": [\n   {groups}],\n'
            f'  "elsewhere": {json.dumps(made["elsewhere"])}}}'
        )
    return "{\n" + ",\n".join(lines) + "\n}\n"


@dataclass(frozen=True)
class Coverage:
    """How many rows a range holds that was made without them, and how wide it is there."""

    rows: int
    held: int
    width: float

    @property
    def share(self) -> float:
        """In per cent."""
        return 100 * self.held / self.rows if self.rows else 0.0


def left_out(name: str, of: Callable[[Residual], str] = lambda one: "") -> dict[str, Coverage]:
    """The coverage of rows left out of their own ranges, cut in any way."""
    found = residuals(name)
    by_key: dict[tuple[str, ...], list[Residual]] = defaultdict(list)
    for one in found:
        by_key[one.key].append(one)
    counts: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for key, rows in by_key.items():
        made = RangeTable.of_data({name: table(name, [r for r in found if r.key != key])})
        for one in rows:
            band = made.of(name, one.group)
            held = band.low - 1e-9 <= one.value <= band.high + 1e-9
            counts[of(one)].append((held, band.high - band.low))
    return {
        cut: Coverage(len(each), sum(h for h, _ in each), sum(w for _, w in each) / len(each))
        for cut, each in sorted(counts.items())
    }


@contextmanager
def stated(data: dict[str, Any]) -> Iterator[None]:
    """vLLM's ranges as these, for a while: from a table that has kept none of the others'."""
    with mock.patch.object(RANGES, "of", RangeTable.of_data(data).of):
        yield


@lru_cache(maxsize=1)
def caches_left_out() -> tuple[Point, ...]:
    """The KV cache of every row, with ranges that were made without the rows that are like it."""
    every = {name: residuals(name) for name in TERMS}
    keys = {r.row: r.key for found in every.values() for r in found}
    points = []
    for one in scored():
        if TermId.KV_GIB not in one.points:
            continue
        key = keys.get(one.row.id)
        made = {n: table(n, [r for r in found if r.key != key]) for n, found in every.items()}
        with stated(made):
            again = score_row(one.row, configs()).points.get(TermId.KV_GIB)
        if again is not None:
            points.append(again)
    return tuple(points)


if __name__ == "__main__":
    FILE.write_text(written(), "utf-8")
    for name in TERMS:
        whole = left_out(name)[""]
        print(f"{name}: {whole.held} of {whole.rows} rows left out are held ({whole.share:.0f} %)")
    print(f"written: {FILE}")
