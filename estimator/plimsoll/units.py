"""Bytes, counts and how they are written: the one place where units are parsed and printed.

It must not know what is being measured, and it must not round in anybody's favour: a need is
rounded up and a possession is rounded down by the caller's choice of function.

Memory is integer bytes everywhere inside. Binary units (KiB, MiB, GiB) are for memory; decimal
GB appears only in the rule of thumb.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from plimsoll.errors import Unreadable

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
GB: Final = 10**9

MAX_BYTES: Final = 1 << 60
"""No quantity above this (1 EiB) is believed; larger input is an error, not a number."""

MAX_COUNT: Final = 10**9
"""No count of tokens or sequences above this is believed."""
MAX_PARAMETERS: Final = 10**15
"""No parameter count above this is believed."""

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(Ki|Mi|Gi|Ti|K|M|G|T|k)?B?")
_SUFFIX: Final = {
    None: 1, "": 1, "Ki": KIB, "Mi": MIB, "Gi": GIB, "Ti": 1 << 40,
    "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
}  # fmt: skip
_CPU: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(m)?")
_COUNT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,4})?)\s*([KMBTkmbt])?")
_HUMAN: Final = re.compile(r"([0-9]{1,18})(\.[0-9]{1,9})?([kKmMgGtT])?")
_RATIO: Final = re.compile(r"[0-9]{1,12}(?:/[0-9]{1,12}|(?:\.[0-9]{0,12})?(?:[eE][+-]?[0-9])?)")
_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4}
_COUNT_SUFFIX: Final = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse_memory(text: str) -> int:
    """Bytes in a Kubernetes quantity such as ``"81559Mi"``, ``"80Gi"`` or ``"1.5GiB"``.

    A fraction of a byte is dropped. Raises `Unreadable` for anything else, for a negative
    number and for more than `MAX_BYTES`.
    """
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= 64 else None
    if match is None:
        raise Unreadable(text, "a memory quantity such as 80Gi or 81559Mi")
    value = int(Decimal(match[1]) * _SUFFIX[match[2]])
    if value > MAX_BYTES:
        raise Unreadable(text, "a memory quantity of at most 1Ei")
    return value


def parse_cpu(text: str) -> int:
    """Thousandths of a CPU in a Kubernetes quantity such as ``"32"``, ``"1.5"`` or ``"900m"``.

    What is less than a thousandth is rounded up. Raises `Unreadable` for anything else, and for
    more than a million CPUs.
    """
    match = _CPU.fullmatch(text.strip()) if len(text) <= 64 else None
    if match is None:
        raise Unreadable(text, "a quantity of CPU such as 32 or 900m")
    value = math.ceil(Decimal(match[1]) * (1 if match[2] else 1000))
    if value > 1_000_000_000:
        raise Unreadable(text, "a quantity of at most 1000000 CPUs")
    return value


def parse_count(text: str) -> int:
    """The number in ``"70B"``, ``"494M"``, ``"1.5T"`` or ``"70553706496"`` (decimal suffixes).

    Raises `Unreadable` for anything else, for zero and for more than `MAX_PARAMETERS`.
    """
    match = _COUNT.fullmatch(text.strip()) if len(text) <= 64 else None
    if match is None:
        raise Unreadable(text, "a parameter count such as 70B, 494M or 70553706496")
    value = int(Decimal(match[1]) * _COUNT_SUFFIX[(match[2] or "").upper()])
    if not 0 < value <= MAX_PARAMETERS:
        raise Unreadable(text, "a parameter count above 0 and of at most 1000T")
    return value


def parse_human_integer(text: str) -> int:
    """A whole number as vLLM and SGLang take it: ``8192``, ``8k``, ``8K`` (8,192), ``25.6k``.

    Raises `Unreadable` for anything else, for zero, and beyond `MAX_BYTES`.
    """
    match = _HUMAN.fullmatch(text)
    if match is None or (match[2] and (match[3] is None or match[3].isupper())):
        raise Unreadable(text, "a whole number such as 8192, 8k or 8K")
    value = Decimal(match[1] + (match[2] or ""))
    if match[3]:
        value *= (1024 if match[3].isupper() else 1000) ** _POWERS[match[3].lower()]
    number = int(value)
    if not 0 < number <= MAX_BYTES:
        raise Unreadable(text, "a whole number above 0")
    return number


def parse_fraction(text: str) -> Decimal:
    """The share in ``"0.92"``: above 0 and at most 1. Raises `Unreadable` otherwise."""
    try:
        value = Decimal(text.strip()) if len(text) <= 16 else Decimal(-1)
    except InvalidOperation:
        value = Decimal(-1)
    if not (value.is_finite() and 0 < value <= 1):
        raise Unreadable(text, "a share above 0 and of at most 1, such as 0.92")
    return value


def parse_ratio(text: str) -> Fraction:
    """The number in ``"0.8"``, ``"3"``, ``"1/4"`` or ``"1e-3"``, of 0 or more.

    Raises `Unreadable` for anything else: an exponent of many digits would never be worked out.
    """
    if not _RATIO.fullmatch(text.strip()):
        raise Unreadable(text, "a number of 0 or more, such as 0.8")
    try:
        return Fraction(text.strip())
    except ZeroDivisionError:
        raise Unreadable(text, "a number of 0 or more, such as 0.8") from None


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded up; both arguments are integers, the second above 0."""
    return -(-numerator // denominator)


def ceil_mib(value: int) -> str:
    """Bytes as ``"56684Mi"``, rounded up: for what is needed."""
    return f"{ceil_div(value, MIB)}Mi"


def floor_mib(value: int) -> str:
    """Bytes as ``"73728Mi"``, rounded down: for what is there."""
    return f"{value // MIB}Mi"


def gib(value: int, digits: int = 1) -> str:
    """Bytes as ``"65.7 GiB"``, rounded half up: for people to read, never to compute with."""
    return f"{value / GIB:.{digits}f} GiB"


def gib_up(value: int, digits: int = 1) -> str:
    """Bytes as ``"65.8 GiB"``, rounded up: for a need or a shortfall in a sentence."""
    scale = 10**digits
    return f"{ceil_div(value * scale, GIB) / scale:.{digits}f} GiB"


def gib_down(value: int, digits: int = 1) -> str:
    """Bytes as ``"65.7 GiB"``, rounded down: for a possession in a sentence."""
    scale = 10**digits
    return f"{(value * scale // GIB) / scale:.{digits}f} GiB"


def gb(value: int) -> str:
    """Bytes as ``"168 GB"``, decimal and rounded half up: for the rule of thumb alone."""
    return f"{(value * 2 + GB) // (2 * GB):,} GB"


def grouped(value: int) -> str:
    """A whole number in a sentence or a table: ``"131,072"``; never where it may be pasted."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """So many of something: ``"1 object"``, ``"1,000 objects"``."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def money(millionths: int) -> str:
    """A price as ``"31.44"``, of at least two digits after the point and at most four."""
    text = f"{millionths / 1_000_000:.4f}"
    return text.rstrip("0") if len(text.rstrip("0").partition(".")[2]) > 2 else text[:-2]


def count(value: int) -> str:
    """A count as people say it: ``"70.55B"``, ``"494.03M"``; small ones in full."""
    for suffix, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if value >= size:
            return f"{value / size:.2f}{suffix}"
    return f"{value:,}"
