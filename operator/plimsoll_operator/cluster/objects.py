"""Kinds of objects as the API server addresses them, and what every object says of itself.

Objects are plain dicts of JSON; there are no classes for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from plimsoll.api_group import GROUP, PLURAL, VERSION

Json = dict[str, Any]

Name = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object as the API server addresses it. group: empty for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def title(self) -> str:
        """As kubectl names it; kinds of two groups may have one plural."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection (of one namespace), or of one object."""
        parts = [f"/apis/{self.group}" if self.group else "/api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


LLM_DEPLOYMENTS: Final = Resource(GROUP, VERSION, PLURAL)
RESOURCE_SLICES: Final = Resource("resource.k8s.io", "v1", "resourceslices", namespaced=False)
RESOURCE_CLAIMS: Final = Resource("resource.k8s.io", "v1", "resourceclaims")
NODE_POOLS: Final = Resource("karpenter.sh", "v1", "nodepools", namespaced=False)
RESOURCE_FLAVORS: Final = Resource("kueue.x-k8s.io", "v1beta2", "resourceflavors", namespaced=False)
CLUSTER_QUEUES: Final = Resource("kueue.x-k8s.io", "v1beta2", "clusterqueues", namespaced=False)
TOPOLOGIES: Final = Resource("kueue.x-k8s.io", "v1beta2", "topologies", namespaced=False)
ADMISSION_CHECKS: Final = Resource("kueue.x-k8s.io", "v1beta2", "admissionchecks", namespaced=False)
LOCAL_QUEUES: Final = Resource("kueue.x-k8s.io", "v1beta2", "localqueues")
KUEUE_WORKLOADS: Final = Resource("kueue.x-k8s.io", "v1beta2", "workloads")
ACCELERATOR_POOLS: Final = Resource(GROUP, VERSION, "acceleratorpools", namespaced=False)
SIZING_POLICIES: Final = Resource(GROUP, VERSION, "sizingpolicies", namespaced=False)
NODES: Final = Resource("", "v1", "nodes", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "namespaces", namespaced=False)
PODS: Final = Resource("", "v1", "pods")
RESOURCE_QUOTAS: Final = Resource("", "v1", "resourcequotas")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps")
EVENTS: Final = Resource("", "v1", "events")
SECRETS: Final = Resource("", "v1", "secrets")
SERVICES: Final = Resource("", "v1", "services")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments")
CLAIM_TEMPLATES: Final = Resource("resource.k8s.io", "v1", "resourceclaimtemplates")
STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets")
LEADER_WORKER_SETS: Final = Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets")
JOBS: Final = Resource("batch", "v1", "jobs")
NETWORK_POLICIES: Final = Resource("networking.k8s.io", "v1", "networkpolicies")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
CUSTOM_RESOURCE_DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False
)
VALIDATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", namespaced=False
)
VALIDATING_POLICIES: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", namespaced=False
)
VALIDATING_POLICY_BINDINGS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", namespaced=False
)
SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False
)

REFERRED_TO: Final = {
    "ServingRuntime": Resource("serving.kserve.io", "v1alpha1", "servingruntimes"),
    "ClusterServingRuntime": Resource(
        "serving.kserve.io", "v1alpha1", "clusterservingruntimes", namespaced=False
    ),
    "LLMInferenceServiceConfig": Resource(
        "serving.kserve.io", "v1alpha1", "llminferenceserviceconfigs"
    ),
    "OpenModel": Resource("llmaz.io", "v1alpha1", "openmodels", namespaced=False),
    "Model": Resource("inference.llmkube.dev", "v1alpha1", "models"),
    "NIMCache": Resource("apps.nvidia.com", "v1alpha1", "nimcaches"),
    "ome.io/BaseModel": Resource("ome.io", "v1beta1", "basemodels"),
    "ome.io/ClusterBaseModel": Resource("ome.io", "v1beta1", "clusterbasemodels", namespaced=False),
    "ome.io/ServingRuntime": Resource("ome.io", "v1beta1", "servingruntimes"),
    "ome.io/ClusterServingRuntime": Resource(
        "ome.io", "v1beta1", "clusterservingruntimes", namespaced=False
    ),
}
"""The kinds that objects of other people's kinds refer to by name, beside ConfigMaps, by which
`plimsoll.workloads` asks for them (`Beside.other`)."""


def name_of(obj: Json) -> Name:
    """Namespace and name of an object."""
    metadata = obj.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def version_of(obj: Json) -> int:
    """Resource version as a number: of two, the larger is the later. 0 if there is none."""
    text = str((obj.get("metadata") or {}).get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def trimmed(obj: Json) -> Json:
    """The object without its managed fields, which are often half of it."""
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
    return obj
