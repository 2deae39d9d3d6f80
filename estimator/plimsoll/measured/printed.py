"""What a row or a log line holds, as people and engines write it: values, settings, arguments.

Nothing here raises on any value, and a value that is not plainly what is asked for is unknown:
``"about 8"`` is not 8. Nothing is evaluated either: a value is a literal, or the text itself.

Settings that a log line prints, with any of these brackets or none:

    {'a': 1}     Namespace(a=1)     a=1, b=2

The engine's arguments that a row states (``other_args``), in any of these ways:

    {'max_model_len': 4096}     the engine's own line of every argument that is not at its default:
                                what it does not name is at its default
    --block-size=128 ...        flags
    cpu_offload_gb=1            settings by name
    MTP 3 tokens, DCP4 ...      features in people's words, turned into the flags that bring them
"""

from __future__ import annotations

import ast
import math
import re
import shlex
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_TEXT: Final = 65536
"""Characters of a text that are looked at."""
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})
_NOTHING: Final = frozenset({"", "null", "none", "unknown", "n/a", "na", "?", "-"})
_UNITS: Final = (" gib", " gb", "gib", "gb")
MOST_VALUE: Final = 4096
"""Characters of a value that are kept."""
_OPEN: Final = "([{"
_CLOSE: Final = ")]}"
_NAME: Final = re.compile(r"\s*(?:'(?P<quoted>\w{1,80})'\s*:|(?P<bare>[A-Za-z_]\w{0,79})\s*=)\s*")


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
        figure = float(value)
    except OverflowError:
        return None
    return figure if math.isfinite(figure) and abs(figure) < 1e15 else None


def whole(value: object, most: int = 10**9) -> int | None:
    """A whole number from 1 to `most`."""
    figure = number(value)
    if figure is None or figure != int(figure) or not 1 <= figure <= most:
        return None
    return int(figure)


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
        exact = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return exact if exact.is_finite() and 0 < exact <= 1 else None


def printed_settings(text: str) -> dict[str, object]:
    """The settings at the outermost level, in order; the first of a name that comes twice.

    text: what follows the line's own words, with or without the bracket that opens it. What comes
    after the bracket that closes it is not looked at; a text that is cut off gives what is whole.
    """
    text = text.lstrip()
    match = re.match(r"(?:[A-Za-z_]\w*)?[({]", text)
    start = match.end() if match else 0
    settings: dict[str, object] = {}
    for part in _parts(text, start):
        named = _NAME.match(part)
        if named:
            name = named["quoted"] or named["bare"]
            settings.setdefault(name, literal(part[named.end() :].strip()))
    return settings


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


def literal(text: str, most: int = MOST_VALUE) -> object:
    """The value of a Python literal of at most `most` characters; else that much of the text."""
    if len(text) > most:
        return text[:most]
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


_BY_NAME: Final = re.compile(r"\b([a-z][a-z0-9_]{3,60})\s*=\s*([\w.\-]{1,60})")
_PLAIN: Final = re.compile(r"[\w.\-]{1,60}")
_DCP: Final = re.compile(r"\bdcp[ =]?(\d{1,3})\b", re.IGNORECASE)
_FEATURES: Final = {
    "--speculative-config": r"\b(mtp|eagle\w*|medusa|specul\w*|dspark|draft\w*|ngram)\b",
    "--enable-lora": r"\blora\b",
    "--kv-transfer-config": r"\blmcache|kv[ -]?transfer|nixl\b",
    "--kv-offloading-size": r"\bkv[ -]?offload",
}
"""Flags, and the words by which people say that one is in force."""
_NO_GRAPHS: Final = re.compile(r"cudagraph_mode\W{0,4}none\b|no cuda ?graphs?", re.IGNORECASE)
_NOT_THE_ENGINE: Final = frozenset({"model", "model_tag", "host", "port", "config", "tokenizer"})
"""Arguments that say nothing on memory and whose values may be anything."""
_MOST_ARGUMENTS: Final = 256


@dataclass(frozen=True, slots=True)
class StatedArguments:
    """The engine's arguments that a row states.

    flags: as on a command line. whole: whether every argument that is not named is at its default.
    features: flags that are in force with values that are not stated. no_graphs: CUDA graphs are
    off though the engine is not eager.
    """

    flags: tuple[str, ...] = ()
    whole: bool = False
    features: tuple[str, ...] = ()
    no_graphs: bool = False


def stated_arguments(value: object) -> StatedArguments:
    """The arguments in a row's ``other_args``."""
    if isinstance(value, dict):
        return StatedArguments(_flags(value), True)
    if isinstance(value, (list, tuple)):
        value = " ".join(str(item) for item in value[:_MOST_ARGUMENTS])
    text = value[:MOST_TEXT].strip() if isinstance(value, str) else ""
    if not text.startswith("{"):
        return _from_words(text)
    mapping = literal(text, most=MOST_TEXT)
    if isinstance(mapping, dict):
        return StatedArguments(_flags(mapping), True)
    plain = {name: value for name, value in printed_settings(text).items() if _is_plain(value)}
    return StatedArguments(_flags(plain))


def _is_plain(value: object) -> bool:
    """Whether a setting of a mapping that is cut off, or no literal, can be taken as it stands."""
    if isinstance(value, str):
        return _PLAIN.fullmatch(value) is not None
    return isinstance(value, (bool, int, float))


def _flags(settings: Mapping[Any, object]) -> tuple[str, ...]:
    """Settings by name as the flags of a command line."""
    flags: list[str] = []
    for name, value in islice(settings.items(), _MOST_ARGUMENTS):
        if not isinstance(name, str) or name in _NOT_THE_ENGINE or value is None:
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, (list, tuple)):
            flags += [flag, *(str(item) for item in value)]
        else:
            flags.append(f"{flag}={value}")
    return tuple(flags)


def _from_words(text: str) -> StatedArguments:
    """Flags, settings by name and features in people's words, in any order."""
    try:
        tokens = shlex.split(text)
    except ValueError:
        tokens = text.split()
    flags: list[str] = []
    words: list[str] = []
    wants_value = False
    for token in tokens:
        bare = token.rstrip(",;")
        if bare.startswith("--") and len(bare) > 2:
            flags.append(bare)
            wants_value = "=" not in bare and bare == token
        elif wants_value:
            flags.append(bare)
            wants_value = False
        else:
            words.append(token)
    rest = " ".join(words)
    given = {flag.split("=")[0] for flag in flags}
    features = tuple(
        flag
        for flag, pattern in _FEATURES.items()
        if flag not in given and re.search(pattern, rest, re.IGNORECASE)
    )
    if match := _DCP.search(rest):
        flags.append(f"--decode-context-parallel-size={match[1]}")
    by_name = ((f"--{name.replace('_', '-')}", value) for name, value in _BY_NAME.findall(rest))
    flags += [f"{flag}={value}" for flag, value in by_name if flag not in given]
    return StatedArguments(tuple(flags), False, features, bool(_NO_GRAPHS.search(text)))
