"""Whether what a rank needs fits into what a GPU offers: the one comparison of this project.

fits          required + error band <= usable      certainly holds
does not fit  required - error band >  usable      certainly does not
within error  anything between                     nobody can be sure
short_by      required - usable, spare the reverse; bytes per GPU, never negative
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plimsoll.engines.base import Estimate


class State(StrEnum):
    """What can be said of an estimate against a GPU."""

    FITS = "fits"
    WITHIN_ERROR = "within_error"
    DOES_NOT_FIT = "does_not_fit"


@dataclass(frozen=True, slots=True)
class Fit:
    """The comparison. short_by: bytes per GPU that are missing; spare: bytes that are left over.

    Within the error either may be above 0, never both. A misfit always has short_by above 0.
    """

    state: State
    short_by: int
    spare: int

    @property
    def fits(self) -> bool:
        """Whether it certainly holds."""
        return self.state is State.FITS


def fit(estimate: Estimate) -> Fit:
    """Compare an estimate with the memory that its engine may use of one GPU."""
    required = estimate.required
    if estimate.required_high <= estimate.usable:
        state = State.FITS
    elif estimate.required_low > estimate.usable:
        state = State.DOES_NOT_FIT
    else:
        state = State.WITHIN_ERROR
    return Fit(state, max(0, required - estimate.usable), max(0, estimate.usable - required))
