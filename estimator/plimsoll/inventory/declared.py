"""Pools of nodes that may not be there yet, from AcceleratorPool objects as plain dicts.

    accelerator   a name of the accelerator table       maxNodes      most nodes, if said
    gpusPerNode   GPUs of one node                       pricePerHour  of one node
    labels        that new nodes will have               spot          may be taken away
    taints        that new nodes will have

    with nodes         live pools of that accelerator that carry its labels get its price and size
    without            the pool itself is one without a node: a placement on it carries its labels,
                       so that the pods bring it back

It must not fetch anything, and it never raises: what cannot be read is set aside with the reason.
Prices are whole millionths of the currency that the pools share, of one GPU an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.types import MAX_GPUS, Dialect
from plimsoll.errors import clean, shown
from plimsoll.inventory.dialects import asked_for
from plimsoll.inventory.plain import mapping, mappings, no_label
from plimsoll.inventory.pools import Pool, SetAside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.inventory.pools import Inventory

KIND: Final = "AcceleratorPool"
MILLION: Final = 1_000_000
MOST_PRICE: Final = 1_000_000
"""No node costs more an hour."""
MOST_NODES: Final = 100_000
MOST_LABELS: Final = 16
"""Labels, and taints, of a pool: as many as its CRD takes."""
MOST_SAID: Final = 5
"""Reasons for which one pool is set aside that are said."""
EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def parse_price(value: object) -> int | None:
    """A price as millionths, rounded up; None if it is none: above 0, at most `MOST_PRICE`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return None
    if not price.is_finite() or not 0 < price <= MOST_PRICE:
        return None
    return int((price * MILLION).to_integral_value(ROUND_CEILING))


def read_pool(
    obj: Mapping[str, Any], own: Iterable[Accelerator] = (), speaks: Dialect | None = None
) -> Pool | SetAside:
    """The pool that an object declares, without a node; or why it cannot be read. Total.

    own: accelerators that the cluster adds to the table. speaks: the dialect of the cluster's
    nodes, in which a pool without labels is asked for.
    """
    metadata, spec = mapping(obj.get("metadata")), mapping(obj.get("spec"))
    name = clean(str(metadata.get("name") or "unnamed"), 253)
    given = spec.get("accelerator")
    card = next((one for one in own if one.name == given), None)
    if card is None and isinstance(given, str):
        card = catalogue.find(given)
    problems = []
    if card is None:
        problems.append(f"accelerator {shown(given)} is not in the accelerator table")
    count = spec.get("gpusPerNode")
    if not _is_count(count, MAX_GPUS):
        problems.append(f"gpusPerNode {shown(count)} is no number of GPUs up to {MAX_GPUS}")
    most = spec.get("maxNodes")
    if most is not None and not _is_count(most, MOST_NODES):
        problems.append(f"maxNodes {shown(most)} is no number of nodes up to {MOST_NODES}")
    said, price = spec.get("pricePerHour"), parse_price(spec.get("pricePerHour"))
    if said is not None and price is None:
        problems.append(f"pricePerHour {shown(said)} is no price above 0")
    labels = mapping(spec.get("labels"))
    for part in ("labels", "taints"):
        listed = spec.get(part)
        if isinstance(listed, Mapping | list) and len(listed) > MOST_LABELS:
            problems.append(f"{len(listed)} {part} are more than {MOST_LABELS}")
    for one in mappings(spec.get("taints")):
        why = no_label(one.get("key"), one.get("value") or "")
        problems += [f"taints: {why}"] if why else []
    problems += [f"labels: {why}" for why in map(no_label, labels, labels.values()) if why]
    if problems or card is None or not isinstance(count, int):
        return SetAside(f"{KIND} {name}", "; ".join(problems[:MOST_SAID]))
    selector = tuple(sorted(labels.items())) or asked_for(card, speaks)
    return Pool(
        accelerator=card,
        gpus_per_node=count,
        nodes=0,
        node_names=(),
        selector=selector,
        dialect=Dialect.POOL,
        labels=frozenset(labels.items()),
        taints=read_taints(spec.get("taints")),
        declared=f"{KIND} {name}",
        most=most if isinstance(most, int) else None,
        price=-(-price // count) if price is not None else None,
        spot=spec.get("spot") is True,
    )


def read_pools(
    objects: Iterable[Mapping[str, Any]],
    own: Iterable[Accelerator] = (),
    speaks: Dialect | None = None,
) -> list[Pool | SetAside]:
    """`read_pool` of each, by name."""
    cards = tuple(own)
    named = sorted(objects, key=lambda one: str(mapping(one.get("metadata")).get("name")))
    return [read_pool(one, cards, speaks) for one in named]


def trimmed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """An AcceleratorPool with nothing in it but what is read, to be saved."""
    spec = mapping(obj.get("spec"))
    keys = (
        "accelerator",
        "gpusPerNode",
        "labels",
        "taints",
        "maxNodes",
        "pricePerHour",
        "spot",
    )
    return {
        "kind": KIND,
        "metadata": {"name": str(mapping(obj.get("metadata")).get("name", ""))[:253]},
        "spec": {key: spec[key] for key in keys if key in spec},
    }


def offered(live: tuple[Pool, ...], declared: tuple[Pool, ...]) -> tuple[Pool, ...]:
    """The live pools, with price and size of the pool that was declared for each, and those
    declared ones that have no node.
    """
    awake: set[str] = set()
    found = []
    for pool in live:
        mine = next((one for one in declared if _is_of(pool, one)), None)
        if mine is None:
            found.append(pool)
            continue
        awake.add(mine.declared)
        found.append(
            replace(pool, declared=mine.declared, most=mine.most, price=mine.price, spot=mine.spot)
        )
    return (*found, *(one for one in declared if one.declared not in awake))


def price_of(name: str, inventory: Inventory) -> int | None:
    """What one GPU of a kind costs an hour: by the list of prices, else the cheapest pool's."""
    listed = dict(inventory.prices).get(name)
    if listed is not None:
        return listed
    pools = (pool for pool in inventory.declared if pool.accelerator.name == name)
    return min((pool.price for pool in pools if pool.price is not None), default=None)


def _is_of(pool: Pool, declared: Pool) -> bool:
    """Whether the nodes of a pool are those of a declared one."""
    return (
        pool.accelerator.name == declared.accelerator.name
        and pool.gpus_per_node == declared.gpus_per_node
        and pool.labels.union(pool.selector).issuperset(declared.labels)
    )


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def read_taints(taints: object) -> tuple[tuple[str, str, str], ...]:
    """Taints as (key, value, effect), in order; what is none is left out."""
    return tuple(
        sorted(
            (str(one.get("key", "")), str(one.get("value") or ""), str(one.get("effect", "")))
            for one in mappings(taints)
            if one.get("effect") in EFFECTS
        )
    )
