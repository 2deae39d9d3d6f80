"""What targets draw from: numbers at edges, texts that mean harm, things of a wrong kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from random import Random

COUNTS: Final = (0, 1, 2, 3, 7, 8, 16, 100, 127, 128, 255, 256, 4095, 65536, 10**6, 2**31 - 1)
HUGE: Final = (2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**18, 10**30)
NO_COUNTS: Final = (-1, -(2**63), 0.5, 1e-300, 1e308, True, False)

HARMFUL: Final = (
    "",
    " ",
    "\n",
    "\x00",
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[31mred",
    "\u202egnp.exe",
    "\u2028line",
    "\ud800",
    "٣",
    "a" * 5000,
    "%s%n{0}{{",
    "$(id)",
    "../../etc/passwd",
    "'; drop table --",
    '"}],"allowed":true',
    "<script>",
    "a\r\nSet-Cookie: b",
    "\N{FULLWIDTH DIGIT EIGHT}",
    "\u0007bell",
)
"""Texts that end lines, steer terminals, hide direction, break encodings or look like code."""

WORDS: Final = ("auto", "none", "true", "false", "null", "fp8", "awq", "int4", "bfloat16", "x", "-")
NUMERALS: Final = (
    "0",
    "1",
    "-1",
    "8",
    "1024",
    "8k",
    "8K",
    "1e6",
    "0.9",
    "1.0",
    "1_000",
    "nan",
    "inf",
)
QUANTITIES: Final = ("1", "1Ki", "40Gi", "80G", "1.5Ti", "-1Gi", "1e3", "9999999999Gi", "0", "Gi")


def count(random: Random) -> int:
    """A whole number from 0 on, small ones often."""
    return random.choice(COUNTS if random.random() < 0.9 else HUGE)


def number(random: Random) -> float:
    """A number, now and then one that counts nothing."""
    return count(random) if random.random() < 0.8 else random.choice(NO_COUNTS)


def text(random: Random) -> str:
    """A text: a word, a numeral, a quantity, or one that means harm."""
    return random.choice(random.choice((WORDS, NUMERALS, QUANTITIES, HARMFUL)))


def thing(random: Random, depth: int = 2) -> Any:
    """Anything that JSON can say, and texts that it cannot."""
    kind = random.randrange(7 if depth else 5)
    if kind == 0:
        return None
    if kind == 1:
        return random.random() < 0.5
    if kind == 2:
        return number(random)
    if kind <= 4:
        return text(random)
    size = random.choice((0, 1, 2, 3, 40))
    if kind == 5:
        return [thing(random, depth - 1) for _ in range(size)]
    return {text(random): thing(random, depth - 1) for _ in range(size)}


def holders(document: Any) -> list[dict[str, Any] | list[Any]]:
    """Every mapping and list within a document, itself first, that holds something."""
    found: list[dict[str, Any] | list[Any]] = []
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list) and one:
            found.append(one)
            waiting += one.values() if isinstance(one, dict) else one
    return found


def mutate(random: Random, document: Any, made: Any = None) -> None:
    """Change one place within a document of dicts and lists, in place.

    made: draws what is put there; `thing` if nothing is said.
    """
    inside = holders(document)
    if not inside:
        return
    holder = random.choice(inside)
    new = (made or thing)(random)
    if isinstance(holder, dict):
        key = random.choice(list(holder))
        if random.random() < 0.15:
            del holder[key]
        elif random.random() < 0.1:
            holder[text(random)] = new
        else:
            holder[key] = new
    else:
        at = random.randrange(len(holder))
        if random.random() < 0.2:
            del holder[at]
        elif random.random() < 0.2:
            holder.extend([holder[at]] * random.choice((1, 100)))
        else:
            holder[at] = new


def spoil(random: Random, data: bytes) -> bytes:
    """Bytes with a few changed, dropped, repeated or cut off."""
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        if not made:
            break
        at = random.randrange(len(made))
        way = random.randrange(6)
        if way <= 1:
            made[at] = random.randrange(256)
        elif way == 2:
            made[at : at + 8] = random.choice((0, 1, 2**31, 2**63 - 1, 2**64 - 1)).to_bytes(
                8, "little"
            )
        elif way == 3:
            del made[at : at + random.choice((1, 4, 100))]
        elif way == 4:
            end = at + random.choice((1, 16, 300))
            made[at:at] = made[at:end]
        elif random.random() < 0.3:
            del made[at:]
    return bytes(made)
