"""Workloads of Kueue (kueue.x-k8s.io/v1beta2): the object behind one, as if it were given a flavor.

    one kind of pod     a Pod with the flavor's labels as nodeSelector and its tolerations, as Kueue
                        starts it
    a group of pods     a LeaderWorkerSet, whose pod sets make one server
    anything else       is not judged: nobody knows how its pods work together

Kueue (v0.17) picks flavors by quota and by the pod's selector, never by what an AdmissionCheck said
of one: a workload that is retried is given the same flavor again. `away` writes into its node
affinity that flavors are not for it; Kueue looks at no other key of it than those of flavors'
labels (pkg/scheduler/flavorassigner, flavorSelector), takes nothing of it over into pods
(pkg/podset), and does not mind it beside the job's own (pkg/util/equality, comparePodTemplate).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plimsoll.workloads.gpus import count
from plimsoll.workloads.roles import at, elements, mapping, names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GROUP: Final = "kueue.x-k8s.io"
LEADER_WORKER_SET: Final = "LeaderWorkerSet"
ALIKE: Final = ("Pod", "Deployment", "ReplicaSet", "StatefulSet", "Job")
"""Kinds of owners each of whose pods is a server of its own."""
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class Flavor:
    """A ResourceFlavor. labels: of its nodes; tolerations: that Kueue gives to its pods."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()


def read_flavor(obj: Mapping[str, Any]) -> Flavor:
    """A ResourceFlavor object. Never raises."""
    spec = mapping(obj.get("spec"))
    labels = {str(k): v for k, v in mapping(spec.get("nodeLabels")).items() if isinstance(v, str)}
    tolerations = tuple(mapping(one) for one in elements(spec.get("tolerations")))
    return Flavor(names(obj)[1], labels, tolerations)


def asking(workload: Mapping[str, Any]) -> list[tuple[int, str]]:
    """The pod sets of a Workload that ask for GPUs: their index, and the resource."""
    found = []
    for index, pod_set in enumerate(elements(at(workload, "spec.podSets"))):
        for container in elements(at(mapping(pod_set), "template.spec.containers")):
            key = count(mapping(container).get("resources")).key
            if key:
                found.append((index, key))
                break
    return found


def behind(workload: Mapping[str, Any], given: Flavor) -> dict[str, Any] | None:
    """The object that a Workload stands for, with a flavor given to it; None if it is not judged.

    given: its labels become the nodeSelector of every pod that asks for GPUs.
    """
    sets = [mapping(one) for one in elements(at(workload, "spec.podSets"))]
    indices = [index for index, _ in asking(workload)]
    owner = _owner(workload)
    metadata = dict(zip(("namespace", "name"), names(workload), strict=True))
    if not indices:
        return None
    specs = {index: _given(mapping(at(sets[index], "template.spec")), given) for index in indices}
    if owner == LEADER_WORKER_SET and len(sets) <= 2:
        size = sum(number for one in sets if isinstance(number := one.get("count", 1), int))
        template: dict[str, Any] = {"size": size}
        for index, key in enumerate(("leaderTemplate", "workerTemplate")[-len(sets) :]):
            template[key] = {"spec": specs.get(index, at(sets[index], "template.spec"))}
        return {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": LEADER_WORKER_SET,
            "metadata": metadata,
            "spec": {"replicas": 1, "leaderWorkerTemplate": template},
        }
    if owner not in ALIKE or len(indices) > 1:
        return None
    (spec,) = specs.values()
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def away(
    workload: Mapping[str, Any], misfits: Iterable[Flavor], rest: Iterable[Flavor]
) -> dict[int, dict[str, Any]] | None:
    """The affinity that keeps the pod sets that ask for GPUs off some flavors, by their index.

    Only those in which it is not written yet. None if a flavor cannot be told from the rest by a
    label. rest: the flavors that shall stay possible.
    """
    others = list(rest)
    wanted = []
    for flavor in misfits:
        apart = [
            (key, value)
            for key, value in sorted(flavor.labels.items())
            if all(other.labels.get(key) != value for other in others)
        ]
        if not apart:
            return None
        key, value = apart[0]
        wanted.append({"key": key, "operator": "NotIn", "values": [value]})
    found = {}
    for index, _ in asking(workload):
        pod_set = mapping(elements(at(workload, "spec.podSets"))[index])
        before = mapping(at(pod_set, "template.spec.affinity"))
        after = _with(before, wanted)
        if after != before:
            found[index] = after
    return found


def _with(affinity: Mapping[str, Any], wanted: list[dict[str, Any]]) -> dict[str, Any]:
    """An affinity each of whose terms has these expressions."""
    made: dict[str, Any] = copy.deepcopy(dict(affinity))
    node = made.setdefault("nodeAffinity", {})
    required = node.setdefault(_REQUIRED, {})
    terms = required.setdefault("nodeSelectorTerms", [])
    if not terms:
        terms.append({})
    for term in terms:
        expressions = term.setdefault("matchExpressions", [])
        expressions += [one for one in wanted if one not in expressions]
    return made


def _given(spec: Mapping[str, Any], flavor: Flavor) -> dict[str, Any]:
    """A pod's spec as Kueue starts it on a flavor."""
    selector = {**mapping(spec.get("nodeSelector")), **flavor.labels}
    tolerations = [*elements(spec.get("tolerations")), *flavor.tolerations]
    return {**spec, "nodeSelector": selector, "tolerations": tolerations}


def _owner(workload: Mapping[str, Any]) -> str:
    """The kind of what Kueue made a Workload for; a Pod if it says none."""
    owners = [mapping(one) for one in elements(at(workload, "metadata.ownerReferences"))]
    said = next((one for one in owners if one.get("controller") is True), None)
    said = said or (owners[0] if owners else {"kind": "Pod"})
    return str(said.get("kind"))
