"""A need and what there is as people read them: GiB with one digit, rounded against us.

It must not round in our favour: a need goes up, a possession down, and a shortfall is the
difference of the two as they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.units import GIB, ceil_div, gib_down, gib_up

if TYPE_CHECKING:
    from plimsoll.engines.base import Estimate


def need(estimate: Estimate) -> str:
    """What a GPU must hold, rounded up."""
    return gib_up(estimate.required)


def have(estimate: Estimate) -> str:
    """What the engine may use of a GPU, rounded down.

    An engine's share is cut to whole bytes; that byte is given back before rounding, else 0.92 of
    80 GiB would read 73.5.
    """
    return gib_down(estimate.usable + 1)


def shortfall(estimate: Estimate) -> str:
    """The difference of `need` and `have` as they are shown."""
    tenths = ceil_div(estimate.required * 10, GIB) - (estimate.usable + 1) * 10 // GIB
    return f"{max(0, tenths) / 10:.1f} GiB"


def error(estimate: Estimate) -> str:
    """How far off the need may be, to the side to which it may be more, rounded up."""
    over = estimate.required_high - estimate.required
    return gib_up(max(over, estimate.required - estimate.required_low))
