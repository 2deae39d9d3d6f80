"""Pods and the objects of Kubernetes itself that make them: one place of a pod's spec each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.workloads.pod import roles
from plimsoll.workloads.roles import at, mapping, names, replicas_of

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


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines that the pods of an object start."""
    path = PODS[str(obj["kind"])]
    found = roles(mapping(at(obj, path)), path, names(obj)[0], beside)
    for role in found:
        replicas_of(role, at(obj, "spec.replicas"), "spec.replicas")
    return found
