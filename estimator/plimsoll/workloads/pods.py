"""Pods and the objects of Kubernetes itself that make them: one place of a pod's spec each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import clean
from plimsoll.workloads.gpus import whole
from plimsoll.workloads.pod import roles
from plimsoll.workloads.roles import at, elements, mapping, names, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside, Role

PODS: Final = {
    "Pod": "spec",
    "Deployment": "spec.template.spec",
    "StatefulSet": "spec.template.spec",
    "ReplicaSet": "spec.template.spec",
    "DaemonSet": "spec.template.spec",
    "Job": "spec.template.spec",
    "CronJob": "spec.jobTemplate.spec.template.spec",
}
"""Where an object of each kind keeps the spec of its pods."""


_SIZE: Final = "leaderworkerset.sigs.k8s.io/size"
_LEADER: Final = "leaderworkerset.sigs.k8s.io/leader-name"


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines that the pods of an object start.

    Pods of a LeaderWorkerSet, and the StatefulSets that make them, say how many are one server: a
    StatefulSet of workers is one group without its leader. Workers that only join their leader's
    engine, by a script, start none.
    """
    path = PODS[str(obj["kind"])]
    found = roles(mapping(at(obj, path)), path, names(obj)[0], beside)
    notes = mapping(at(obj, f"{path.rpartition('spec')[0]}metadata.annotations"))
    size = whole(notes.get(_SIZE))
    works = _LEADER in notes
    if str(obj["kind"]) in ("Job", "CronJob"):
        found = [one for one in found if one.engine != "ollama" or one.model]  # it fills its store
    if works:
        found = [role for role in found if not any("script" in one for one in role.shaken)]
    for role in found:
        if not works:
            replicas_of(role, at(obj, "spec.replicas"), "spec.replicas")
        if size:
            role.pods = size
    return found


def job_set(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a JobSet, one for each of its Jobs that starts some."""
    found: list[Role] = []
    for index, part in enumerate(map(mapping, elements(at(obj, "spec.replicatedJobs")))):
        path = f"spec.replicatedJobs[{index}]"
        where = f"{path}.template.spec.template.spec"
        template = mapping(at(part, "template.spec.template.spec"))
        for role in roles(template, where, names(obj)[0], beside):
            role.name = clean(str(part.get("name") or index), 64)
            replicas_of(role, part.get("replicas"), f"{path}.replicas")
            found.append(role)
    return found
