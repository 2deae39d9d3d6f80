"""Answers AdmissionChecks of Kueue whose controllerName is plimsoll.dev/fit.

It must not decide: how a workload stands on each flavor is found apart (`flavor_task`), and what
is to be written follows from that (`flavor_plan`). States are written on the version that was
looked at, under a field manager of its own. Without Kueue it waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from plimsoll.report.queueing import not_judged
from plimsoll.workloads.kueue import Flavor, read_flavor
from plimsoll.workloads.roles import at
from plimsoll_operator.cluster.client import (
    UNREACHABLE,
    ApiError,
    Conflict,
    NotFound,
    OncePerCause,
)
from plimsoll_operator.cluster.objects import (
    ADMISSION_CHECKS,
    CLUSTER_QUEUES,
    KUEUE_WORKLOADS,
    LOCAL_QUEUES,
    RESOURCE_FLAVORS,
    name_of,
)
from plimsoll_operator.cluster.reflector import Reflector
from plimsoll_operator.controller.flavor_plan import (
    CONTROLLER_NAME,
    READY,
    Step,
    condition,
    is_open,
    read_queue,
    state_of,
    step,
    to_judge,
)
from plimsoll_operator.controller.flavor_task import FlavorJob, Standing
from plimsoll_operator.controller.queue import KeyedQueue
from plimsoll_operator.deciding.errors import Cause, NotDecided, TaskFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Json, Name, Resource
    from plimsoll_operator.controller.flavor_plan import Queue

    Decide = Callable[[Inventory, FlavorJob, str], Awaitable[dict[str, Standing]]]
    """From what is known of the nodes, a job and its namespace to how it stands on each flavor."""

log = logging.getLogger(__name__)

MANAGER: Final = "plimsoll-fit"
"""Field manager of what is written on Kueue's objects."""
WORKERS: Final = 4
VERSION: Final = f"{ADMISSION_CHECKS.group}/{ADMISSION_CHECKS.version}"


def _nothing(_: bool) -> None:
    """Kueue is there, or it is not."""


class FlavorCheck:
    """Looks at the Workloads of Kueue. Run `run` as a task of whoever may write."""

    def __init__(self, client: Client, inventory: Callable[[], Inventory], decide: Decide) -> None:
        self._client, self._inventory, self._decide = client, inventory, decide
        self._queue: KeyedQueue[Name] = KeyedQueue()
        self._checks: dict[str, Json] = {}
        self._queues: dict[str, Queue] = {}
        self._local: dict[Name, str] = {}
        self._flavors: dict[str, Flavor] = {}
        self._open: set[Name] = set()
        self._news = OncePerCause().news

    async def run(self) -> None:
        """Watch and answer until cancelled."""
        around = (
            self._watch(ADMISSION_CHECKS, self._check, lambda name: self._gone(self._checks, name)),
            self._watch(CLUSTER_QUEUES, self._cluster_queue, lambda n: self._gone(self._queues, n)),
            self._watch(LOCAL_QUEUES, self._local_queue, lambda n: self._local.pop(n, None)),
            self._watch(RESOURCE_FLAVORS, self._flavor, lambda n: self._gone(self._flavors, n)),
        )
        workloads = self._watch(
            KUEUE_WORKLOADS, lambda obj: self._waits(name_of(obj)), self._open.discard, is_open
        )
        async with asyncio.TaskGroup() as group:
            for reflector in around:
                group.create_task(reflector.run())
            for reflector in around:  # a queue that is half known misleads
                await reflector.synced.wait()
            group.create_task(workloads.run())
            for _ in range(WORKERS):
                group.create_task(self._work())

    def _watch(
        self,
        resource: Resource,
        changed: Callable[[Json], Any],
        deleted: Callable[[Name], Any],
        keeps: Callable[[Json], bool] | None = None,
    ) -> Reflector:
        return Reflector(
            self._client,
            resource,
            changed=changed,
            deleted=deleted,
            keeps=keeps,
            without=_nothing,
        )

    def _check(self, check: Json) -> None:
        name = name_of(check)
        if at(check, "spec.controllerName") != CONTROLLER_NAME:
            self._gone(self._checks, name)
            return
        new = name[1] not in self._checks
        self._checks[name[1]] = check
        if not condition(check, "Active"):
            self._queue.add(name)
        if new:
            self._again()

    def _cluster_queue(self, obj: Json) -> None:
        read = read_queue(obj)
        if self._queues.get(read.name) != read:
            self._queues[read.name] = read
            self._again()

    def _local_queue(self, obj: Json) -> None:
        of = str(at(obj, "spec.clusterQueue"))
        if self._local.get(name_of(obj)) != of:
            self._local[name_of(obj)] = of
            self._again()

    def _flavor(self, obj: Json) -> None:
        flavor = read_flavor(obj)
        if self._flavors.get(flavor.name) != flavor:
            self._flavors[flavor.name] = flavor
            self._again()

    def _gone(self, known: dict[str, Any], name: Name) -> None:
        if known.pop(name[1], None) is not None:
            self._again()

    def _waits(self, workload: Name) -> None:
        self._open.add(workload)
        self._queue.add(workload)

    def _again(self) -> None:
        """Look at everything again that waits."""
        for name in self._open:
            self._queue.add(name)

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                await (self._one(name) if name[0] else self._activate(name[1]))
            except NotFound:
                self._queue.forget(name)
            except Conflict:
                self._queue.add(name)  # it has changed: it is looked at as it is now
            except (ApiError, *UNREACHABLE) as error:
                wait = self._queue.failed(name)
                if said := self._news(error):
                    log.warning("%s: again in %.1f s: %s", "/".join(name), wait, said)
            except Exception:
                wait = self._queue.failed(name)
                log.exception("%s: again in %.1f s, after a fault", "/".join(name), wait)
            else:
                self._queue.succeeded(name)
            finally:
                self._queue.done(name)

    async def _activate(self, name: str) -> None:
        """Tell Kueue that a check is answered: queues that name it wait for that."""
        check = self._checks.get(name)
        if check is None or condition(check, "Active"):
            return
        told = {
            "type": "Active",
            "status": "True",
            "reason": "Active",
            "message": "Plimsoll's controller answers this check",
            "observedGeneration": at(check, "metadata.generation") or 0,
            "lastTransitionTime": _now(),
        }
        status = {"conditions": [told]}
        await self._client.apply(
            ADMISSION_CHECKS,
            _object("AdmissionCheck", {"name": name}, status=status),
            manager=MANAGER,
            subresource="status",
        )

    async def _one(self, name: Name) -> None:
        """Look at one Workload as it is now."""
        workload = await self._client.request("GET", KUEUE_WORKLOADS.path(*name))
        queue = self._queue_of(workload)
        check = next((one for one in queue.checks if one in self._checks), "") if queue else ""
        if queue is None or not check or not is_open(workload):
            return
        names = to_judge(workload, check, queue)
        flavors = {one: self._flavors[one] for one in names if one in self._flavors}
        try:
            job = FlavorJob(workload, tuple(flavors.values()))
            standings = await self._decide(self._inventory(), job, name[0])
        except NotDecided as error:
            if error.cause is Cause.BUSY:
                self._queue.failed(name)
                return
            found = self._let_through(workload, check, str(error))
        except TaskFault as fault:
            log.error("%s is not judged, after a fault of ours: %s", "/".join(name), fault)
            found = self._let_through(workload, check, f"a fault of Plimsoll ({fault.kind})")
        else:
            found = step(workload, check, queue, self._flavors, standings)
        if found is not None:
            await self._write(workload, check, found)

    def _let_through(self, workload: Json, check: str, why: str) -> Step | None:
        """What nobody decides holds up nobody."""
        waits = condition(workload, "QuotaReserved") and not condition(workload, "Evicted")
        if not waits or state_of(workload, check).get("state") != "Pending":
            return None
        return Step(READY, not_judged(why))

    def _queue_of(self, workload: Json) -> Queue | None:
        """The ClusterQueue that a Workload has its quota of, or waits for."""
        of = at(workload, "status.admission.clusterQueue")
        if not of:
            local = str(at(workload, "spec.queueName"))
            of = self._local.get((name_of(workload)[0], local), "")
        return self._queues.get(str(of))

    async def _write(self, workload: Json, check: str, found: Step) -> None:
        metadata = {
            key: workload["metadata"][key] for key in ("namespace", "name", "resourceVersion")
        }
        namespace, name = name_of(workload)
        if found.affinity:
            patch = [
                one
                for index, affinity in found.affinity.items()
                for one in _closing(workload, index, affinity)
            ]
            await self._client.request(
                "PATCH",
                KUEUE_WORKLOADS.path(namespace, name),
                query={"fieldManager": MANAGER},
                body=patch,
                content_type="application/json-patch+json",
            )
            log.info("%s/%s: flavors that cannot hold it are closed to it", namespace, name)
        if found.state:
            state = {
                "name": check,
                "state": found.state,
                "message": found.message,
                "lastTransitionTime": _now(),
                **({"requeueAfterSeconds": found.delay} if found.delay is not None else {}),
            }
            await self._client.apply(
                KUEUE_WORKLOADS,
                _object("Workload", metadata, status={"admissionChecks": [state]}),
                manager=MANAGER,
                subresource="status",
            )
            log.info("%s/%s: %s: %s", namespace, name, found.state, found.message)


def _closing(workload: Json, index: int, affinity: Mapping[str, Any]) -> list[Json]:
    """The patch of a pod set. Kueue writes the status of what it evicts and takes up again all the
    while: that the pod set is the one that was looked at is enough."""
    path, (*_, pod_set) = f"/spec/podSets/{index}", workload["spec"]["podSets"][: index + 1]
    return [
        {"op": "test", "path": f"{path}/name", "value": pod_set.get("name")},
        {"op": "add", "path": f"{path}/template/spec/affinity", "value": affinity},
    ]


def _object(kind: str, metadata: Json, **rest: Any) -> Json:
    return {"apiVersion": VERSION, "kind": kind, "metadata": metadata, **rest}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
