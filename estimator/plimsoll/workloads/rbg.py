"""SGLang's RoleBasedGroup: roles of one pod, of a leader with its workers, or of components.

    v1alpha2   standalonePattern, leaderWorkerPattern and customComponentsPattern
    v1alpha1   template, leaderWorkerSet and components at the role itself

Each takes its pod from a template of its own or from one of `spec.roleTemplates`, with patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from plimsoll.errors import clean
from plimsoll.workloads.gpus import whole
from plimsoll.workloads.laid_over import laid_over, told
from plimsoll.workloads.pod import roles
from plimsoll.workloads.roles import elements, mapping, names, replicas_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.workloads.roles import Beside, Role

_SIZES: Final = ("RBG_LWP_GROUP_SIZE", "LWS_GROUP_SIZE")
"""Variables by which the pods of a group know how many they are (api/workloads/constants/env.go,
and v1alpha1)."""


class _Pods(NamedTuple):
    """Pods of a role that are alike. size: of them in a replica. part: whether others beside them
    may be of the same engine."""

    template: Mapping[str, Any]
    path: str
    size: object = 1
    part: bool = False


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a RoleBasedGroup, one for each role that serves a model."""
    spec = mapping(obj.get("spec"))
    shared = {
        str(one.get("name")): _Pods(
            mapping(one.get("template")), f"spec.roleTemplates[{i}].template"
        )
        for i, one in enumerate(map(mapping, elements(spec.get("roleTemplates"))))
    }
    found: list[Role] = []
    for index, part in enumerate(map(mapping, elements(spec.get("roles")))):
        path = f"spec.roles[{index}]"
        for pods in _pods(part, path, shared):
            number = whole(pods.size)
            inner = told(mapping(pods.template.get("spec")), dict.fromkeys(_SIZES, number))
            some = roles(inner, f"{pods.path}.spec", names(obj)[0], beside)
            for role in some:
                role.name = clean(str(part.get("name") or index), 64)
                role.pods = number
                if pods.part:
                    role.unread("which of the components beside it are one engine with it")
                replicas_of(role, part.get("replicas"), f"{path}.replicas")
            if some:
                found += some
                break
    return found


def _pods(part: Mapping[str, Any], path: str, shared: Mapping[str, _Pods]) -> Iterator[_Pods]:
    """The pods of a role: those of the leader first."""
    standalone, group = part.get("standalonePattern"), part.get("leaderWorkerPattern")
    custom = part.get("customComponentsPattern")
    if isinstance(standalone, dict):
        yield _of(standalone, f"{path}.standalonePattern", shared)
    elif isinstance(group, dict):
        leader = _of(group, f"{path}.leaderWorkerPattern", shared, "leaderTemplatePatch")
        yield leader._replace(size=group.get("size", 1))
    elif isinstance(custom, dict) or part.get("components"):
        inner = "customComponentsPattern.components" if isinstance(custom, dict) else "components"
        listed = [
            *map(mapping, elements(mapping(custom).get("components") or part.get("components")))
        ]
        for index, one in enumerate(listed):
            where = f"{path}.{inner}[{index}].template"
            yield _Pods(mapping(one.get("template")), where, one.get("size", 1), len(listed) > 1)
    else:
        own = _of(part, path, shared, "templatePatch")
        workers = mapping(part.get("leaderWorkerSet"))
        merged = laid_over(own.template, workers.get("patchLeaderTemplate"))
        yield own._replace(template=merged, size=workers.get("size", 1))


def _of(
    source: Mapping[str, Any], path: str, shared: Mapping[str, _Pods], patch: str = ""
) -> _Pods:
    """A pod's template, its own or a shared one, with its patches; its place is where it says
    something itself."""
    reference = source.get("templateRef")
    pods = _Pods(mapping(source.get("template")), f"{path}.template")
    if isinstance(reference, dict):
        pods = shared.get(str(reference.get("name")), _Pods({}, f"{path}.templateRef"))
        if isinstance(reference.get("patch"), dict):
            merged = laid_over(pods.template, reference["patch"])
            pods = _Pods(merged, f"{path}.templateRef.patch")
    return pods._replace(template=laid_over(pods.template, source.get(patch)))
