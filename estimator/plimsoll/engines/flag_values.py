"""The value of a flag, by its kind: what ``data/flags.json`` of an engine calls it.

switch, off    no value: True, or False for ``off``
optional       a word or nothing, which is ``on``
integer, count, human, length, whole, batch   whole numbers; from 1 on, but count and whole
               from 0 and batch also below; the first two in digits, the others also ``8k``
share, ratio, number   above 0 and at most 1; 0 or more; GiB in bytes
word, name, text, words, object   texts of fewer or more characters, several, JSON
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Unreadable
from plimsoll.units import GIB, MAX_BYTES, parse_fraction, parse_human_integer, parse_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

A_SWITCH: Final = "a switch without a value"
"""What is wanted of a flag that is one."""
_WORD: Final = re.compile(r"[A-Za-z0-9_.,:/-]{1,256}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_PAIRS: Final = re.compile(r"[a-z_]{1,16}=[0-9]{1,6}(,[a-z_]{1,16}=[0-9]{1,6})*")


def value(
    kind: str, values: tuple[str, ...], *, on: bool, dotted: str = "", human: bool = False
) -> Any:
    """The value of a flag of a kind. Raises `Unreadable`.

    values: as written; on: False for ``--no-flag``; dotted: the key after the flag's first dot;
    human: whether whole numbers may be ``8k``.
    """
    if kind in ("switch", "off"):
        if values:
            raise Unreadable(values[0], A_SWITCH)
        return on if kind == "switch" else False
    if kind == "optional":
        return values[0].strip().lower() if values else "on"
    if not values or not on:
        raise Unreadable("", "a flag with a value")
    text = values[0].strip()
    if kind == "object":
        return _nested(dotted, text) if dotted else _object(text)
    if kind == "words":
        return values
    if kind in ("integer", "count"):
        return _digits(text, 0 if kind == "count" else 1, human=human)
    return _PARSERS[kind](text)


def _digits(text: str, least: int, *, human: bool) -> int:
    """A whole number in digits, or as people write it if the engine takes that."""
    if human:
        with suppress(Unreadable):
            text = str(parse_human_integer(text))
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= MAX_BYTES:
        raise Unreadable(text, f"a whole number from {least} on")
    return int(text)


def _batch(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,15}", text):
        raise Unreadable(text, "a whole number of tokens, or -1 for none")
    return int(text)


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise Unreadable(text, "a word")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise Unreadable(text, "a word")
    return text


def _whole(text: str) -> int:
    return 0 if text == "0" else parse_human_integer(text)


def _ratio(text: str) -> str:
    """A ratio as it is written, once it is sure that it can be read."""
    parse_ratio(text)
    return text


def _gibibytes(text: str) -> int:
    """GiB with a fraction, in bytes."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Unreadable(text, "a number of GiB") from None
    if not value.is_finite() or not 0 <= value <= MAX_BYTES // GIB:
        raise Unreadable(text, "a number of GiB, 0 or more")
    return int(value * GIB)


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "share": parse_fraction,
    "human": parse_human_integer,
    "length": parse_human_integer,
    "batch": _batch,
    "whole": _whole,
    "word": _word,
    "name": _name,
    "ratio": _ratio,
    "number": _gibibytes,
    "text": lambda text: text[:256],
}
"""How a value is read, by kind. Each raises `Unreadable`."""


def _object(text: str) -> dict[str, Any]:
    """A JSON object, or pairs with ``=``. Raises `Unreadable`."""
    if _PAIRS.fullmatch(text):
        pairs = (pair.partition("=") for pair in text.split(","))
        return {name: int(value) for name, _, value in pairs}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Unreadable(text[:80], "a JSON object")
    return value


def _nested(dotted: str, text: str) -> dict[str, Any]:
    """``a.b`` and a value as nested objects; the value as JSON if it is some, else as text."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    for key in reversed(dotted.split(".")):
        value = {key.replace("-", "_"): value}
    nested: dict[str, Any] = value
    return nested
