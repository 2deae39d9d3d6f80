"""From a rendered workload to the fields of somebody else's: what is applied onto a target.

    Resources     GPUs, CPU and memory of the container
    Nodes         node selector, affinity and tolerations of the pod
    Flags         command and arguments of the container
    Probe         the start-up probe of the container
    SharedMemory  a mount at /dev/shm

All of it is applied at once or none: a field that another manager has is a conflict, and nothing
is forced. What is said alike by both belongs to both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Problem, shown
from plimsoll.render.container import CONTAINER, SHARED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = dict[str, Any]

PARTS: Final = ("Resources", "Nodes", "Flags", "Probe", "SharedMemory")
CONTAINER_PATH: Final = "spec.output.targetRef.container"
TARGET_PATH: Final = "spec.output.targetRef"
_TEMPLATES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "Deployment": (("spec", "template"),),
    "StatefulSet": (("spec", "template"),),
    "LeaderWorkerSet": (
        ("spec", "leaderWorkerTemplate", "leaderTemplate"),
        ("spec", "leaderWorkerTemplate", "workerTemplate"),
    ),
}
"""Where each kind keeps the templates of its pods."""


def onto(
    target: Mapping[str, Any],
    workload: Mapping[str, Any],
    container: str = "",
    parts: Sequence[str] = PARTS,
) -> Json | Problem:
    """The part of a target that is to be as rendered, or why there is none.

    target: as it is in the cluster; workload: as `plimsoll.render` makes it. container: in which
    the engine runs; empty: the only one.
    """
    kind, made_of = str(target.get("kind")), str(workload.get("kind"))
    over_nodes = made_of == "LeaderWorkerSet"
    if over_nodes != (kind == "LeaderWorkerSet"):
        nodes = "several nodes" if over_nodes else "one node"
        wanted = "a LeaderWorkerSet" if over_nodes else "a Deployment or a StatefulSet"
        return Problem(f"{TARGET_PATH}.kind", shown(kind), f"{wanted}: a replica lies on {nodes}")
    made: Json = {}
    for path in _TEMPLATES[kind]:
        template, theirs = _at(workload, path), _at(target, path)
        if not theirs:
            continue
        name = _container(theirs, container)
        if isinstance(name, Problem):
            return name
        _put(made, path, {"spec": _pod(template["spec"], name, parts)})
    if over_nodes:
        size = _at(workload, ("spec", "leaderWorkerTemplate"))["size"]
        there = _at(target, ("spec", "leaderWorkerTemplate")).get("size", 1)
        if size != there:
            wanted = f"a LeaderWorkerSet of size {size}, the nodes of a replica"
            return Problem(TARGET_PATH, f"size {there}", wanted)
    return made


def templates_of(part: Json) -> list[Json]:
    """The templates of pods in what `onto` made."""
    found = (_at(part, path) for path in _TEMPLATES[str(part.get("kind"))])
    return [template for template in found if isinstance(template, dict) and template]


def _at(obj: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    found: object = obj
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _put(into: Json, path: Sequence[str], value: Json) -> None:
    *parents, last = path
    for key in parents:
        into = into.setdefault(key, {})
    into[last] = value


def _container(template: Mapping[str, Any], wanted: str) -> str | Problem:
    """The container that is meant."""
    listed = _at(template, ("spec",)).get("containers")
    names = [str(one.get("name")) for one in listed or () if isinstance(one, dict)]
    if wanted in names:
        return wanted
    if not wanted and len(names) == 1:
        return names[0]
    one_of = f"one of its containers: {', '.join(names[:8])}"
    return Problem(CONTAINER_PATH, shown(wanted) if wanted else "", one_of)


def _pod(rendered: Mapping[str, Any], name: str, parts: Sequence[str]) -> Json:
    """The fields of a pod that are to be as rendered."""
    engine = next(one for one in rendered["containers"] if one["name"] == CONTAINER)
    own: Json = {"name": name}
    pod: Json = {}
    if "Resources" in parts:
        asked = engine["resources"].get("requests", {})
        requests = {k: v for k, v in asked.items() if k != "ephemeral-storage"}
        own["resources"] = {**engine["resources"], "requests": requests}
    if "Flags" in parts:
        own |= {key: engine[key] for key in ("command", "args") if key in engine}
    if "Probe" in parts and "startupProbe" in engine:
        port = engine["ports"][0]["containerPort"]
        ask = {**engine["startupProbe"]["httpGet"], "port": port}
        own["startupProbe"] = {**engine["startupProbe"], "httpGet": ask}
    if "SharedMemory" in parts:
        mounts = [one for one in engine["volumeMounts"] if one["name"] == SHARED]
        volumes = [one for one in rendered["volumes"] if one["name"] == SHARED]
        if mounts and volumes:
            own["volumeMounts"], pod["volumes"] = mounts, volumes
    if "Nodes" in parts:
        where = ("nodeSelector", "affinity", "tolerations")
        pod |= {key: rendered[key] for key in where if key in rendered}
    return {"containers": [own], **pod}
