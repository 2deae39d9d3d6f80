"""Pools that Kueue shares out, from ResourceFlavor and ClusterQueue objects as plain dicts.

    flavor     one whose nodeLabels name a kind of GPU; its labels are the pool's, and its taints
               but for those that Kueue tolerates for whoever is given the flavor
    GPUs       of one node: the least that the labels count, else the table's usual machine
    most       nodes within the quota: the nominal quotas of that flavor in all ClusterQueues, if
               none of these may borrow from others

A flavor without such labels is no pool, nor is one whose labels a pool has that is known anyway;
one that names what cannot be read is set aside. It must not fetch anything, and it never raises.
Source: kueue.x-k8s.io/v1beta2, resourceflavor_types.go and clusterqueue_types.go (v0.17.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import labels as written
from plimsoll.accelerators.counts import machine_gpus
from plimsoll.accelerators.found import Found, Unclear
from plimsoll.accelerators.types import Dialect
from plimsoll.inventory.declared import read_taints
from plimsoll.inventory.plain import mapping, mappings
from plimsoll.inventory.pools import Pool, SetAside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KIND: Final = "ResourceFlavor"
QUEUE: Final = "ClusterQueue"
MOST_QUOTA: Final = 1_000_000
"""GPUs that a quota is read up to."""


def read_flavors(
    flavors: Iterable[Mapping[str, Any]],
    queues: Iterable[Mapping[str, Any]],
    known: Iterable[Pool | SetAside] = (),
) -> list[Pool | SetAside]:
    """The pools without a node that flavors stand for, by name. Total.

    known: pools that nodes or declarations make: a flavor of their nodes adds nothing.
    """
    quotas = _quotas(queues)
    carried = [one.labels.union(one.selector) for one in known if isinstance(one, Pool)]
    read = []
    for flavor in sorted(flavors, key=_name):
        wanted = node_labels(flavor).items()
        if not any(labels.issuperset(wanted) for labels in carried):
            read.append(_read(flavor, quotas))
    return [one for one in read if one is not None]


def node_labels(flavor: Mapping[str, Any]) -> dict[str, str]:
    """The labels of the nodes that a flavor stands for."""
    given = mapping(mapping(flavor.get("spec")).get("nodeLabels"))
    return {str(key): value for key, value in given.items() if isinstance(value, str)}


def trimmed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A ResourceFlavor or a ClusterQueue with nothing in it but what is read, to be saved."""
    spec = mapping(obj.get("spec"))
    if obj.get("kind") == QUEUE:
        slim: dict[str, Any] = {
            "resourceGroups": [
                {
                    "flavors": [
                        {"name": flavor, "resources": [{"name": name, "nominalQuota": str(quota)}]}
                        for flavor, name, quota in _shares(obj)
                    ]
                }
            ]
        }
        if _borrows(obj):
            slim["cohortName"] = "any"
    else:
        keys = ("nodeLabels", "nodeTaints", "tolerations")
        slim = {key: spec[key] for key in keys if spec.get(key)}
    return {"kind": obj.get("kind"), "metadata": {"name": _name(obj)}, "spec": slim}


def _read(
    flavor: Mapping[str, Any], quotas: Mapping[str, Mapping[str, int | None]]
) -> Pool | SetAside | None:
    name, labels = _name(flavor), node_labels(flavor)
    found = written.recognise(labels) if labels else None
    if isinstance(found, Unclear):
        return SetAside(f"{KIND} {name}", found.why)
    if not isinstance(found, Found):
        return None
    card = found.accelerator
    per_node = machine_gpus(labels)[0] or card.gpus_per_node
    quota = quotas.get(name, {}).get(card.resource)
    spec = mapping(flavor.get("spec"))
    tolerated = list(mappings(spec.get("tolerations")))
    return Pool(
        accelerator=card,
        gpus_per_node=per_node,
        nodes=0,
        node_names=(),
        selector=tuple(sorted(labels.items())),
        dialect=Dialect.POOL,
        labels=frozenset(labels.items()),
        taints=tuple(
            taint
            for taint in read_taints(spec.get("nodeTaints"))
            if not any(_tolerates(one, taint) for one in tolerated)
        ),
        declared=f"{KIND} {name}",
        most=quota // per_node if quota is not None else None,
    )


def _tolerates(toleration: Mapping[str, Any], taint: tuple[str, str, str]) -> bool:
    key, value, effect = taint
    if toleration.get("effect") not in (None, "", effect):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", key)
    return toleration.get("key") == key and str(toleration.get("value") or "") == value


def _quotas(queues: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int | None]]:
    """GPUs by flavor and resource; None where some queue may borrow more."""
    found: dict[str, dict[str, int | None]] = {}
    for queue in queues:
        for flavor, resource, quota in _shares(queue):
            of_flavor = found.setdefault(flavor, {})
            before = of_flavor.get(resource, 0)
            bounded = before is not None and not _borrows(queue)
            of_flavor[resource] = (before or 0) + quota if bounded else None
    return found


def _shares(queue: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Flavor, resource and nominal quota of every whole number in a ClusterQueue."""
    for group in mappings(mapping(queue.get("spec")).get("resourceGroups")):
        for flavor in mappings(group.get("flavors")):
            for resource in mappings(flavor.get("resources")):
                said = str(resource.get("nominalQuota", ""))
                if said.isascii() and said.isdecimal() and len(said) < 10:
                    name = str(resource.get("name", ""))[:253]
                    yield str(flavor.get("name", ""))[:253], name, min(int(said), MOST_QUOTA)


def _borrows(queue: Mapping[str, Any]) -> bool:
    spec = mapping(queue.get("spec"))
    return bool(spec.get("cohortName") or spec.get("cohort"))


def _name(obj: Mapping[str, Any]) -> str:
    return str(mapping(obj.get("metadata")).get("name") or "unnamed")[:253]
