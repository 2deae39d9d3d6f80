"""Which GPU a row's ``gpu`` names, and which it may be if it names none.

It must not read a size class (``24GB class``) as a GPU, and it must not pick one of two names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.types import Accelerator
from plimsoll.units import GIB

UNIFIED: Final = re.compile(
    r"\bgb10\b|dgx[ -]?spark|jetson|\borin\b|\bthor\b|strix|\bapple\b|\bm[1-5] (max|ultra|pro)\b"
)
"""Machines whose GPU shares its memory with the host: nothing there is measured as elsewhere."""
OTHER_HARDWARE: Final = re.compile(
    r"ascend|\b910[abc]?\b|gaudi|\bhpu\b|\btpu\b|trainium|inferentia|\bxpu\b|\bcpu\b"
)
"""Hardware that the engines' memory models are not about."""
_NAMES: Final = (
    (r"h100.?nvl", "nvidia-h100-nvl"), (r"h200.?nvl", "nvidia-h200-nvl"),
    (r"gh200", "nvidia-gh200-96gb"), (r"\bh100", "nvidia-h100-80gb"),
    (r"\bh200", "nvidia-h200-141gb"), (r"gb300", "nvidia-gb300"), (r"gb200", "nvidia-gb200"),
    (r"\bb300", "nvidia-b300"), (r"\bb200", "nvidia-b200"),
    (r"a100\D*40", "nvidia-a100-40gb"), (r"a100\D*80", "nvidia-a100-80gb"),
    (r"rtx.?pro.?6000", "nvidia-rtx-pro-6000"), (r"rtx.?6000.?ada", "nvidia-rtx-6000-ada"),
    (r"\b4090\b(?!.*laptop)", "nvidia-rtx-4090"), (r"l40s", "nvidia-l40s"),
    (r"\bl40\b", "nvidia-l40"), (r"\bl4\b", "nvidia-l4"), (r"a10g", "nvidia-a10g"),
    (r"\ba10\b", "nvidia-a10"), (r"\ba30\b", "nvidia-a30"), (r"\bt4\b", "nvidia-t4"),
    (r"v100\D*16", "nvidia-v100-16gb"), (r"v100\D*32", "nvidia-v100-32gb"),
    (r"mi300x", "amd-mi300x"), (r"mi325x", "amd-mi325x"), (r"mi355x", "amd-mi355x"),
    (r"mi350x", "amd-mi350x"), (r"mi210", "amd-mi210"), (r"mi250", "amd-mi250x"),
)  # fmt: skip
_VAGUE: Final = re.compile(r"class|unknown|inferred|not in|similar|or similar|/")
_KINDS: Final = (
    (r"\b50[5-9]0\b|blackwell", "blackwell", (12, 0)), (r"\bh20\b|\bh800\b", "hopper", (9, 0)),
    (r"\b40[5-9]0\b|\bada\b", "ada-lovelace", (8, 9)), (r"\b30[5-9]0\b|a40\b|a[46]000|a16\b",
     "ampere", (8, 6)), (r"a100|a800", "ampere", (8, 0)),
    (r"\b20[6-8]0\b|titan.?rtx", "turing", (7, 5)), (r"v100", "volta", (7, 0)),
    (r"amd|\bmi\d|radeon|\bcdna", "cdna", (0, 0)),
)  # fmt: skip
_SEEN: Final = "as the engine reports it"
"""In place of the extended resource, so that memory is taken as it stands."""


@lru_cache(maxsize=1024)
def named(text: str) -> Accelerator | None:
    """The accelerator that a text names; None if it names none or more than one."""
    text = text[:128].lower().removeprefix("nvidia ").strip()
    known = catalogue.find(text) or catalogue.find(f"nvidia-{text}")
    if known is not None:
        return known
    if _VAGUE.search(text):
        return None
    rest, names = text, set()
    for pattern, name in _NAMES:
        match = re.search(pattern, rest)
        if match:
            names.add(name)
            rest = rest.replace(match[0], " ")
    return catalogue.find(names.pop()) if len(names) == 1 else None


def reported(accelerator: Accelerator, total: int) -> Accelerator:
    """The accelerator with the memory that the machine reported, in bytes, as a process sees it."""
    return replace(accelerator, memory=total, resource=_SEEN, certain=True)


def _kind(title: str, family: str, compute: tuple[int, int], gib: float) -> Accelerator:
    name = "-".join(re.sub(r"[^a-z0-9]+", " ", title.lower()).split()) or "gpu"
    return Accelerator(name, title, round(gib * GIB), _SEEN, family, compute, 8)


def possible(text: str, total: int | None) -> tuple[Accelerator, ...]:
    """The accelerators that a row may have run on.

    text: as named, empty if unknown or inferred. total: bytes that the machine reported.
    One if it is named; else the kinds that the engine's defaults tell apart.
    """
    known = named(text) if text else None
    if known is not None:
        return (known if total is None else reported(known, total),)
    gib = total / GIB if total is not None else None
    if text and gib is not None and not _VAGUE.search(text.lower()):
        for pattern, family, compute in _KINDS:
            if re.search(pattern, text.lower()):
                return (_kind(text, family, compute, gib),)
    if gib is not None:
        return _by_size(gib)
    return tuple(kind for size in (16.0, 22.0, 79.0, 178.0) for kind in _by_size(size))


def _by_size(gib: float) -> tuple[Accelerator, ...]:
    """The kinds of GPU that have so much memory."""
    kinds = [_kind("unnamed ampere", "ampere", (8, 6), gib)]
    if gib < 33:
        kinds.append(_kind("unnamed turing", "turing", (7, 5), gib))
    if 38 < gib < 41 or 70 < gib < 85:
        kinds.append(_kind("unnamed A100", "ampere", (8, 0), gib))
    if gib > 70:
        kinds.append(_kind("unnamed hopper", "hopper", (9, 0), gib))
    if gib > 150:
        kinds.append(_kind("unnamed blackwell", "blackwell", (10, 0), gib))
    return tuple(kinds)
