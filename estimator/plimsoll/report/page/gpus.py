"""The GPUs of the page: what its objects ask for by kind, and what each pool of a cluster has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.inventory.declared import price_of
from plimsoll.inventory.use import Use, use
from plimsoll.units import gib_down

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.page.objects import Row


@dataclass(frozen=True, slots=True)
class Asked:
    """GPUs of one kind that the objects' placements take, all replicas together.

    there, free: of the cluster's nodes; None if nobody looked. cost: of all of them an hour, in the
    currency of the price list; "" if it has no price.
    """

    accelerator: str
    gpus: int
    objects: int
    there: int | None
    free: int | None
    cost: str


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pool. taken, free, idle: GPUs, None if no pods were read; busy, rest: hundredths."""

    accelerator: str
    memory: str
    nodes: int
    gpus: int
    away: int
    taken: int | None
    free: int | None
    idle: int | None
    selector: str
    taints: str
    busy: str
    gone: str


def asked(rows: Iterable[Row], inventory: Inventory) -> list[Asked]:
    """What the objects take of each kind, the most first."""
    wanted: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row.gpus:
            gpus, objects = wanted.get(row.accelerator, (0, 0))
            wanted[row.accelerator] = (gpus + row.gpus * max(0, row.replicas), objects + 1)
    left: dict[str, int] = {}
    for one in use(inventory):
        if one.free is not None:
            name = one.pool.accelerator.name
            left[name] = left.get(name, 0) + one.free
    return [
        Asked(
            name,
            gpus,
            objects,
            inventory.gpus.get(name, (0, 0))[0] if inventory.known else None,
            left.get(name, 0) if inventory.pods_read else None,
            _cost(gpus, price_of(name, inventory)),
        )
        for name, (gpus, objects) in sorted(wanted.items(), key=lambda one: (-one[1][0], one[0]))
    ]


def _cost(gpus: int, price: int | None) -> str:
    """What GPUs cost an hour at a price in millionths; "" without one."""
    return f"{gpus * price / 1_000_000:,.2f}" if price is not None else ""


def pools(inventory: Inventory) -> list[PoolRow]:
    """Each pool of the cluster, in the inventory's order."""
    return [_pool(one) for one in use(inventory)]


def _pool(one: Use) -> PoolRow:
    pool = one.pool
    return PoolRow(
        accelerator=pool.accelerator.name,
        memory=gib_down(pool.accelerator.memory),
        nodes=pool.nodes,
        gpus=one.gpus,
        away=one.away,
        taken=one.taken,
        free=one.free,
        idle=one.idle,
        selector=", ".join(f"{key}={value}" for key, value in pool.selector),
        taints=", ".join(f"{k}{'=' + v if v else ''}:{effect}" for k, v, effect in pool.taints),
        busy=f"{100 * (one.taken or 0) / max(1, one.gpus):.1f}",
        gone=f"{100 * one.away / max(1, one.gpus):.1f}",
    )
