"""Figures as the page and the pictures write them.

It must not compute an error.
"""

from __future__ import annotations

from typing import Final

NONE: Final = "–"


def percent(value: float | None) -> str:
    """Per cent with as many digits as it takes to tell small ones apart."""
    if value is None:
        return NONE
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.095 else 3
    return f"{value:,.{digits}f} %"


def amount(value: float | None, *, gib: bool) -> str:
    """GiB with three digits after the point; tokens and requests with none or two."""
    if value is None:
        return NONE
    if gib:
        return f"{value:,.3f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def cell(text: str) -> str:
    """A text that may stand in a table of Markdown."""
    return " ".join(text.replace("|", "/").split())
