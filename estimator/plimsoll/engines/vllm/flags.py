"""The flags of ``vllm serve``, and how its parser splits a command line into them.

It must not know what a value means; `plimsoll.engines.vllm.arguments` does.

What vLLM's parser does, and this with it: ``--flag value`` and ``--flag=value``; underscores for
dashes before the first dot; ``--no-flag``, and ``--disable-x`` for ``--enable-x``; short flags
(``-tp 4``, ``-tp=4``); ``-O3``; ``--config.key value`` as part of ``--config``; any prefix of a
flag that only one flag has; several values after a flag that takes a list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


class Role(StrEnum):
    """What a flag is to the memory model; own: a feature's, read by `features`."""

    TYPED = "typed"
    OWN = "own"
    MEMORY = "memory"
    HARMLESS = "harmless"
    UNKNOWN = "unknown"


class Shape(StrEnum):
    """How many values a flag takes."""

    VALUE = "value"
    SWITCH = "switch"
    MANY = "many"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of the engine. field: what a typed one sets; kind: how a typed or own one is read."""

    name: str
    role: Role
    shape: Shape
    field: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a flag. index: its place among the arguments; values: as written, none for a
    switch; on: False for ``--no-flag``; written: the arguments as they stood.
    """

    index: int
    flag: Flag
    values: tuple[str, ...]
    on: bool
    written: tuple[str, ...]


_INVERSE: Final = (("--no-", "--"), ("--disable-", "--enable-"), ("--enable-", "--disable-"))


@lru_cache(maxsize=1)
def grammar() -> tuple[dict[str, Flag], dict[str, str]]:
    """All flags by name, and the aliases of some."""
    text = Path(__file__).parent.joinpath("data/flags.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    flags = {
        name: Flag(name, Role(role), Shape(shape))
        for role in (Role.MEMORY, Role.HARMLESS)
        for shape, names in data[role].items()
        for name in names
    }
    for name, (field, kind) in data["typed"].items():
        shape = Shape.SWITCH if kind == "switch" else Shape.VALUE
        flags[name] = Flag(name, Role.TYPED, shape, field, kind)
    shapes = {"switch": Shape.SWITCH, "words": Shape.MANY}
    for name, kind in data["own"].items():
        flags[name] = Flag(name, Role.OWN, shapes.get(kind, Shape.VALUE), kind=kind)
    return flags, data["aliases"]


def takes_many(name: str) -> bool:
    """Whether a flag takes a list of values as arguments of their own."""
    flag = grammar()[0].get(name)
    return flag is not None and flag.shape is Shape.MANY


def uses(arguments: Sequence[str]) -> tuple[list[Use], list[tuple[int, str]]]:
    """The flags used, in order, and arguments that belong to none, each with its place."""
    found: list[Use] = []
    stray: list[tuple[int, str]] = []
    i = 0
    while i < len(arguments):
        token = arguments[i]
        if not _is_flag(token):
            stray.append((i, token))
            i += 1
            continue
        name, has_value, value = _split(token)
        flag, on = _find(name)
        values: list[str] = [value] if has_value else []
        taken = i + 1
        if not has_value and "." in name and _has_value(arguments, taken):
            values, taken = [arguments[taken]], taken + 1
        elif not has_value and flag.shape is not Shape.SWITCH and on:
            most = len(arguments) if flag.shape is Shape.MANY else 1
            while taken < len(arguments) and len(values) < most and _has_value(arguments, taken):
                values.append(arguments[taken])
                taken += 1
        found.append(Use(i, flag, tuple(values), on, tuple(arguments[i:taken])))
        i = taken
    return found, stray


def _has_value(arguments: Sequence[str], place: int) -> bool:
    return place < len(arguments) and not _is_flag(arguments[place])


def _is_flag(token: str) -> bool:
    """Whether a token is a flag: a dash and no number (``-1`` is a value)."""
    return len(token) > 1 and token[0] == "-" and not token[1:2].isdigit() and token[1] != "."


def _split(token: str) -> tuple[str, bool, str]:
    """A token's flag in its dashed form, whether it carries a value, and the value."""
    if token.startswith("-O") and len(token) > 2:
        return "-O", True, token[3:] if token[2] == "=" else token[2:]
    name, sign, value = token.partition("=")
    if name.startswith("--"):
        head, dot, tail = name.partition(".")
        name = head.replace("_", "-") + dot + tail
    return name, bool(sign), value


def _find(name: str) -> tuple[Flag, bool]:
    """The flag of a name, and False where the name switches it off."""
    flags, aliases = grammar()
    base = name.partition(".")[0]
    base = aliases.get(base, base)
    if base in flags:
        return flags[base], True
    off = _inverse(base)
    if off in flags and flags[off].shape is Shape.SWITCH:
        return flags[off], False
    close = {f for f in (*flags, *aliases) if f.startswith(base)} if len(base) > 4 else set()
    close = {aliases.get(f, f) for f in close}
    if len(close) == 1:
        return flags[close.pop()], True
    return Flag(base, Role.UNKNOWN, Shape.OPTIONAL), True


def _inverse(name: str) -> str:
    for prefix, other in _INVERSE:
        if name.startswith(prefix):
            return other + name.removeprefix(prefix)
    return name
