"""What policies hold an object to beside its memory: the bounds of one, the strictest of several.

It must not know which policies select an object, and it finds nothing: `decision.beyond` says where
a request goes beyond its bounds. A bound that nobody sets is None, 0 or empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_VERSION: Final = re.compile(r"v?b?([0-9]{1,9}(?:\.[0-9]{1,9}){0,3})(?![0-9])")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an object may be at most, or must be at least.

    headroom, headroom_percent: of each GPU, in bytes and in hundredths of its memory, that a
        replica leaves free; the larger of the two holds.
    accelerators: names of those that are allowed; None: any; (): none, as policies contradict.
    gpus_per_replica, gpus_per_object: the most; an object's are those of all its engines and
        replicas.
    oldest: per engine the oldest version, by name. annotations: keys that must be there.
    by: which policy set a bound, by the name of its field (of `oldest` and `annotations` with
        ``.`` and the engine or the key); who set it changes nothing.
    """

    headroom: int = 0
    headroom_percent: int = 0
    accelerators: tuple[str, ...] | None = None
    gpus_per_replica: int | None = None
    gpus_per_object: int | None = None
    oldest: tuple[tuple[str, str], ...] = ()
    annotations: tuple[str, ...] = ()
    by: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def set_by(self, bound: str) -> tuple[str, ...]:
        """The names of the policies that set a bound."""
        return dict(self.by).get(bound, ())

    def oldest_of(self, engine: str) -> str:
        """The oldest version of an engine that is allowed; empty: any."""
        return dict(self.oldest).get(engine, "")


UNBOUND: Final = Bounds()
"""Where no policy sets a bound."""


def numbers(version: str) -> tuple[int, ...] | None:
    """The numbers of a version or a build (``0.11.0``, ``v0.4.6.post5``, ``b5200``), to compare.

    None for what is none (``latest``, a digest). Of a pre-release the numbers alone count.
    """
    match = _VERSION.match(version.strip()[:128])
    if match is None:
        return None
    parts = [int(part) for part in match[1].split(".")]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def strictest(all_bounds: Sequence[Bounds]) -> Bounds:
    """The bounds that hold where several policies select an object."""
    by: dict[str, tuple[str, ...]] = {}

    def most(name: str, better: Callable[[int, int], bool]) -> int | None:
        found: int | None = None
        for bounds in all_bounds:
            value: int | None = getattr(bounds, name)
            if value and (found is None or better(value, found)):
                found, by[name] = value, bounds.set_by(name)
        return found

    oldest: dict[str, str] = {}
    annotations: list[str] = []
    accelerators: tuple[str, ...] | None = None
    for bounds in all_bounds:
        for engine, version in bounds.oldest:
            if (numbers(version) or ()) > (numbers(oldest.get(engine, "")) or ()):
                oldest[engine] = version
                by[f"oldest.{engine}"] = bounds.set_by(f"oldest.{engine}")
        for key in bounds.annotations:
            if key not in annotations:
                annotations.append(key)
                by[f"annotations.{key}"] = bounds.set_by(f"annotations.{key}")
        if bounds.accelerators is not None:
            both = accelerators is not None
            kept = [
                name for name in bounds.accelerators if accelerators is None or name in accelerators
            ]
            before = by.get("accelerators", ()) if both else ()
            by["accelerators"] = tuple(dict.fromkeys((*before, *bounds.set_by("accelerators"))))
            accelerators = tuple(kept)
    return Bounds(
        headroom=most("headroom", int.__gt__) or 0,
        headroom_percent=most("headroom_percent", int.__gt__) or 0,
        accelerators=accelerators,
        gpus_per_replica=most("gpus_per_replica", int.__lt__),
        gpus_per_object=most("gpus_per_object", int.__lt__),
        oldest=tuple(sorted(oldest.items())),
        annotations=tuple(sorted(annotations)),
        by=tuple(sorted(by.items())),
    )
