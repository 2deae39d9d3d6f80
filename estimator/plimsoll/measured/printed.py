"""A row's ``other_args``: the engine's flags that it states, in whichever way it states them.

It must not guess at a value; a feature that is named without its value stays a feature that is
named.

    {'max_model_len': 4096}     the engine's own line of all arguments that are not default:
                                what it does not name is at its default
    --block-size=128 ...        flags
    cpu_offload_gb=1            settings by name
    MTP 3 tokens, DCP4 ...      features in people's words, turned into the flags that bring them

Settings as Python prints them in a log line: ``{'a': 1}``, ``Namespace(a=1)``, ``a=1, b=2``.

It must not evaluate: a value is a literal, or the text that stands there.
"""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.measured.values import MOST_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator


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


_SAID: Final = re.compile(r"\b([a-z][a-z0-9_]{3,60})\s*=\s*([\w.\-]{1,60})")
_PAIR: Final = re.compile(
    r"[{,]\s*'([a-z][a-z0-9_]{3,60})': ('[\w.\-]{1,60}'|[\d.]{1,20}|True|False)(?=,|})"
)
_DCP: Final = re.compile(r"\bdcp[ =]?(\d{1,3})\b", re.IGNORECASE)
_FEATURES: Final = (
    (re.compile(r"\b(mtp|eagle\w*|medusa|specul\w*|dspark|draft\w*|ngram)\b", re.I),
     "--speculative-config"),
    (re.compile(r"\blora\b", re.I), "--enable-lora"),
    (re.compile(r"\blmcache|kv[ -]?transfer|nixl\b", re.I), "--kv-transfer-config"),
    (re.compile(r"\bkv[ -]?offload", re.I), "--kv-offloading-size"),
)  # fmt: skip
_NO_GRAPHS: Final = re.compile(r"cudagraph_mode\W{0,4}none\b|no cuda ?graphs?", re.IGNORECASE)
_NOT_THE_ENGINE: Final = frozenset({"model", "model_tag", "host", "port", "config", "tokenizer"})
"""Arguments of the log's line that say nothing on memory and whose values may be anything."""


@dataclass(frozen=True, slots=True)
class Said:
    """What ``other_args`` says.

    args: flags as on a command line. whole: it lists every argument that is not at its default.
    features: flags that are in force with values that are not stated. no_graphs: CUDA graphs are
    off though the engine is not eager.
    """

    args: tuple[str, ...] = ()
    whole: bool = False
    features: tuple[str, ...] = ()
    no_graphs: bool = False


def read(value: object) -> Said:
    """What a row's ``other_args`` says; never raises."""
    if isinstance(value, dict):
        return Said(_from_mapping(value), True)
    if isinstance(value, (list, tuple)):
        value = " ".join(str(item) for item in value[:256])
    if not isinstance(value, str) or not value.strip():
        return Said()
    text = value[:MOST_TEXT].strip()
    if text.startswith("{"):
        found = _literal(text)
        if isinstance(found, dict):
            return Said(_from_mapping(found), True)
        return Said(_from_mapping(dict(_cut_off(text))))
    return _from_words(text)


def _cut_off(text: str) -> Iterator[tuple[object, object]]:
    """The plain settings in a printed mapping whose end is missing; names that come twice, once."""
    for name, value in _PAIR.findall(text):
        yield name, _literal(value)


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _from_mapping(found: dict[object, object]) -> tuple[str, ...]:
    args: list[str] = []
    for key, value in list(found.items())[:256]:
        if not isinstance(key, str) or key in _NOT_THE_ENGINE or value is None:
            continue
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            args.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, (list, tuple)):
            args += [flag, *(str(item) for item in value)]
        else:
            args.append(f"{flag}={value}")
    return tuple(args)


def _from_words(text: str) -> Said:
    try:
        tokens = shlex.split(text)
    except ValueError:
        tokens = text.split()
    args: list[str] = []
    loose: list[str] = []
    open_flag = False
    for token in tokens:
        bare = token.rstrip(",;")
        if bare.startswith("--") and len(bare) > 2:
            args.append(bare)
            open_flag = "=" not in bare and bare == token
        elif open_flag:
            args.append(bare)
            open_flag = False
        else:
            loose.append(token)
    rest = " ".join(loose)
    given = {arg.split("=")[0] for arg in args}
    features = [flag for pattern, flag in _FEATURES if pattern.search(rest) and flag not in given]
    match = _DCP.search(rest)
    if match:
        args.append(f"--decode-context-parallel-size={match[1]}")
    args += [
        f"--{name.replace('_', '-')}={value}"
        for name, value in _SAID.findall(rest)
        if f"--{name.replace('_', '-')}" not in given
    ]
    return Said(tuple(args), False, tuple(features), bool(_NO_GRAPHS.search(text)))
