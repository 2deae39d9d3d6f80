"""The kinds of objects that start an LLM, in one table: who reads an object of which kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll import api_group
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
    pods,
    production_stack,
    ray,
)
from plimsoll.workloads.roles import Beside, Facts, Role, Served, names
from plimsoll.workloads.serving import served

if TYPE_CHECKING:
    from plimsoll.decision.request import Request

Reader = Callable[[Mapping[str, Any], Beside], list[Role]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload. group: of its apiVersion; versions: those that are known, empty for any.

    reader: the engines that an object of this kind starts; None for our own kind, which states a
    request and not a command line.
    """

    group: str
    name: str
    reader: Reader | None
    versions: frozenset[str] = frozenset()

    def read(self, obj: Mapping[str, Any], beside: Beside) -> tuple[Served, ...]:
        """One request for each engine of an object, none if it serves no LLM. Never raises."""
        if self.reader is None:
            return (_stated(obj, beside),)
        return tuple(served(role, self.name, obj, beside) for role in self.reader(obj, beside))


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
KINDS: Final = (
    Kind(api_group.GROUP, api_group.KIND, None, frozenset({api_group.VERSION})),
    Kind("", "Pod", pods.read),
    Kind("apps", "Deployment", pods.read),
    Kind("apps", "StatefulSet", pods.read),
    Kind("apps", "ReplicaSet", pods.read),
    Kind("apps", "DaemonSet", pods.read),
    Kind("batch", "Job", pods.read),
    Kind("batch", "CronJob", pods.read),
    Kind("leaderworkerset.x-k8s.io", "LeaderWorkerSet", leader_worker_set.read),
    Kind("disaggregatedset.x-k8s.io", "DisaggregatedSet", leader_worker_set.disaggregated),
    Kind(_SERVING, "InferenceService", kserve.inference_service),
    Kind(_SERVING, "ServingRuntime", kserve.serving_runtime),
    Kind(_SERVING, "ClusterServingRuntime", kserve.serving_runtime),
    Kind(_SERVING, "LLMInferenceService", kserve.llm_inference_service),
    Kind(_SERVING, "LLMInferenceServiceConfig", kserve.llm_inference_service),
    Kind("kubeai.org", "Model", kubeai.read),
    Kind("ray.io", "RayService", ray.read),
    Kind("ray.io", "RayCluster", ray.read),
    Kind("ray.io", "RayJob", ray.read),
    Kind("production-stack.vllm.ai", "VLLMRuntime", production_stack.read),
    Kind("orchestration.aibrix.ai", "StormService", aibrix.storm_service),
    Kind("orchestration.aibrix.ai", "RayClusterFleet", aibrix.ray_cluster_fleet),
    Kind("kaito.sh", "Workspace", kaito.workspace),
    Kind("kaito.sh", "InferenceSet", kaito.inference_set),
    Kind("apps.nvidia.com", "NIMService", nim.read),
    Kind("nvidia.com", "DynamoGraphDeployment", dynamo.read),
    Kind("inference.llmaz.io", "Playground", llmaz.read),
    Kind("inference.llmkube.dev", "InferenceService", llmkube.read),
)
"""Every kind that is read. A new one is one line here and its reader in a file beside this one."""
_BY_NAME: Final = {(kind.group, kind.name): kind for kind in KINDS}
HELM_VALUES: Final = Kind("", "Helm values", helm_values.read)
"""The values of a chart that serves models: they have no apiVersion, only a form."""


def find(api_version: str, name: str) -> Kind | None:
    """The kind of an object by its apiVersion and kind; None if it is not read here."""
    group, _, version = api_version.rpartition("/")
    kind = _BY_NAME.get((group, name))
    if kind is None or (kind.versions and version not in kind.versions):
        return None
    return kind
