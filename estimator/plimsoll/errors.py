"""What can be wrong, and how it is said: one shape for every error that a user reads.

It must not print, and it must not decide whether something is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_GIVEN = 80
"""Characters of the user's own text that a message repeats; the rest is elided."""

_INSTEAD = "\N{REPLACEMENT CHARACTER}"


def clean(text: str, most: int = MAX_GIVEN) -> str:
    """A text of somebody else's for people to read: in one line, printable, at most that long.

    Whatever a message, a log line, an Event, a condition or a terminal repeats goes through here.
    What GitHub's runner would take for a command (``::stop-commands::``, ``##[group]``) is broken.
    """
    cut = text if len(text) <= most else text[: most - 1] + "…"
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else _INSTEAD for c in cut)
    if "##[" in cut or cut.lstrip().startswith("::"):
        cut = cut.replace("##[", f"##{_INSTEAD}").replace("::", f"{_INSTEAD}:", 1)
    return cut


def shown(value: object) -> str:
    """The user's value for a message: clean, and quoted if it is text."""
    return f'"{clean(value)}"' if isinstance(value, str) else clean(repr(value))


def shown_path(path: object) -> str:
    """The path of a file for a message: clean and quoted; of a long one the end, which names it."""
    text = str(path)
    return shown(text if len(text) <= MAX_GIVEN else "…" + text[1 - MAX_GIVEN :])


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request, in the four parts that every error has.

    path: the field's place in the object that states it, or a file's.
    given: what was there, already made safe to print by `shown`; empty where nothing was.
    wanted: what would have been right.
    fix: the next step, a sentence without a full stop; empty where `wanted` says it all.
    """

    path: str
    given: str
    wanted: str
    fix: str = ""

    def __str__(self) -> str:
        given = f"Invalid value: {self.given}: " if self.given else "Required: "
        return f"{self.path}: {given}{self.wanted}" + (f"; {self.fix}" if self.fix else "")


class PlimsollError(Exception):
    """Base of every error that this package raises on purpose."""


class Unreadable(PlimsollError, ValueError):
    """A text that is not what its place asks for: ``given`` as written, ``wanted`` in words."""

    def __init__(self, given: object, wanted: str) -> None:
        self.given = shown(given)
        self.wanted = wanted
        super().__init__(f"{self.given} is not {wanted}")


class Invalid(PlimsollError, ValueError):
    """Input with one or more problems, all of them at once."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
