"""Create, update and remove what LLMDeployments have run for them, or apply it onto targets.

Everything is written by server-side apply under our own field manager and never forced: a field of
another manager's stays his. An object that is not ours is neither changed nor removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.errors import Problem, clean
from plimsoll.render.names import OWNER_LABEL
from plimsoll.render.onto import onto
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, Conflict, NotFound
from plimsoll_operator.cluster.objects import (
    CLAIM_TEMPLATES,
    DEPLOYMENTS,
    LEADER_WORKER_SETS,
    SERVICES,
    STATEFUL_SETS,
    name_of,
)
from plimsoll_operator.cluster.reflector import Reflector
from plimsoll_operator.controller.plan import completed
from plimsoll_operator.controller.running import (
    APPLY,
    CREATE,
    Live,
    applied_for,
    applied_onto,
    conditions,
    live_of,
    nothing_onto,
    owned,
    owner_of,
    reference,
    status_fields,
    target_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Json, Name, Resource
    from plimsoll_operator.controller.running import Run
    from plimsoll_operator.controller.snapshot import Identity
    from plimsoll_operator.controller.task import Planned
    from plimsoll_operator.settings import Settings

MANAGER: Final = "plimsoll"
"""Our name among the managers of fields."""
RESOURCES: Final[Mapping[str, Resource]] = {
    "Deployment": DEPLOYMENTS,
    "LeaderWorkerSet": LEADER_WORKER_SETS,
    "ResourceClaimTemplate": CLAIM_TEMPLATES,
    "Service": SERVICES,
    "StatefulSet": STATEFUL_SETS,
}
"""The kinds that we make, or apply onto."""
_NOT_EVERYWHERE: Final = ("LeaderWorkerSet", "ResourceClaimTemplate")
"""Kinds that are installed apart, or that older clusters lack."""
_OF_MODE: Final = {
    CREATE: ("Deployment", "LeaderWorkerSet", "ResourceClaimTemplate", "Service"),
    APPLY: ("Deployment", "LeaderWorkerSet", "StatefulSet"),
}
"""The kinds of each mode."""
_ASKED_FOR_TOO_MUCH: Final = (400, 403, 422)
"""Answers that say something of the object, or of our rights, and stay the same."""
NOT_ENABLED: Final = (
    "this controller was not given the right to: the chart's workloads.create and workloads.apply "
    "do; `plimsoll render` prints the objects meanwhile"
)
PER_PAGE: Final = 100
LOOK_AGAIN: Final = 60.0
"""Seconds between two looks for a kind that the cluster does not know yet."""
TRY_AGAIN: Final = 60.0
"""Seconds after which what was in the way is tried again."""
_TRIED_AGAIN: Final = ("NotOurs", "NoTarget", "Conflict", "Refused")


def modes_of(settings: Settings) -> frozenset[str]:
    """The modes in which a controller of these settings runs anything."""
    given = ((CREATE, settings.workloads), (APPLY, settings.targets))
    return frozenset(mode for mode, right in given if right)


class Workloads:
    """What runs for LLMDeployments. Run `watch` as a task of its own."""

    def __init__(
        self, client: Client, changed: Callable[[Name], None], modes: frozenset[str]
    ) -> None:
        """changed: told the name of an LLMDeployment whose objects changed. modes: those of which
        this process may write and watch the objects."""
        self._client, self._changed, self._modes = client, changed, modes
        self._targets: dict[Name, set[tuple[str, str]]] = {}
        self._facts: dict[tuple[str, Name], tuple[Name, object]] = {}
        self._versions: dict[Name, int] = {}
        self._done: dict[Name, tuple[object, Live]] = {}

    def version(self, name: Name) -> int:
        """Counts the changes to the objects of an LLMDeployment."""
        return self._versions.get(name, 0)

    async def watch(self) -> None:
        """Hear of changes until cancelled; of LeaderWorkerSets once the cluster knows them."""
        kinds = {kind for mode in self._modes for kind in _OF_MODE[mode]}
        async with asyncio.TaskGroup() as group:
            for kind in sorted(kinds):
                group.create_task(self._watch(kind, RESOURCES[kind]))

    async def _watch(self, kind: str, resource: Resource) -> None:
        if kind in _NOT_EVERYWHERE:
            await self._until_known(resource)
        reflector = Reflector(
            self._client,
            resource,
            changed=lambda obj: self._put(kind, obj),
            deleted=lambda name: self._drop(kind, name),
            chunk=PER_PAGE,
            label_selector=OWNER_LABEL,
        )
        await reflector.run()

    async def _until_known(self, resource: Resource) -> None:
        """Wait until the cluster has a kind that is installed apart."""
        while True:
            with contextlib.suppress(*UNREACHABLE, ApiError):
                await self._client.request("GET", resource.path(), query={"limit": 1})
                return
            await asyncio.sleep(LOOK_AGAIN)

    def _put(self, kind: str, obj: Json) -> None:
        owner, uid = owner_of(obj)
        target = applied_for(obj) if not owner else ""
        self._aim(kind, name_of(obj), target)
        if not owner and not target:
            self._drop(kind, name_of(obj))
            return
        owner = owner or target
        name, status = name_of(obj), obj.get("status") or {}
        counts = ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")
        stuck = [
            (c.get("type"), c.get("status"), c.get("reason"))
            for c in status.get("conditions") or ()
        ]
        metadata = obj.get("metadata") or {}
        generation = metadata.get("generation") or metadata.get("resourceVersion")
        counted = [status.get(key) for key in counts]
        facts = (uid, generation, status.get("observedGeneration"), counted, stuck)
        belongs = (name[0], owner)
        if self._facts.get((kind, name)) != (belongs, facts):
            self._facts[(kind, name)] = (belongs, facts)
            self._tell(belongs)

    def _aim(self, kind: str, name: Name, owner: str) -> None:
        """Note whose plan is applied onto an object; empty: nobody's."""
        for each in [each for each, known in self._targets.items() if (kind, name[1]) in known]:
            if each[0] == name[0] and each[1] != owner:
                self._targets[each].discard((kind, name[1]))
                if not self._targets[each]:
                    del self._targets[each]
        if owner:
            self._targets.setdefault((name[0], owner), set()).add((kind, name[1]))

    def _drop(self, kind: str, name: Name) -> None:
        self._aim(kind, name, "")
        gone = self._facts.pop((kind, name), None)
        if gone is not None:
            self._tell(gone[0])

    def _tell(self, owner: Name) -> None:
        self._versions[owner] = self._versions.get(owner, 0) + 1
        self._changed(owner)

    def forget(self, name: Name) -> None:
        """An LLMDeployment is no more: its objects go with it, and its targets are given back."""
        self._versions.pop(name, None)
        self._done.pop(name, None)
        if name in self._targets:
            self._changed(name)

    async def give_back(self, name: Name) -> None:
        """Give back what was applied onto targets for an LLMDeployment that is no more."""
        for kind, target in sorted(self._targets.get(name, ())):
            resource = RESOURCES[kind]
            try:
                there = await self._client.request("GET", resource.path(name[0], target))
            except NotFound:
                continue
            if applied_for(there) == name[1]:
                await self._client.apply(resource, nothing_onto(there), manager=MANAGER)

    async def carry_out(self, identity: Identity, planned: Planned, now: datetime) -> Planned:
        """Have what is planned run, and say in the status what came of it."""
        run = planned.run
        assert run is not None
        live = await self.bring(identity, run)
        if live.reason in _TRIED_AGAIN:
            name = (identity.namespace, identity.name)
            asyncio.get_running_loop().call_later(TRY_AGAIN, self._tell, name)
        placed = any(
            (c["type"], c["status"]) == ("Ready", "True") for c in planned.status["conditions"]
        )
        changed = conditions(run, live, placed)
        fields = status_fields(run, live)
        made = completed(identity, planned.status, changed, fields, now)
        return replace(planned, patch=made.patch, events=made.events)

    async def bring(self, identity: Identity, run: Run) -> Live:
        """Have the objects of a run be there, and those of before not. What came of it."""
        if not run.mode:
            return await self._withdraw(identity, run)
        if run.mode not in self._modes:
            return Live(False, "NotEnabled", NOT_ENABLED, run.before)
        if not run.objects:
            return Live(False, "NotRendered", run.why, run.before)
        if run.mode == APPLY:
            return await self._onto(identity, run)
        return await self._created(identity, run)

    async def _created(self, identity: Identity, run: Run) -> Live:
        """Apply the objects of a run, unless they are as they were when that was done last."""
        name = (identity.namespace, identity.name)
        state = (identity.uid, self.version(name), run)
        if (done := self._done.get(name)) is not None and done[0] == state:
            return done[1]
        live = await self._apply_all(identity, run)
        if live.applied:
            self._done[name] = (state, live)
        return live

    async def _apply_all(self, identity: Identity, run: Run) -> Live:
        listed = tuple(reference(obj) for obj in run.objects)
        first: Json = {}
        for obj in run.objects:
            wrong, written = await self._apply(identity, obj)
            if wrong is not None:
                reason, message = wrong
                return Live(False, reason, message, run.before)
            first = first or written
        stale = [one for one in run.before if one not in listed]
        await self._remove(identity, stale)
        return live_of(first, listed, run.replicas)

    async def _apply(self, identity: Identity, obj: Json) -> tuple[tuple[str, str] | None, Json]:
        """Apply one object: what was in the way, and the object as it then is."""
        resource = RESOURCES[obj["kind"]]
        called = f"{obj['kind']} {obj['metadata']['name']}"
        try:
            if not await self._is_free(identity, resource, obj["metadata"]["name"]):
                said = f"{called} is there and does not belong to this LLMDeployment: rename one"
                return ("NotOurs", said), {}
            written = await self._client.apply(
                resource, owned(obj, identity), manager=MANAGER, force=False
            )
        except Conflict as error:
            return ("Conflict", f"{called}: {clean(error.message, 600)}"), {}
        except NotFound:
            said = f"{called}: the cluster does not know that kind, or the namespace is gone"
            return ("Refused", said), {}
        except ApiError as error:
            if error.status not in _ASKED_FOR_TOO_MUCH:
                raise
            return ("Refused", f"{called}: {clean(error.message, 600)}"), {}
        return None, written

    async def _is_free(self, identity: Identity, resource: Resource, name: str) -> bool:
        """Whether nobody else's object has that name."""
        try:
            there = await self._client.request("GET", resource.path(identity.namespace, name))
        except NotFound:
            return True
        return owner_of(there)[1] == identity.uid

    async def _onto(self, identity: Identity, run: Run) -> Live:
        """Apply a plan onto its target, and give back the one of before."""
        target = target_of(run)
        called, resource = f"{target['kind']} {target['name']}", RESOURCES[target["kind"]]
        try:
            path = resource.path(identity.namespace, target["name"])
            there = await self._client.request("GET", path)
            other = applied_for(there)
            if owner_of(there)[0] or other not in ("", identity.name):
                whose = other or owner_of(there)[0]
                said = f"{called} is as LLMDeployment {whose} plans it: aim at another"
                return Live(False, "NotOurs", said, run.before)
            part = onto(there, run.objects[0], str(run.target.get("container") or ""), run.parts)
            if isinstance(part, Problem):
                return Live(False, "NotRendered", str(part), run.before)
            made = applied_onto(there, identity.name, part)
            await self._client.apply(resource, made, manager=MANAGER, force=False)
        except NotFound:
            return Live(False, "NoTarget", f"{called} is not there", run.before)
        except ApiError as error:
            if error.status not in (*_ASKED_FOR_TOO_MUCH, 409):
                raise
            reason = "Conflict" if error.status == 409 else "Refused"
            return Live(False, reason, f"{called}: {clean(error.message, 600)}", run.before)
        await self._remove(identity, [one for one in run.before if one != target])
        return Live(True, "Applied", "", (target,))

    async def _withdraw(self, identity: Identity, run: Run) -> Live:
        """Remove everything that ran: nothing is asked for any more."""
        if not self._modes:
            return Live(False, "NotEnabled", NOT_ENABLED, run.before)
        await self._remove(identity, run.before)
        return Live(True, "Applied", "")

    async def _remove(self, identity: Identity, objects: Sequence[Json]) -> None:
        """Delete objects that are ours, give back targets; what is somebody else's by now stays."""
        for one in objects:
            resource = RESOURCES.get(str(one.get("kind")))
            name = str(one.get("name", ""))
            if resource is None or not name:
                continue
            try:
                there = await self._client.request("GET", resource.path(identity.namespace, name))
            except NotFound:
                continue
            if owner_of(there)[1] == identity.uid:
                uid = str(there["metadata"]["uid"])
                await self._client.delete(resource, name, namespace=identity.namespace, uid=uid)
            elif applied_for(there) == identity.name:
                await self._client.apply(resource, nothing_onto(there), manager=MANAGER)
