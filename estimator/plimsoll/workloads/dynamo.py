"""NVIDIA Dynamo: the services of a DynamoGraphDeployment, each with workers of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.images import engine_named
from plimsoll.workloads.pod import engine_of, pod
from plimsoll.workloads.roles import at, elements, mapping, names, replicas_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.workloads.roles import Beside, Role


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a DynamoGraphDeployment, one for each service that runs one."""
    spec = mapping(obj.get("spec"))
    framework = engine_named(str(spec.get("backendFramework") or ""))
    found: list[Role] = []
    for name, service, path in _services(spec):
        template, inner = _template(service)
        container = {**mapping(service.get("mainContainer")), **_container(template)}
        if not container.get("env"):
            container["env"] = [*elements(spec.get("envs")), *elements(service.get("envs"))]
        if not container.get("command") and not container.get("args"):
            continue  # the runtime's images start no server of their own
        container.setdefault("resources", service.get("resources"))
        where = f"{path}.{inner}.mainContainer"
        role = engine_of(container, where, template, names(obj)[0], beside)
        if role is None or (framework and role.engine != framework and not role.words):
            continue
        count = gpus.count(service.get("resources"))
        if count.number is not None or count.given:
            role.gpus, role.gpus_path = count, f"{path}.resources.limits.gpu"
        role.name, role.shared_memory = clean(name, 64), ""  # Dynamo mounts it itself
        nodes = at(service, "multinode.nodeCount")
        role.pods = gpus.whole(nodes) if nodes is not None else 1
        pod(role, template, f"{path}.{inner}")
        replicas_of(role, service.get("replicas"), f"{path}.replicas")
        found.append(role)
    return found


def _services(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """(name, service, path) of each: a mapping in older versions, a list in newer ones."""
    for name, service in mapping(spec.get("services")).items():
        yield str(name), mapping(service), f"spec.services.{name}"
    for index, service in enumerate(map(mapping, elements(spec.get("components")))):
        yield str(service.get("name") or index), service, f"spec.components[{index}]"


def _template(service: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The pod's spec of a service and where it is."""
    if isinstance(service.get("extraPodSpec"), dict):
        return service["extraPodSpec"], "extraPodSpec"
    return mapping(at(service, "podTemplate.spec")), "podTemplate.spec"


def _container(template: Mapping[str, Any]) -> dict[str, Any]:
    """The container of the service itself."""
    main = template.get("mainContainer")
    if isinstance(main, dict):
        return dict(main)
    containers = [one for one in elements(template.get("containers")) if isinstance(one, dict)]
    named = [one for one in containers if one.get("name") == "main"] or containers
    return dict(named[0]) if named else {}
