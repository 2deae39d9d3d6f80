"""LeaderWorkerSet and DisaggregatedSet: one server over a leader and its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.errors import clean
from plimsoll.workloads.gpus import whole
from plimsoll.workloads.laid_over import told
from plimsoll.workloads.pod import roles
from plimsoll.workloads.roles import at, elements, mapping, names, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside, Role


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a LeaderWorkerSet: a replica is one group of pods."""
    found = group(at(obj, "spec.leaderWorkerTemplate"), "spec.leaderWorkerTemplate", obj, beside)
    for role in found:
        replicas_of(role, at(obj, "spec.replicas"), "spec.replicas")
    return found


def disaggregated(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a DisaggregatedSet, one for each of its roles."""
    found: list[Role] = []
    for index, part in enumerate(map(mapping, elements(at(obj, "spec.roles")))):
        for inner in (
            "leaderWorkerTemplate",
            "template.spec.leaderWorkerTemplate",
            "spec.leaderWorkerTemplate",
        ):
            template = at(part, inner)
            if not isinstance(template, dict):
                continue
            path = f"spec.roles[{index}]"
            for role in group(template, f"{path}.{inner}", obj, beside):
                role.name = clean(str(part.get("name") or index), 64)
                outer = inner.rpartition(".leaderWorkerTemplate")[0]
                held = at(part, f"{outer}.replicas") if outer else None
                replicas_of(role, part.get("replicas", held), f"{path}.replicas")
                found.append(role)
            break
    return found


def group(template: object, path: str, obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of one group: the leader's, or the workers' if there is no other leader."""
    parts, namespace = mapping(template), names(obj)[0]
    found: list[Role] = []
    size = parts.get("size")
    number = 1 if size is None else whole(size)
    for key in ("leaderTemplate", "workerTemplate"):
        spec = at(parts, f"{key}.spec")
        if isinstance(spec, dict):
            spec = told(spec, {"LWS_GROUP_SIZE": number})
            some = roles(spec, f"{path}.{key}.spec", namespace, beside)
            sure = [role for role in some if not any("script" in one for one in role.shaken)]
            found = sure or found or some
            if sure:
                break
    for role in found:
        role.pods = number
        if role.pods is None:
            role.unread(f"size {clean(str(size))} ({path}.size)")
    return found
