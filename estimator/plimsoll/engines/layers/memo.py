"""What an engine derives from an architecture alone, kept with it, and never without end.

It must not keep anything of a request: keys are splits, dtypes and versions' figures, of which a
model meets few; someone who asks for many only loses what was kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.architecture import Architecture

MOST: Final = 1024
"""Entries kept per architecture; beyond them it starts over."""

T = TypeVar("T")


def remembered(architecture: Architecture, key: tuple[object, ...], make: Callable[[], T]) -> T:
    """What `make` gives, made once per architecture and key. Only one type per first key part."""
    memo = architecture.memo
    try:
        return memo[key]  # type: ignore[return-value]
    except KeyError:
        if len(memo) >= MOST:
            memo.clear()
        made = make()
        memo[key] = made
        return made
