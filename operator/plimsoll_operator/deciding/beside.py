"""What lies beside an object in the cluster, as its reader asks for it; and what it asked in vain.

A process that decides knows nothing of the cluster: it is handed what there is, says what it missed
and is asked again with that (`ROUNDS`). Admission and the audit hand it the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from plimsoll.workloads import kinds
from plimsoll.workloads.llmdeployment import Missing, pick
from plimsoll.workloads.resolved import KEY, RESOLVED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from plimsoll.decision.policy import Policy
    from plimsoll.workloads.kinds import Kind
    from plimsoll.workloads.roles import Served

    Found = Mapping["Wanted", Mapping[str, Any] | Missing | None]
    """What was looked for: the object; None, or why, for one that is not there."""

Wanted = tuple[str, str, str]
"""Kind, namespace and name of an object; `CONFIG_MAP`, `RESOLVED` and the id of a model for the
profile that somebody may have resolved."""
CONFIG_MAP: Final = "ConfigMap"
Answer = TypeVar("Answer")
ROUNDS: Final = 3
"""How often an object is read at most: what a ConfigMap says may name a model that is resolved."""
MOST: Final = 8
"""Objects that one object refers to that are looked for in one round."""


def profile(text: str) -> Mapping[str, Any]:
    """The profile of a resolved model as it is handed over: as a ConfigMap."""
    return {"data": {KEY: text}}


class Beside:
    """What was handed over, as readers ask for it. missed: what they asked for in vain."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self.missed: dict[Wanted, None] = {}

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key of a ConfigMap, or why there is none."""
        found = self._look((CONFIG_MAP, namespace, name))
        if isinstance(found, Missing):
            return found
        if found is None and namespace == RESOLVED:
            return Missing("nobody resolved it")
        if found is None:
            return Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return pick(name, key, _texts(found).get)

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The texts of a ConfigMap; None if it is not at hand."""
        found = self._look((CONFIG_MAP, namespace, name))
        return None if found is None or isinstance(found, Missing) else _texts(found)

    def other(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """An object by name; None if it is not at hand."""
        found = self._look((kind, namespace, name)) if name else None
        return None if isinstance(found, Missing) else found

    def _look(self, wanted: Wanted) -> Mapping[str, Any] | Missing | None:
        if wanted not in self._found:
            self.missed[wanted] = None
            return None
        return self._found[wanted]


def _texts(config_map: Mapping[str, Any]) -> dict[str, str]:
    data = config_map.get("data")
    texts = data.items() if isinstance(data, dict) else ()
    return {str(key): text for key, text in texts if isinstance(text, str)}


@dataclass(frozen=True, slots=True)
class Missed:
    """The answer to a question that came with too little: what was asked for in vain."""

    wanted: tuple[Wanted, ...]


def read(
    kind: Kind, obj: Mapping[str, Any], found: Found, *, last: bool
) -> tuple[Served, ...] | Missed:
    """The engines of an object with what was handed over. last: do with that alone."""
    beside = Beside(found)
    served = kind.read(obj, beside)
    return Missed(tuple(beside.missed)[:MOST]) if beside.missed and not last else served


@dataclass(frozen=True, slots=True)
class ObjectJob:
    """One object of any kind. policy: on it; beside: objects that it refers to; last: do with
    those."""

    obj: Mapping[str, Any]
    policy: Policy
    beside: Found = field(default_factory=dict)
    last: bool = True

    def engines(self) -> tuple[str, tuple[Served, ...] | Missed]:
        """The name of its kind, and its engines."""
        kind = kinds.find(str(self.obj.get("apiVersion")), str(self.obj.get("kind")))
        assert kind is not None
        return kind.name, read(kind, self.obj, self.beside, last=self.last)


async def in_rounds(
    ask: Callable[[Found, bool], Awaitable[Answer | Missed]],
    look: Callable[[Wanted], Awaitable[Mapping[str, Any] | Missing | None]],
) -> Answer:
    """Ask, look for what was missed and ask again. ask: given what was found, and whether to do
    with that."""
    found: dict[Wanted, Mapping[str, Any] | Missing | None] = {}
    for before_last in (*[True] * (ROUNDS - 1), False):
        answer = await ask(found, not before_last)
        if not isinstance(answer, Missed):
            return answer
        for wanted in answer.wanted:
            found[wanted] = await look(wanted)
    raise AssertionError("nobody misses anything in the last round")
