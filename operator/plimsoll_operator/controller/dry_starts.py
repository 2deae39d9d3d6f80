"""Run the dry starts that LLMDeployments wish for: a Job each, few at once, each answer kept.

It must not decide: what follows from an answer is `plimsoll_operator.controller.verifying`'s.

    a wish            waits for one of a few places; the newest wish of an object counts; of two
                      alike in a namespace the second waits for the answer of the first
    the Job           suspended until its ConfigMap and NetworkPolicy are there, which are its own;
                      it is the LLMDeployment's own, and goes with it
    an answer         kept by namespace and key, told to the object, written to its status; only
                      then the Job is removed: another controller finds either, and what a status
                      says is an answer for every wish like it
    nothing learned   by the harness: stays so. By the cluster: tried again, ever later
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import API_VERSION, KIND
from plimsoll.errors import clean
from plimsoll.measured.dry_job import nothing_learned, standing
from plimsoll.measured.dry_start import BESIDE, Asked, job
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, Conflict, NotFound, in_words
from plimsoll_operator.cluster.objects import CONFIG_MAPS, JOBS, NETWORK_POLICIES, PODS
from plimsoll_operator.controller.running import owner_of
from plimsoll_operator.controller.verifying import REFUSED, STARTS, UNKNOWN, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.measured.dry_facts import Answer
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Json, Name
    from plimsoll_operator.controller.snapshot import Identity
    from plimsoll_operator.controller.verifying import Wish

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 2.0
NO_POD: Final = 120.0
"""Seconds without a pod after which the namespace is taken not to let one be made."""
AGAIN_AFTER: Final = 600.0
"""Seconds after which what the cluster refused is tried again, longer with each time."""
LONGEST_WAIT: Final = 6 * 3600.0
REMEMBERED: Final = 512
"""Answers that are kept; each stands in the status of its object besides."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an object wishes for. tries: how often nothing was learned of it before."""

    identity: Identity
    wish: Wish
    tries: int


class DryStarts:
    """The dry starts of all LLMDeployments. Run `run_forever` as a task of the leader."""

    def __init__(
        self,
        client: Client,
        changed: Callable[[Name], None],
        *,
        enabled: bool = False,
        at_once: int = 2,
        seconds: int = 600,
    ) -> None:
        """changed: told the name of an LLMDeployment of which there is an answer. seconds: of one
        start-up at most."""
        self.enabled = enabled
        self._client, self._changed = client, changed
        self._at_once, self._seconds = at_once, seconds
        self._answers: OrderedDict[tuple[str, str], Json] = OrderedDict()
        self._wanted: dict[Name, Wanted] = {}
        self._waiting: asyncio.Queue[Name] = asyncio.Queue()
        self._queued: set[Name] = set()
        self._said: dict[Name, Json] = {}
        self._made: dict[Name, tuple[str, str]] = {}
        self._versions: dict[Name, int] = {}
        self._alike: dict[tuple[str, str], list[Name]] = {}

    def version(self, name: Name) -> int:
        """Counts the answers that an LLMDeployment had."""
        return self._versions.get(name, 0)

    def said(self, name: Name) -> Json | None:
        """The last answer that an LLMDeployment had here, as its status shall say it."""
        return self._said.get(name)

    def forget(self, name: Name) -> None:
        """An LLMDeployment is no more: its Job goes with it."""
        self._wanted.pop(name, None)
        self._said.pop(name, None)
        self._versions.pop(name, None)
        self._made.pop(name, None)

    async def follow(
        self, identity: Identity, wish: Wish | None, status: Mapping[str, Any]
    ) -> None:
        """Have what an object wishes for be run, or what it does not any more be removed.

        status: what is written of a dry start.
        """
        name = (identity.namespace, identity.name)
        if not self.enabled:
            return
        if status.get("outcome") in (STARTS, REFUSED):
            self._keep((identity.namespace, str(status.get("key"))), dict(status))
        if wish is None:
            self._wanted.pop(name, None)
            await self._remove(name)
            return
        before = status.get("key") == wish.key
        tries = int(status.get("tries") or 0) if before else 0
        known = self._answers.get((identity.namespace, wish.key))
        if known is not None and not before:
            self._tell(name, known)
            return
        running = self._wanted.get(name)
        if running is not None and running.wish.key == wish.key:
            return
        if before:  # nothing was learned so far
            await self._remove(name)
            if status.get("reached"):
                return
            self._wanted[name] = Wanted(identity, wish, tries)
            asyncio.get_running_loop().call_later(wait_after(tries), self._add, name)
            return
        self._wanted[name] = Wanted(identity, wish, tries)
        self._add(name)

    def _add(self, name: Name) -> None:
        if name in self._wanted and name not in self._queued:
            self._queued.add(name)
            self._waiting.put_nowait(name)

    def _keep(self, kept: tuple[str, str], fields: Json) -> None:
        self._answers[kept] = fields
        self._answers.move_to_end(kept)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def _tell(self, name: Name, fields: Json) -> None:
        self._said[name] = fields
        self._versions[name] = self._versions.get(name, 0) + 1
        self._changed(name)

    async def run_forever(self) -> None:
        """Run what is wished for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            name = await self._waiting.get()
            self._queued.discard(name)
            wanted = self._wanted.get(name)
            if wanted is None:
                continue
            kept = (name[0], wanted.wish.key)
            if kept in self._alike:
                self._alike[kept].append(name)
                continue
            fields = self._answers.get(kept)
            if fields is None:
                self._alike[kept] = []
                try:
                    fields = await self._answer(name, wanted)
                finally:
                    for other in self._alike.pop(kept):
                        self._add(other)
            if fields is not None and self._wanted.get(name) is wanted:
                del self._wanted[name]
                self._tell(name, fields)

    async def _answer(self, name: Name, wanted: Wanted) -> Json | None:
        """What the status shall say of one Job; None if nobody wishes it any more."""
        answer, digest = await self._run(name, wanted)
        if answer is None:
            return None
        fields = fields_of(wanted.wish, answer, digest, wanted.tries)
        if fields["outcome"] != UNKNOWN or answer.facts:
            self._keep((name[0], wanted.wish.key), fields)
        return fields

    async def _run(self, name: Name, wanted: Wanted) -> tuple[Answer | None, str]:
        """The answer of one Job, and the digest of its image; None if nobody wishes it any more."""
        own = f"dry-start-{wanted.identity.uid[:8]}-{wanted.wish.key[:8]}"
        try:
            made = await self._create(name, own, wanted)
            if isinstance(made, str):
                return nothing_learned(made), ""
            return await self._wait(name, *made, wanted)
        except (ApiError, *UNREACHABLE) as error:
            log.warning("%s/%s: dry start: %s", *name, in_words(error))
            return nothing_learned(f"the cluster could not be asked: {in_words(error)}"), ""

    async def _create(self, name: Name, own: str, wanted: Wanted) -> tuple[str, str] | str:
        """Make the objects, unless they are there, and let the Job start: its name and uid, or
        what the cluster refused."""
        identity, wish = wanted.identity, wanted.wish
        owner = {"apiVersion": API_VERSION, "kind": KIND, "name": identity.name}
        owner |= {"uid": identity.uid}
        config, policy, suspended = job(
            Asked({}), wish.image, own, identity.namespace, self._seconds,
            suspended=True, owner={**owner, "controller": True},
        )  # fmt: skip
        config["data"] = dict.fromkeys(config["data"], wish.case)
        path = JOBS.path(identity.namespace, own)
        try:
            try:
                there = await self._client.create(JOBS, suspended, namespace=identity.namespace)
            except Conflict:
                there = await self._client.request("GET", path)
            if owner_of(there)[1] != identity.uid:
                return f"Job {own} is there and does not belong to this LLMDeployment"
            made = (own, str(there["metadata"]["uid"]))
            self._made[name] = made
            reference = {"apiVersion": "batch/v1", "kind": "Job", "name": own, "uid": made[1]}
            for resource, obj in ((CONFIG_MAPS, config), (NETWORK_POLICIES, policy)):
                obj["metadata"] = {**obj["metadata"], "ownerReferences": [reference]}
                with contextlib.suppress(Conflict):  # made by the controller before this one
                    await self._client.create(resource, obj, namespace=identity.namespace)
            await self._client.request(
                "PATCH",
                path,
                body={"spec": {"suspend": False}},
                content_type="application/merge-patch+json",
            )
        except NotFound:
            return "its Job was deleted before it ran, or its namespace was"
        except ApiError as error:
            if error.status not in (400, 403, 422):
                raise
            return f"the cluster did not take it: {clean(error.message, 600)}"
        return made

    async def _wait(
        self, name: Name, own: str, uid: str, wanted: Wanted
    ) -> tuple[Answer | None, str]:
        """Look at the Job until it has ended, or nobody wishes for it any more."""
        loop = asyncio.get_running_loop()
        begun, told = loop.time(), ""
        while loop.time() - begun < self._seconds + BESIDE + NO_POD:
            if self._wanted.get(name) is not wanted:
                await self._delete(name[0], own, uid)
                return None, ""
            pods = [
                pod
                async for page in self._client.pages(
                    PODS,
                    namespace=name[0],
                    label_selector=f"app.kubernetes.io/instance={own}",
                )
                for pod in page.items
                if any(one.get("uid") == uid for one in _owners(pod))
            ]
            found: Json | None
            try:
                found = await self._client.request("GET", JOBS.path(name[0], own))
            except NotFound:
                found = None
            stands = standing(found, pods)
            if stands.answer is not None:
                return stands.answer, _digest(pods)
            told = stands.words
            if not pods and loop.time() - begun > NO_POD:
                why = "a quota of the namespace or its admission may refuse it"
                return nothing_learned(f"no pod was made in {NO_POD:.0f} s: {why}"), ""
            await asyncio.sleep(LOOK_EVERY)
        return nothing_learned(f"it did not end in time; the last that was seen: {told}"), ""

    async def _remove(self, name: Name) -> None:
        """Delete an object's Job; what lies beside it and its pod go with it."""
        if name in self._made:
            await self._delete(name[0], *self._made[name])
            self._made.pop(name, None)

    async def _delete(self, namespace: str, own: str, uid: str) -> None:
        options: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        options |= {"preconditions": {"uid": uid}}
        with contextlib.suppress(NotFound, Conflict):  # gone, or another of that name
            await self._client.request("DELETE", JOBS.path(namespace, own), body=options)


def wait_after(tries: int) -> float:
    """Seconds until what the cluster refused so often is tried again."""
    return float(min(AGAIN_AFTER * 2 ** min(max(tries - 1, 0), 10), LONGEST_WAIT))


def _owners(obj: Json) -> list[Json]:
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def _digest(pods: list[Json]) -> str:
    """The image of a pod as its node resolved it; empty if nobody says."""
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            if container.get("imageID"):
                return str(container["imageID"])
    return ""
