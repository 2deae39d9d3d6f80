"""Claims about our client and its list-and-watch, on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from cluster.fixtures_operator import SYSTEM_NAMESPACE, install
from cluster.plane import own_plane
from plimsoll.workloads.llmdeployment import Missing
from plimsoll_operator.cluster.client import Client, Conflict, NoCluster, NotFound, connect
from plimsoll_operator.cluster.known import ClusterKnowledge
from plimsoll_operator.cluster.objects import CONFIG_MAPS, Name
from plimsoll_operator.cluster.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from controlplane import ControlPlane

SOON = 10.0
OURS = "plimsoll-test=reflector"


plane = own_plane("stops the API server", installed=False)


def config_map(name: str, value: str = "1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": {"plimsoll-test": "reflector"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": value}}


class Seen:
    """What a reflector told, by name."""

    def __init__(self, client: Client) -> None:
        self.objects: dict[str, str] = {}
        self.told = 0
        self.reflector = Reflector(
            client,
            CONFIG_MAPS,
            changed=self._changed,
            deleted=self._deleted,
            chunk=2,
            label_selector=OURS,
        )

    def _changed(self, obj: dict[str, Any]) -> None:
        assert "managedFields" not in obj["metadata"]
        self.told += 1
        if obj["data"]["v"] == "poison":
            raise ValueError("cannot take that in")
        self.objects[obj["metadata"]["name"]] = obj["data"]["v"]

    def _deleted(self, name: Name) -> None:
        self.objects.pop(name[1], None)


@contextlib.asynccontextmanager
async def seeing(kubeconfig: Path) -> AsyncIterator[tuple[Client, Seen]]:
    async with connect(str(kubeconfig)) as client:
        for page in [page async for page in client.pages(CONFIG_MAPS, label_selector=OURS)]:
            for left in page.items:
                await client.delete(CONFIG_MAPS, left["metadata"]["name"], namespace="default")
        seen = Seen(client)
        task = asyncio.create_task(seen.reflector.run())
        await asyncio.wait_for(seen.reflector.synced.wait(), SOON)
        yield client, seen
        task.cancel()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_what_is_there_and_what_changes_is_told(plane: ControlPlane) -> None:
    async with seeing(plane.kubeconfig) as (client, seen):
        for index in range(5):
            await client.create(CONFIG_MAPS, config_map(f"a{index}"), namespace="default")
        await eventually(lambda: len(seen.objects) == 5)
        another = Seen(client)
        task = asyncio.create_task(another.reflector.run())
        await another.reflector.synced.wait()
        assert another.objects == seen.objects
        await client.apply(CONFIG_MAPS, config_map("a0", "2"), manager="test")
        await client.delete(CONFIG_MAPS, "a1", namespace="default")
        await eventually(lambda: seen.objects.get("a0") == "2" and "a1" not in seen.objects)
        await eventually(lambda: another.objects == seen.objects)
        task.cancel()


async def test_an_object_that_cannot_be_taken_in_stops_nothing(plane: ControlPlane) -> None:
    async with seeing(plane.kubeconfig) as (client, seen):
        await client.create(CONFIG_MAPS, config_map("bad", "poison"), namespace="default")
        await client.create(CONFIG_MAPS, config_map("good"), namespace="default")
        await eventually(lambda: seen.objects == {"good": "1"})


async def test_after_an_outage_the_changes_and_the_deletions_are_told(plane: ControlPlane) -> None:
    async with seeing(plane.kubeconfig) as (client, seen):
        for name in ("stays", "goes"):
            await client.create(CONFIG_MAPS, config_map(name), namespace="default")
        await eventually(lambda: len(seen.objects) == 2)
        await asyncio.to_thread(plane.stop_apiserver)
        await asyncio.sleep(2)
        await asyncio.to_thread(plane.start_apiserver)
        await client.delete(CONFIG_MAPS, "goes", namespace="default")
        await client.create(CONFIG_MAPS, config_map("comes"), namespace="default")
        await eventually(lambda: seen.objects == {"stays": "1", "comes": "1"})
        assert seen.reflector.age < SOON


async def test_a_config_map_that_was_passed_over_comes_in_with_admissions_rights_when_there_is_room(
    plane: ControlPlane,
) -> None:
    install(plane)
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, "plimsoll-webhook")
    value = {"config.json": '{"model_type": "llama"}'}
    async with connect(str(plane.kubeconfig)) as administrator, connect(str(account)) as client:
        for index in range(6):
            made = config_map(f"model-{index}") | {"data": value}
            await administrator.create(CONFIG_MAPS, made, namespace="default")
        known = ClusterKnowledge(client, room=3000)
        task = asyncio.create_task(known.run())
        await asyncio.wait_for(known.first_lists(), SOON)

        def kept() -> set[str]:
            names = {f"model-{index}" for index in range(6)}
            return {name for name in names if known.documents.find(("default", name))}

        assert len(kept()) == 5
        (left_out,) = {f"model-{index}" for index in range(6)} - kept()
        assert isinstance(known.documents.get("default", left_out, None), Missing)
        await eventually(lambda: left_out in kept())
        (left_out,) = {f"model-{index}" for index in range(6)} - kept()
        gone = next(iter(kept()))
        await administrator.delete(CONFIG_MAPS, gone, namespace="default")
        await eventually(lambda: left_out in kept() and gone not in kept())
        task.cancel()


async def test_a_status_is_written_only_on_the_version_that_was_read(plane: ControlPlane) -> None:
    async with connect(str(plane.kubeconfig)) as client:
        made = await client.create(CONFIG_MAPS, config_map("taken"), namespace="default")
        with pytest.raises(Conflict):
            await client.create(CONFIG_MAPS, config_map("taken"), namespace="default")
        await client.apply(CONFIG_MAPS, config_map("taken", "2"), manager="test")
        stale = {**config_map("taken", "3")}
        stale["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        with pytest.raises(Conflict):
            await client.request("PUT", CONFIG_MAPS.path("default", "taken"), body=stale)
        await client.delete(CONFIG_MAPS, "taken", namespace="default")
        await client.delete(CONFIG_MAPS, "taken", namespace="default")
        with pytest.raises(NotFound):
            await client.request("GET", CONFIG_MAPS.path("default", "taken"))


async def test_who_may_do_what_is_asked_of_the_cluster(plane: ControlPlane) -> None:
    async with connect(str(plane.kubeconfig)) as client:

        async def may(user: str, groups: list[str]) -> bool:
            return await client.subject_access_review(
                user=user,
                groups=groups,
                verb="override",
                resource=CONFIG_MAPS,
                namespace="default",
                name="x",
                extra={"scopes": ["all"]},
                uid="7",
            )

        assert await may("root", ["system:masters"])
        assert not await may("somebody", ["system:authenticated"])


async def test_without_a_way_to_a_cluster_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="set KUBECONFIG"):
        async with connect(str(tmp_path / "none")):
            pass
