"""Which modules a quantization names: by plain names, with stars, or by regular expressions.

A foreign regular expression is never run: the few forms that configs use are translated into
steps, and all rules are held against a name together, in one pass over its characters. Of other
forms (a repeated group, a look-ahead, flags) nothing is believed.

    name        bits of one integer say which steps may come next; a character moves them all
    step        one character of a set; it may be left out (``?``, ``*``) or repeat (``*``, ``+``)
    forms       literals, ``.``, ``\\.``, ``\\d``, ``\\w``, ``[...]``, ``(a|b)``, ``(...)?``, ``*``,
                ``+``, ``?``; ``^`` at the beginning, ``$`` at the end
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_letters, digits, printable
from typing import TYPE_CHECKING, Final

from plimsoll.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_RULE: Final = 256
"""Characters of a rule; the longest known has 53."""
MAX_STARS: Final = 4
"""Quantifiers of a regular expression, and stars of a rule without one."""
_MAX_STEPS: Final = 2048
"""Steps of all ways through the alternatives of a regular expression."""
_MAX_DEPTH: Final = 8
"""Groups within groups of a regular expression."""
_MAX_SEEN: Final = 4096
"""Names whose rule is kept; a model has some dozens."""
_REGEX: Final = "re:"
_LAYER: Final = "model.layers.1."
"""What a regular expression sees before a module's name within its layer."""
_RENAMED: Final = (
    ("block_sparse_moe", "mlp"),
    ("mlp.router", "mlp.gate"),
    ("mlp.shared_expert.", "mlp.shared_experts."),
    ("mlp.shared_expert*", "mlp.shared_experts*"),
    ("experts.w1", "experts.gate_proj"),
    ("experts.w2", "experts.down_proj"),
    ("experts.w3", "experts.up_proj"),
)
_PREFIX: Final = re.compile(
    r"(?:\*\.)?(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.|"
    r"backbone\.|\*\.)?(?:layers\.(?:\*|\d+)\.)?"
)
_QUANTIFIERS: Final = re.compile(r"(?<!\\)[*+{?]")
_REPEATED_GROUP: Final = re.compile(r"\)[*+{]")

_ANY: Final = frozenset(printable)
_DIGITS: Final = frozenset(digits)
_WORD: Final = frozenset(ascii_letters + digits + "_")


@dataclass(frozen=True, slots=True)
class Step:
    """One character of a pattern. optional: it may be left out; repeats: more of it may follow."""

    characters: frozenset[str]
    optional: bool = False
    repeats: bool = False


Way = list[Step]
"""Steps from the beginning of a name to its end."""
_REST: Final = Step(_ANY, optional=True, repeats=True)


def bounded(rule: str) -> bool:
    """Whether a rule is as short and plain as those of real models are.

    A regular expression that repeats a group, or repeats much, is not.
    """
    if len(rule) > MAX_RULE:
        return False
    if not rule.startswith(_REGEX):
        return rule.count("*") <= MAX_STARS
    pattern = rule.removeprefix(_REGEX)
    quantifiers = len(_QUANTIFIERS.findall(pattern))
    return not _REPEATED_GROUP.search(pattern) and quantifiers <= MAX_STARS


def expression(rule: str) -> bool:
    """Whether a rule is a regular expression."""
    return rule.startswith(_REGEX)


def starred(rule: str) -> bool:
    """Whether a rule is a name with stars."""
    return not expression(rule) and "*" in rule


@lru_cache(maxsize=256)
def readable(rule: str) -> bool:
    """Whether it is known which modules a rule names."""
    if not rule.startswith(_REGEX):
        return True
    try:
        _expression(rule.removeprefix(_REGEX))
    except Unreadable:
        return False
    return True


class Rules:
    """Rules of a config, in order, compiled once."""

    def __init__(self, rules: Iterable[str]) -> None:
        """Rules that cannot be read name nothing; `readable` tells which those are."""
        self._plain: dict[str, int] = {}
        globs: list[tuple[Way, int]] = []
        expressions: list[tuple[Way, int]] = []
        for number, rule in enumerate(rules):
            if rule.startswith(_REGEX):
                if readable(rule):
                    ways = _expression(rule.removeprefix(_REGEX))
                    expressions += [(way, number) for way in ways]
                continue
            name = _canonical(rule)
            if "*" in name:
                globs.append((_glob(name), number))
            else:
                self._plain.setdefault(name, number)
        self._globs, self._expressions = _Steps(globs), _Steps(expressions)
        self._seen: dict[str, int | None] = {}

    def first(self, module: str) -> int | None:
        """The number of the first rule that names a module; None: none does.

        module: relative to its layer. There are few of them, so that each is looked for once.
        """
        if module not in self._seen:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            numbers = [self._plain.get(name) for name in _within(module)]
            numbers += [self._globs.first(f"{module}."), self._expressions.first(_LAYER + module)]
            self._seen[module] = min((n for n in numbers if n is not None), default=None)
        return self._seen[module]


def _within(module: str) -> Iterator[str]:
    """A module's name, and the names of what it lies in, from every dot to every dot."""
    words = module.split(".")
    for first in range(len(words)):
        for last in range(first + 1, len(words) + 1):
            yield ".".join(words[first:last])


def _canonical(rule: str) -> str:
    """A rule in the names that this package gives modules, relative to a layer."""
    text = _PREFIX.sub("", rule, count=1)
    if text.startswith("ffn."):
        text = f"mlp.{text.removeprefix('ffn.')}"
    if text.startswith("attn."):
        text = f"self_{text}"
    for there, here in _RENAMED:
        text = text.replace(there, here)
    return "lm_head" if text == "head" else text


@lru_cache(maxsize=1024)
def compiled(rules: tuple[str, ...]) -> Rules:
    """Rules that several layers or models have."""
    return Rules(rules)


class _Steps:
    """The steps of many patterns one behind the other, each of them a bit of an integer."""

    def __init__(self, patterns: list[tuple[Way, int]]) -> None:
        """patterns: the ways through each, and the number of its rule, in order."""
        every: list[Step | None] = []
        begins: list[int] = []
        self._number: dict[int, int] = {}
        for way, number in patterns:
            begins.append(len(every))
            every += [*way, None]
            self._number[len(every) - 1] = number
        steps = [(place, step) for place, step in enumerate(every) if step is not None]
        places: dict[str, list[int]] = {}
        for place, step in steps:
            for character in () if step.characters is _ANY else step.characters:
                places.setdefault(character, []).append(place)
        self._any = _mask(place for place, step in steps if step.characters is _ANY)
        self._by_character = {c: self._any | _mask(found) for c, found in places.items()}
        self._optional = _mask(place for place, step in steps if step.optional)
        self._repeats = _mask(place for place, step in steps if step.repeats)
        self._ends = _mask(self._number)
        self._begins = self._with_next(_mask(begins))

    def first(self, name: str) -> int | None:
        """The number of the first pattern that is the whole name; None: none is."""
        here = self._begins
        for character in name:
            here &= self._by_character.get(character, self._any)
            here = self._with_next((here & self._repeats) | ((here & ~self._repeats) << 1))
        here &= self._ends
        return self._number[(here & -here).bit_length() - 1] if here else None

    def _with_next(self, here: int) -> int:
        """These places, and those behind what may be left out."""
        while further := ((here & self._optional) << 1) & ~here:
            here |= further
        return here


def _mask(places: Iterable[int]) -> int:
    """An integer with these bits."""
    numbers = list(places)
    octets = bytearray(max(numbers, default=0) // 8 + 1)
    for place in numbers:
        octets[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(octets, "little")


@lru_cache(maxsize=256)
def _literal(character: str) -> Step:
    return Step(frozenset(character))


def _glob(name: str) -> Way:
    """A name with stars, and everything below what it names; a name ends with a dot here."""
    return [*(_REST if c == "*" else _literal(c) for c in name), _literal("."), _REST]


def _expression(pattern: str) -> list[Way]:
    """The ways through a regular expression that is held against the beginning of a name.

    Raises `Unreadable` for a form that is not known here.
    """
    return _Expression(pattern).ways()


class _Expression:
    """Reads a regular expression from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at, self._depth = pattern, 0, 0

    def ways(self) -> list[Way]:
        """All ways, each to the end of a name."""
        ways = self._alternatives(outermost=True)
        if self._at < len(self._pattern):
            raise self._unreadable()
        return ways

    def _unreadable(self) -> Unreadable:
        return Unreadable(self._pattern, "names, dots, stars and alternatives")

    def _next(self) -> str:
        """The next character; empty at the end."""
        return self._pattern[self._at : self._at + 1]

    def _took(self, text: str) -> bool:
        """Whether the next characters are these; they are read then."""
        taken = self._pattern.startswith(text, self._at)
        self._at += len(text) if taken else 0
        return taken

    def _alternatives(self, *, outermost: bool) -> list[Way]:
        ways = self._sequence(outermost=outermost)
        while self._took("|"):
            ways = self._few([*ways, *self._sequence(outermost=outermost)])
        return ways

    def _few(self, ways: list[Way]) -> list[Way]:
        if sum(map(len, ways)) + len(ways) > _MAX_STEPS:
            raise self._unreadable()
        return ways

    def _sequence(self, *, outermost: bool) -> list[Way]:
        ways: list[Way] = [[]]
        if outermost:
            self._took("^")
        while self._next() not in ("", "|", ")"):
            if outermost and self._took("$"):
                if self._next() not in ("", "|"):
                    raise self._unreadable()
                return ways
            each = self._piece()
            if len(each) == 1:
                for way in ways:
                    way += each[0]
            else:
                ways = self._few([way + piece for way in ways for piece in each])
        return self._few([[*way, _REST] for way in ways] if outermost else ways)

    def _piece(self) -> list[Way]:
        """A character or a group, and how often it stands there."""
        if self._took("("):
            if self._took("?") and not self._took(":"):
                raise self._unreadable()
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise self._unreadable()
            inner = self._alternatives(outermost=False)
            self._depth -= 1
            if not self._took(")") or self._next() in ("*", "+", "{"):
                raise self._unreadable()
            return [*inner, []] if self._took("?") else inner
        characters = self._characters()
        if self._took("?"):
            steps = [Step(characters, optional=True)]
        elif self._took("*"):
            steps = [Step(characters, optional=True, repeats=True)]
        elif self._took("+"):
            steps = [Step(characters), Step(characters, optional=True, repeats=True)]
        else:
            return [[Step(characters)]]
        self._took("?")  # least instead of most: the same names
        if self._next() in ("*", "+", "?", "{"):
            raise self._unreadable()
        return [steps]

    def _characters(self) -> frozenset[str]:
        """The characters that the next piece may be."""
        character = self._next()
        self._at += 1
        if character == ".":
            return _ANY
        if character == "\\":
            return self._escaped()
        if character == "[":
            return self._set()
        if character in "*+?{}^$)]" or character not in _ANY:
            raise self._unreadable()
        return frozenset(character)

    def _escaped(self) -> frozenset[str]:
        character = self._next()
        self._at += 1
        known = {"d": _DIGITS, "w": _WORD}.get(character)
        if known is not None:
            return known
        if not character or character in _WORD or character not in _ANY:
            raise self._unreadable()
        return frozenset(character)

    def _set(self) -> frozenset[str]:
        """The characters between brackets: single ones and ranges, or all but those."""
        others = self._took("^")
        characters: set[str] = set()
        while not self._took("]"):
            character = self._next()
            self._at += 1
            if character == "\\":
                characters |= self._escaped()
                continue
            if character in ("", "[") or character not in _ANY:
                raise self._unreadable()
            last = self._pattern[self._at + 1 : self._at + 2]
            if self._next() == "-" and last not in ("", "]"):
                self._at += 2
                if last not in _WORD or character > last:
                    raise self._unreadable()
                characters |= {chr(code) for code in range(ord(character), ord(last) + 1)}
            else:
                characters.add(character)
        return frozenset(_ANY - characters if others else characters)
