"""From what is remembered of the cluster to the inputs of one decision.

It must not decide, and it is the only place that knows how an LLMDeployment looks as a dict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plimsoll.decision.policy import policy_of
from plimsoll_operator.controller.cache import unpack
from plimsoll_operator.controller.task import Job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from plimsoll_operator.controller.cache import Cache, Entry
    from plimsoll_operator.controller.documents import Document


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


def snapshot(cache: Cache, entry: Entry, document: Document, now: datetime) -> Job:
    """One decision to be made. document: the ConfigMap that the entry refers to."""
    namespace = str(unpack(entry.packed)["metadata"].get("namespace", ""))
    return Job(
        packed=entry.packed,
        refers_to=entry.refers_to,
        document=document.packed if document.exists else None,
        policy=policy_of(namespace, cache.modes.get(namespace)),
        now=now,
    )
