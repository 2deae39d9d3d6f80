"""Which of the kinds that are read this API server has, and under which version each is asked for.

group not served, kind not in its version   -> the kind is not there, which is no fault
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
    versions: dict[str, str] = {}
    plurals: dict[str, frozenset[str]] = {}
    found = []
    for kind in kinds:
        if kind.group not in versions:
            version = await _preferred(client, kind.group)
            versions[kind.group] = version
            plurals[kind.group] = await _plurals(client, kind.group, version)
        if kind.plural in plurals[kind.group]:
            resource = Resource(kind.group, versions[kind.group], kind.plural, kind.namespaced)
            found.append((kind, resource))
    return found


async def reports(client: Client) -> Resource | None:
    """What reports are written as here; None if there is no such kind."""
    for resource in (OPEN_REPORTS, POLICY_REPORTS):
        if resource.plural in await _plurals(client, resource.group, resource.version):
            return resource
    return None


async def _preferred(client: Client, group: str) -> str:
    """The version of a group that its server prefers; empty if the group is not served."""
    if not group:
        return "v1"
    answer = await _get(client, f"/apis/{group}")
    return str(((answer or {}).get("preferredVersion") or {}).get("version") or "")


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
