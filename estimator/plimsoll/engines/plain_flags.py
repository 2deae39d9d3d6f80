"""An engine's command line read against its table of flags; for engines whose parser is plain.

It must not know an engine: which flags there are, and what they set, is in the engine's own file.
vLLM's parser is a richer one and has its own reader.

    typed      sets a field, a part of the split, or one of `EngineSettings.own`
    memory     touches memory and is not read: goes to `EngineSettings.unread`
    harmless   is passed on
    unknown    is passed on with a warning
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import AskedSplit, Reading
from plimsoll.errors import Unreadable
from plimsoll.findings import Fact, Finding, Rule, finding
from plimsoll.paths import Field
from plimsoll.units import MAX_BYTES, parse_fraction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from plimsoll.engines.base import EngineSettings

SPLIT: Final = ("tensor", "pipeline", "data", "expert")
_WORD: Final = re.compile(r"[A-Za-z0-9_.,:/-]{1,256}")


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a flag. index: its place; name: the flag's first name, as in the table, or as
    written where it is not there; value: None where there is none; written: as it stood.
    """

    index: int
    name: str
    value: str | None
    written: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """The flags of an engine.

    typed: name to (what it sets, kind): ``switch``, ``off``, ``integer`` (from 1), ``count``
    (from 0), ``share``, ``word`` or ``optional`` (a word or nothing). What it sets is a field's
    name, or ``own:`` and the name there.
    memory, harmless: name to whether it takes a value. aliases: other names.
    equals: whether ``--flag=value`` is understood. title: the engine's name.
    """

    title: str
    typed: Mapping[str, tuple[str, str]]
    memory: Mapping[str, bool]
    harmless: Mapping[str, bool]
    aliases: Mapping[str, str]
    equals: bool
    normal: Callable[[str], str] = field(default=lambda name: name)

    def valued(self, name: str) -> bool | None:
        """Whether a flag takes a value; None for one that is not known."""
        if name in self.typed:
            kind = self.typed[name][1]
            return None if kind == "optional" else kind not in ("switch", "off")
        if name in self.memory:
            return self.memory[name]
        return self.harmless.get(name)

    def find(self, written: str) -> str:
        """A flag's first name."""
        name = self.normal(written)
        return self.aliases.get(name, name)

    def uses(self, args: Sequence[str]) -> Iterator[Use | tuple[int, str]]:
        """The flags used, in order; arguments that belong to none as (place, text)."""
        at = 0
        while at < len(args):
            token, start = args[at], at
            at += 1
            if not is_flag(token):
                yield start, token
                continue
            head, sign, value = token.partition("=") if self.equals else (token, "", "")
            name = self.find(head)
            if sign:
                yield Use(start, name, value, (token,))
                continue
            valued = self.valued(name)
            if valued is not False and at < len(args) and (valued or not is_flag(args[at])):
                at += 1
                yield Use(start, name, args[at - 1], (token, args[at - 1]))
            else:
                yield Use(start, name, None, (token,))


def is_flag(token: str) -> bool:
    """Whether a token is a flag: a dash and no number (``-1`` is a value)."""
    return len(token) > 1 and token[0] == "-" and not token[1].isdigit() and token[1] != "."


def read(
    grammar: Grammar,
    args: Sequence[str],
    settings: EngineSettings,
    asked: AskedSplit,
) -> Reading:
    """Read extraArgs beside the typed settings and the typed split; never raises.

    Of a flag given twice the last one holds, with a warning.
    """
    typed: dict[str, Any] = {f.name: getattr(settings, f.name) for f in fields(settings)}
    typed |= asdict(asked)
    own, said = dict(settings.own), dict[str, Any]()
    problems: list[Finding] = []
    warnings: list[Finding] = []
    unread, flags = list(settings.unread), list(settings.flags)
    for use in grammar.uses(args):
        if isinstance(use, tuple):
            index, text = use
            warnings.append(finding(Rule.STRAY_ARGUMENT, Field.EXTRA_ARGS, text, index))
            continue
        if use.name in grammar.typed:
            target, kind = grammar.typed[use.name]
            try:
                value = _value(kind, use.value)
            except Unreadable as error:
                given = " ".join(use.written)
                problems.append(
                    _at(use, Rule.FLAG_UNREADABLE, given, flag=use.name, wanted=error.wanted)
                )
                continue
            if target.startswith("own:"):
                name = target.removeprefix("own:")
                if own.get(name, str(value)) != str(value):
                    warnings.append(_at(use, Rule.FLAG_GIVEN_TWICE, flag=use.name))
                own[name] = str(value)
                continue
            _take(target, value, use, typed, said, problems, warnings)
            continue
        if not grammar.equals and "=" in use.name:
            problems.append(_no_equals(grammar, use))
            continue
        if use.name not in grammar.memory and use.name not in grammar.harmless:
            given = use.written[0]
            warnings.append(_at(use, Rule.UNKNOWN_FLAG, given, engine=grammar.title))
        elif grammar.valued(use.name) and use.value is None:
            problems.append(_at(use, Rule.FLAG_WITHOUT_VALUE, use.written[0]))
            continue
        (unread if use.name in grammar.memory else flags).append(" ".join(use.written))
    split = AskedSplit(**{name: said.pop(name, typed[name]) for name in SPLIT})
    made = replace(
        settings, **said, own=tuple(own.items()), unread=tuple(unread), flags=tuple(flags)
    )
    return Reading(made, split, tuple(problems), tuple(warnings))


def passed_on(settings: EngineSettings) -> Iterator[str]:
    """The user's own flags as arguments again."""
    for text in (*settings.unread, *settings.flags):
        name, sign, value = text.partition(" ")
        yield name
        if sign:
            yield value


def _at(use: Use, rule: Rule, given: object = None, **facts: Fact) -> Finding:
    """A finding about one use of a flag."""
    return finding(rule, Field.EXTRA_ARGS, given, use.index, **facts)


def _no_equals(grammar: Grammar, use: Use) -> Finding:
    flag, _, value = use.name.partition("=")
    given = use.written[0]
    return _at(use, Rule.FLAG_WITH_EQUALS, given, engine=grammar.title, flag=flag, value=value)


def _take(
    name: str, value: Any, use: Use, typed: Mapping[str, Any], said: dict[str, Any],
    problems: list[Finding], warnings: list[Finding],
) -> None:  # fmt: skip
    """One flag that has a field: its value is taken, or the contradiction is noted."""
    given = typed[name]
    if given not in (None, "") and given != value:
        written, rule = " ".join(use.written), Rule.FLAG_CONTRADICTS_FIELD
        problems.append(_at(use, rule, written, typed=Field(name), value=_plain(given)))
        return
    if name in said and said[name] != value:
        warnings.append(_at(use, Rule.FLAG_GIVEN_TWICE, flag=use.name))
    said[name] = value


def _value(kind: str, text: str | None) -> Any:
    """The value of a typed flag. Raises `Unreadable`."""
    if kind in ("switch", "off"):
        if text is not None:
            raise Unreadable(text, "a switch without a value")
        return kind == "switch"
    if kind == "optional":
        return "on" if text is None else text.strip().lower()
    if text is None:
        raise Unreadable("", "a flag with a value")
    text = text.strip()
    if kind == "share":
        return parse_fraction(text)
    if kind == "word":
        if not _WORD.fullmatch(text):
            raise Unreadable(text, "a word")
        return text
    least = 0 if kind == "count" else 1
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= MAX_BYTES:
        raise Unreadable(text, f"a whole number from {least} on")
    return int(text)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
