"""Write what was planned: the status, and the Events of its transitions.

It must not decide what is written, and it writes nothing but ``status`` and Events: never a spec,
a label, an annotation or a finalizer.
"""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import GROUP, PLURAL, VERSION
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError
from plimsoll_operator.cluster.objects import EVENTS, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Json
    from plimsoll_operator.controller.plan import Event
    from plimsoll_operator.controller.snapshot import Identity

log = logging.getLogger(__name__)

LLM_DEPLOYMENTS: Final = Resource(GROUP, VERSION, PLURAL)
COMPONENT: Final = "plimsoll-controller"
LONGEST_EVENT: Final = 1024
"""Characters of an Event's message that the API server takes."""


async def write_status(client: Client, identity: Identity, patch: Mapping[str, Any]) -> Json:
    """Merge a patch into the status of exactly the object that was decided on; as it is then.

    Raises `Conflict` where it has changed since, and whatever else `Client.patch_status` raises.
    """
    return await client.patch_status(
        LLM_DEPLOYMENTS, identity.namespace, identity.name, dict(patch), identity.version
    )


async def post_event(client: Client, identity: Identity, event: Event) -> None:
    """Post an Event on the object; one that cannot be posted is logged and let go."""
    try:
        await client.create(EVENTS, _event(identity, event), namespace=identity.namespace)
    except (ApiError, *UNREACHABLE) as error:
        log.warning("%s/%s: no Event: %s", identity.namespace, identity.name, error)


def _event(identity: Identity, event: Event) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = event.message
    if len(message) > LONGEST_EVENT:
        message = message[: LONGEST_EVENT - 1] + "…"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{identity.name[:200]}.{uuid.uuid4().hex[:16]}",
            "namespace": identity.namespace,
        },
        "involvedObject": {
            "apiVersion": identity.api_version,
            "kind": identity.kind,
            "namespace": identity.namespace,
            "name": identity.name,
            "uid": identity.uid,
            "resourceVersion": identity.version,
        },
        "type": event.type,
        "reason": event.reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
