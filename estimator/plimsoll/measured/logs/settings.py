"""Settings as Python prints them in a log line: ``{'a': 1}``, ``Namespace(a=1)``, ``a=1, b=2``.

It must not evaluate: a value is a literal, or the text that stands there.
"""

from __future__ import annotations

import ast
import re
from typing import Final

MOST_VALUE: Final = 4096
"""Characters of a value that are kept."""
_OPEN: Final = "([{"
_CLOSE: Final = ")]}"
_NAME: Final = re.compile(r"\s*(?:'(?P<quoted>\w{1,80})'\s*:|(?P<bare>[A-Za-z_]\w{0,79})\s*=)\s*")


def pairs(text: str) -> dict[str, object]:
    """The settings at the outermost level, in order; the first of a name that comes twice.

    text: what follows the line's own words, with or without the bracket that opens it. What comes
    after the bracket that closes it is not looked at; a text that is cut off gives what is whole.
    """
    text = text.lstrip()
    match = re.match(r"(?:[A-Za-z_]\w*)?[({]", text)
    start = match.end() if match else 0
    found: dict[str, object] = {}
    for part in _parts(text, start):
        named = _NAME.match(part)
        if named:
            name = named["quoted"] or named["bare"]
            found.setdefault(name, literal(part[named.end() :].strip()))
    return found


def _parts(text: str, start: int) -> list[str]:
    """The text between commas that stand outside of every bracket and quotation."""
    parts: list[str] = []
    depth, quote, begin, place = 0, "", start, start
    while place < len(text):
        char = text[place]
        if quote:
            if char == "\\":
                place += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            if depth == 0:
                break
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
        place += 1
    if not quote and depth == 0:
        parts.append(text[begin:place])
    return parts


def literal(text: str) -> object:
    """The value of a Python literal; else the text itself, at most `MOST_VALUE` characters."""
    if len(text) > MOST_VALUE:
        return text[:MOST_VALUE]
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    return value


def enum_value(value: object) -> object:
    """``LoadFormat.AUTO``, ``<LoadFormat.AUTO: 'auto'>`` and ``torch.float16`` as plain words."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"<[\w.]+: '([^']*)'>", value)
    if match:
        return match[1]
    return value.removeprefix("torch.")
