"""Pools that Karpenter may make nodes of, from NodePool objects (karpenter.sh/v1) as plain dicts.

    cloud      of its node class: Amazon's (Karpenter, EKS Auto Mode), Azure's or Google's; of
               another node class, the one whose labels it speaks of
    machines   those of the table of machines that every requirement on type, family, category or
               series, GPU name and GPU count lets in; a NodePool that names none of these is for
               any machine, and is not read
    selector   the NodePool, and the labels of that GPU and their number in Karpenter's own words;
               on Azure the name of a machine where these leave open which GPU it is
    spot       where every node is: capacity-type In [spot]
    most       limits["nvidia.com/gpu"] // GPUs of a node

It must not fetch anything, and it never raises: what it does not understand lets nothing in.
Sources: karpenter.sh, Concepts, NodePools and scheduling (labels of the AWS provider);
docs.aws.amazon.com, EKS Auto Mode, "Create a node pool"; Azure/karpenter-provider-azure,
pkg/providers/instancetype (computeRequirements), and Azure/skewer, vmsize.go;
cloudpilot-ai/karpenter-provider-gcp, pkg/apis/v1alpha1/labels.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.foreign import GKE
from plimsoll.accelerators.machines import machines
from plimsoll.accelerators.types import Dialect
from plimsoll.inventory.declared import read_taints
from plimsoll.inventory.dialects import asked_for
from plimsoll.inventory.plain import mapping, mappings
from plimsoll.inventory.pools import Pool

if TYPE_CHECKING:
    from plimsoll.accelerators.machines import Machine
    from plimsoll.accelerators.types import Accelerator

KIND: Final = "NodePool"
_TYPE: Final = "node.kubernetes.io/instance-type"
_CAPACITY: Final = "karpenter.sh/capacity-type"
_CATEGORY: Final = re.compile(r"[a-z]+")
_OF_AMAZON: Final = re.compile(r"[a-z0-9-]+\.(?:[0-9]*x?large|metal)")
"""Types of Amazon's machines: a family, a dot, a size."""
_OF_AZURE: Final = re.compile(
    r"Standard_(?P<family>[A-Z])(?P<sub>[A-Z]?)[0-9]+-?[0-9]*(?P<features>(?:[abcdilmtspPr]+|C+|NP)?)"
    r"_?(?:(?P<gpu>[A-Z][0-9]+)_?)?(?:_cc_)?(?P<version>(?:[vV][1-9])?)(?:_Promo)?"
)
"""Types of Azure's machines, as its provider takes them apart."""
_OF_GOOGLE: Final = re.compile(
    r"(?P<family>[ag][0-9]x?)-(?:(?P<shape>[a-z]+)gpu-[0-9]+g(?:-metal)?|standard-[0-9]+)"
)
"""Types of Google's machines with GPUs."""
_AZURE: Final = "karpenter.azure.com/sku-"
_GOOGLE: Final = "karpenter.k8s.gcp/instance-"

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cloud:
    """Whose machines a provider makes. group: of its node classes; dialect: of its nodes' labels.

    narrowing: the keys of requirements that choose machines; facts: the labels that a machine of
    its has, by its type; None if it is another cloud's.
    """

    group: str
    dialect: Dialect
    narrowing: tuple[str, ...]
    facts: Callable[[str, Machine, Accelerator], Facts | None]


def _amazons(prefix: str, dialect: Dialect) -> Callable[[str, Machine, Accelerator], Facts | None]:
    def facts(kind: str, machine: Machine, card: Accelerator) -> Facts | None:
        asked = dict(asked_for(card, dialect))
        if not asked or not _OF_AMAZON.fullmatch(kind):
            return None
        category = _CATEGORY.match(kind)
        return {
            **asked,
            _TYPE: kind,
            f"{prefix}family": kind.partition(".")[0],
            f"{prefix}category": category[0] if category else "",
            f"{prefix}gpu-count": str(machine.gpus),
        }

    return facts


def _azures(kind: str, machine: Machine, card: Accelerator) -> Facts | None:
    parts = _OF_AZURE.fullmatch(kind)
    if parts is None:
        return None
    version = parts["version"].lower()
    series = f"{parts['family']}{parts['sub']}{parts['features']}"
    maker = "amd" if card.resource.startswith("amd") else "nvidia"
    return {
        _TYPE: kind,
        f"{_AZURE}name": kind,
        f"{_AZURE}family": parts["family"],
        f"{_AZURE}series": f"{series}_{version}" if version else series,
        f"{_AZURE}version": version.removeprefix("v") or "1",
        f"{_AZURE}gpu-manufacturer": maker,
        f"{_AZURE}gpu-count": str(machine.gpus),
        **({f"{_AZURE}gpu-name": parts["gpu"]} if parts["gpu"] else {}),
    }


def _googles(kind: str, machine: Machine, card: Accelerator) -> Facts | None:
    parts = _OF_GOOGLE.fullmatch(kind)
    named = [dict(one.selector)[GKE] for one in card.labels if one.dialect is Dialect.GKE]
    if parts is None or not named:
        return None
    mega = [name for name in named if ("-mega-" in name) == (parts["shape"] == "mega")]
    return {
        GKE: (mega or named)[0],
        _TYPE: kind,
        f"{_GOOGLE}family": parts["family"],
        f"{_GOOGLE}gpu-count": str(machine.gpus),
    }


def _amazon(group: str, prefix: str, dialect: Dialect) -> Cloud:
    keys = ("family", "category", "gpu-name", "gpu-count")
    narrowing = (_TYPE, *(f"{prefix}{key}" for key in keys))
    return Cloud(group, dialect, narrowing, _amazons(prefix, dialect))


CLOUDS: Final = (
    _amazon("karpenter.k8s.aws", "karpenter.k8s.aws/instance-", Dialect.KARPENTER_AWS),
    _amazon("eks.amazonaws.com", "eks.amazonaws.com/instance-", Dialect.EKS_AUTO),
    Cloud(
        "karpenter.azure.com",
        Dialect.KARPENTER_AZURE,
        (
            _TYPE,
            *(
                f"{_AZURE}{key}"
                for key in (
                    "name",
                    "family",
                    "series",
                    "version",
                    "gpu-name",
                    "gpu-manufacturer",
                    "gpu-count",
                )
            ),
        ),
        _azures,
    ),
    Cloud(
        "karpenter.k8s.gcp",
        Dialect.GKE,
        (_TYPE, GKE, f"{_GOOGLE}family", f"{_GOOGLE}gpu-count"),
        _googles,
    ),
)


def read_node_pool(obj: Mapping[str, Any]) -> tuple[Pool, ...]:
    """The pools without a node that a NodePool stands for, one for each GPU and count. Total."""
    name = str(mapping(obj.get("metadata")).get("name") or "unnamed")[:253]
    spec = mapping(obj.get("spec"))
    template = mapping(spec.get("template"))
    inside, labels = mapping(template.get("spec")), mapping(template.get("metadata"))
    wanted = _requirements(inside.get("requirements"))
    given = {k: v for k, v in mapping(labels.get("labels")).items() if isinstance(v, str)}
    cloud = _cloud(mapping(inside.get("nodeClassRef")).get("group"), wanted)
    if cloud is None or not any(key in cloud.narrowing for key, _, _ in wanted):
        return ()
    limit = str(mapping(spec.get("limits")).get("nvidia.com/gpu", ""))
    most = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 7 else None
    spot = any(
        key == _CAPACITY and how == "In" and set(values) == {"spot"} for key, how, values in wanted
    )
    let_in: dict[tuple[str, int], list[Facts]] = {}
    for kind, machine in machines().items():
        card = catalogue.find(machine.accelerator)
        facts = cloud.facts(kind, machine, card) if card and machine.gpus else None
        if card is None or facts is None:
            continue
        if all(_lets_in({**given, **facts}, one, cloud.narrowing) for one in wanted):
            let_in.setdefault((card.name, machine.gpus), []).append(facts)
    found = []
    for key in sorted(let_in):
        card = catalogue.find(key[0])
        assert card is not None
        selector = {**_selector(cloud, key, card, let_in), "karpenter.sh/nodepool": name}
        found.append(
            Pool(
                accelerator=card,
                gpus_per_node=key[1],
                nodes=0,
                node_names=(),
                selector=tuple(sorted(selector.items())),
                dialect=cloud.dialect,
                labels=frozenset({**given, **selector}.items()),
                taints=read_taints(inside.get("taints")),
                declared=f"{KIND} {name}",
                most=most // key[1] if most is not None else None,
                spot=spot,
            )
        )
    return tuple(found)


def _cloud(group: object, wanted: list[tuple[str, str, tuple[str, ...]]]) -> Cloud | None:
    """The cloud of a NodePool: of its node class, else the one whose labels or machines it speaks
    of; Amazon's if nothing tells.
    """
    named = next((one for one in CLOUDS if one.group == group), None)
    if named is not None:
        return named
    own = {key for key, _, _ in wanted} - {_TYPE}
    types = [value for key, _, values in wanted if key == _TYPE for value in values]
    by_label = next((one for one in CLOUDS if own & set(one.narrowing)), None)
    patterns = ((CLOUDS[2], _OF_AZURE), (CLOUDS[3], _OF_GOOGLE), (CLOUDS[0], _OF_AMAZON))
    by_type = (one for one, kinds in patterns if any(kinds.fullmatch(kind) for kind in types))
    return by_label or next(by_type, CLOUDS[0] if group is None else None)


def _selector(
    cloud: Cloud, key: tuple[str, int], card: Accelerator, let_in: Mapping[Any, list[Facts]]
) -> dict[str, str]:
    """The labels that ask for machines of one GPU and count, among those that a NodePool makes."""
    if cloud.dialect is not Dialect.KARPENTER_AZURE:
        count = next(one for one in cloud.narrowing if one.endswith("gpu-count"))
        asked = dict(asked_for(card, cloud.dialect))
        if cloud.dialect is Dialect.GKE:
            asked = {GKE: let_in[key][0][GKE]}
        return {**asked, count: str(key[1])}
    mine = let_in[key]
    asked = {k: mine[0].get(k, "") for k in (f"{_AZURE}gpu-name", f"{_AZURE}gpu-count")}

    def alike(facts: Facts) -> bool:
        return all(facts.get(k, "") == value for k, value in asked.items())

    others = (facts for other, all_of in let_in.items() if other != key for facts in all_of)
    if all(asked.values()) and all(map(alike, mine)) and not any(map(alike, others)):
        return asked
    return {f"{_AZURE}name": min((facts[f"{_AZURE}name"] for facts in mine), key=_plainest)}


def _plainest(name: str) -> tuple[int, str]:
    """The shortest name first: the others are its aliases, or machines with more beside."""
    return len(name), name


def trimmed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A NodePool with nothing in it but what is read, to be saved."""
    spec = mapping(obj.get("spec"))
    template = mapping(spec.get("template"))
    inside, labels = mapping(template.get("spec")), mapping(template.get("metadata"))
    limit = mapping(spec.get("limits")).get("nvidia.com/gpu")
    return {
        "kind": KIND,
        "metadata": {"name": str(mapping(obj.get("metadata")).get("name", ""))[:253]},
        "spec": {
            "template": {
                "metadata": {"labels": dict(mapping(labels.get("labels")))},
                "spec": {
                    key: inside[key]
                    for key in ("requirements", "taints", "nodeClassRef")
                    if inside.get(key)
                },
            },
            **({"limits": {"nvidia.com/gpu": str(limit)}} if limit is not None else {}),
        },
    }


def _requirements(requirements: object) -> list[tuple[str, str, tuple[str, ...]]]:
    """Key, operator and values of each requirement."""
    return [
        (
            str(one.get("key", "")),
            str(one.get("operator", "")),
            tuple(map(str, one["values"])) if isinstance(one.get("values"), list) else (),
        )
        for one in mappings(requirements)
    ]


def _lets_in(
    facts: Facts, requirement: tuple[str, str, tuple[str, ...]], narrowing: tuple[str, ...]
) -> bool:
    """Whether a requirement lets a machine in; one on what is not known of it does."""
    key, how, values = requirement
    if key not in narrowing:
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
