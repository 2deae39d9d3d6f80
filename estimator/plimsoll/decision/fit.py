"""Whether what a rank needs fits into what a GPU offers: the one comparison of this project.

fits          required + error band <= usable      certainly holds
does not fit  required - error band >  usable      certainly does not
within error  anything between                     nobody can be sure
limits        what a start must hold beside that is compared alike; the worst of all is what is said
short_by      required - usable, spare the reverse; bytes per GPU, never negative
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import State

if TYPE_CHECKING:
    from plimsoll.engines.base import Estimate, Limit

_WORSE: Final = (State.FITS, State.WITHIN_ERROR, State.DOES_NOT_FIT)


@dataclass(frozen=True, slots=True)
class Fit:
    """The comparison. short_by: bytes per GPU that are missing; spare: bytes that are left over.

    Within the error either may be above 0, never both. A misfit always has short_by above 0.
    limit: the comparison beside the budget's that it fails by; None where the budget decides.
    """

    state: State
    short_by: int
    spare: int
    limit: Limit | None = None

    @property
    def fits(self) -> bool:
        """Whether it certainly holds."""
        return self.state is State.FITS


def fit(estimate: Estimate) -> Fit:
    """Compare an estimate with the memory that its engine may use of one GPU, and with its limits.

    Of what is equally bad the budget is said, then the first limit in the order of a start.
    """
    required = estimate.required
    if estimate.required_high <= estimate.usable:
        state = State.FITS
    elif estimate.required_low > estimate.usable:
        state = State.DOES_NOT_FIT
    else:
        state = State.WITHIN_ERROR
    short_by, worst = max(0, required - estimate.usable), None
    for limit in estimate.limits:
        if _WORSE.index(limit.state) > _WORSE.index(state):
            state, worst = limit.state, limit
    if worst is not None:
        short_by = max(short_by, worst.short_by)
    return Fit(state, short_by, 0 if short_by else max(0, estimate.usable - required), worst)
