"""Flags read as argparse reads them: lists of values, and any prefix that only one flag has.

It must not know an engine; it adds to `plimsoll.engines.plain_flags` what that leaves out. The
grammar file names ``typed`` (flag: what it sets, kind), ``memory`` and ``harmless`` (flags by
shape: value, switch, many, optional) and ``aliases``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.plain_flags import Grammar, Use, is_flag, read
from plimsoll.errors import Unreadable
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import parse_human_integer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from plimsoll.engines.base import AskedSplit, EngineSettings, Reading

_TWO_IN_ONE: Final = re.compile(r"--?[A-Za-z][\w.-]*\s")


@dataclass(frozen=True)
class ListGrammar(Grammar):
    """A grammar in which a flag may take several values. many: those flags.

    prefixes: whether the beginning of a flag stands for it where no other begins so.
    """

    many: frozenset[str] = field(default=frozenset())
    prefixes: bool = True

    def find(self, written: str) -> str:
        """A flag's first name, prefixes and aliases resolved."""
        name = super().find(written)
        if self.valued(name) is not None or not self.prefixes or len(name) < 5:
            return name
        known = (*self.typed, *self.memory, *self.harmless, *self.aliases)
        close = {self.aliases.get(flag, flag) for flag in known if flag.startswith(name)}
        return close.pop() if len(close) == 1 else name

    def uses(self, args: Sequence[str]) -> Iterator[Use | tuple[int, str]]:
        """The flags used, a list's values with them; whole numbers as digits."""
        at = 0
        while at < len(args):
            found = next(iter(super().uses(args[at:])))
            if isinstance(found, tuple):
                yield at, found[1]
                at += 1
                continue
            written = list(found.written)
            at_end = at + len(written)
            while found.name in self.many and at_end < len(args) and not is_flag(args[at_end]):
                written.append(args[at_end])
                at_end += 1
            yield Use(at, found.name, self._plain(found), tuple(written))
            at = at_end

    def _plain(self, use: Use) -> str | None:
        """A use's value; ``8k`` and ``8K`` as digits where a whole number is read."""
        if use.value is None or self.typed.get(use.name, ("", ""))[1] != "integer":
            return use.value
        try:
            return str(parse_human_integer(use.value.strip()))
        except Unreadable:
            return use.value


@lru_cache(maxsize=8)
def list_grammar(title: str, file: Path, *, prefixes: bool) -> ListGrammar:
    """The grammar in a file, read once. title: the engine's name as people write it."""
    data: dict[str, Any] = json.loads(file.read_text("utf-8"))

    def valued(role: str) -> dict[str, bool]:
        shapes = data.get(role, {})
        return {name: shape in ("value", "many") for shape in shapes for name in shapes[shape]}

    many = frozenset(
        name for role in ("memory", "harmless") for name in data.get(role, {}).get("many", ())
    )
    typed = {name: (target, kind) for name, (target, kind) in data["typed"].items()}
    return ListGrammar(
        title,
        typed,
        valued("memory"),
        valued("harmless"),
        data.get("aliases", {}),
        True,
        many=many,
        prefixes=prefixes,
    )


def read_list(
    grammar: ListGrammar,
    args: Sequence[str],
    settings: EngineSettings,
    asked: AskedSplit,
) -> Reading:
    """Read extraArgs; an entry that holds a flag and its value both is a problem. Never raises."""
    joined = [i for i, token in enumerate(args) if _TWO_IN_ONE.match(token)]
    reading = read(grammar, args, settings, asked)
    problems = tuple(
        finding(Rule.TWO_ARGUMENTS_IN_ONE, Field.EXTRA_ARGS, args[i], i) for i in joined
    )
    return replace(reading, problems=(*problems, *reading.problems))


def passed_on(grammar: ListGrammar, settings: EngineSettings) -> Iterator[str]:
    """The user's own flags as arguments again, each value of a list an argument of its own."""
    for text in (*settings.unread, *settings.flags):
        name, sign, value = text.partition(" ")
        yield name
        if sign and grammar.find(name) in grammar.many:
            yield from value.split(" ")
        elif sign:
            yield value
