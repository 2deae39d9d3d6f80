"""SizingPolicies as plain dicts: which namespaces and kinds one selects, and what it says of them.

    namespaceSelector     as Kubernetes has it; unset: every namespace
    kinds                 names of kinds; unset: LLMDeployments, and other kinds where they are
                          looked at anyway. Named, other people's kinds are looked at
    mode                  enforce, warn or audit, where the namespace's label says nothing
    headroom              of each GPU, that stays free: "10%" or "4Gi"
    allowedAccelerators   names of the accelerator table
    maxGPUsPerReplica, maxGPUsPerObject
    oldestEngineVersions  by the engine's name
    requiredAnnotations   keys

It must not fetch anything, and it never raises: what cannot be read holds nothing, and is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.bounds import Bounds, numbers
from plimsoll.decision.policy import Mode, Ruling
from plimsoll.engines import registry
from plimsoll.errors import Problem, Unreadable, clean, shown
from plimsoll.inventory.plain import no_label
from plimsoll.units import MAX_COUNT, parse_memory
from plimsoll.workloads import kinds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.workloads.kinds import Kind

KIND: Final = "SizingPolicy"
NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The label that every namespace carries: its name."""
MOST_PERCENT: Final = 90
MOST_LISTED: Final = 64
"""Elements of a list that are read."""
_PERCENT: Final = re.compile(r"([0-9]{1,2})%")
_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label. operator: as Kubernetes has them; values: of In and NotIn."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
        return self.key not in labels


@dataclass(frozen=True, slots=True)
class SizingPolicy:
    """One policy. selector: conditions on a namespace's labels, all of which it meets; None: what
    it selects cannot be read, so nothing. kinds: None for every kind that is looked at.

    problems: what cannot be read of it, and so does not hold.
    """

    name: str
    selector: tuple[Requirement, ...] | None = ()
    kinds: tuple[str, ...] | None = None
    ruling: Ruling = field(default_factory=lambda: Ruling(""))
    problems: tuple[Problem, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the labels that its selector looks at."""
        return frozenset(one.key for one in self.selector or ())

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether it selects a namespace with these labels, its name among them."""
        return self.selector is not None and all(one.holds(labels) for one in self.selector)

    def may_select(self, namespace: str) -> bool:
        """Whether it selects a namespace of which nothing but the name is known, or may."""
        known = {NAME_LABEL: namespace}
        return self.selector is not None and all(
            one.holds(known) for one in self.selector if one.key == NAME_LABEL
        )

    def covers(self, kind: Kind) -> bool:
        """Whether it speaks of objects of a kind."""
        return self.kinds is None or kind.name in self.kinds

    def names(self, kind: Kind) -> bool:
        """Whether it names a kind of other people, so that it is looked at."""
        return kind.reader is not None and self.kinds is not None and kind.name in self.kinds


def rulings(
    policies: Iterable[SizingPolicy], kind: Kind, selects: Callable[[SizingPolicy], bool]
) -> tuple[list[Ruling], bool]:
    """What each of the policies that select a namespace says of a kind, and whether one names it.

    One of which nobody can read what it selects holds nowhere, and is said everywhere.
    """
    found, named = [], False
    for one in policies:
        if not one.covers(kind):
            continue
        if one.selector is None:
            found.append(Ruling(one.name, unread=one.ruling.unread))
        elif selects(one):
            found.append(one.ruling)
            named = named or one.names(kind)
    return found, named


def read(obj: Mapping[str, Any]) -> SizingPolicy:
    """The policy that an object states; what is wrong is in it. Total."""
    metadata, given = _mapping(obj.get("metadata")), obj.get("spec")
    name = clean(str(metadata.get("name") or "unnamed"), 253)
    reader = _Reader(_mapping(given))
    if not isinstance(given, Mapping):
        reader.wrong("", given, "a mapping")
    selector = reader.selector()
    of_kinds = reader.texts("kinds", "the name of a kind that is read", KINDS.__contains__)
    if of_kinds is None and reader.spec.get("kinds") is not None:
        of_kinds = ()  # nobody knows which: none
    mode = reader.choice("mode", Mode)
    called = (f"{KIND} {name}",)
    size, percent = reader.headroom()
    cards = reader.texts("allowedAccelerators", "a name of the accelerator table", bool)
    versions = reader.versions()
    keys = reader.texts(
        "requiredAnnotations", "the key of an annotation", lambda k: not no_label(k)
    )
    per_replica = reader.count("maxGPUsPerReplica")
    per_object = reader.count("maxGPUsPerObject")
    reader.no_others()
    bounds = Bounds(
        size, percent, cards, per_replica, per_object, tuple(sorted(versions.items())), keys or ()
    )
    by = [one for one in _OWN if getattr(bounds, one)]
    by += [f"oldest.{engine}" for engine in versions]
    by += [f"annotations.{key}" for key in bounds.annotations]
    problems = tuple(reader.problems)
    return SizingPolicy(
        name,
        selector,
        of_kinds,
        Ruling(
            name,
            Mode(mode) if mode else None,
            replace(bounds, by=tuple((one, called) for one in sorted(by))),
            tuple(f"{KIND} {name} does not hold in this: {one}" for one in problems),
        ),
        problems,
    )


_OWN: Final = (
    "headroom",
    "headroom_percent",
    "accelerators",
    "gpus_per_replica",
    "gpus_per_object",
)
KINDS: Final = frozenset(kind.name for kind in kinds.KINDS if not kind.part)
"""Names of the kinds that a policy may name."""
FIELDS: Final = (
    "namespaceSelector",
    "kinds",
    "mode",
    "headroom",
    "allowedAccelerators",
    "maxGPUsPerReplica",
    "maxGPUsPerObject",
    "oldestEngineVersions",
    "requiredAnnotations",
)
"""The fields of a spec."""


class _Reader:
    """The fields of a spec, with what is wrong with each."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.problems: list[Problem] = []

    def wrong(self, path: str, given: object, wanted: str, fix: str = "") -> None:
        where = f"spec.{path}" if path else "spec"
        said = "" if given is None else shown(given)
        self.problems.append(Problem(where, said, wanted, fix))

    def no_others(self) -> None:
        """Fields that nobody knows: what they ask for is not held to."""
        for key in sorted(map(str, self.spec.keys() - set(FIELDS)))[:MOST_LISTED]:
            self.wrong(clean(key), None, "no such field", f"the fields are {', '.join(FIELDS)}")

    def choice(self, name: str, known: Iterable[str]) -> str:
        value, words = self.spec.get(name), [str(one) for one in known]
        if value is None or value in words:
            return str(value or "")
        self.wrong(name, value, f"one of {', '.join(words)}")
        return ""

    def count(self, name: str) -> int | None:
        value = self.spec.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_COUNT:
            return value
        self.wrong(name, value, "a number of GPUs, at least 1")
        return None

    def texts(self, name: str, wanted: str, known: Callable[[str], bool]) -> tuple[str, ...] | None:
        """A list of texts, those alone that are known; None if it is unset or none can be read."""
        value = self.spec.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_LISTED:
            self.wrong(name, value, f"a list of 1 to {MOST_LISTED}: {wanted}")
            return None
        found = []
        for index, one in enumerate(value):
            if isinstance(one, str) and known(one):
                found.append(one)
            else:
                self.wrong(f"{name}[{index}]", one, wanted)
        return tuple(dict.fromkeys(found)) or None

    def versions(self) -> dict[str, str]:
        value = self.spec.get("oldestEngineVersions")
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.wrong("oldestEngineVersions", value, "versions by the name of an engine")
            return {}
        found: dict[str, str] = {}
        for engine, version in list(value.items())[:MOST_LISTED]:
            path = f"oldestEngineVersions[{clean(str(engine))}]"
            if engine not in registry.NAMES:
                names = ", ".join(sorted(registry.NAMES))
                self.wrong(path, engine, f"the name of an engine: one of {names}")
            elif not isinstance(version, str) or numbers(version) is None:
                self.wrong(path, version, 'a version in quotes, such as "0.11.0"')
            else:
                found[str(engine)] = version
        return found

    def headroom(self) -> tuple[int, int]:
        """Bytes and hundredths of each GPU."""
        value = self.spec.get("headroom")
        if value is None:
            return 0, 0
        percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if percent is not None and int(percent[1]) <= MOST_PERCENT:
            return 0, int(percent[1])
        try:
            if isinstance(value, str) and percent is None:
                return parse_memory(value), 0
        except Unreadable:
            pass
        self.wrong("headroom", value, f'a share up to {MOST_PERCENT}% ("10%") or a size ("4Gi")')
        return 0, 0

    def selector(self) -> tuple[Requirement, ...] | None:
        """The conditions on labels; None if one of them cannot be read."""
        given = self.spec.get("namespaceSelector")
        if given is None:
            return ()
        before = len(self.problems)
        if not isinstance(given, Mapping):
            self.wrong("namespaceSelector", given, "matchLabels or matchExpressions")
            return None
        labels, conditions = given.get("matchLabels") or {}, given.get("matchExpressions") or []
        if not isinstance(conditions, list):
            conditions = [conditions]
        found: list[Requirement] = []
        if isinstance(labels, Mapping) and len(labels) <= MOST_LISTED >= len(conditions):
            for k, v in labels.items():
                found.append(Requirement(str(k), "In", frozenset({str(v)})))
                if why := no_label(k, v):
                    path = f"namespaceSelector.matchLabels[{clean(str(k))}]"
                    self.wrong(path, v, "a label in quotes as namespaces carry it", why)
        else:
            wanted = f"up to {MOST_LISTED} labels and conditions"
            self.wrong("namespaceSelector", labels, wanted)
        for index, one in enumerate(conditions):
            condition = _mapping(one)
            key, operator = condition.get("key"), condition.get("operator")
            values = condition.get("values") or []
            with_values = operator in ("In", "NotIn")
            right = operator in _OPERATORS and isinstance(values, list)
            right = right and not any(no_label(key, v) for v in values or [""])
            if right and bool(values) is with_values:
                found.append(Requirement(str(key), str(operator), frozenset(map(str, values))))
            else:
                wanted = "key and operator (In and NotIn with values, Exists, DoesNotExist)"
                self.wrong(f"namespaceSelector.matchExpressions[{index}]", one, wanted)
        return tuple(found) if len(self.problems) == before else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
