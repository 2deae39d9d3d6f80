"""Whether the claims that are rendered get GPUs that hold the plan, and never a smaller one.

    fleet       nodes without a device plugin; their GPUs are in ResourceSlices, as NVIDIA's driver
                publishes them
    asked       what `plimsoll render` makes of an LLMDeployment with `allocation: DRA`: the pods of
                its Deployment, and of its ResourceClaimTemplate a ResourceClaim for each pod
    right       room was said: every pod is bound; and the plan fits, by our own estimate, on each
                device that kube-scheduler gave, all of one product in a pod
                none was said: not all are bound to the planned GPU

No kubelet and no controller of claims runs: claims are made here, as that controller would. Sizes
of memory are what NVML reports of each card, capabilities are NVIDIA's list of CUDA GPUs.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.decide import decide
from plimsoll.decision.fit import fit
from plimsoll.decision.knowledge import shipped
from plimsoll.decision.verdict import Capacity
from plimsoll.engines.registry import estimate
from plimsoll.inventory.claims import places
from plimsoll.inventory.devices import given_out
from plimsoll.inventory.saved import from_dict
from plimsoll.render.rendered import render
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll_operator.cluster.client import NotFound
from plimsoll_operator.cluster.objects import NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from plimsoll_operator.cluster.objects import Resource as Kind
from scheduler.draws import SPACE, ask
from scheduler.proof import Count, elsewhere, emptied, scheduled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Placement
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.cluster.client import Client

Json = dict[str, Any]
DRIVER: Final = "gpu.nvidia.com"
DEVICE_CLASSES: Final = Kind("resource.k8s.io", "v1", "deviceclasses", namespaced=False)
CARDS: Final = (
    ("Tesla T4", "15360Mi", "7.5.0", 1),
    ("NVIDIA A10G", "23028Mi", "8.6.0", 4),
    ("NVIDIA L4", "23034Mi", "8.9.0", 2),
    ("NVIDIA L40S", "46068Mi", "8.9.0", 4),
    ("NVIDIA A100-SXM4-40GB", "40960Mi", "8.0.0", 8),
    ("NVIDIA A100-SXM4-80GB", "81920Mi", "8.0.0", 8),
    ("NVIDIA H100 80GB HBM3", "81559Mi", "9.0.0", 8),
    ("NVIDIA H200", "143771Mi", "9.0.0", 8),
)
"""Product, memory, compute capability, how many a node has."""
FLEET: Final = 10
NOW: Final = {"gracePeriodSeconds": 0}


def node(name: str) -> Json:
    """A ready node that says nothing of GPUs."""
    counts = {"cpu": "256", "memory": "4Ti", "pods": "250", "ephemeral-storage": "20Ti"}
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": counts, "allocatable": counts, "conditions": ready},
    }


def slice_of(name: str, product: str, memory: str, compute: str, count: int) -> Json:
    """What the driver publishes of a node's GPUs."""
    attributes = {
        "type": {"string": "gpu"},
        "productName": {"string": product},
        "cudaComputeCapability": {"version": compute},
    }
    devices = [
        {
            "name": f"gpu-{index}",
            "attributes": {**attributes, "uuid": {"string": f"GPU-{name}-{index}"}},
            "capacity": {"memory": {"value": memory}},
        }
        for index in range(count)
    ]
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{name}-gpus"},
        "spec": {"driver": DRIVER, "nodeName": name, "pool": pool, "devices": devices},
    }


def device_class() -> Json:
    """The DeviceClass that the driver's chart installs."""
    kind = f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": DRIVER},
        "spec": {"selectors": [{"cel": {"expression": kind}}]},
    }


async def claims_proof(client: Client, random: Random, asks: int) -> Count:
    """One fleet, then LLMDeployments one after another, whose pods claim their GPUs."""
    await _emptied(client)
    await client.request("POST", DEVICE_CLASSES.path(), body=device_class())
    for number in range(FLEET):
        card = random.choice(CARDS)
        name = f"d{number}"
        await client.request("POST", NODES.path(), body=node(name))
        await client.request("POST", RESOURCE_SLICES.path(), body=slice_of(name, *card))
    count = Count()
    for number in range(asks):
        obj = ask(random, number)
        obj["spec"]["accelerator"] |= {"allocation": "DRA"}
        obj["spec"]["accelerator"].pop("nodeSelector", None)  # zones are a matter of the other one
        await _one(client, obj, count)
    return count


async def _one(client: Client, obj: Json, count: Count) -> None:
    inventory = await _inventory(client)
    asked = request(obj, NoDocuments())
    verdict = decide(asked, inventory)
    placement = verdict.placement
    judged = verdict.capacity in (Capacity.AVAILABLE, Capacity.TAKEN)
    if placement is None or not judged or placement.nodes_per_replica > 1:
        count.other += 1
        return
    rendered = render(obj, asked, verdict)
    pods = [
        await _created(client, rendered.objects, f"{obj['metadata']['name']}-{replica}")
        for replica in range(obj["spec"]["replicas"])
    ]
    where = [await scheduled(client, name) for name in pods]
    given = [await _devices(client, name) for name in pods]
    unfit = [said for devices in given if (said := _unfit(asked, placement, devices))]
    if count.tell(
        obj["metadata"]["name"],
        verdict,
        where,
        unfit[0] if unfit else "",
        lambda: elsewhere(obj, inventory),
        as_planned=_planned(placement, given),
    ):
        return
    for name in pods:  # nothing half bound stays
        await client.request("DELETE", PODS.path(SPACE, name), body=NOW)
        await _released(client, name)


async def _created(client: Client, objects: Sequence[Mapping[str, Any]], name: str) -> str:
    """A pod of the rendered Deployment and its claim; the pod's name."""
    (template,) = [one for one in objects if one["kind"] == "ResourceClaimTemplate"]
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    claim = {"metadata": {"name": name}, "spec": template["spec"]["spec"]}
    await client.request("POST", RESOURCE_CLAIMS.path(SPACE), body=claim)
    pod = deployment["spec"]["template"]
    (wanted,) = pod["spec"]["resourceClaims"]
    claimed = [{"name": wanted["name"], "resourceClaimName": name}]
    more = {"resourceClaims": claimed, "terminationGracePeriodSeconds": 0}
    body = {"metadata": {"name": name}, "spec": {**pod["spec"], **more}}
    await client.request("POST", PODS.path(SPACE), body=body)
    return name


async def _devices(client: Client, name: str) -> tuple[Json, ...]:
    """The devices that kube-scheduler gave a claim; none if it gave it none."""
    claim = await client.request("GET", RESOURCE_CLAIMS.path(SPACE, name))
    slices = await client.request("GET", RESOURCE_SLICES.path())
    held = set(places(claim))
    return tuple(
        device
        for one in slices["items"]
        for device in one["spec"]["devices"]
        if (one["spec"]["pool"]["name"], device["name"]) in held
    )


def _unfit(asked: Request, placement: Placement, devices: tuple[Json, ...]) -> str:
    """What is wrong with the devices of a pod; empty if nothing is."""
    if not devices:
        return ""
    products = {one["attributes"]["productName"]["string"] for one in devices}
    if len(devices) != placement.gpus_per_node or len(products) > 1:
        return f"{len(devices)} of {sorted(products)}"
    page = {"spec": {**slice_of("n", "", "", "", 0)["spec"], "devices": list(devices)}}
    (offer,) = given_out([page])["n"]
    card = offer.accelerator
    allowed = [one.name for one in map(shipped().find, asked.wanted.allowed) if one]
    if allowed and card.name not in allowed:
        return f"{card.name} is not allowed"
    made = estimate(asked.model, asked.engine, asked.workload, placement.parallelism, card)
    return "" if fit(made).fits else f"does not fit on {card.name}"


def _planned(placement: Placement, given: Sequence[tuple[Json, ...]]) -> bool:
    """Whether every pod got the GPU of the plan: a claim may be met by a larger one as well."""
    card = shipped().find(placement.accelerator)
    products = {one["attributes"]["productName"]["string"] for each in given for one in each}
    return card is not None and all(one.replace(" ", "-") in card.products for one in products)


async def _inventory(client: Client) -> Inventory:
    """What `kubectl get nodes,pods,resourceslices,resourceclaims -A -o json` would give."""
    items: list[Json] = []
    for kind, path in (
        ("Node", NODES.path()),
        ("Pod", PODS.path()),
        ("ResourceSlice", RESOURCE_SLICES.path()),
        ("ResourceClaim", RESOURCE_CLAIMS.path()),
    ):
        listed = await client.request("GET", path)
        items += [{**one, "kind": kind} for one in listed["items"]]
    return from_dict({"kind": "List", "items": items})


async def _released(client: Client, name: str) -> None:
    """A claim goes: the scheduler's hold on it is taken away, as the controller of claims does."""
    path, none = RESOURCE_CLAIMS.path(SPACE, name), {"metadata": {"finalizers": None}}
    merge = "application/merge-patch+json"
    with contextlib.suppress(NotFound):  # it goes with the last of its finalizers
        await client.request("DELETE", path, body=NOW)
        await client.request("PATCH", path, body=none, content_type=merge)


async def _emptied(client: Client) -> None:
    await emptied(client)
    for claim in (await client.request("GET", RESOURCE_CLAIMS.path(SPACE)))["items"]:
        await _released(client, claim["metadata"]["name"])
    for kind in (RESOURCE_SLICES, DEVICE_CLASSES):
        await client.request("DELETE", kind.path(), body=NOW)
