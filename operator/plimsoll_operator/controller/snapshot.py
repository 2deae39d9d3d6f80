"""From what is remembered of the cluster to the inputs of one decision.

It must not decide, and it is the only place that knows how an LLMDeployment looks as a dict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.staying import Kept
from plimsoll.engines.base import Parallelism
from plimsoll.workloads import llmdeployment
from plimsoll.workloads.llmdeployment import Missing, override_reason, read_rate
from plimsoll.workloads.resolved import RESOLVED
from plimsoll_operator.cluster.documents import ABSENT, Document, read
from plimsoll_operator.controller.verifying import verifying_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.decision.policy import Policy
    from plimsoll.decision.request import Request
    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.llmdeployment import Documents
    from plimsoll_operator.controller.verifying import Verifying


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

    override: the reason in the override annotation, empty if there is none. read_rate: bytes per
    second with which a pod reads the checkpoint; None: nobody says. verifying: how the engine
    itself is asked; None: it is not.
    """

    identity: Identity
    request: Request
    inventory: Inventory
    policy: Policy
    override: str
    read_rate: int | None = None
    verifying: Verifying | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What a controller knows of dry starts beside the status. enabled: whether it runs any.

    said: what one of the object said since, as its status will say it.
    """

    enabled: bool = False
    said: Mapping[str, Any] | None = None


NOTHING_HEARD: Final = Heard()


@dataclass(frozen=True, slots=True)
class OneDocument:
    """The one ConfigMap that a request may refer to, as `plimsoll.workloads` asks for it.

    resolved: the id of the model whose profile it is, if nobody refers to it by name.
    """

    namespace: str
    name: str
    document: Document
    resolved: str = ""

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key of a ConfigMap, or what is missing, in admission's words."""
        if namespace == RESOLVED:
            return read(self.document if name == self.resolved else ABSENT, namespace, name, key)
        mine = (namespace, name) == (self.namespace, self.name)
        return read(self.document if mine else ABSENT, namespace, name, key)


def identify(obj: Mapping[str, Any]) -> Identity | None:
    """Which object it is; None if it is being deleted."""
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


def snapshot(
    obj: Mapping[str, Any],
    identity: Identity,
    inventory: Inventory,
    policy: Policy,
    documents: Documents,
    heard: Heard = NOTHING_HEARD,
) -> Inputs:
    """The inputs of one decision on an object. documents: the ConfigMaps that it may refer to."""
    request = llmdeployment.request(obj, documents)
    return Inputs(
        identity=identity,
        request=request,
        inventory=inventory,
        policy=policy,
        override=override_reason(obj),
        read_rate=read_rate(obj),
        verifying=verifying_of(
            obj, request, identity.namespace, documents, heard.said, enabled=heard.enabled
        ),
    )


def replicas_before(identity: Identity) -> int | None:
    """The replicas that the placement in the status is for; None without one."""
    placement = identity.previous.get("placement") or {}
    total, each = placement.get("totalGPUs"), placement.get("gpusPerReplica")
    if not isinstance(total, int) or not isinstance(each, int) or each < 1:
        return None
    return total // each


def kept(identity: Identity, *, scaled: bool = False) -> Kept | None:
    """The placement in the status, if it is one of this very spec, on nodes that were seen.

    scaled: the spec is another, but in nothing but its replicas. A status of an older release does
    not say whether nodes were seen: then its labels tell.
    """
    previous = identity.previous
    placement = previous.get("placement")
    same = scaled or previous.get("observedGeneration") == identity.generation
    if not placement or not same:
        return None
    selector = placement.get("nodeSelector") or {}
    if not placement.get("onNodes", bool(selector)):
        return None
    try:
        split = placement["parallelism"]
        ((resource, count),) = placement["resources"].items()
        return Kept(
            accelerator=str(placement["accelerator"]),
            parallelism=Parallelism(
                split["tensor"], split["pipeline"], split["data"], bool(split["expert"])
            ),
            per_node=int(count),
            selector=tuple(sorted(selector.items())),
            taints=tuple(
                (one.get("key", ""), one.get("value", ""), one.get("effect", ""))
                for one in placement.get("tolerations") or ()
            ),
            resource=resource,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # somebody else's, or another release's: it is planned anew
