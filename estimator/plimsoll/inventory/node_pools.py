"""Pools that Karpenter may make nodes of, from NodePool objects (karpenter.sh/v1) as plain dicts.

    machines   those of the table of machines that every requirement on type, family, category,
               GPU name and GPU count lets in; a NodePool that names none of these is for any
               machine, and is not read
    selector   the NodePool, and the labels of that GPU and their number in Karpenter's own words
    spot       where every node is: capacity-type In [spot]
    most       limits["nvidia.com/gpu"] // GPUs of a node

It must not fetch anything, and it never raises: what it does not understand lets nothing in.
Source: karpenter.sh, Concepts, NodePools and scheduling (labels of the AWS provider).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.machines import machines
from plimsoll.accelerators.types import Dialect
from plimsoll.inventory.declared import read_taints
from plimsoll.inventory.dialects import asked_for
from plimsoll.inventory.pools import Pool

if TYPE_CHECKING:
    from plimsoll.accelerators.machines import Machine

KIND: Final = "NodePool"
_AWS: Final = "karpenter.k8s.aws/instance-"
_TYPE: Final = "node.kubernetes.io/instance-type"
_GPUS: Final = f"{_AWS}gpu-count"
_NARROWING: Final = (
    _TYPE,
    f"{_AWS}family",
    f"{_AWS}category",
    f"{_AWS}gpu-name",
    _GPUS,
)
_CAPACITY: Final = "karpenter.sh/capacity-type"
_CATEGORY: Final = re.compile(r"[a-z]+")
_OF_AMAZON: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9]+")
"""Types of Amazon's machines: a family, a dot, a size."""


def read_node_pool(obj: Mapping[str, Any]) -> tuple[Pool, ...]:
    """The pools without a node that a NodePool stands for, one for each GPU and count. Total."""
    name = str(_mapping(obj.get("metadata")).get("name") or "unnamed")[:253]
    spec = _mapping(obj.get("spec"))
    template = _mapping(spec.get("template"))
    inside, labels = _mapping(template.get("spec")), _mapping(template.get("metadata"))
    wanted = _requirements(inside.get("requirements"))
    given = {k: v for k, v in _mapping(labels.get("labels")).items() if isinstance(v, str)}
    if not any(key in _NARROWING for key, _, _ in wanted):
        return ()
    limit = str(_mapping(spec.get("limits")).get("nvidia.com/gpu", ""))
    most = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 7 else None
    spot = any(
        key == _CAPACITY and how == "In" and set(values) == {"spot"} for key, how, values in wanted
    )
    found: dict[tuple[str, int], Pool] = {}
    for kind, machine in machines().items():
        card = catalogue.find(machine.accelerator)
        asked = dict(asked_for(card, Dialect.KARPENTER_AWS)) if card else {}
        if card is None or not asked or not machine.gpus or not _OF_AMAZON.fullmatch(kind):
            continue
        facts = {**given, **asked, **_facts(kind, machine)}
        if not all(_lets_in(facts, one) for one in wanted):
            continue
        selector = {**asked, _GPUS: str(machine.gpus), "karpenter.sh/nodepool": name}
        found.setdefault(
            (card.name, machine.gpus),
            Pool(
                accelerator=card,
                gpus_per_node=machine.gpus,
                nodes=0,
                node_names=(),
                selector=tuple(sorted(selector.items())),
                dialect=Dialect.KARPENTER_AWS,
                labels=frozenset({**given, **selector}.items()),
                taints=read_taints(inside.get("taints")),
                declared=f"{KIND} {name}",
                most=most // machine.gpus if most is not None else None,
                spot=spot,
            ),
        )
    return tuple(found[key] for key in sorted(found))


def trimmed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A NodePool with nothing in it but what is read, to be saved."""
    spec = _mapping(obj.get("spec"))
    template = _mapping(spec.get("template"))
    inside, labels = _mapping(template.get("spec")), _mapping(template.get("metadata"))
    limit = _mapping(spec.get("limits")).get("nvidia.com/gpu")
    return {
        "kind": KIND,
        "metadata": {"name": str(_mapping(obj.get("metadata")).get("name", ""))[:253]},
        "spec": {
            "template": {
                "metadata": {"labels": dict(_mapping(labels.get("labels")))},
                "spec": {key: inside[key] for key in ("requirements", "taints") if inside.get(key)},
            },
            **({"limits": {"nvidia.com/gpu": str(limit)}} if limit is not None else {}),
        },
    }


def _facts(kind: str, machine: Machine) -> dict[str, str]:
    """The labels of a machine that a NodePool's requirements choose by."""
    category = _CATEGORY.match(kind)
    return {
        _TYPE: kind,
        f"{_AWS}family": kind.partition(".")[0],
        f"{_AWS}category": category[0] if category else "",
        _GPUS: str(machine.gpus),
    }


def _requirements(requirements: object) -> list[tuple[str, str, tuple[str, ...]]]:
    """Key, operator and values of each requirement."""
    return [
        (
            str(one.get("key", "")),
            str(one.get("operator", "")),
            tuple(map(str, one["values"])) if isinstance(one.get("values"), list) else (),
        )
        for one in (requirements if isinstance(requirements, list) else ())
        if isinstance(one, Mapping)
    ]


def _lets_in(facts: Mapping[str, str], requirement: tuple[str, str, tuple[str, ...]]) -> bool:
    """Whether a requirement lets a machine in; one on what is not known of it does."""
    key, how, values = requirement
    if key not in _NARROWING:
        return True
    given = facts.get(key)
    match how:
        case "In":
            return given in values
        case "NotIn":
            return given not in values
        case "Exists":
            return given is not None
        case "Gt" | "Lt":
            if given is None or not values or not (given.isdecimal() and values[0].isdecimal()):
                return False
            bound = int(values[0])
            return int(given) > bound if how == "Gt" else int(given) < bound
    return False


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
