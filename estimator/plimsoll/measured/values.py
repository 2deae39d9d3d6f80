"""Single values of a row of any shape: numbers, counts, booleans and words, or None.

It must not raise on any value, and it must not read a value that is not plainly what is asked for:
``"about 8"`` is unknown, not 8.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Final

MOST_TEXT: Final = 65536
"""Characters of a text that are looked at."""
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})
_NOTHING: Final = frozenset({"", "null", "none", "unknown", "n/a", "na", "?", "-"})
_UNITS: Final = (" gib", " gb", "gib", "gb")


def number(value: object) -> float | None:
    """A finite number, written as one or as text (``"61.66"``, ``"61.66 GiB"``)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip().lower()
        for unit in _UNITS:
            text = text.removesuffix(unit)
        try:
            value = float(text) if len(text) <= 32 else None
        except ValueError:
            return None
    if not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and abs(found) < 1e15 else None


def whole(value: object, most: int = 10**9) -> int | None:
    """A whole number from 1 to `most`."""
    found = number(value)
    if found is None or found != int(found) or not 1 <= found <= most:
        return None
    return int(found)


def yes_or_no(value: object) -> bool | None:
    """A boolean, written as one, as 0 or 1, or as a word."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    word = words(value)
    return True if word in _YES else False if word in _NO else None


def words(value: object) -> str:
    """A text in lower case; empty for anything else, and for words that mean nothing is known."""
    if not isinstance(value, str):
        return ""
    text = " ".join(value[:MOST_TEXT].lower().split())
    return "" if text in _NOTHING else text


def share(value: object) -> Decimal | None:
    """A share above 0 and at most 1, exactly as written."""
    if isinstance(value, bool) or number(value) is None:
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() and 0 < found <= 1 else None
