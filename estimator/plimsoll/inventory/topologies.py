"""Levels of Kueue's Topologies, from plain dicts, and which nodes lie close to one another by them.

    level    a node label; nodes with one value of it, and of those before it, are one domain
             (a block, then a rack); the host name is no level here: a domain is of several nodes

It must not fetch anything, and it never raises. Source: kueue.x-k8s.io/v1beta2, topology_types.go
(v0.17.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from plimsoll.inventory.facts import NodeFacts

KIND: Final = "Topology"
MOST_LEVELS: Final = 16
"""Levels of one Topology; Kueue allows no more."""
MOST_TOPOLOGIES: Final = 8
"""Topologies that are read, by their names; a cluster has one for each network of its nodes."""
LONGEST_LABEL: Final = 316
_HOSTNAME: Final = "kubernetes.io/hostname"

Levels = tuple[str, ...]
"""The labels of one Topology, the widest first."""
Domain = tuple[str, ...]
"""The values of the first labels of a Topology."""


def read_topologies(objects: Iterable[Mapping[str, Any]]) -> tuple[Levels, ...]:
    """The levels of some Topologies, by the names of these. Total."""
    named = sorted(objects, key=_name)[:MOST_TOPOLOGIES]
    levels = (tuple(_labels(one)) for one in named)
    return tuple(dict.fromkeys(one for one in levels if one))


def trimmed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A Topology with nothing in it but what is read."""
    levels = [{"nodeLabel": label} for label in _labels(obj)]
    return {"kind": KIND, "metadata": {"name": _name(obj)}, "spec": {"levels": levels}}


def domains(levels: Levels, facts: Iterable[NodeFacts]) -> dict[Domain, list[NodeFacts]]:
    """Nodes by their domain of the last of some levels; those that lack one of these are left
    out."""
    found: dict[Domain, list[NodeFacts]] = {}
    for fact in facts:
        values = _values(levels, fact.labels)
        if values is not None:
            found.setdefault(values, []).append(fact)
    return found


@lru_cache(maxsize=4096)
def _values(levels: Levels, labels: frozenset[tuple[str, str]]) -> Domain | None:
    carried = dict(labels)
    values = tuple(carried[one] for one in levels if one in carried)
    return values if len(values) == len(levels) else None


def _labels(obj: Mapping[str, Any]) -> Iterator[str]:
    spec = obj.get("spec")
    levels = spec.get("levels") if isinstance(spec, Mapping) else None
    for level in levels[:MOST_LEVELS] if isinstance(levels, list) else ():
        label = level.get("nodeLabel") if isinstance(level, Mapping) else None
        if isinstance(label, str) and 0 < len(label) <= LONGEST_LABEL and label != _HOSTNAME:
            yield label


def _name(obj: Mapping[str, Any]) -> str:
    metadata = obj.get("metadata")
    found = metadata.get("name") if isinstance(metadata, Mapping) else None
    return str(found or "unnamed")[:253]
