"""Which of the kinds that are read this API server has, and under which version each is asked for.

group not served, kind in none of its versions   -> the kind is not there, which is no fault
kind in some of its versions                     -> the preferred one, else the first that has it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll_operator.cluster.client import NotFound
from plimsoll_operator.cluster.objects import Json, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.workloads.kinds import Kind
    from plimsoll_operator.cluster.client import Client

OPEN_REPORTS: Final = Resource("openreports.io", "v1alpha1", "reports")
POLICY_REPORTS: Final = Resource("wgpolicyk8s.io", "v1alpha2", "policyreports")
"""What reports are written as; the first that is there."""


async def served(client: Client, kinds: Iterable[Kind]) -> list[tuple[Kind, Resource]]:
    """Those of some kinds that are there, each as it is addressed.

    Raises `ApiError`, or one of `UNREACHABLE`.
    """
    versions: dict[str, dict[str, str]] = {}
    found = []
    for kind in kinds:
        if kind.group not in versions:
            versions[kind.group] = await _version_of_each(client, kind.group)
        version = versions[kind.group].get(kind.plural)
        if version is not None:
            found.append((kind, Resource(kind.group, version, kind.plural, kind.namespaced)))
    return found


async def reports(client: Client) -> Resource | None:
    """What reports are written as here; None if there is no such kind."""
    for resource in (OPEN_REPORTS, POLICY_REPORTS):
        if resource.plural in await _plurals(client, resource.group, resource.version):
            return resource
    return None


async def _version_of_each(client: Client, group: str) -> dict[str, str]:
    """Of each kind of a group, by its plural, the version to ask for it in."""
    if not group:
        return dict.fromkeys(await _plurals(client, "", "v1"), "v1")
    answer = await _get(client, f"/apis/{group}") or {}
    every = [answer.get("preferredVersion") or {}, *(answer.get("versions") or ())]
    found: dict[str, str] = {}
    for version in dict.fromkeys(str(one.get("version") or "") for one in every):
        for plural in await _plurals(client, group, version):
            found.setdefault(plural, version)
    return found


async def _plurals(client: Client, group: str, version: str) -> frozenset[str]:
    """The kinds in a version of a group, by their plurals."""
    if not version:
        return frozenset()
    answer = await _get(client, f"/apis/{group}/{version}" if group else f"/api/{version}")
    resources = (answer or {}).get("resources") or ()
    return frozenset(str(resource.get("name")) for resource in resources)


async def _get(client: Client, path: str) -> Json | None:
    try:
        return await client.request("GET", path)
    except NotFound:
        return None
