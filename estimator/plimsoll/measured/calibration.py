"""From measured start-ups to what is kept of them, to narrow the ranges of like ones.

off            measured - estimated, GiB, of activation, non-torch, graphs as charged
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import TermName
from plimsoll.engines.calibrated import LEAST, likeness
from plimsoll.measured.inputs import AXES, facts, variants
from plimsoll.measured.rows import TermId
from plimsoll.measured.score import score_row
from plimsoll.start_ups import Kept

if TYPE_CHECKING:
    from plimsoll.measured.models import Configs
    from plimsoll.measured.rows import Row

_TERMS: Final = {
    TermId.ACTIVATION: TermName.ACTIVATION,
    TermId.NON_TORCH: TermName.NON_TORCH,
    TermId.GRAPHS_CHARGED: TermName.CUDA_GRAPHS,
}
NOTHING: Final = "nothing that only a GPU tells was measured with every input known"


def kept_of(row: Row, configs: Configs) -> Kept | str:
    """What is kept of a measured row, or why nothing is."""
    known = facts(row, configs)
    if isinstance(known, str):
        return known
    open_ = sorted({"version", "gpu"} & known.unknown)
    if open_ or len(known.splits) != 1:
        return f"unknown: {', '.join(open_ or ['parallelism'])}"
    possible = variants(known, AXES[TermId.WEIGHTS])
    if isinstance(possible, str):
        return possible
    scored = score_row(row, configs)
    off = tuple(
        (name.value, round(point.measured - point.prediction.middle, 4))
        for term, name in _TERMS.items()
        if (point := scored.points.get(term)) is not None
        and point.prediction.high - point.prediction.low < LEAST
    )
    if not off:
        return NOTHING
    one = possible[0]
    version = known.engine.table.or_newest(known.versions[-1]).version if known.engine.table else ""
    like = likeness(
        known.engine.name, version, one.architecture, one.settings, one.parallelism, one.accelerator
    )
    return Kept(row.id, like, off)
