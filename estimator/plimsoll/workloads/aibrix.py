"""AIBrix: StormService and RoleSet with their roles, and RayClusterFleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.errors import clean
from plimsoll.workloads.gpus import whole
from plimsoll.workloads.pod import roles
from plimsoll.workloads.ray import of_cluster
from plimsoll.workloads.roles import at, elements, mapping, names, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside, Role


def storm_service(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a StormService, one for each role that serves a model."""
    return _of_roles(obj, "spec.template.spec.roles", beside)


def role_set(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a RoleSet, of which a StormService makes some."""
    return _of_roles(obj, "spec.roles", beside)


def _of_roles(obj: Mapping[str, Any], listed: str, beside: Beside) -> list[Role]:
    found: list[Role] = []
    for index, part in enumerate(map(mapping, elements(at(obj, listed)))):
        path = f"{listed}[{index}]"
        template = mapping(at(part, "template.spec"))
        for role in roles(template, f"{path}.template.spec", names(obj)[0], beside):
            role.name = clean(str(part.get("name") or index), 64)
            role.pods = whole(part.get("podGroupSize", 1))
            replicas_of(role, part.get("replicas"), f"{path}.replicas")
            found.append(role)
    return found


def ray_cluster_fleet(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of each cluster of a RayClusterFleet."""
    path = "spec.template.spec"
    found = of_cluster(mapping(at(obj, path)), path, names(obj)[0], beside)
    for role in found:
        replicas_of(role, at(obj, "spec.replicas"), "spec.replicas")
    return found
