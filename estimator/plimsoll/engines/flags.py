"""An engine's command line, read and written by its table of flags (``data/flags.json``).

A table says which abilities the engine's own parser has, and of every flag what it is to us:

    fields     sets a field of `EngineSettings` or a part of the split: flag -> [field, kind]
    options    sets an option that only this engine has: flag -> [option, kind]
    memory     touches memory and is not modelled: goes to `EngineSettings.unread`, by shape
    harmless   is passed on, by shape
    model      names a model, which is the request's to say: a problem
    aliases    other names; written_as: the name under which a flag is written
    harmless_values      values with which a flag of memory touches none
    can_shrink_weights   flags of memory with which weights may be smaller than estimated: with
                         these values, or with any if none are named

What is in no table is passed on with a warning.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import AskedSplit, Reading
from plimsoll.engines.flag_values import A_SWITCH, value
from plimsoll.errors import Unreadable
from plimsoll.findings import Finding, Rule, finding
from plimsoll.paths import Field
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from plimsoll.engines.base import EngineSettings, Estimate
    from plimsoll.findings import Fact

_TWO_IN_ONE: Final = re.compile(r"--?[A-Za-z][\w.-]*(?:\s|=\S*\s+--?[A-Za-z])")
_INVERSE: Final = (("--no-", "--"), ("--disable-", "--enable-"), ("--enable-", "--disable-"))


class Ability(StrEnum):
    """What an engine's parser understands."""

    EQUALS = "equals"
    """``--flag=value``."""
    PREFIXES = "prefixes"
    """Any beginning that only one flag has."""
    NEGATION = "negation"
    """``--no-flag``, and ``--disable-x`` for ``--enable-x``."""
    DOTTED = "dotted"
    """``--config.key value`` as a part of ``--config``."""
    UNDERSCORES = "underscores"
    """Underscores for dashes in long flags."""
    DASHED_VALUES = "dashed values"
    """A value may begin with a dash."""
    HUMAN_INTEGERS = "human integers"
    """``8k`` and ``8K`` for whole numbers."""
    ONE_ARGUMENT_PER_ENTRY = "one argument per entry"
    """A flag with its value in one entry is a problem."""
    JOINED = "joined"
    """What is not modelled is passed on as one ``--flag=value``."""


class FlagRole(StrEnum):
    """What a flag is to the memory model."""

    FIELD = "field"
    OPTION = "option"
    MEMORY = "memory"
    HARMLESS = "harmless"
    MODEL = "model"
    UNKNOWN = "unknown"


class FlagShape(StrEnum):
    """How many values a flag takes."""

    VALUE = "value"
    SWITCH = "switch"
    MANY = "many"
    OPTIONAL = "optional"


_SHAPES: Final = {
    "switch": FlagShape.SWITCH,
    "off": FlagShape.SWITCH,
    "optional": FlagShape.OPTIONAL,
    "words": FlagShape.MANY,
}
"""The shapes of kinds; the others take one value."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of an engine. sets: the field or option that it sets; kind: how its value is read."""

    name: str
    role: FlagRole
    shape: FlagShape
    sets: str = ""
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

    def finding(self, rule: Rule, given: object = None, **facts: Fact) -> Finding:
        """A finding about this use."""
        return finding(rule, Field.EXTRA_ARGS, given, self.index, **facts)


@dataclass(frozen=True)
class Grammar:
    """The flags of an engine by name. title: the engine's name as people write it."""

    title: str
    flags: Mapping[str, Flag]
    aliases: Mapping[str, str]
    abilities: frozenset[Ability]
    written_as: Mapping[str, str]
    harmless_values: Mapping[str, Sequence[str]]
    can_shrink_weights: Mapping[str, Sequence[str]]
    attached: tuple[str, ...]

    def find(self, name: str) -> tuple[Flag, bool]:
        """The flag of a name as written, and False if the name switches it off."""
        name = self._normal(name)
        if Ability.DOTTED in self.abilities:
            name = name.partition(".")[0]
        name = self.aliases.get(name, name)
        if name in self.flags:
            return self.flags[name], True
        if Ability.NEGATION in self.abilities:
            inverse = self.flags.get(_inverse(name))
            if inverse is not None and inverse.shape is FlagShape.SWITCH:
                return inverse, False
        if Ability.PREFIXES in self.abilities and name.strip("-"):
            begun = {flag for flag in (*self.flags, *self.aliases) if flag.startswith(name)}
            begun = {self.aliases.get(flag, flag) for flag in begun}
            if len(begun) == 1:
                return self.flags[begun.pop()], True
        return Flag(name, FlagRole.UNKNOWN, FlagShape.OPTIONAL), True

    def uses(self, args: Sequence[str]) -> Iterator[Use | tuple[int, str]]:
        """The flags used, in order; arguments that belong to none as (place, text)."""
        at = 0
        while at < len(args):
            token, start = args[at], at
            at += 1
            if token == "--":
                yield from enumerate(args[start:], start)
                return
            if not is_flag(token):
                yield start, token
                continue
            name, has_value, value = self._split(token)
            flag, on = self.find(name)
            values = [value] if has_value else []
            dotted = Ability.DOTTED in self.abilities and "." in name
            takes = 0 if has_value or not on else self._most_values(flag, dotted)
            dashed = (
                Ability.DASHED_VALUES in self.abilities and flag.shape is not FlagShape.OPTIONAL
            )
            while len(values) < takes and at < len(args):
                if is_flag(args[at]) and not (dashed and not values):
                    break
                values.append(args[at])
                at += 1
            yield Use(start, flag, tuple(values), on, tuple(args[start:at]))

    def _most_values(self, flag: Flag, dotted: bool) -> int:
        """How many of the arguments that follow a flag may be its values."""
        if flag.shape is FlagShape.MANY and not dotted:
            return 1 << 20
        return 0 if flag.shape is FlagShape.SWITCH and not dotted else 1

    def _normal(self, name: str) -> str:
        """A name with dashes for underscores, before its first dot if the engine takes dots."""
        if Ability.UNDERSCORES not in self.abilities or not name.startswith("--"):
            return name
        if Ability.DOTTED not in self.abilities:
            return name.replace("_", "-")
        head, dot, tail = name.partition(".")
        return head.replace("_", "-") + dot + tail

    def _split(self, token: str) -> tuple[str, bool, str]:
        """A token's flag, whether it carries a value, and the value."""
        for short in self.attached:
            if token.startswith(short) and len(token) > len(short):
                return short, True, token.removeprefix(short).removeprefix("=")
        if Ability.EQUALS not in self.abilities:
            return token, False, ""
        name, sign, value = token.partition("=")
        return name, bool(sign), value

    def write(self, values: Mapping[str, object], options: Mapping[str, object]) -> list[str]:
        """The flags that set fields and options, in the order of the table.

        What is None or empty is left out.
        """
        out: list[str] = []
        for flag in self._settable:
            given = values if flag.role is FlagRole.FIELD else options
            value = given.get(flag.sets)
            if value is not None:
                out += self._written(flag, value)
        return out

    @cached_property
    def _settable(self) -> tuple[Flag, ...]:
        """The flags that set a field or an option; the many others are never written."""
        roles = (FlagRole.FIELD, FlagRole.OPTION)
        return tuple(flag for flag in self.flags.values() if flag.role in roles)

    def _written(self, flag: Flag, value: object) -> list[str]:
        name = self.written_as.get(flag.name, flag.name)
        if value is None or value == "" or value == ():
            return []
        if flag.shape is FlagShape.SWITCH:
            off = f"--no-{name.removeprefix('--')}"
            if value is False and flag.kind == "switch" and Ability.NEGATION in self.abilities:
                return [off]
            return [name] if value is (flag.kind == "switch") else []
        if value is False:
            return []
        if isinstance(value, tuple):
            return [name, *value]
        text = (
            f"{value / GIB:g}" if flag.kind == "number" and isinstance(value, int) else str(value)
        )
        return [f"{name}={text}"] if Ability.EQUALS in self.abilities else [name, text]

    def passed_on(self, settings: EngineSettings) -> Iterator[str]:
        """The user's own flags as arguments again."""
        for text in (*settings.unread, *settings.flags):
            head, sign, rest = text.partition(" ")
            if (
                not sign
                or "=" in head
                or (Ability.JOINED in self.abilities and not self._many(head))
            ):
                yield text
                continue
            yield head
            yield from rest.split(" ") if self._many(head) else (rest,)

    def _many(self, name: str) -> bool:
        return self.find(name)[0].shape is FlagShape.MANY


def values_to_write(estimate: Estimate, settings: EngineSettings) -> dict[str, object]:
    """What fields set as estimated: the settings, the split, the context."""
    values: dict[str, object] = {f.name: getattr(settings, f.name) for f in fields(settings)}
    split = estimate.parallelism
    return values | {
        "tensor": split.tensor,
        "pipeline": split.pipeline if split.pipeline > 1 else None,
        "data": split.data if split.data > 1 else None,
        "expert": split.expert or None,
        "max_model_len": estimate.max_model_len,
    }


def is_flag(token: str) -> bool:
    """Whether a token is a flag: a dash and no number (``-1`` is a value)."""
    return len(token) > 1 and token[0] == "-" and not token[1].isdigit() and token[1] != "."


def _inverse(name: str) -> str:
    for prefix, other in _INVERSE:
        if name.startswith(prefix):
            return other + name.removeprefix(prefix)
    return name


@lru_cache(maxsize=8)
def grammar(title: str, file: Path) -> Grammar:
    """The grammar in a file, read once."""
    data: dict[str, Any] = json.loads(file.read_text("utf-8"))
    flags = {
        name: Flag(name, role, _SHAPES.get(kind, FlagShape.VALUE), sets, kind)
        for role, table in ((FlagRole.FIELD, "fields"), (FlagRole.OPTION, "options"))
        for name, (sets, kind) in data[table].items()
    }
    for role in (FlagRole.MEMORY, FlagRole.HARMLESS):
        for shape, names in data[role].items():
            flags |= {name: Flag(name, role, FlagShape(shape)) for name in names}
    flags |= {name: Flag(name, FlagRole.MODEL, FlagShape.VALUE) for name in data["model"]}
    return Grammar(
        title,
        flags,
        data["aliases"],
        frozenset(map(Ability, data["abilities"])),
        data["written_as"],
        data["harmless_values"],
        data["can_shrink_weights"],
        tuple(data["attached"]),
    )


@dataclass(frozen=True, slots=True)
class Command:
    """What a command line says beside the typed settings.

    settings, split: with the flags filled in. options: the engine's own, by name. places: where
    each of them stands.
    """

    settings: EngineSettings
    split: AskedSplit
    options: dict[str, Any]
    places: dict[str, int]
    problems: list[Finding]
    warnings: list[Finding]

    def reading(self, settings: EngineSettings, split: AskedSplit | None = None) -> Reading:
        """What was read, with the settings and the split as the engine understands them."""
        split = self.split if split is None else split
        return Reading(settings, split, tuple(self.problems), tuple(self.warnings))


def read(
    grammar: Grammar, args: Sequence[str], settings: EngineSettings, asked: AskedSplit
) -> Command:
    """Read extraArgs beside the typed settings and the typed split; never raises.

    Of a flag given twice the last one holds, with a warning.
    """
    typed: dict[str, Any] = {f.name: getattr(settings, f.name) for f in fields(settings)}
    typed |= asdict(asked)
    command = Command(settings, asked, {}, {}, [], [])
    said: dict[str, Any] = {}
    unread, flags = list(settings.unread), list(settings.flags)
    shrinking = list(settings.shrinking)
    for use in grammar.uses(args):
        if isinstance(use, tuple):
            index, text = use
            rule = Rule.STRAY_ARGUMENT
            command.warnings.append(finding(rule, Field.EXTRA_ARGS, text, index))
        elif Ability.ONE_ARGUMENT_PER_ENTRY in grammar.abilities and _TWO_IN_ONE.match(
            use.written[0]
        ):
            command.problems.append(use.finding(Rule.TWO_ARGUMENTS_IN_ONE, use.written[0]))
        elif use.flag.role is FlagRole.FIELD:
            if use.flag.kind == "length" and use.values and use.values[0].lower() in _BY_ITSELF:
                unread.append(f"{use.flag.name}=auto")
            else:
                _take_field(grammar, use, typed, said, command)
        elif use.flag.role is FlagRole.OPTION:
            _take_option(grammar, use, command)
        elif use.flag.role is FlagRole.MODEL:
            command.problems.append(use.finding(Rule.ANOTHER_MODEL, " ".join(use.written)))
        elif _may_be_passed_on(grammar, use, command):
            text = _text(grammar, use)
            (unread if _touches_memory(grammar, use) else flags).append(text)
            if _can_shrink_weights(grammar, use):
                shrinking.append(text)
    split = {name: said.pop(name, typed[name]) for name in asdict(asked)}
    settings = replace(
        settings,
        **said,
        unread=tuple(unread),
        shrinking=tuple(shrinking),
        flags=tuple(flags),
    )
    return replace(command, settings=settings, split=AskedSplit(**split))


_BY_ITSELF: Final = ("auto", "-1")
"""Lengths that the engine shortens until they fit, so that none is certain to be refused."""


def _value(grammar: Grammar, use: Use) -> Any:
    dotted = use.written[0].partition("=")[0].partition(".")[2]
    human = Ability.HUMAN_INTEGERS in grammar.abilities
    return value(use.flag.kind, use.values, on=use.on, dotted=dotted, human=human)


def _take_field(
    grammar: Grammar, use: Use, typed: Mapping[str, Any], said: dict[str, Any], command: Command
) -> None:
    """One flag that has a field: its value is taken, or what is wrong with it is noted."""
    field = use.flag.sets
    try:
        read = _value(grammar, use)
    except Unreadable as error:
        command.problems.append(_unreadable(use, error))
        return
    given = typed[field]
    if given not in (None, "") and given != read:
        shown = str(given).lower() if isinstance(given, bool) else str(given)
        rule, written = Rule.FLAG_CONTRADICTS_FIELD, " ".join(use.written)
        command.problems.append(use.finding(rule, written, typed=Field(field), value=shown))
        return
    if field in said and said[field] != read:
        command.warnings.append(use.finding(Rule.FLAG_GIVEN_TWICE, flag=use.flag.name))
    said[field] = read


def _take_option(grammar: Grammar, use: Use, command: Command) -> None:
    """One of the engine's own options."""
    option, options = use.flag.sets, command.options
    try:
        read = _value(grammar, use)
    except Unreadable as error:
        command.problems.append(_unreadable(use, error))
        return
    if use.flag.kind == "object":
        read = {**options.get(option, {}), **read}
    elif options.get(option, read) != read:
        command.warnings.append(use.finding(Rule.FLAG_GIVEN_TWICE, flag=use.flag.name))
    options[option] = read
    command.places.setdefault(option, use.index)


def _unreadable(use: Use, error: Unreadable) -> Finding:
    written, flag = " ".join(use.written), use.flag.name
    return use.finding(Rule.FLAG_UNREADABLE, written, flag=flag, wanted=error.wanted)


def _may_be_passed_on(grammar: Grammar, use: Use, command: Command) -> bool:
    """Whether a flag that sets nothing here is well-formed; what is wrong with it is noted."""
    flag, written = use.flag, use.written[0]
    if flag.shape in (FlagShape.VALUE, FlagShape.MANY) and use.on and not use.values:
        command.problems.append(use.finding(Rule.FLAG_WITHOUT_VALUE, written))
        return False
    if flag.shape is FlagShape.SWITCH and use.values:
        problem = Unreadable(use.values[0], A_SWITCH)
        command.problems.append(_unreadable(use, problem))
        return False
    if flag.role is not FlagRole.UNKNOWN:
        return True
    if Ability.EQUALS not in grammar.abilities and "=" in flag.name:
        name, _, value = flag.name.partition("=")
        rule, engine = Rule.FLAG_WITH_EQUALS, grammar.title
        command.problems.append(use.finding(rule, written, engine=engine, flag=name, value=value))
        return False
    command.warnings.append(use.finding(Rule.UNKNOWN_FLAG, written, engine=grammar.title))
    return True


def _touches_memory(grammar: Grammar, use: Use) -> bool:
    harmless = grammar.harmless_values.get(use.flag.name, ())
    return use.flag.role is FlagRole.MEMORY and not (use.values and use.values[0] in harmless)


def _can_shrink_weights(grammar: Grammar, use: Use) -> bool:
    values = grammar.can_shrink_weights.get(use.flag.name)
    if use.flag.name in _OBJECTS and use.values and not _holds_more(use):
        return False
    return values is not None and (not values or not set(values).isdisjoint(use.values))


_OBJECTS: Final = (
    "--hf-overrides",
    "--json-model-override-args",
    "--quantization-config",
    "--model-class-overrides",
    "--additional-config",
)
"""Flags of vLLM and SGLang whose value goes through ``json.loads``."""
OF_LENGTH: Final = frozenset(
    {"rope_scaling", "rope_theta", "rope_parameters", "max_position_embeddings", "yarn"}
)
"""Keys of a model's config that say how long its context is, and nothing of its weights."""


def _holds_more(use: Use) -> bool:
    """Whether an object holds what weights may hang on; one that is no JSON starts no engine."""
    dotted = use.written[0].partition("=")[0].partition(".")[2]
    if dotted:
        return dotted.partition(".")[0] not in OF_LENGTH
    try:
        found = json.loads(use.values[0])
    except (ValueError, RecursionError):
        return "$" in use.values[0]  # a variable that somebody may fill in
    return isinstance(found, dict) and not OF_LENGTH.issuperset(found)


def _text(grammar: Grammar, use: Use) -> str:
    """A use as one text: as an argument, or with its values after spaces."""
    if Ability.JOINED not in grammar.abilities:
        return " ".join(use.written)
    if use.flag.shape is FlagShape.SWITCH and not use.values:
        return use.flag.name if use.on else "--no-" + use.flag.name.removeprefix("--")
    return ("=" if len(use.written) == 2 else " ").join(use.written)
