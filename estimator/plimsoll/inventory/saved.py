"""An inventory as a document: what `plimsoll inventory -o json` prints and `check` reads back.

It holds the pools, for people, and the nodes as kubectl has them, trimmed to what is read of them,
so that a saved node and a node of the cluster are read by the same function. Documents that were
saved before that hold nodes with places in lists of accelerators and sets of labels; they are read
as the nodes that they stand for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem, shown
from plimsoll.inventory import (
    claims,
    declared,
    devices,
    flavors,
    held,
    node_pools,
    pods,
    topologies,
)
from plimsoll.inventory.devices import given_out
from plimsoll.inventory.dialects import spoken
from plimsoll.inventory.facts import Asked
from plimsoll.inventory.nodes import read_node, read_nodes, trimmed
from plimsoll.inventory.pools import Inventory, SetAside, with_declared

if TYPE_CHECKING:
    from plimsoll.inventory.facts import Offer
    from plimsoll.inventory.held import Taken

KIND: Final = "PlimsollInventory"
MAX_NODES: Final = 100_000
"""Nodes that are read out of one document."""
MOST_PROBLEMS: Final = 20
"""Problems of one document that are told."""

READ: Final = (
    "Node",
    devices.KIND,
    pods.KIND,
    claims.KIND,
    held.QUOTA,
    declared.KIND,
    node_pools.KIND,
    flavors.KIND,
    flavors.QUEUE,
    topologies.KIND,
)
"""The kinds of which an inventory is read."""
_WANTED: Final = "what `plimsoll inventory -o json` or `kubectl get nodes -o json` prints"
_AGAIN: Final = "save it again with `plimsoll inventory -o json`"
_BROKEN: Final = (KeyError, IndexError, TypeError, AttributeError)
"""What a document raises that lacks something, or has something else in its place."""


def from_dict(data: object) -> Inventory:
    """The inventory in a document of `to_dict`, or of kubectl (a NodeList, a List, one Node).

    Raises `Invalid` with every problem, at most `MOST_PROBLEMS`, for anything else.
    """
    parts = _parts(data)
    taken = _taken(parts) if parts.pods_read else None
    given = given_out(parts.slices)
    inventory = read_nodes(parts.nodes, parts.set_aside, given, taken, _asked(parts))
    quotas = tuple(quota for one in parts.quotas for quota in held.read_quota(one))
    pools = declared.read_pools(parts.pools, speaks=inventory.speaks)
    pools += [pool for one in parts.node_pools for pool in node_pools.read_node_pool(one)]
    pools += flavors.read_flavors(parts.flavors, parts.queues, (*inventory.pools, *pools))
    levels = topologies.read_topologies(parts.topologies)
    return with_declared(replace(inventory, quotas=quotas, topologies=levels), pools)


def _taken(parts: _Parts) -> dict[str, tuple[Taken, ...]]:
    """What pods and claims hold, by the node's name."""
    held_by_pods = pods.taken(parts.pods)
    by_claims = claims.claimed(parts.claims, devices.by_place(parts.slices))
    return {
        node: pods.in_order((*held_by_pods.get(node, ()), *by_claims.get(node, ())))
        for node in {*held_by_pods, *by_claims}
    }


def _asked(parts: _Parts) -> dict[str, Asked] | None:
    """What all pods ask of each node; None if they are not there, or were summed up when saved."""
    return pods.asked(parts.pods) if parts.pods and not parts.saved else None


def to_dict(data: object) -> dict[str, Any]:
    """A document as one to save: first its pools, for people, then its nodes, trimmed.

    Raises `Invalid` as `from_dict` does.
    """
    inventory = from_dict(data)
    parts = _parts(data)
    by_dra, asked = given_out(parts.slices), _asked(parts)
    return {
        "kind": KIND,
        "pools": [
            {
                "accelerator": pool.accelerator.name,
                "memory": pool.accelerator.memory,
                "resource": pool.accelerator.resource,
                "gpusPerNode": pool.gpus_per_node,
                "nodes": pool.nodes,
                "ready": pool.ready,
                "selector": dict(pool.selector),
                "dialect": str(pool.dialect),
                "taints": [
                    {"key": key, "value": value, "effect": effect}
                    for key, value, effect in pool.taints
                ],
            }
            for pool in inventory.pools
        ],
        "setAside": [{"node": aside.node, "why": aside.why} for aside in inventory.set_aside],
        "items": [
            *(
                trimmed(node, asked.get(_named(node), Asked()) if asked is not None else None)
                for node in parts.nodes
                if _is_kept(node, by_dra)
            ),
            *(page for one in parts.slices if (page := devices.trimmed(one)) is not None),
            *(pod for one in parts.pods if (pod := pods.trimmed(one)) is not None),
            *(declared.trimmed(one) for one in parts.pools),
            *(node_pools.trimmed(one) for one in parts.node_pools),
            *(flavors.trimmed(one) for one in (*parts.flavors, *parts.queues)),
            *(topologies.trimmed(one) for one in parts.topologies),
            *(use for one in parts.claims if (use := claims.trimmed(one)) is not None),
            *(left for one in parts.quotas if (left := held.trimmed_quota(one)) is not None),
        ],
        **({"podsRead": True} if parts.pods_read else {}),
    }


def _named(node: dict[str, Any]) -> str:
    metadata = node.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


def _is_kept(node: dict[str, Any], by_dra: dict[str, tuple[Offer, ...]]) -> bool:
    """Whether a node is worth saving: it has accelerators, or tells how others are asked for."""
    metadata = node.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    labels = metadata.get("labels")
    read = read_node(node, by_dra.get(str(metadata.get("name")), ()))
    return read is not None or (isinstance(labels, dict) and spoken(labels) is not None)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a document holds: objects by their kind, and nodes that it set aside.

    pods_read: whether its pods are all there are, so that what they do not hold is free. saved: by
    us, with what pods ask of a node summed up in that.
    """

    nodes: list[dict[str, Any]]
    slices: list[dict[str, Any]]
    pods: list[dict[str, Any]]
    claims: list[dict[str, Any]]
    quotas: list[dict[str, Any]]
    pools: list[dict[str, Any]]
    node_pools: list[dict[str, Any]]
    flavors: list[dict[str, Any]]
    queues: list[dict[str, Any]]
    topologies: list[dict[str, Any]]
    set_aside: list[SetAside]
    pods_read: bool
    saved: bool = False


def _parts(data: object) -> _Parts:
    """The parts of a document. Raises `Invalid`."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(data, dict) or kind not in (KIND, "NodeList", "List", "Node"):
        given = data.get("kind") if isinstance(data, dict) else type(data).__name__
        raise Invalid(Problem("inventory: kind", shown(given), _WANTED))
    set_aside = _set_aside(data) if kind == KIND else []
    if kind == "Node":
        return _Parts([data], [], [], [], [], [], [], [], [], [], [], pods_read=False)
    items = _stood_for(data) if kind == KIND and "nodes" in data else data.get("items")
    if not isinstance(items, list):
        raise Invalid(Problem("inventory: items", shown(type(items).__name__), "a list of nodes"))
    if len(items) > MAX_NODES:
        wanted = f"at most {MAX_NODES} nodes"
        raise Invalid(Problem("inventory: items", f"{len(items)} nodes", wanted))
    strangers = [
        Problem(f"inventory: items[{index}]", shown(_kind_of(item)), "a Node", _WANTED)
        for index, item in enumerate(items)
        if _kind_of(item) not in READ
    ]
    if strangers:
        raise Invalid(*strangers[:MOST_PROBLEMS])

    def of(kind: str) -> list[dict[str, Any]]:
        return [item for item in items if _kind_of(item) == kind]

    held_by_pods = of(pods.KIND)
    return _Parts(
        nodes=of("Node"),
        slices=of(devices.KIND),
        pods=held_by_pods,
        claims=of(claims.KIND),
        quotas=of(held.QUOTA),
        pools=of(declared.KIND),
        node_pools=of(node_pools.KIND),
        flavors=of(flavors.KIND),
        queues=of(flavors.QUEUE),
        topologies=of(topologies.KIND),
        set_aside=set_aside,
        pods_read=bool(held_by_pods) or data.get("podsRead") is True,
        saved=kind == KIND,
    )


def _kind_of(item: object) -> object:
    """The kind of an item; a NodeList's items may leave theirs out."""
    return item.get("kind", "Node") if isinstance(item, dict) else type(item).__name__


def _set_aside(data: dict[str, Any]) -> list[SetAside]:
    try:
        return [SetAside(str(aside["node"]), str(aside["why"])) for aside in data["setAside"]]
    except _BROKEN as error:
        raise _unlike_saved("setAside", data.get("setAside"), error) from None


def _stood_for(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes that an earlier document's places in `accelerators` and `labelSets` stand for."""
    nodes: list[dict[str, Any]] = []
    try:
        for node in data["nodes"]:
            labels = data["labelSets"][node["labels"]]
            counts = {
                data["accelerators"][offer["accelerator"]]["resource"]: str(offer["count"])
                for offer in node["offers"]
            }
            # What the machine has was not kept, and its labels count that; but beside slices, the
            # label counts the GPUs that were cut up too.
            beside = len(counts) > 1
            capacity = {
                name: count if beside else labels.get(f"{name}.count", count)
                for name, count in counts.items()
            }
            ready = [{"type": "Ready", "status": str(node["ready"])}]
            nodes.append(
                {
                    "metadata": {"name": node["name"], "labels": labels},
                    "spec": {"taints": node["taints"]},
                    "status": {"capacity": capacity, "allocatable": counts, "conditions": ready},
                }
            )
    except _BROKEN as error:
        raise _unlike_saved(f"nodes[{len(nodes)}]", data["nodes"], error) from None
    return nodes


def _unlike_saved(place: str, given: object, error: Exception) -> Invalid:
    why = f"what `plimsoll inventory -o json` prints ({type(error).__name__}: {error})"
    return Invalid(Problem(f"inventory: {place}", shown(type(given).__name__), why, _AGAIN))
