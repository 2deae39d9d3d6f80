"""Whether what is said of free GPUs is what kube-scheduler does.

    says there is room    every pod of every replica is bound, to a node that carries the labels of
                          the placement and has its accelerator
    says GPUs are taken   not all of its pods can be bound; and no single accelerator of the fleet
                          has room for it by the same decision, on nodes that are not all spot
    says nodes are small  not all of its pods can be bound, with what they ask for beside GPUs

Pods that were bound stay: what comes later finds the fleet fuller.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.capacity import for_pods
from plimsoll.decision.decide import decide
from plimsoll.decision.taints import may_be_taken_away
from plimsoll.decision.verdict import Beside, Capacity, Nodes, Reason
from plimsoll.inventory.saved import from_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll_operator.cluster.objects import NAMESPACES, NODES, PODS
from scheduler.draws import ALLOWED, SPACE, ask, fleet, needs, pod, tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from controlplane.scheduler import Scheduler
    from plimsoll.decision.verdict import Placement, Verdict
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.cluster.client import Client

LONGEST: Final = 30.0
"""Seconds for kube-scheduler to say something of a pod."""

Json = dict[str, Any]


@dataclass
class Count:
    """What was seen. bound: placements with room whose pods were all bound; pods: of those.

    taken: placements without room, which could not be bound; small: those of them whose nodes have
    too little beside GPUs; other: nothing to hold.
    """

    bound: int = 0
    pods: int = 0
    taken: int = 0
    small: int = 0
    other: int = 0
    wrong: list[str] = field(default_factory=list)

    def __add__(self, more: Count) -> Count:
        return Count(
            self.bound + more.bound,
            self.pods + more.pods,
            self.taken + more.taken,
            self.small + more.small,
            self.other + more.other,
            self.wrong + more.wrong,
        )

    def tell(
        self,
        name: str,
        verdict: Verdict,
        where: Sequence[str],
        wrong: str,
        elsewhere: Callable[[], str],
        *,
        as_planned: bool = True,
    ) -> bool:
        """Count one placement; whether its pods stay, which they do where they were to be bound.

        where: the node of each pod, or empty. wrong: what is wrong with these, if anything is.
        elsewhere: see there. as_planned: whether they got the GPU of the plan.
        """
        said, all_bound = nodes_message(verdict), all(where)
        if wrong:
            self.wrong.append(f"{name}: {wrong}: {said}")
        elif verdict.capacity is Capacity.AVAILABLE and all_bound:
            self.bound, self.pods = self.bound + 1, self.pods + len(where)
            return True
        elif verdict.capacity is Capacity.AVAILABLE:
            self.wrong.append(f"{name}: bound to {where}: {said}")
        elif all_bound and as_planned:
            self.wrong.append(f"{name}: no room, yet bound to {where}: {said}")
        elif isinstance(verdict.nodes, Nodes) and verdict.nodes.small:
            # what pods ask for beside GPUs is known once it is placed: it is not placed by that
            self.taken, self.small = self.taken + 1, self.small + 1
        elif found := elsewhere():
            self.wrong.append(f"{name}: no room, yet {found}: {said}")
        else:
            self.taken += 1
        return False

    def __str__(self) -> str:
        return (
            f"{self.bound} with room were bound ({self.pods} pods), {self.taken} without room were "
            f"not ({self.small} for lack of something beside GPUs), {self.other} had no nodes or "
            f"no placement; {len(self.wrong)} wrong"
        )


async def proof(client: Client, scheduler: Scheduler, seed: int, asks: int) -> Count:
    """One fleet: its nodes and tenants, then LLMDeployments one after another."""
    drawn = random.Random(seed)
    await emptied(client)
    nodes = fleet(drawn)
    for node in nodes:
        await client.request("POST", NODES.path(), body=node)
    for tenant in tenants(drawn, nodes):
        await client.request("POST", PODS.path(SPACE), body=tenant)
    count = Count()
    for number in range(asks):
        scheduler.check()
        beside = {Beside.CPU: 0, **needs(drawn)}
        await _one(client, ask(drawn, number), beside, count)
    return count


async def emptied(client: Client) -> None:
    """The namespace of the proof is there; no pod is in it, and there are no nodes."""
    spaces = await client.request("GET", NAMESPACES.path())
    if SPACE not in [one["metadata"]["name"] for one in spaces["items"]]:
        body = {"metadata": {"name": SPACE}}
        await client.request("POST", NAMESPACES.path(), body=body)
    now = {"gracePeriodSeconds": 0}
    await client.request("DELETE", PODS.path(SPACE), body=now)
    await client.request("DELETE", NODES.path(), body=now)


async def _one(client: Client, obj: Json, asks: dict[Beside, int], count: Count) -> None:
    name = obj["metadata"]["name"]
    inventory = await _inventory(client)
    asked = request(obj, NoDocuments())
    verdict = for_pods(asked, inventory, decide(asked, inventory), asks)
    placement = verdict.placement
    held = (Capacity.AVAILABLE, Capacity.TAKEN, Capacity.TOO_SMALL)
    if placement is None or verdict.capacity not in held:
        count.other += 1
        return
    pods = _pods(name, placement, obj["spec"]["replicas"], asks)
    for one in pods:
        await client.request("POST", PODS.path(SPACE), body=one)
    where = [await scheduled(client, one["metadata"]["name"]) for one in pods]
    nodes = {fact.name: fact for fact in inventory.facts}
    astray = [
        node
        for node in where
        if node
        and not (
            nodes[node].carries(dict(placement.node_selector))
            and placement.accelerator in [o.accelerator.name for o in nodes[node].offers]
        )
    ]
    wrong = f"bound astray: {astray}" if verdict.capacity is Capacity.AVAILABLE and astray else ""
    if count.tell(name, verdict, where, wrong, lambda: elsewhere(obj, inventory)):
        return
    for one in pods:  # nothing half bound stays
        path = PODS.path(SPACE, one["metadata"]["name"])
        await client.request("DELETE", path, body={"gracePeriodSeconds": 0})


def elsewhere(obj: Json, inventory: Inventory) -> str:
    """An accelerator that is allowed and has room, though none was said to; empty without one."""
    accelerator = obj["spec"]["accelerator"]
    for name in accelerator.get("allowed", ALLOWED):
        one = {**obj, "spec": {**obj["spec"], "accelerator": {**accelerator, "allowed": [name]}}}
        verdict: Verdict = decide(request(one, NoDocuments()), inventory)
        placement = verdict.placement
        if placement is None or verdict.capacity is not Capacity.AVAILABLE:
            continue
        if verdict.reason is Reason.WITHIN_ERROR:  # what surely fits is waited for
            continue
        if not _all_spot(placement, inventory):
            return f"{placement.gpus_per_replica} x {name} has room"
    return ""


def _all_spot(placement: Placement, inventory: Inventory) -> bool:
    """Whether every node of a placement may be taken away: nobody is moved there unasked."""
    pools = (
        pool
        for pool in inventory.matching(dict(placement.node_selector)).pools
        if pool.accelerator.name == placement.accelerator
    )
    return all(may_be_taken_away(pool) for pool in pools)


async def _inventory(client: Client) -> Inventory:
    """What `kubectl get nodes,pods -A -o json` would give."""
    items: list[Json] = []
    for kind, path in (("Node", NODES.path()), ("Pod", PODS.path())):
        listed = await client.request("GET", path)
        items += [{**one, "kind": kind} for one in listed["items"]]
    return from_dict({"kind": "List", "items": items})


def _pods(name: str, placement: Placement, replicas: int, asks: dict[Beside, int]) -> list[Json]:
    tolerations = [
        {
            key: value
            for key, value in zip(("key", "operator", "value", "effect"), one, strict=True)
            if value
        }
        for one in placement.tolerations
    ]
    return [
        pod(
            f"{name}-{replica}-{rank}",
            placement.gpus_per_node,
            dict(placement.node_selector),
            tolerations,
            placement.resource,
            asks,
        )
        for replica in range(replicas)
        for rank in range(placement.nodes_per_replica)
    ]


async def scheduled(client: Client, name: str) -> str:
    """The node that a pod is bound to; empty once kube-scheduler says that there is none."""
    async with asyncio.timeout(LONGEST):
        while True:
            found = await client.request("GET", PODS.path(SPACE, name))
            if node := found["spec"].get("nodeName"):
                return str(node)
            for condition in found.get("status", {}).get("conditions") or ():
                if condition.get("reason") == "Unschedulable":
                    return ""
            await asyncio.sleep(0.01)
