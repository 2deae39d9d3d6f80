"""What is done apart for Kueue: how one of its Workloads stands on each flavor that it may get.

It runs in the processes that decide, which know nothing of the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from plimsoll.accelerators.labels import named_by
from plimsoll.decision.decide import decide
from plimsoll.decision.policy import DEFAULT_POLICY
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.report.queueing import standing
from plimsoll.workloads import kinds
from plimsoll.workloads.kueue import behind
from plimsoll.workloads.roles import NothingBeside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.kueue import Flavor


@dataclass(frozen=True, slots=True)
class FlavorJob:
    """A Workload of Kueue, and the flavors that it may be given."""

    workload: Mapping[str, Any]
    flavors: tuple[Flavor, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a Workload stands on a flavor. misfit: it certainly does not start there; said: why."""

    misfit: bool
    said: str


def judge(inventory: Inventory | None, job: FlavorJob) -> dict[str, Standing]:
    """How a Workload stands on each flavor, by its name; those that are not judged are left out."""
    there = inventory or NO_INVENTORY
    found = {}
    for flavor in job.flavors:
        obj = behind(job.workload, _with_its_gpu(flavor, there))
        kind = kinds.find(obj["apiVersion"], obj["kind"]) if obj is not None else None
        if obj is None or kind is None:
            continue
        engines = [
            (served.request, decide(served.request, there, DEFAULT_POLICY))
            for served in kind.read(obj, NothingBeside())
        ]
        if engines:
            misfit = any(verdict.denied for _, verdict in engines)
            found[flavor.name] = Standing(misfit, standing(engines))
    return found


def _with_its_gpu(flavor: Flavor, inventory: Inventory) -> Flavor:
    """The flavor with labels that name its GPU: its own, else those that all of its nodes carry."""
    if not flavor.labels or named_by(dict(flavor.labels)):
        return flavor
    pools = inventory.matching(flavor.labels).pools
    if len({pool.accelerator.name for pool in pools}) != 1:
        return flavor
    return replace(flavor, labels={**flavor.labels, **dict(pools[0].selector)})
