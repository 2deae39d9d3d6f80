"""What is not free of a cluster's GPUs: held by pods, asked for by placements, left by quotas.

    held      by pods that are bound to a node and have not finished
    claimed   by a placement whose pods are not there (all) yet: its GPUs less those that they hold
    left      hard - used of every ResourceQuota of a namespace, where no scope narrows it

A pod belongs to the LLMDeployment that its label `plimsoll.dev/llmdeployment` names; without one,
to the one of its namespace whose name and a dash its own name begins with, the longest first.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plimsoll.inventory.plain import mapping

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

QUOTA: Final = "ResourceQuota"
_REQUESTS: Final = "requests."
_OF_CLASS: Final = ".deviceclass.resource.k8s.io/devices"


@dataclass(frozen=True, slots=True)
class Taken:
    """GPUs of a node that a pod holds. resource: which; pod: its namespace and name.

    owner: the LLMDeployment (namespace and name) that its label names; empty without one.
    """

    resource: str
    count: int
    pod: str
    owner: str = ""

    def belongs_to(self, names: Container[str]) -> str:
        """The LLMDeployment of these that it runs; empty if it runs none of them."""
        if self.owner:
            return self.owner if self.owner in names else ""
        name = self.pod
        while "-" in name:
            name = name.rpartition("-")[0]
            if name in names:
                return name
        return ""


@dataclass(frozen=True, slots=True)
class Claim:
    """GPUs that the placement of an LLMDeployment asks for.

    name: its namespace and name. since: when it was made, as a text that sorts. accelerator,
    resource, selector, tolerations: as in `plimsoll.decision.verdict.Placement`. pods: so many,
    with per_pod GPUs each.
    """

    name: str
    since: str
    accelerator: str
    resource: str
    pods: int
    per_pod: int
    selector: tuple[tuple[str, str], ...]
    tolerations: tuple[tuple[str, str, str, str], ...] = ()

    @property
    def turn(self) -> tuple[str, str]:
        """Sorts claims: who was there first comes first."""
        return (self.since, self.name)


@dataclass(slots=True)
class _Alike:
    """Claims for pods of one kind. turns: of each; gpus: what they and those before ask for."""

    claim: Claim
    turns: list[tuple[str, str]] = field(default_factory=list)
    gpus: list[int] = field(default_factory=list)


class Promises:
    """What claims ask for and do not hold yet, in their turn, so that a part of them is found fast.

    missing: each claim with its GPUs, the first come first.
    """

    def __init__(self, missing: Sequence[tuple[Claim, int]]) -> None:
        self._missing = tuple(missing)
        self._turns = [claim.turn for claim, _ in missing]
        self._alike: dict[tuple[object, ...], _Alike] = {}
        for claim, gpus in missing:
            key = (claim.selector, claim.tolerations, claim.per_pod)
            alike = self._alike.setdefault(key, _Alike(claim))
            alike.turns.append(claim.turn)
            alike.gpus.append(gpus + (alike.gpus[-1] if alike.gpus else 0))

    def before(self, turn: tuple[str, str] | None) -> Sequence[tuple[Claim, int]]:
        """The claims that were there before a turn, each with its GPUs; all of them for None."""
        return self._missing[: None if turn is None else bisect_left(self._turns, turn)]

    def by_kind(self, turn: tuple[str, str] | None) -> list[tuple[Claim, int]]:
        """The same summed over pods of one kind: one of the claims, with the GPUs of all."""
        found = []
        for alike in self._alike.values():
            count = len(alike.turns) if turn is None else bisect_left(alike.turns, turn)
            if count:
                found.append((alike.claim, alike.gpus[count - 1]))
        return found


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a resource a ResourceQuota lets a namespace have. used: of that, by pods."""

    namespace: str
    name: str
    resource: str
    hard: int
    used: int


def read_quota(quota: Mapping[str, Any]) -> tuple[Quota, ...]:
    """What a ResourceQuota says of GPUs; nothing if it counts only some pods. Total.

    Devices of a DeviceClass are those of the resource of that name.
    """
    metadata, spec = mapping(quota.get("metadata")), mapping(quota.get("spec"))
    if spec.get("scopes") or spec.get("scopeSelector"):
        return ()
    hard, used = mapping(spec.get("hard")), mapping(mapping(quota.get("status")).get("used"))
    found = []
    for key in sorted(key for key in hard if isinstance(key, str)):
        resource = _resource(key)
        most = _whole(hard[key])
        if resource and most is not None:
            namespace = str(metadata.get("namespace") or "default")[:253]
            name = str(metadata.get("name") or "unnamed")[:253]
            found.append(Quota(namespace, name, resource, most, _whole(used.get(key)) or 0))
    return tuple(found)


def trimmed_quota(quota: Mapping[str, Any]) -> dict[str, Any] | None:
    """A ResourceQuota with nothing in it but what is read, to be saved; None if nothing is."""
    read = read_quota(quota)
    if not read:
        return None
    return {
        "kind": QUOTA,
        "metadata": {"namespace": read[0].namespace, "name": read[0].name},
        "spec": {"hard": {_REQUESTS + one.resource: str(one.hard) for one in read}},
        "status": {"used": {_REQUESTS + one.resource: str(one.used) for one in read}},
    }


def _resource(key: str) -> str:
    """The extended resource, or the DeviceClass, that a key of a quota counts; empty if none."""
    if key.endswith(_OF_CLASS):
        return key.removesuffix(_OF_CLASS)
    resource = key.removeprefix(_REQUESTS)
    return resource if key.startswith(_REQUESTS) and "/" in resource else ""


def _whole(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
