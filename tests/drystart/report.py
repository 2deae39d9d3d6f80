"""How many figures of the facts our formulas reproduce, by release and kind, against the aims."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Final

from drystart.compare import KINDS, Compared, compared
from drystart.files import facts
from plimsoll.units import MIB

WITHIN: Final = {
    "weights": 0.005,
    "cache": 0.0,
    "defaults": 0.0,
    "refusals": 0.0,
    "activation": 0.02,
}
"""How far a figure may be off to count as reproduced; 0: equal."""
AIMS: Final = {
    "weights": 0.95,
    "cache": 0.99,
    "defaults": 0.995,
    "refusals": 0.98,
    "activation": 0.90,
}
"""The share of figures that should be."""


@lru_cache(maxsize=1)
def all_compared() -> tuple[Compared, ...]:
    """Every figure of every fact."""
    return tuple(one for fact in facts() for one in compared(fact))


_WHOLE_BLOCKS: Final = 32 * MIB
"""Bytes of weights that the allocator may add whatever the size of the model: a large block that
was freed while the model was made is given whole to the next tensor, up to 20 MiB too large."""


def near(one: Compared) -> bool:
    """Whether a figure is reproduced; of a cut model within what the allocator may add."""
    if (
        one.kind == "weights"
        and one.fact.case.layers == "cut"
        and abs(one.theirs - one.ours) <= _WHOLE_BLOCKS
    ):
        return True
    return abs(one.share) <= WITHIN[one.kind]


def shares(release: str = "") -> dict[str, tuple[int, int]]:
    """By kind: how many figures are reproduced, of how many."""
    out = dict.fromkeys(KINDS, (0, 0))
    for one in all_compared():
        if one.fact.release.startswith(release):
            good, all_ = out[one.kind]
            out[one.kind] = (good + near(one), all_ + 1)
    return out


def table() -> str:
    """The shares as a table, releases down, kinds across."""
    by_release: dict[str, int] = defaultdict(int)
    for fact in facts():
        by_release[fact.release] += 1
    head = f"{'release':12}{'facts':>7}" + "".join(f"{kind:>18}" for kind in KINDS)
    lines = [head]
    for release, number in [*by_release.items(), ("all", len(facts()))]:
        cells = ""
        for good, whole in shares("" if release == "all" else release).values():
            cells += f"{f'{good}/{whole} {good / whole:.1%}' if whole else '-':>18}"
        lines.append(f"{release:12}{number:>7}{cells}")
    aims = "".join(f"{f'{AIMS[kind]:.1%}':>18}" for kind in KINDS)
    return "\n".join([*lines, f"{'aim':12}{'':>7}{aims}"])


def differences() -> list[str]:
    """Every figure that is not reproduced."""
    return [f"{one.kind:11}{one}" for one in all_compared() if not near(one)]
