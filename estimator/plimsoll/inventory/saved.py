"""An inventory as a document: what `plimsoll inventory -o json` prints and `check` reads back.

It must not look at labels: what a node is was settled when it was read.

Accelerators and sets of labels stand once each; nodes refer to them by their place in the list.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from plimsoll.accelerators.types import Accelerator, Dialect, Labels
from plimsoll.errors import Invalid, Problem, shown
from plimsoll.inventory.nodes import MAX_GPUS, read_nodes
from plimsoll.inventory.pools import Inventory, NodeFacts, Offer, SetAside, pools
from plimsoll.units import MAX_BYTES

KIND: Final = "PlimsollInventory"
MAX_NODES: Final = 100_000
"""Nodes that are read out of one document."""
MOST_PROBLEMS: Final = 20
"""Problems of one document that are told."""

_WANTED: Final = "what `plimsoll inventory -o json` or `kubectl get nodes -o json` prints"
_AGAIN: Final = "save it anew with `plimsoll inventory -o json`"

_Text = Annotated[str, Field(max_length=512)]
_Name = Annotated[str, Field(min_length=1, max_length=253)]
_Dialect = Annotated[Dialect, Field(strict=False)]
_Small = Annotated[int, Field(ge=0, lt=1000)]
_Place = Annotated[int, Field(ge=0, lt=MAX_NODES)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, alias_generator=to_camel, populate_by_name=True)


class _Labels(_Part):
    dialect: _Dialect
    selector: dict[_Text, _Text]


class _Accelerator(_Part):
    name: _Name
    title: _Text
    memory: Annotated[int, Field(gt=0, le=MAX_BYTES)]
    resource: _Name
    family: _Text
    compute: Annotated[
        list[Annotated[int, Field(ge=0, lt=1000)]], Field(min_length=2, max_length=2)
    ]
    gpus_per_node: Annotated[int, Field(gt=0, le=MAX_GPUS)]
    labels: list[_Labels]
    products: list[_Text]
    mig_of: _Text
    mig_profile: _Text
    source: _Text
    certain: bool


class _Offer(_Part):
    accelerator: _Place
    count: Annotated[int, Field(gt=0, le=MAX_GPUS)]
    dialect: _Dialect
    selector: dict[_Text, _Text]


class _Taint(_Part):
    key: _Text
    value: _Text
    effect: _Text


class _Node(_Part):
    name: _Name
    ready: bool
    labels: _Place
    taints: list[_Taint]
    offers: Annotated[list[_Offer], Field(min_length=1)]


class _SetAside(_Part):
    node: _Text
    why: str


class _Document(_Part):
    accelerators: list[_Accelerator]
    label_sets: list[dict[_Text, _Text]]
    nodes: Annotated[list[_Node], Field(max_length=MAX_NODES)]
    set_aside: list[_SetAside]


def to_dict(inventory: Inventory) -> dict[str, Any]:
    """The inventory for JSON: first the pools, for people, then all that `from_dict` reads."""
    accelerators: dict[Accelerator, int] = {}
    label_sets: dict[frozenset[tuple[str, str]], int] = {}
    nodes = [
        {
            "name": fact.name,
            "ready": fact.ready,
            "labels": label_sets.setdefault(fact.labels, len(label_sets)),
            "taints": [_taint(taint) for taint in fact.taints],
            "offers": [
                {
                    "accelerator": accelerators.setdefault(offer.accelerator, len(accelerators)),
                    "count": offer.count,
                    "dialect": str(offer.dialect),
                    "selector": dict(offer.selector),
                }
                for offer in fact.offers
            ],
        }
        for fact in inventory.facts
    ]
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
                "taints": [_taint(taint) for taint in pool.taints],
            }
            for pool in inventory.pools
        ],
        "setAside": [{"node": aside.node, "why": aside.why} for aside in inventory.set_aside],
        "accelerators": [_accelerator(accelerator) for accelerator in accelerators],
        "labelSets": [dict(sorted(labels)) for labels in label_sets],
        "nodes": nodes,
    }


def _taint(taint: tuple[str, str, str]) -> dict[str, str]:
    key, value, effect = taint
    return {"key": key, "value": value, "effect": effect}


def _accelerator(accelerator: Accelerator) -> dict[str, Any]:
    return {
        "name": accelerator.name,
        "title": accelerator.title,
        "memory": accelerator.memory,
        "resource": accelerator.resource,
        "family": accelerator.family,
        "compute": list(accelerator.compute),
        "gpusPerNode": accelerator.gpus_per_node,
        "labels": [
            {"dialect": str(labels.dialect), "selector": dict(labels.selector)}
            for labels in accelerator.labels
        ],
        "products": list(accelerator.products),
        "migOf": accelerator.mig_of,
        "migProfile": accelerator.mig_profile,
        "source": accelerator.source,
        "certain": accelerator.certain,
    }


def from_dict(data: object) -> Inventory:
    """The inventory in a document of `to_dict`, or of kubectl (a NodeList, a List, one Node).

    Raises `Invalid` with every problem, at most `MOST_PROBLEMS`, for anything else.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(data, dict) or kind not in (KIND, "NodeList", "List", "Node"):
        given = data.get("kind") if isinstance(data, dict) else type(data).__name__
        raise Invalid(Problem("inventory: kind", shown(given), _WANTED))
    if kind == KIND:
        return _saved(data)
    items = [data] if kind == "Node" else data.get("items")
    if not isinstance(items, list):
        raise Invalid(Problem("inventory: items", shown(type(items).__name__), "a list of nodes"))
    if len(items) > MAX_NODES:
        raise Invalid(
            Problem("inventory: items", f"{len(items)} nodes", f"at most {MAX_NODES} nodes")
        )
    strangers = [
        Problem(f"inventory: items[{index}]", shown(_kind_of(item)), "a Node", _WANTED)
        for index, item in enumerate(items)
        if _kind_of(item) != "Node"
    ]
    if strangers:
        raise Invalid(*strangers[:MOST_PROBLEMS])
    return read_nodes(items)


def _kind_of(item: object) -> object:
    """The kind of an item; a NodeList's items may leave theirs out."""
    return item.get("kind", "Node") if isinstance(item, dict) else type(item).__name__


def _saved(data: dict[str, Any]) -> Inventory:
    try:
        document = _Document.model_validate(data)
    except ValidationError as error:
        raise Invalid(
            *(
                Problem(_path(e["loc"]), shown(e["input"]), e["msg"], _AGAIN)
                for e in error.errors(include_url=False)[:MOST_PROBLEMS]
            )
        ) from None
    _check_places(document)
    accelerators = [_to_accelerator(a) for a in document.accelerators]
    label_sets = [frozenset(labels.items()) for labels in document.label_sets]
    facts = [
        NodeFacts(
            name=node.name,
            offers=tuple(
                Offer(
                    accelerators[offer.accelerator], offer.count, offer.dialect,
                    tuple(offer.selector.items()),
                )
                for offer in node.offers
            ),
            labels=label_sets[node.labels],
            taints=tuple((t.key, t.value, t.effect) for t in node.taints),
            ready=node.ready,
        )
        for node in document.nodes
    ]  # fmt: skip
    return pools(facts, [SetAside(aside.node, aside.why) for aside in document.set_aside])


def _check_places(document: _Document) -> None:
    """Raises `Invalid` where a node refers to an accelerator or label set that is not there."""
    problems: list[Problem] = []
    for index, node in enumerate(document.nodes):
        path, sets = f"inventory: nodes[{index}]", len(document.label_sets)
        if node.labels >= sets:
            wanted = f"the place of one of {sets} labelSets"
            problems.append(Problem(f"{path}.labels", shown(node.labels), wanted, _AGAIN))
        for place, offer in enumerate(node.offers):
            if offer.accelerator >= len(document.accelerators):
                at = f"{path}.offers[{place}].accelerator"
                wanted = f"the place of one of {len(document.accelerators)} accelerators"
                problems.append(Problem(at, shown(offer.accelerator), wanted, _AGAIN))
    if problems:
        raise Invalid(*problems[:MOST_PROBLEMS])


def _to_accelerator(saved: _Accelerator) -> Accelerator:
    return Accelerator(
        name=saved.name,
        title=saved.title,
        memory=saved.memory,
        resource=saved.resource,
        family=saved.family,
        compute=(saved.compute[0], saved.compute[1]),
        gpus_per_node=saved.gpus_per_node,
        labels=tuple(
            Labels(entry.dialect, tuple(entry.selector.items())) for entry in saved.labels
        ),
        products=tuple(saved.products),
        mig_of=saved.mig_of,
        mig_profile=saved.mig_profile,
        source=saved.source,
        certain=saved.certain,
    )


def _path(place: tuple[int | str, ...]) -> str:
    """``inventory: nodes[3].offers[0].count`` of pydantic's place."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return f"inventory: {text.lstrip('.')}"
