"""Which pods hold which GPUs of a node, and what all of them ask of it beside, from Pod objects as
plain dicts.

    counted    pods that are bound to a node and have not finished
    requests   of a pod: the sum of its containers and of init containers that go on running, and
               at least the most of any other init container (Kubernetes: pod resources)

It must not fetch a pod, and it never raises: what is no whole number counts as none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import WORKLOAD_LABEL
from plimsoll.errors import Unreadable
from plimsoll.inventory.facts import Asked
from plimsoll.inventory.held import Taken
from plimsoll.inventory.nodes import is_counted
from plimsoll.inventory.plain import mapping, mappings
from plimsoll.units import parse_cpu, parse_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

KIND: Final = "Pod"
_NOTHING: Final = Asked()
_FINISHED: Final = ("Succeeded", "Failed")


def taken(pods: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Taken, ...]]:
    """What is taken on each node, by the node's name; the pod that holds most comes first."""
    found: dict[str, list[Taken]] = {}
    for pod in pods:
        node, held = holding(pod)
        if held:
            found.setdefault(node, []).extend(held)
    return {node: in_order(held) for node, held in found.items()}


def asked(pods: Iterable[Mapping[str, Any]]) -> dict[str, Asked]:
    """What all pods ask of each node beside accelerators, by the node's name."""
    found: dict[str, Asked] = {}
    for pod in pods:
        node, asks = asking(pod)
        if node:
            found[node] = found.get(node, _NOTHING) + asks
    return found


def asking(pod: Mapping[str, Any]) -> tuple[str, Asked]:
    """The node that a pod is bound to, and what it asks of it beside accelerators; nothing of
    either if it is bound to none, or has finished.
    """
    node = _node(pod)
    if not node:
        return "", _NOTHING
    spec = mapping(pod.get("spec"))
    return node, Asked(
        cpu=_sum(spec, "cpu", parse_cpu),
        memory=_sum(spec, "memory", parse_memory),
        disk=_sum(spec, "ephemeral-storage", parse_memory),
        pods=1,
    )


def _sum(spec: Mapping[str, Any], name: str, read: Callable[[str], int]) -> int:
    """How much of a resource a pod asks for: as a whole if that is said, else as `_requests` sums
    it up, an init container beside those before it that go on running; with its overhead.
    """

    def of(one: Mapping[str, Any]) -> int:
        resources = mapping(one.get("resources"))
        said = {**mapping(resources.get("limits")), **mapping(resources.get("requests"))}
        return _quantity(said.get(name), read)

    whole, most, staying = of(spec), 0, 0
    for one in mappings(spec.get("initContainers")):
        if one.get("restartPolicy") == "Always":
            staying += of(one)
        else:
            most = max(most, staying + of(one))
    running = staying + sum(of(one) for one in mappings(spec.get("containers")))
    overhead = _quantity(mapping(spec.get("overhead")).get(name), read)
    return (whole or max(most, running)) + overhead


def _quantity(value: object, read: Callable[[str], int]) -> int:
    try:
        return read(str(value)[:64]) if isinstance(value, str | int) else 0
    except Unreadable:
        return 0


def in_order(held: Iterable[Taken]) -> tuple[Taken, ...]:
    """What is taken on a node: what a pod holds most of comes first."""
    return tuple(sorted(held, key=lambda t: (-t.count, t.pod, t.resource)))


def holding(pod: Mapping[str, Any]) -> tuple[str, tuple[Taken, ...]]:
    """The node that a pod is bound to, and the GPUs that it holds of it; nothing of either if it
    holds none.
    """
    node = _node(pod)
    requests = _requests(pod) if node else {}
    if not requests:
        return "", ()
    name, owner = _name(pod), _owner(pod)
    return node, tuple(Taken(resource, requests[resource], name, owner) for resource in requests)


def trimmed(pod: Mapping[str, Any]) -> dict[str, Any] | None:
    """A Pod with nothing in it but what is read, to be saved; None if it holds no GPU."""
    requests = _requests(pod)
    if not requests or not _node(pod):
        return None
    metadata = mapping(pod.get("metadata"))
    counts = {resource: str(count) for resource, count in sorted(requests.items())}
    said: dict[str, Any] = {key: str(metadata.get(key, ""))[:253] for key in ("namespace", "name")}
    if owner := _owner(pod):
        said["labels"] = {WORKLOAD_LABEL: owner.partition("/")[2]}
    return {
        "kind": KIND,
        "metadata": said,
        "spec": {"nodeName": _node(pod), "containers": [{"resources": {"requests": counts}}]},
        "status": {"phase": "Running"},
    }


def _node(pod: Mapping[str, Any]) -> str:
    """The node that a pod is bound to and has not finished on; empty if there is none."""
    if mapping(pod.get("status")).get("phase") in _FINISHED:
        return ""
    node = mapping(pod.get("spec")).get("nodeName")
    return node[:253] if isinstance(node, str) else ""


def _name(pod: Mapping[str, Any]) -> str:
    metadata = mapping(pod.get("metadata"))
    namespace = str(metadata.get("namespace") or "default")[:253]
    return f"{namespace}/{str(metadata.get('name') or 'unnamed')[:253]}"


def _owner(pod: Mapping[str, Any]) -> str:
    """The LLMDeployment that a pod's label names, with its namespace; empty without one."""
    metadata = mapping(pod.get("metadata"))
    name = mapping(metadata.get("labels")).get(WORKLOAD_LABEL)
    namespace = str(metadata.get("namespace") or "default")[:253]
    return f"{namespace}/{name[:253]}" if isinstance(name, str) and name else ""


def _requests(pod: Mapping[str, Any]) -> dict[str, int]:
    """The GPUs that a pod asks for, by resource."""
    spec = mapping(pod.get("spec"))
    running: dict[str, int] = {}
    before: dict[str, int] = {}
    for key in ("containers", "initContainers"):
        for one in mappings(spec.get(key)):
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
    resources = mapping(container.get("resources"))
    said = {**mapping(resources.get("limits")), **mapping(resources.get("requests"))}
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
