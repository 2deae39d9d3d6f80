"""Start-ups that somebody measured and keeps: how far off we were, and what they were like.

Data alone: `plimsoll.measured.calibration` makes it of measured rows, `plimsoll.engines.calibrated`
narrows ranges by it. It is kept in a file, or in a ConfigMap that the operator reads.

    off     measured - estimated, GiB, of those terms that only a GPU tells (`TERMS`), so that
            nothing that is kept can make weights or a cache smaller

The text is JSON and holds figures alone: no path, no host and no argument of a user's own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Unreadable, clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMAT: Final = 1
"""Number of the text's form."""
MOST: Final = 10_000
"""Start-ups of one text at most."""
TERMS: Final = ("activation", "nonTorch", "cudaGraphs")
"""The terms whose ranges may be touched, by the names of `plimsoll.engines.base.TermName`."""
KEY: Final = "calibration.json"
"""The key of a ConfigMap that holds the text."""
_MOST_OFF: Final = 64.0
"""GiB that a term may be off: no start-up measured more."""
_LONGEST: Final = 200
_SAID: Final = 5
"""Start-ups that cannot be read which are named."""
_WANTED: Final = f"a file that `plimsoll calibrate` writes (form {FORMAT})"


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two start-ups must share. structure: type, layers, width and quantization of the model.

    split: tensor, pipeline and data ranks, and 1 for experts whole.
    """

    engine: str
    release: str
    structure: str
    gpu: str
    split: tuple[int, int, int, int]
    eager: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """One start-up. off: measured less estimated, GiB, by term."""

    id: str
    like: Likeness
    off: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Calibration:
    """The start-ups that are kept."""

    kept: tuple[Kept, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Short hash of all of them, for the request hash."""
        return hashlib.sha256(repr(self.kept).encode("utf-8", "replace")).hexdigest()[:12]

    @cached_property
    def _by_likeness(self) -> dict[Likeness, list[Kept]]:
        found: dict[Likeness, list[Kept]] = {}
        for one in self.kept:
            found.setdefault(one.like, []).append(one)
        return found

    def alike(self, like: Likeness) -> Sequence[Kept]:
        """Those that are like a start-up."""
        return self._by_likeness.get(like, ())

    def with_more(self, more: Iterable[Kept]) -> Calibration:
        """These and others; of two with one id the later counts."""
        return Calibration(tuple({one.id: one for one in (*self.kept, *more)}.values()))


NONE_KEPT: Final = Calibration()


def written(calibration: Calibration) -> str:
    """The text: one start-up a line."""
    lines = (
        json.dumps(
            {
                "id": one.id,
                "engine": one.like.engine,
                "release": one.like.release,
                "structure": one.like.structure,
                "gpu": one.like.gpu,
                "split": list(one.like.split),
                "eager": one.like.eager,
                "off_gib": dict(one.off),
            }
        )
        for one in calibration.kept
    )
    return f'{{"calibration": {FORMAT}, "start_ups": [\n' + ",\n".join(lines) + "\n]}\n"


def read(text: str) -> Calibration:
    """The start-ups of a text. Raises `Unreadable` for anything that is not wholly one."""
    found, problems = read_what_can_be(text)
    if problems:
        raise Unreadable(text[:80], f"{_WANTED}; {problems[0]}")
    return found


def read_what_can_be(text: str) -> tuple[Calibration, list[str]]:
    """The start-ups of a text that can be believed, and what is wrong with the others."""
    try:
        data: dict[str, Any] = json.loads(text)
        entries = data["start_ups"]
        if data["calibration"] != FORMAT or not isinstance(entries, list):
            return NONE_KEPT, [f"it is not {_WANTED}"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return NONE_KEPT, [f"it is not {_WANTED}"]
    if len(entries) > MOST:
        return NONE_KEPT, [f"it holds {len(entries):,} start-ups, more than {MOST:,}"]
    found, problems = [], []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_kept(entry))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = "no key" if isinstance(error, KeyError) else type(error).__name__
            problems.append(f"start-up {number}: {clean(f'{what}: {error}', 120)}")
    more = len(problems) - _SAID
    said = [*problems[:_SAID], f"and {more:,} more"] if more > 0 else problems
    return NONE_KEPT.with_more(found), said


def _kept(entry: dict[str, Any]) -> Kept:
    tensor, pipeline, data, expert = (_whole(rank) for rank in entry["split"])
    like = Likeness(
        _word(entry["engine"]),
        _word(entry["release"]),
        _word(entry["structure"]),
        _word(entry["gpu"]),
        (tensor, pipeline, data, expert),
        entry["eager"] is True,
    )
    off = entry["off_gib"].items()
    return Kept(_word(entry["id"]), like, tuple((n, _within(v)) for n, v in off if _is_term(n)))


def _is_term(name: str) -> bool:
    """Whether a term may be touched. Weights, which an older release kept, are passed over."""
    if name not in (*TERMS, "weights"):
        raise ValueError(f"not one of {', '.join(TERMS)}")
    return name != "weights"


def _word(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"no text of at most {_LONGEST} characters")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= 65_536:
        raise ValueError("no number of ranks")
    return value


def _within(value: object) -> float:
    if not isinstance(value, int | float) or not -_MOST_OFF < value < _MOST_OFF:
        raise ValueError(f"no figure between -{_MOST_OFF:g} and {_MOST_OFF:g} GiB")
    return float(value)
