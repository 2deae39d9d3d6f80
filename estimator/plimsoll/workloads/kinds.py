"""The kinds of objects that start an LLM, in one table: who reads an object of which kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll import api_group
from plimsoll.decision.beyond import stated_gpus
from plimsoll.workloads import (
    aibrix,
    dynamo,
    helm_values,
    kaito,
    kserve,
    kubeai,
    leader_worker_set,
    llmaz,
    llmdeployment,
    llmkube,
    nim,
    ome,
    pods,
    production_stack,
    ray,
    rbg,
)
from plimsoll.workloads.roles import Beside, Facts, Role, Served, elements, mapping, names
from plimsoll.workloads.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from plimsoll.decision.request import Request

Reader = Callable[[Mapping[str, Any], Beside], list[Role]]
MOST_ENGINES: Final = 32
"""Engines of one object that are judged: each is decided apart, within one budget of time."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload. group: of its apiVersion; versions: those that are known, empty for any.

    reader: the engines that an object of this kind starts; None for our own kind, which states a
    request and not a command line. plural: how the API server addresses it; empty for a form that
    no API server has. namespaced: whether its objects are in namespaces. part: whether others
    complete it, so that a verdict on it alone says little.
    """

    group: str
    name: str
    reader: Reader | None
    plural: str = ""
    versions: frozenset[str] = frozenset()
    namespaced: bool = True
    part: bool = False

    def read(self, obj: Mapping[str, Any], beside: Beside) -> tuple[Served, ...]:
        """One request for each engine of an object, none if it serves no LLM. Never raises."""
        if self.reader is None:
            return (_stated(obj, beside),)
        roles = judged(self.reader(obj, beside))
        return together([served(role, self.name, obj, beside) for role in roles])


def judged(roles: list[Role]) -> list[Role]:
    """The engines of one object that are judged; the last says so if there are more."""
    if len(roles) > MOST_ENGINES:
        roles[MOST_ENGINES - 1].unread(f"the engines of it beyond the first {MOST_ENGINES}")
    return roles[:MOST_ENGINES]


def together(found: Sequence[Served]) -> tuple[Served, ...]:
    """The engines of one object, each with the GPUs that the others ask for."""
    if len(found) < 2:
        return tuple(found)
    counts = [stated_gpus(one.request) * one.request.replicas for one in found]
    return tuple(
        replace(one, request=replace(one.request, other_gpus=sum(counts) - own))
        for one, own in zip(found, counts, strict=True)
    )


def _stated(obj: Mapping[str, Any], beside: Beside) -> Served:
    """The request of an LLMDeployment, with its fields as facts."""
    request = llmdeployment.request(obj, beside)
    return Served(request, _facts(obj, request))


def _facts(obj: Mapping[str, Any], request: Request) -> Facts:
    engine, wanted = request.engine, request.wanted
    namespace, name = names(obj)
    return Facts(
        kind=api_group.KIND,
        namespace=namespace,
        name=name,
        engine=engine.name,
        engine_version=engine.version or None,
        model=request.model.name,
        tensor=wanted.split.tensor,
        pipeline=wanted.split.pipeline,
        data=wanted.split.data,
        expert=wanted.split.expert,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        gpu_memory_utilization=float(engine.utilization) if engine.utilization else None,
        quantization=engine.quantization or None,
        dtype=engine.dtype or None,
        kv_cache_dtype=engine.kv_cache_dtype or None,
        enforce_eager=engine.enforce_eager,
        accelerator=wanted.allowed[0] if len(wanted.allowed) == 1 else None,
    )


_SERVING: Final = "serving.kserve.io"
LEADER_WORKER_SETS: Final = "leaderworkerset.x-k8s.io"
LEADER_WORKER_SET: Final = "LeaderWorkerSet"
KINDS: Final = (
    Kind(api_group.GROUP, api_group.KIND, None, api_group.PLURAL, frozenset({api_group.VERSION})),
    Kind("", "Pod", pods.read, "pods"),
    Kind("apps", "Deployment", pods.read, "deployments"),
    Kind("apps", "StatefulSet", pods.read, "statefulsets"),
    Kind("apps", "ReplicaSet", pods.read, "replicasets"),
    Kind("apps", "DaemonSet", pods.read, "daemonsets"),
    Kind("batch", "Job", pods.read, "jobs"),
    Kind("batch", "CronJob", pods.read, "cronjobs"),
    Kind("jobset.x-k8s.io", "JobSet", pods.job_set, "jobsets"),
    Kind(LEADER_WORKER_SETS, LEADER_WORKER_SET, leader_worker_set.read, "leaderworkersets"),
    Kind(
        "disaggregatedset.x-k8s.io",
        "DisaggregatedSet",
        leader_worker_set.disaggregated,
        "disaggregatedsets",
    ),
    Kind(_SERVING, "InferenceService", kserve.inference_service, "inferenceservices"),
    Kind(_SERVING, "ServingRuntime", kserve.serving_runtime, "servingruntimes", part=True),
    Kind(
        _SERVING,
        "ClusterServingRuntime",
        kserve.serving_runtime,
        "clusterservingruntimes",
        namespaced=False,
        part=True,
    ),
    Kind(_SERVING, "LLMInferenceService", kserve.llm_inference_service, "llminferenceservices"),
    Kind(
        _SERVING,
        "LLMInferenceServiceConfig",
        kserve.llm_inference_service,
        "llminferenceserviceconfigs",
        part=True,
    ),
    Kind("kubeai.org", "Model", kubeai.read, "models"),
    Kind("ray.io", "RayService", ray.read, "rayservices"),
    Kind("ray.io", "RayCluster", ray.read, "rayclusters"),
    Kind("ray.io", "RayJob", ray.read, "rayjobs"),
    Kind("production-stack.vllm.ai", "VLLMRuntime", production_stack.read, "vllmruntimes"),
    Kind("orchestration.aibrix.ai", "StormService", aibrix.storm_service, "stormservices"),
    Kind("orchestration.aibrix.ai", "RoleSet", aibrix.role_set, "rolesets"),
    Kind(
        "orchestration.aibrix.ai", "RayClusterFleet", aibrix.ray_cluster_fleet, "rayclusterfleets"
    ),
    Kind("kaito.sh", "Workspace", kaito.workspace, "workspaces"),
    Kind("kaito.sh", "InferenceSet", kaito.inference_set, "inferencesets"),
    Kind("apps.nvidia.com", "NIMService", nim.read, "nimservices"),
    Kind("apps.nvidia.com", "NIMPipeline", nim.pipeline, "nimpipelines"),
    Kind("nvidia.com", "DynamoGraphDeployment", dynamo.read, "dynamographdeployments"),
    Kind("inference.llmaz.io", "Playground", llmaz.read, "playgrounds"),
    Kind("inference.llmaz.io", "Service", llmaz.service, "services"),
    Kind("workloads.x-k8s.io", "RoleBasedGroup", rbg.read, "rolebasedgroups"),
    Kind(ome.GROUP, "InferenceService", ome.inference_service, "inferenceservices"),
    Kind(ome.GROUP, "ServingRuntime", ome.serving_runtime, "servingruntimes", part=True),
    Kind(
        ome.GROUP,
        "ClusterServingRuntime",
        ome.serving_runtime,
        "clusterservingruntimes",
        namespaced=False,
        part=True,
    ),
    Kind("inference.llmkube.dev", "InferenceService", llmkube.read, "inferenceservices"),
)
"""Every kind that is read. A new one is one line here and its reader in a file beside this one."""
OTHERS: Final = tuple(kind for kind in KINDS if kind.reader is not None and not kind.part)
"""The kinds of other people whose objects start an engine by themselves: those that a namespace may
have guarded and audited (`plimsoll.decision.policy.workloads_policy`)."""
_BY_NAME: Final = {(kind.group, kind.name): kind for kind in KINDS}
HELM_VALUES: Final = Kind("", "Helm values", helm_values.read)
"""The values of a chart that serves models: they have no apiVersion, only a form."""


def owned(obj: Mapping[str, Any]) -> bool:
    """Whether a controller made an object for one of a kind that is read, which has the verdict.

    A Deployment's ReplicaSets and Pods are not judged once more.
    """
    for owner in elements(mapping(obj.get("metadata")).get("ownerReferences")):
        one = mapping(owner)
        group = str(one.get("apiVersion")).rpartition("/")[0]
        if one.get("controller") is True and (group, str(one.get("kind"))) in _BY_NAME:
            return True
    return False


Id = tuple[str, str, str, str]
"""Group, kind, namespace and name of an object."""
_LWS: Final = "leaderworkerset.sigs.k8s.io"


def made_by_others(objects: Iterable[Mapping[str, Any]]) -> list[bool]:
    """Of each of some objects, whether another one of them made it, so that it is no object of its
    own: a Deployment's ReplicaSets and Pods, the StatefulSets and Pods of a LeaderWorkerSet."""
    every = list(objects)
    there = {_id(obj) for obj in every}
    return [any(maker in there for maker in _makers(obj)) for obj in every]


def _id(obj: Mapping[str, Any]) -> Id:
    group = str(obj.get("apiVersion")).rpartition("/")[0]
    return (group, str(obj.get("kind")), *names(obj))


def _makers(obj: Mapping[str, Any]) -> Iterator[Id]:
    """Who may have made an object: its controller, and who stands behind that by what it carries.

    Sources: Kubernetes names a ReplicaSet by its Deployment and the pods' label pod-template-hash;
    LeaderWorkerSet marks what it makes with its own name and that of the leader of the group.
    """
    metadata, namespace = mapping(obj.get("metadata")), names(obj)[0]
    labels, notes = mapping(metadata.get("labels")), mapping(metadata.get("annotations"))
    for owner in map(mapping, elements(metadata.get("ownerReferences"))):
        if owner.get("controller") is not True:
            continue
        group = str(owner.get("apiVersion")).rpartition("/")[0]
        kind, name = str(owner.get("kind")), str(owner.get("name"))
        yield (group, kind, namespace, name)
        drawn = f"-{labels.get('pod-template-hash')}"
        if kind == "ReplicaSet" and name.endswith(drawn):
            yield (group, "Deployment", namespace, name.removesuffix(drawn))
        if group_of := labels.get(f"{_LWS}/name"):
            yield (LEADER_WORKER_SETS, LEADER_WORKER_SET, namespace, str(group_of))
        if leader := notes.get(f"{_LWS}/leader-name"):
            yield ("", "Pod", namespace, str(leader))


def find(api_version: str, name: str) -> Kind | None:
    """The kind of an object by its apiVersion and kind; None if it is not read here."""
    group, _, version = api_version.rpartition("/")
    kind = _BY_NAME.get((group, name))
    if kind is None or (kind.versions and version not in kind.versions):
        return None
    return kind
