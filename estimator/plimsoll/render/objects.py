"""The objects: a Deployment, or a LeaderWorkerSet where a replica spans nodes, and a Service.

A replica's GPUs are scarce: an update takes one replica down before it starts its successor
(maxSurge 0), and a Deployment is given up on only after a whole start and five minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.verdict import Beside
from plimsoll.errors import Problem, Unreadable, shown
from plimsoll.inventory.plain import mapping, mappings
from plimsoll.render import images, names
from plimsoll.render.claims import CLAIM
from plimsoll.render.container import (
    CACHE,
    UNKNOWN_START,
    Started,
    container,
    runs_restricted,
    volumes,
)
from plimsoll.render.merge import merged
from plimsoll.units import parse_cpu, parse_memory
from plimsoll.workloads.serving import BASE_MODEL, CONFIG_MAP, PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.accelerators.types import Accelerator, Dialect
    from plimsoll.decision.pod import PodNeeds
    from plimsoll.decision.verdict import Placement, Verdict
    from plimsoll.workloads.spec import LLMDeploymentSpec, OutputSpec

Json = dict[str, Any]
USER: Final = 1000
"""The user and group that a pod runs as where it does not run as root."""
SLACK: Final = 300
"""Seconds beyond a start after which a Deployment says that it makes no progress."""
SERVICE_PORT: Final = 80
TEMPLATE_PATH: Final = "spec.output.template"
LWS_API: Final = "leaderworkerset.x-k8s.io/v1"
LWS_NAME: Final = "leaderworkerset.sigs.k8s.io/name"
LWS_GROUP: Final = "leaderworkerset.sigs.k8s.io/group-index"
LWS_INDEX: Final = "leaderworkerset.sigs.k8s.io/worker-index"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the objects of one LLMDeployment are made from.

    name: the objects'; own_name: the LLMDeployment's; namespace: empty if that says none.
    accelerator: None for one that is in no table. dialect: in which nodes are selected where none
    was seen. claims: the ResourceClaimTemplate of its pods; None: they ask for a resource.
    """

    name: str
    own_name: str
    namespace: str
    engine: str
    spec: LLMDeploymentSpec
    output: OutputSpec
    verdict: Verdict
    placement: Placement
    needs: PodNeeds
    one: Started
    accelerator: Accelerator | None
    dialect: Dialect | None
    claims: Json | None = None


def objects(plan: Plan) -> list[Json] | list[Problem]:
    """The workload and its Service, or what keeps them from being rendered.

    Raises `Invalid` if the pod template cannot be merged.
    """
    others = [service(plan), *([claim_template(plan, plan.claims)] if plan.claims else [])]
    if plan.placement.nodes_per_replica == 1:
        return [deployment(plan), *others]
    wrong = _not_over_nodes(plan)
    return wrong or [leader_worker_set(plan), *others]


def claim_template(plan: Plan, claims: Json) -> Json:
    """The ResourceClaimTemplate, with the labels of the other objects."""
    return {**claims, "metadata": {**_metadata(plan), "name": claims["metadata"]["name"]}}


def _not_over_nodes(plan: Plan) -> list[Problem]:
    """Why a replica of this engine cannot be rendered over nodes."""
    over, nodes = plan.one.server.over_nodes, plan.placement.nodes_per_replica
    fix = "allow a GPU of which one node holds a replica, or lower what is asked"
    if over is None:
        wanted = f"vllm or sglang for a replica over {nodes} nodes"
        return [Problem(images.ENGINE_PATH, shown(plan.engine), wanted, fix)]
    if images.numbers(plan.one.version) < over.since:
        since = ".".join(map(str, over.since))
        wanted = f"{since} or later for a replica over {nodes} nodes"
        return [Problem(images.VERSION_PATH, shown(plan.one.version), wanted, fix)]
    data = plan.placement.parallelism.data
    if data > 1:
        wanted = f"1, as copies over {nodes} nodes are not rendered"
        fix = "say more replicas instead"
        return [Problem("spec.engine.parallelism.data", str(data), wanted, fix)]
    return []


def _metadata(plan: Plan) -> Json:
    made: Json = {"name": plan.name}
    if plan.namespace:
        made["namespace"] = plan.namespace
    made["labels"] = names.labels(plan.name, plan.engine, plan.own_name)
    return made


def _workload_metadata(plan: Plan) -> Json:
    """With the queue, and with annotations by which it is read back."""
    made, model = _metadata(plan), plan.spec.model
    if plan.output.queue_name:
        made["labels"][names.QUEUE_LABEL] = plan.output.queue_name
    annotations = {names.HASH_ANNOTATION: plan.verdict.request_hash}
    if model.base_model:
        annotations[BASE_MODEL] = model.base_model
    if model.config_map_ref is not None:
        key = f"/{model.config_map_ref.key}" if model.config_map_ref.key else ""
        annotations[CONFIG_MAP] = f"{model.config_map_ref.name}{key}"
    if model.parameters:
        annotations[PARAMETERS] = model.parameters
    return {**made, "annotations": annotations}


def deployment(plan: Plan) -> Json:
    """The Deployment of replicas that each lie on one node."""
    seconds = (plan.needs.start or UNKNOWN_START) + SLACK
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _workload_metadata(plan),
        "spec": {
            "replicas": _replicas(plan),
            "selector": {"matchLabels": names.selector(plan.own_name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "progressDeadlineSeconds": seconds,
            "template": pod_template(plan),
        },
    }


def leader_worker_set(plan: Plan) -> Json:
    """The LeaderWorkerSet of replicas that span nodes: a group of pods each, one to a node."""
    over = plan.one.server.over_nodes
    assert over is not None
    workers = (*over.every, *over.workers)
    return {
        "apiVersion": LWS_API,
        "kind": "LeaderWorkerSet",
        "metadata": _workload_metadata(plan),
        "spec": {
            "replicas": _replicas(plan),
            "leaderWorkerTemplate": {
                "size": plan.placement.nodes_per_replica,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": pod_template(plan, over.every),
                "workerTemplate": pod_template(plan, workers, serves=False),
            },
        },
    }


def _replicas(plan: Plan) -> int:
    return 1 if plan.spec.replicas is None else plan.spec.replicas


def pod_template(plan: Plan, over_nodes: Sequence[str] = (), *, serves: bool = True) -> Json:
    """The pod, with the user's own template laid over it."""
    one, placement = plan.one, plan.placement
    made: Json = {
        "metadata": {"labels": names.labels(plan.name, plan.engine, plan.own_name)},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _security(plan),
            "containers": [
                container(
                    one,
                    placement,
                    plan.needs,
                    plan.output,
                    serves=serves,
                    over_nodes=over_nodes,
                    claim=CLAIM if plan.claims else "",
                )
            ],
            "volumes": volumes(one.weights, plan.needs, plan.output),
            **nodes(plan),
            **_claimed(plan),
        },
    }
    if over_nodes and placement.topology:
        made["spec"].setdefault("affinity", {}).update(_together(plan))
    template = plan.output.template
    if template is None:
        return made
    whole = merged(made, template, TEMPLATE_PATH)
    if _kept_elsewhere(mapping(whole.get("spec"))):
        made["spec"]["containers"][0]["resources"]["requests"].pop(Beside.DISK.value, None)
        return merged(made, template, TEMPLATE_PATH)
    return whole


def _kept_elsewhere(pod: Mapping[str, Any]) -> bool:
    """Whether what a pod downloads lies on another volume than a disk of its node."""
    caches = [one for one in mappings(pod.get("volumes")) if one.get("name") == CACHE]
    return any(
        "emptyDir" not in one or mapping(one["emptyDir"]).get("medium") == "Memory"
        for one in caches
    )


def asked_of(workload: Json) -> dict[Beside, int]:
    """What one pod of a rendered workload asks of its node: bytes, and thousandths of a CPU.

    The most of its templates; a request that is not said is as large as the limit; what cannot be
    read is left out.
    """
    spec = workload["spec"]
    group = spec.get("leaderWorkerTemplate")
    templates = (group["leaderTemplate"], group["workerTemplate"]) if group else (spec["template"],)
    pods = [mapping(one.get("spec")) for one in templates]
    of_each = (Beside.DISK, Beside.MEMORY, Beside.CPU)
    return {what: max(_asked(pod, what) for pod in pods) for what in of_each}


def _asked(pod: Mapping[str, Any], what: Beside) -> int:
    """The requests of containers that run together, or of one that comes before them if larger."""
    first = list(mappings(pod.get("initContainers")))
    stay = [one for one in first if one.get("restartPolicy") == "Always"]
    together = sum(_request(one, what) for one in (*mappings(pod.get("containers")), *stay))
    return max([together, *(_request(one, what) for one in first)])


def _request(one: Mapping[str, Any], what: Beside) -> int:
    resources = mapping(one.get("resources"))
    for said in ("requests", "limits"):
        size = mapping(resources.get(said)).get(what.value)
        if size is not None:
            try:
                return (parse_cpu if what is Beside.CPU else parse_memory)(str(size))
            except Unreadable:
                return 0
    return 0


def _claimed(plan: Plan) -> Json:
    """The claim of a pod: each has its own, made from the template."""
    if plan.claims is None:
        return {}
    named = {"name": CLAIM, "resourceClaimTemplateName": plan.claims["metadata"]["name"]}
    return {"resourceClaims": [named]}


def _security(plan: Plan) -> Json:
    made: Json = {"seccompProfile": {"type": "RuntimeDefault"}}
    if runs_restricted(plan.one.server, plan.placement):
        user = {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
        made |= {"runAsNonRoot": True, **user}
    return made


def nodes(plan: Plan) -> Json:
    """Where the pod may run: the placement's labels, or every label that names its GPU."""
    placement, made = plan.placement, Json()
    if placement.node_selector:
        made["nodeSelector"] = dict(placement.node_selector)
    tolerations = [
        {k: v for k, v in zip(("key", "operator", "value", "effect"), one, strict=True) if v}
        for one in placement.tolerations
    ]
    if not placement.on_nodes:
        terms = [] if plan.claims else _terms(plan)
        if terms:
            required = {"nodeSelectorTerms": terms}
            key = "requiredDuringSchedulingIgnoredDuringExecution"
            made["affinity"] = {"nodeAffinity": {key: required}}
        vendor = images.vendor_of(placement.resource)
        usual = {"key": f"{vendor}.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        tolerations += [] if usual in tolerations else [usual]
    if tolerations:
        made["tolerations"] = tolerations
    return made


def _together(plan: Plan) -> Json:
    """The pods of a group are preferred where nodes are close to one another, by their label.

    LeaderWorkerSet tells its groups apart by a label of each pod, which the scheduler matches.
    """
    term = {
        "labelSelector": {"matchLabels": {LWS_NAME: plan.name}},
        "matchLabelKeys": [LWS_GROUP],
        "topologyKey": plan.placement.topology,
    }
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    return {"podAffinity": {key: [{"weight": 100, "podAffinityTerm": term}]}}


def _terms(plan: Plan) -> list[Json]:
    """One term for each set of labels that names the accelerator in the dialect.

    Labels that differ in one value alone are one term.
    """
    if plan.accelerator is None or plan.dialect is None:
        return []
    sets = [each.selector for each in plan.accelerator.labels if each.dialect is plan.dialect]
    if sets and all(len(one) == 1 and one[0][0] == sets[0][0][0] for one in sets):
        values = list(dict.fromkeys(one[0][1] for one in sets))
        return [{"matchExpressions": [_expression(sets[0][0][0], values)]}]
    return [{"matchExpressions": [_expression(key, [value]) for key, value in one]} for one in sets]


def _expression(key: str, values: list[str]) -> Json:
    return {"key": key, "operator": "In", "values": values}


def service(plan: Plan) -> Json:
    """The Service in front of the pods that answer."""
    selects = names.selector(plan.own_name)
    if plan.placement.nodes_per_replica > 1:
        selects |= {LWS_NAME: plan.name, LWS_INDEX: "0"}
    port = {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(plan),
        "spec": {"selector": selects, "ports": [port]},
    }
