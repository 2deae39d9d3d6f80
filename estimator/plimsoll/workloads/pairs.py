"""Which object of one tree of manifests is which of another, though files were moved.

An engine of an object is known again by kind, namespace, name and role: first in the same file,
then anywhere. What has no name, such as a chart's values, is known by its file alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from plimsoll.workloads.files import Manifest
    from plimsoll.workloads.roles import Served

Engine = tuple["Manifest", "Served"]
"""One engine of an object, with the object."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One engine before and after; None where it is not there."""

    before: Engine | None
    after: Engine | None


def pairs(before: Iterable[Engine], after: Iterable[Engine]) -> Iterator[Pair]:
    """Every engine once: those that are there after, in their order, then those that went."""
    left, right = list(before), list(after)
    found = _matched(left, right, _in_file)
    rest = [one for one in left if id(one) not in {id(was) for was in found.values()}]
    missing = [one for one in right if id(one) not in found]
    found |= _matched(rest, missing, _anywhere)
    for one in right:
        yield Pair(found.get(id(one)), one)
    kept = {id(was) for was in found.values()}
    for one in left:
        if id(one) not in kept:
            yield Pair(one, None)


def _matched(left: list[Engine], right: list[Engine], key: object) -> dict[int, Engine]:
    """By the identity of an engine after, the one before that has the same key; in their order."""
    assert callable(key)
    waiting: defaultdict[object, deque[Engine]] = defaultdict(deque)
    for one in left:
        waiting[key(one)].append(one)
    found = {}
    for one in right:
        same = waiting.get(key(one))
        if same:
            found[id(one)] = same.popleft()
    return found


def _in_file(engine: Engine) -> object:
    return engine[0].file, _named(engine)


def _anywhere(engine: Engine) -> object:
    named = _named(engine)
    return named if named[2] != "unnamed" else (engine[0].file, named)


def _named(engine: Engine) -> tuple[str, str, str, str]:
    manifest, served = engine
    facts = served.facts
    return manifest.kind.name, facts.namespace, facts.name, facts.role
