"""A shell script as the simple commands that it runs, as far as that can be told without a run.

Quotes, continued lines, comments, variables with their defaults, assignments, ``export``, ``if``
with plain comparisons, and lists of commands are read. What only a run could tell, such as
``$(hostname)``, stays as it is written, and `unresolved` finds it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_SCRIPT: Final = 200_000
"""Characters of a script that are read."""
MAX_WORD: Final = 32_768
"""Characters of one word, so that variables that name each other end."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.S)
_UNRESOLVED: Final = re.compile(r"\$[A-Za-z_@*#?0-9!{(]|`|\{\{")
_TERM: Final = re.compile(r"\s*(\$?\{?[A-Za-z0-9_]+\}?)\s*([-+*/]?)")
_PLACEHOLDER: Final = re.compile(r"(?:^|=)<[A-Za-z][\w .-]*>$")
_OPEN: Final = re.compile(r"<[A-Za-z][\w.-]*>(?=[\s\\]|$)")
"""What a script leaves open for whoever copies it, rather than two redirections."""
_SEPARATORS: Final = frozenset(";&|\n()")
MOST_CHOICES: Final = 8
"""Texts of one variable that are told apart."""
_DECLARING: Final = frozenset({"export", "readonly", "declare", "local", "typeset"})


Choices = Mapping[str, frozenset[str]]
"""The texts that a variable may have, by its name."""


class _Variables(dict[str, str]):
    """Variables of a script. choices: see `Command`."""

    choices: dict[str, frozenset[str]]


def unresolved(text: str) -> bool:
    """Whether a text holds a variable or a command whose value is not known here, or is one of
    the places that documentation leaves open: ``<your-model>``."""
    return _UNRESOLVED.search(text) is not None or _PLACEHOLDER.search(text) is not None


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command. words: expanded; certain: whether it is sure that the script gets to it.

    environment: the variables at that moment. choices: of those that conditions nobody can decide
    set, every text that they may have; the variable itself stands for its own name then.
    fed: whether it reads a pipe, a file or a text of the script.
    """

    words: tuple[str, ...]
    certain: bool
    environment: Mapping[str, str]
    choices: Choices = field(default_factory=dict)
    fed: bool = False


def commands(
    script: str,
    environment: Mapping[str, str],
    arguments: Sequence[str] | None = None,
    choices: Choices | None = None,
) -> Iterator[Command]:
    """The simple commands of a script, in order.

    arguments: what ``$1`` and ``$@`` stand for; None: nobody knows. choices: see `Command`.
    """
    variables = _Variables(environment)
    variables.choices = dict(choices or {})
    reader = _Reader(script[:MAX_SCRIPT], variables, arguments)
    branches: list[_Branch] = []
    for words in reader.statements():
        while words and words[0] in ("then", "do", "{", "!", "time"):
            words = words[1:]
        if not words:
            continue
        head = words[0]
        if head in ("if", "while", "until"):
            branches.append(_Branch(head == "if"))
            _condition(branches, words[1:], variables)
        elif head == "for":
            branches.append(_Branch(is_if=False))
        elif head == "elif" and branches:
            branches[-1].next()
            _condition(branches, words[1:], variables)
        elif head == "else" and branches:
            branches[-1].next()
            branches[-1].now = True if branches[-1].taken is False else branches[-1].otherwise()
            yield from _run(words[1:], branches, variables, fed=reader.fed)
        elif head in ("fi", "done"):
            if branches:
                branches.pop()
        else:
            yield from _run(words, branches, variables, fed=reader.fed)


@dataclass
class _Branch:
    """An ``if`` or a loop that the reader is in.

    now: whether the branch being read runs; None: nobody knows. taken: whether an earlier one did.
    """

    is_if: bool
    now: bool | None = None
    taken: bool | None = False

    def next(self) -> None:
        """Go to the next branch of the ``if``."""
        if self.now is not False:
            self.taken = True if self.now or self.taken else None
        self.now = False

    def otherwise(self) -> bool | None:
        """Whether an ``else`` runs."""
        return None if self.taken is None else not self.taken


def _condition(branches: list[_Branch], words: Sequence[str], variables: Mapping[str, str]) -> None:
    """Decide a branch by its condition."""
    branch = branches[-1]
    if not branch.is_if:
        branch.now = None
        return
    holds = _test(words)
    if branch.taken:
        branch.now = False
    elif branch.taken is None and holds:
        branch.now = None
    else:
        branch.now = holds


def _test(words: Sequence[str]) -> bool | None:
    """The value of ``[ a = b ]`` and the like; None if it is not known."""
    if not words or words[0] not in ("[", "[[", "test"):
        return None
    parts = [word for word in words[1:] if word not in ("]", "]]")]
    negated = bool(parts) and parts[0] == "!"
    parts = parts[1:] if negated else parts
    if any(map(unresolved, parts)):
        return None
    if len(parts) == 2 and parts[0] in ("-n", "-z"):
        holds = bool(parts[1]) is (parts[0] == "-n")
    elif len(parts) == 3 and parts[1] in ("=", "==", "!="):
        holds = (parts[0] == parts[2]) is (parts[1] != "!=")
    elif len(parts) == 3 and parts[1] in _NUMERIC and parts[0].isdigit() and parts[2].isdigit():
        left, right = int(parts[0][:18]), int(parts[2][:18])
        holds = (left > right) - (left < right) in _NUMERIC[parts[1]]
    else:
        return None
    return holds is not negated


_NUMERIC: Final = {
    "-eq": (0,),
    "-ne": (-1, 1),
    "-gt": (1,),
    "-ge": (0, 1),
    "-lt": (-1,),
    "-le": (-1, 0),
}


def _run(
    words: Sequence[str], branches: Sequence[_Branch], variables: _Variables, *, fed: bool
) -> Iterator[Command]:
    """What one statement does: set variables, or run a command."""
    if any(branch.now is False for branch in branches):
        return
    certain = all(branch.now or not branch.is_if for branch in branches)
    declares = bool(words) and words[0] in _DECLARING
    at = 1 if declares else 0
    local = dict(variables)
    while at < len(words) and (match := _ASSIGNMENT.fullmatch(words[at])):
        local[match[1]] = match[2]
        at += 1
    rest = tuple(words[at:])
    if rest and not declares:
        yield Command(rest, certain, local, dict(variables.choices), fed)
        return
    changed = {name for name in local if local[name] != variables.get(name)}
    if certain:
        variables.update(local)
        for name in changed:
            variables.choices.pop(name, None)
        return
    for name in changed:
        before = variables.choices.get(name) or frozenset({variables.get(name, "")})
        if len(before) < MOST_CHOICES:
            variables.choices[name] = before | {local[name]}
        variables[name] = f"${{{name}}}"


class _Reader:
    """The words of a script, statement by statement, expanded as the variables are by then."""

    def __init__(
        self, text: str, variables: dict[str, str], arguments: Sequence[str] | None
    ) -> None:
        self.text, self.variables = text, variables
        self.known, self.arguments = arguments is not None, tuple(arguments or ())
        self.at = 0
        self.fed = False
        """Whether the statement that was given last reads a pipe, a file or a text."""
        self.documents: list[str] = []
        """What ends the texts that begin after this line (``<<EOF``)."""

    def statements(self) -> Iterator[list[str]]:
        """The words of each statement."""
        words: list[str] = []
        fed = False
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\r":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif char == "#":
                self._skip_to("\n")
            elif char == "<" and (left := _OPEN.match(self.text, self.at)):
                words.append(left[0])
                self.at = left.end()
            elif char in "<>" or (char.isdigit() and self._is_redirection()):
                fed = self._redirection() or fed
            elif char in _SEPARATORS:
                self.at += 1
                if words:
                    self.fed, fed = fed, False
                    yield words
                    words = []
                around = self.text[max(0, self.at - 2) : self.at + 1]
                if char in ";|":  # lines, `&` and brackets behind a pipe leave it a pipe
                    fed = char == "|" and "||" not in around
                if char == "\n":
                    self._skip_documents()
                if char == "&" and self.text.startswith(">", self.at):
                    self._redirection()
            else:
                before = self.at
                words += self._word()
                self.at = max(self.at, before + 1)
        if words:
            self.fed = fed
            yield words

    def _skip_to(self, end: str) -> None:
        found = self.text.find(end, self.at)
        self.at = len(self.text) if found < 0 else found

    def _is_redirection(self) -> bool:
        return self.text[self.at + 1 : self.at + 2] in ("<", ">")

    def _redirection(self) -> bool:
        """Pass over ``2>&1``, ``> file``, ``<<EOF``; whether something is read."""
        begun = self.at
        while self.at < len(self.text) and self.text[self.at] in "0123456789<>&-|":
            self.at += 1
        mark = self.text[begun : self.at].lstrip("0123456789")
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1
        if self.at < len(self.text) and self.text[self.at] not in _SEPARATORS:
            target = self._word()
            if mark.rstrip("-") == "<<" and target:
                self.documents.append(target[0])
        return mark.startswith("<")

    def _skip_documents(self) -> None:
        """Pass over the texts between here and the lines that end them."""
        self.at -= 1
        for end in self.documents:
            found = re.compile(rf"\n\t*{re.escape(end)}(?=\n|$)").search(self.text, self.at)
            self.at = found.end() if found else len(self.text)
        self.documents = []
        self.at += 1

    def _word(self) -> list[str]:
        """One word; several or none if a variable without quotes stands for such."""
        parts: list[tuple[str, bool]] = []
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char in " \t\r<>" or char in _SEPARATORS:
                break
            if char == "'":
                end = text.find("'", self.at + 1)
                end = len(text) if end < 0 else end
                parts.append((text[self.at + 1 : end], False))
                self.at = end + 1
            elif text.startswith('"$@"', self.at) and self.known and not self.arguments:
                self.at += 4
            elif char == '"':
                parts.append((self._quoted(), False))
            elif char == "\\":
                if text[self.at + 1 : self.at + 2] != "\n":
                    parts.append((text[self.at + 1 : self.at + 2], False))
                self.at += 2
            elif char in "$`":
                begun = self.at
                value = self._expansion()
                if not value and parts and parts[-1][0] == "=":
                    value = text[begun : self.at]  # --flag=${NAME-}: somebody else sets it
                parts.append((value, True))
            else:
                parts.append((char, False))
                self.at += 1
        return _split(parts)

    def _quoted(self) -> str:
        """What stands between double quotes."""
        text, out = self.text, []
        self.at += 1
        while self.at < len(text) and text[self.at] != '"':
            char = text[self.at]
            if char == "\\" and text[self.at + 1 : self.at + 2] in ('"', "\\", "$", "`", "\n"):
                escaped = text[self.at + 1]
                out.append("" if escaped == "\n" else escaped)
                self.at += 2
            elif char in "$`":
                out.append(self._expansion())
            else:
                out.append(char)
                self.at += 1
        self.at += 1
        return "".join(out)

    def _expansion(self) -> str:
        """What a ``$`` or a backquote stands for, or its own text if nobody knows."""
        text, start = self.text, self.at
        following = text[start + 1 : start + 2]
        if text[start] == "`":
            end = text.find("`", start + 1)
            self.at = len(text) if end < 0 else end + 1
            return text[start : self.at]
        if following in ("(", "{"):
            self.at = _closing(text, start + 1)
            inside = text[start + 2 : self.at - 1]
            if following == "(" and inside.startswith("(") and inside.endswith(")"):
                return self._sum(inside[1:-1], text[start : self.at])
            return (
                self._braces(inside, text[start : self.at])
                if following == "{"
                else text[start : self.at]
            )
        match = _NAME.match(text, start + 1)
        if match:
            self.at = match.end()
            return self._value(match[0], match[0] and text[start : self.at])
        if following and following in "@*":
            self.at = start + 2
            return " ".join(self.arguments) if self.known else "$@"
        if following.isdigit():
            self.at = start + 2
            place = int(following)
            known = 0 < place <= len(self.arguments)
            return self.arguments[place - 1] if known else text[start : self.at]
        self.at = start + (2 if following and following in "#?!$-" else 1)
        return text[start : self.at]

    def _sum(self, inside: str, written: str) -> str:
        """``$((A * B))`` of whole numbers and variables that hold such, without brackets."""
        total, product, sign, times = 0, 1, 1, True
        at = 0
        while match := _TERM.match(inside, at):
            name = match[1].strip("${}")
            text = name if name.isdigit() else self.variables.get(name, "")
            if not (text.isdigit() and len(text) < 10) or (not times and text.strip("0") == ""):
                return written
            product = product * int(text) if times else product // int(text)
            at = match.end()
            if match[2] in ("", "+", "-"):
                total, product = total + sign * product, 1
                sign = -1 if match[2] == "-" else 1
            times = match[2] != "/"
            if not match[2]:
                return str(total) if at == len(inside) else written
        return written

    def _value(self, name: str, written: str) -> str:
        value = self.variables.get(name)
        return written if value is None else value[:MAX_WORD]

    def _braces(self, inside: str, written: str) -> str:
        """``${NAME}``, with a default or without."""
        match = _NAME.match(inside)
        if match is None:
            return " ".join(self.arguments) if inside in ("@", "*") and self.known else written
        name, rest = match[0], inside[match.end() :]
        value = self.variables.get(name)
        if not rest:
            return self._value(name, written)
        for mark in (":-", ":=", "-", "="):
            if rest.startswith(mark):
                empty = value is None or (not value and mark[0] == ":")
                default = rest.removeprefix(mark).strip("\"'")
                default = default if empty and not unresolved(default) else written
                result = default if empty or value is None else value
                if mark.endswith("=") and empty and not unresolved(result):
                    self.variables[name] = result
                return result
        if rest.startswith((":+", "+")) and value:
            chosen = rest.lstrip(":+")
            return written if unresolved(chosen) else chosen
        if rest.startswith((":?", "?")) and value:
            return value
        return written


def _closing(text: str, start: int) -> int:
    """The place after the bracket that closes the one at a place; the end if none does."""
    opening = text[start]
    closing = ")" if opening == "(" else "}"
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == opening) - (text[at] == closing)
        if not depth:
            return at + 1
    return len(text)


def _split(parts: Sequence[tuple[str, bool]]) -> list[str]:
    """The words that parts make together; one that is split (True) breaks at blanks."""
    words: list[str] = []
    word, begun = "", False
    for text, split in parts:
        if not split or unresolved(text):
            word, begun = (word + text)[:MAX_WORD], True
            continue
        pieces = text.split()
        if text[:1].isspace() and begun:
            words.append(word)
            word, begun = "", False
        for index, piece in enumerate(pieces):
            if index:
                words.append(word)
                word = ""
            word, begun = (word + piece)[:MAX_WORD], True
        if pieces and text[-1:].isspace():
            words.append(word)
            word, begun = "", False
    if begun:
        words.append(word)
    return words
