"""A row's ``other_args``: the engine's flags that it states, in whichever way it states them.

It must not guess at a value; a feature that is named without its value stays a feature that is
named.

    {'max_model_len': 4096}     the engine's own line of all arguments that are not default:
                                what it does not name is at its default
    --block-size=128 ...        flags
    cpu_offload_gb=1            settings by name
    MTP 3 tokens, DCP4 ...      features in people's words, turned into the flags that bring them
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
