"""From what is remembered of the cluster to the inputs of one decision.

It must not decide, and it is the only place that knows how an LLMDeployment looks as a dict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plimsoll.decision.policy import Policy, policy_of
from plimsoll.workloads.llmdeployment import Missing, override_reason, pick
from plimsoll.workloads.llmdeployment import request as read_request
from plimsoll_operator.controller.cache import unpack
from plimsoll_operator.controller.documents import ABSENT, Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.request import Request
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.controller.cache import Cache, Entry


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object, in which state.

    version: the resource version that the status is written on. previous: the status in it.
    """

    namespace: str
    name: str
    uid: str
    version: str
    generation: int
    api_version: str
    kind: str
    previous: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that one decision and its status are made of.

    override: the reason in the override annotation, empty where there is none.
    previous: the status as it was read.
    """

    request: Request
    inventory: Inventory
    policy: Policy
    generation: int
    override: str
    previous: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OneDocument:
    """The one ConfigMap that a request may refer to, as `plimsoll.workloads` asks for it."""

    namespace: str
    name: str
    document: Document

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key of a ConfigMap, or what is missing, in admission's words."""
        if (namespace, name) != (self.namespace, self.name) or not self.document.exists:
            return Missing(f"there is no ConfigMap {name} in namespace {namespace} yet")
        return pick(name, key, self.document.packed, self.document.text)


def identify(entry: Entry) -> Identity | None:
    """Which object an entry is; None where it is being deleted."""
    obj = unpack(entry.packed)
    metadata = obj["metadata"]
    if metadata.get("deletionTimestamp"):
        return None
    return Identity(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        version=str(metadata.get("resourceVersion", "")),
        generation=int(metadata.get("generation") or 0),
        api_version=str(obj.get("apiVersion")),
        kind=str(obj.get("kind")),
        previous=obj.get("status") or {},
    )


def snapshot(cache: Cache, entry: Entry, document: Document = ABSENT) -> Inputs:
    """The inputs of one decision. document: the ConfigMap that the entry refers to."""
    obj = unpack(entry.packed)
    metadata = obj["metadata"]
    namespace = str(metadata.get("namespace", ""))
    return Inputs(
        request=read_request(obj, OneDocument(namespace, entry.refers_to, document)),
        inventory=cache.nodes.inventory,
        policy=policy_of(namespace, cache.modes.get(namespace)),
        generation=int(metadata.get("generation") or 0),
        override=override_reason(obj),
        previous=obj.get("status") or {},
    )
