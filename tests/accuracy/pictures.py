"""docs/accuracy/*.svg: predicted against measured, ours large and each peer small beside it.

It must not decide what is scored. The same points always give the same file: no date, no version
of the drawing library, coordinates of two decimals, ids in order. Backgrounds are transparent and
every colour is a middle one, so that a picture can be read on a light and on a dark page.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import ROOT, scored, sweep
from accuracy.versus import duels
from accuracy.words import percent
from plimsoll.measured.rows import TermId
from plimsoll.measured.score import points_of, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from plimsoll.measured.score import Point

FOLDER: Final = ROOT / "docs" / "accuracy"
INK: Final = "#7d8894"
OURS: Final = "#2f81f7"
SWEEP: Final = "#1a9e8f"
PEER: Final = "#c0792a"
BAND: Final = 0.02
_SEEN: Final = 0.01
"""Ranges that are wider than this share are drawn."""
_HASHED: Final = re.compile(r"\b[mp][0-9a-f]{10}\b")
"""Ids that the drawing library makes from floats; they become numbers in order."""
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plimsoll",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture. name: of its file. unit: of both axes. log: on logarithmic axes."""

    term: TermId
    name: str
    title: str
    unit: str
    log: bool


PICTURES: Final = (
    Picture(TermId.WEIGHTS, "weights", "Weights per GPU", "GiB", True),
    Picture(TermId.ACTIVATION, "activation", "Activation peak", "GiB", True),
    Picture(TermId.KV_GIB, "kv-gib", "KV cache per GPU", "GiB", False),
    Picture(TermId.KV_TOKENS, "kv-tokens", "KV cache, tokens", "tokens", True),
    Picture(
        TermId.TOKENS_GIVEN_GIB,
        "kv-tokens-given-gib",
        "Tokens in a cache of known size",
        "tokens",
        True,
    ),
)


def draw() -> dict[str, str]:
    """The files' names and what is in them."""
    return {f"{picture.name}.svg": _svg(figure(picture)) for picture in PICTURES}


def figure(picture: Picture) -> Figure:
    """One picture, as the drawing library holds it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    peers = _peers(picture.term)
    with mpl.rc_context(_STYLE):
        columns = (len(peers) + 1) // 2
        whole = Figure(figsize=(5.0 + 2.3 * columns, 4.9))
        grid = whole.add_gridspec(
            2,
            2 + columns,
            width_ratios=[2.2, 2.2, *[2.2] * columns],
            left=0.075,
            right=0.985,
            bottom=0.11,
            top=0.87,
            wspace=0.42,
            hspace=0.42,
        )
        ours: Sequence[Point] = points_of(scored(), picture.term)
        values = [p.measured for p in ours] + [p.prediction.middle for p in ours]
        values += [p.prediction.middle for _, points in peers for p in points]
        ends = _ends(values, log=picture.log)
        main = whole.add_subplot(grid[:, :2])
        _panel(main, picture, ends)
        for color, label, kept in _by_origin(ours):
            _dots(main, kept, color, 5.0, f"{label}: {len(kept)} rows")
            _ranges(main, kept, color)
        main.legend(frameon=False, loc="upper left", fontsize=8.5, handletextpad=0.2)
        main.set_xlabel(f"measured, {picture.unit}")
        main.set_ylabel(f"predicted, {picture.unit}")
        main.set_title(_named("Plimsoll", ours), fontsize=10, loc="left")
        for index, (name, points) in enumerate(peers):
            axes = whole.add_subplot(grid[index % 2, 2 + index // 2])
            _panel(axes, picture, ends)
            _dots(axes, points, PEER, 3.2, name)
            axes.set_title(_named(name, points), fontsize=8, loc="left")
            axes.tick_params(labelsize=7)
            axes.minorticks_off()
        whole.suptitle(
            f"{picture.title}: predicted against measured (line: equal, ±2 %; upright: a range)",
            fontsize=10.5,
            x=0.075,
            ha="left",
            y=0.975,
        )
    return whole


def _peers(term: TermId) -> list[tuple[str, Sequence[Point]]]:
    """The peers that speak of a term; those that say the same together."""
    found: dict[tuple[float, ...], tuple[str, Sequence[Point]]] = {}
    for duel in duels():
        if duel.term is term and duel.theirs:
            said = tuple(p.prediction.middle for p in duel.theirs)
            name = f"{found[said][0]}, {duel.peer.name}" if said in found else duel.peer.name
            found[said] = (name, duel.theirs)
    return list(found.values())


def _by_origin(points: Sequence[Point]) -> list[tuple[str, str, list[Point]]]:
    inside = [point for point in points if point.row.id in sweep()]
    outside = [point for point in points if point.row.id not in sweep()]
    return [(SWEEP, "the sweep", inside), (OURS, "everything else", outside)]


def _ends(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    if log:
        return min(v for v in values if v > 0) / 1.5, max(values) * 1.5
    return min(0.0, *values) - 2, max(values) + 4


def _panel(axes: Axes, picture: Picture, ends: tuple[float, float]) -> None:
    from matplotlib.ticker import NullFormatter

    low, high = ends
    if picture.log:
        axes.loglog()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_short)
            axis.set_minor_formatter(NullFormatter())
    line = [low, high]
    axes.fill_between(
        line,
        [v * (1 - BAND) for v in line],
        [v * (1 + BAND) for v in line],
        color=INK,
        alpha=0.3,
        linewidth=0,
    )
    axes.plot(line, line, color=INK, linewidth=0.8)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal", adjustable="box")
    axes.patch.set_visible(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(value: float, position: float) -> str:
    """A tick's number: 0.1, 10, 10k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _named(name: str, points: Sequence[Point]) -> str:
    error = summary(points).median_pct
    return name if error is None else f"{name} · median {percent(error)}"


def _dots(axes: Axes, points: Iterable[Point], color: str, size: float, label: str) -> None:
    kept = list(points)
    axes.plot(
        [p.measured for p in kept],
        [p.prediction.middle for p in kept],
        linestyle="none",
        marker="o",
        markersize=size,
        color=color,
        alpha=0.65,
        markeredgewidth=0,
        label=label,
    )


def _ranges(axes: Axes, points: Iterable[Point], color: str) -> None:
    """An upright line if an input is unknown and the prediction is a range."""
    for point in points:
        low, high = point.prediction.low, point.prediction.high
        if high - low > _SEEN * high:
            axes.plot([point.measured] * 2, [low, high], color=color, linewidth=1.4, alpha=0.5)


def _svg(whole: Figure) -> str:
    import matplotlib as mpl

    nothing: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    out = io.StringIO()
    with mpl.rc_context(_STYLE):
        whole.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = re.sub(r"(?<=\d)\.(\d{2})\d+", r".\1", out.getvalue())
    names: dict[str, str] = {}
    text = _HASHED.sub(lambda found: names.setdefault(found[0], f"n{len(names)}"), text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
