"""The SizingPolicies of a cluster, and of each namespace the labels that they go by.

It must not fetch anything: it is told what is there. Labels that no policy looks at are not kept;
which ones are wanted is known only once policies are, so that namespaces may have to be read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import POLICY_LABEL, WORKLOADS_LABEL
from plimsoll.workloads import kinds
from plimsoll.workloads.sizing_policy import NAME_LABEL, SizingPolicy, read, rulings
from plimsoll_operator.cluster.objects import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.decision.policy import Ruling
    from plimsoll_operator.cluster.objects import Json, Name

_ALWAYS: Final = frozenset({POLICY_LABEL, WORKLOADS_LABEL})
_BY_NAME: Final = {kind.name: kind for kind in reversed(kinds.KINDS)}
"""Kinds by their names alone, as policies name them."""


class NamespaceLabels:
    """Of each namespace the labels that policies go by."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, str]] = {}
        self._keys = _ALWAYS

    def want(self, keys: frozenset[str]) -> bool:
        """Keep these labels too. Whether namespaces have to be read again for them."""
        keys = (keys | _ALWAYS) - {NAME_LABEL}
        more, self._keys = keys - self._keys, keys
        return bool(more)

    def put(self, namespace: Json) -> bool:
        """Take in a namespace as it is now. Whether these labels changed."""
        name = name_of(namespace)[1]
        said = (namespace.get("metadata") or {}).get("labels") or {}
        labels = {key: said[key] for key in self._keys if key in said}
        if not labels:
            return self.drop(name)
        if self._labels.get(name) == labels:
            return False
        self._labels[name] = labels
        return True

    def drop(self, name: str) -> bool:
        """Forget a namespace. Whether it had any of them."""
        return self._labels.pop(name, None) is not None

    def get(self, namespace: str, key: str) -> str | None:
        """One of these labels of a namespace as written, None if it has none."""
        return self._labels.get(namespace, {}).get(key)

    def of(self, namespace: str) -> dict[str, str]:
        """All of them, with the name that every namespace carries as a label."""
        return {**self._labels.get(namespace, {}), NAME_LABEL: namespace}


@dataclass(frozen=True, slots=True)
class Seen:
    """A policy as last heard. version, generation: of the object; status: as it was then."""

    policy: SizingPolicy
    version: str
    generation: int
    status: Mapping[str, Any]


class SizingPolicies:
    """The SizingPolicies as last heard."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}

    def __iter__(self) -> Iterator[Seen]:
        return iter(sorted(self._seen.values(), key=lambda one: one.policy.name))

    def __len__(self) -> int:
        return len(self._seen)

    def put(self, name: Name, obj: Json | None) -> bool:
        """Take in a policy as it is now, None if it is gone. Whether it says something else."""
        before = self._seen.pop(name[1], None)
        if obj is None:
            return before is not None
        metadata = obj.get("metadata") or {}
        now = self._seen[name[1]] = Seen(
            read(obj),
            str(metadata.get("resourceVersion", "")),
            int(metadata.get("generation") or 0),
            obj.get("status") or {},
        )
        return before is None or before.policy != now.policy

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the labels that they look at."""
        return frozenset(key for one in self._seen.values() for key in one.policy.keys)

    @property
    def names_others(self) -> bool:
        """Whether one of them names other people's kinds, which are looked at then."""
        return any(one.policy.names(kind) for one in self._seen.values() for kind in kinds.OTHERS)

    def rulings(self, kind: str, labels: Mapping[str, str]) -> tuple[list[Ruling], bool]:
        """What they say of objects of a kind in a namespace, and whether one names that kind.

        labels: the namespace's, see `NamespaceLabels.of`.
        """
        of_kind = _BY_NAME.get(kind)
        if not self._seen or of_kind is None:
            return [], False
        policies = (one.policy for one in self)
        return rulings(policies, of_kind, lambda one: one.selects(labels))
