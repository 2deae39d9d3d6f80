"""Which pods hold which GPUs of a node, from Pod objects as plain dicts.

    counted    pods that are bound to a node and have not finished
    requests   of a pod: the sum of its containers and of init containers that go on running, and
               at least the most of any other init container (Kubernetes: pod resources)

It must not fetch a pod, and it never raises: what is no whole number counts as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from plimsoll.inventory.nodes import is_counted
from plimsoll.inventory.pools import Taken

if TYPE_CHECKING:
    from collections.abc import Iterable

KIND: Final = "Pod"
_FINISHED: Final = ("Succeeded", "Failed")


def taken(pods: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Taken, ...]]:
    """What is taken on each node, by the node's name; the pod that holds most comes first."""
    found: dict[str, list[Taken]] = {}
    for pod in pods:
        node, name = _node(pod), _name(pod)
        if node:
            found.setdefault(node, []).extend(
                Taken(resource, count, name) for resource, count in _requests(pod).items()
            )
    return {
        node: tuple(sorted(held, key=lambda t: (-t.count, t.pod, t.resource)))
        for node, held in found.items()
        if held
    }


def trimmed(pod: Mapping[str, Any]) -> dict[str, Any] | None:
    """A Pod with nothing in it but what is read, to be saved; None if it holds no GPU."""
    requests = _requests(pod)
    if not requests or not _node(pod):
        return None
    metadata = _mapping(pod.get("metadata"))
    counts = {resource: str(count) for resource, count in sorted(requests.items())}
    return {
        "kind": KIND,
        "metadata": {key: str(metadata.get(key, ""))[:253] for key in ("namespace", "name")},
        "spec": {"nodeName": _node(pod), "containers": [{"resources": {"requests": counts}}]},
        "status": {"phase": "Running"},
    }


def _node(pod: Mapping[str, Any]) -> str:
    """The node that a pod is bound to and has not finished on; empty if there is none."""
    if _mapping(pod.get("status")).get("phase") in _FINISHED:
        return ""
    node = _mapping(pod.get("spec")).get("nodeName")
    return node[:253] if isinstance(node, str) else ""


def _name(pod: Mapping[str, Any]) -> str:
    metadata = _mapping(pod.get("metadata"))
    namespace = str(metadata.get("namespace") or "default")[:253]
    return f"{namespace}/{str(metadata.get('name') or 'unnamed')[:253]}"


def _requests(pod: Mapping[str, Any]) -> dict[str, int]:
    """The GPUs that a pod asks for, by resource."""
    spec = _mapping(pod.get("spec"))
    running: dict[str, int] = {}
    before: dict[str, int] = {}
    for key in ("containers", "initContainers"):
        containers = spec.get(key)
        for container in containers if isinstance(containers, list) else ():
            one = _mapping(container)
            stays = key == "containers" or one.get("restartPolicy") == "Always"
            for resource, count in _counts(one).items():
                if stays:
                    running[resource] = running.get(resource, 0) + count
                else:
                    before[resource] = max(before.get(resource, 0), count)
    return {
        resource: max(running.get(resource, 0), before.get(resource, 0))
        for resource in running | before
    }


def _counts(container: Mapping[str, Any]) -> dict[str, int]:
    resources = _mapping(container.get("resources"))
    said = {**_mapping(resources.get("limits")), **_mapping(resources.get("requests"))}
    counts = {
        key: int(str(value))
        for key, value in said.items()
        if isinstance(key, str)
        and is_counted(key)
        and str(value).isascii()
        and str(value).isdecimal()
        and len(str(value)) < 6
    }
    return {key: count for key, count in counts.items() if count}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
