"""Objects of Kueue (v1beta2) as tests write them, and its kinds as far as the tests here need them.

The schemas hold what is written by server-side apply: `admissionChecks` and `conditions` are maps
by name and by type, as in Kueue v0.17.0. `make test-peers` uses the real ones.
"""

from __future__ import annotations

from typing import Any, Final

from definitions import definition

GPU: Final = "nvidia.com/gpu"
PRODUCT: Final = "nvidia.com/gpu.product"
GROUP: Final = "kueue.x-k8s.io"
VERSION: Final = f"{GROUP}/v1beta2"


def _object(kind: str, name: str, spec: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def check(name: str, controller: str = "plimsoll.dev/fit") -> dict[str, Any]:
    """An AdmissionCheck."""
    return _object("AdmissionCheck", name, {"controllerName": controller})


def flavor(name: str, product: str) -> dict[str, Any]:
    """A ResourceFlavor of the nodes with a product."""
    return _object("ResourceFlavor", name, {"nodeLabels": {PRODUCT: product}})


def topology(name: str, *labels: str) -> dict[str, Any]:
    """A Topology of these levels."""
    return _object("Topology", name, {"levels": [{"nodeLabel": label} for label in labels]})


def cluster_queue(
    name: str, flavors: list[str], *, gpus: int = 8, checked: bool = True
) -> dict[str, Any]:
    """A ClusterQueue with so many GPUs of each flavor."""
    shares = [{"name": one, "resources": [{"name": GPU, "nominalQuota": gpus}]} for one in flavors]
    strategy = {"admissionChecksStrategy": {"admissionChecks": [{"name": "model-fits"}]}}
    spec = {
        "namespaceSelector": {},
        "resourceGroups": [{"coveredResources": [GPU], "flavors": shares}],
        **(strategy if checked else {}),
    }
    return _object("ClusterQueue", name, spec)


def local_queue(name: str, namespace: str) -> dict[str, Any]:
    """A LocalQueue of the ClusterQueue of the same name."""
    return _object("LocalQueue", name, {"clusterQueue": name}, namespace)


def served(model: str, gpus: int = 1) -> dict[str, Any]:
    """The spec of a pod that serves a model."""
    return {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "vllm",
                "image": "vllm/vllm-openai:v0.19.0",
                "args": [f"--model={model}", "--max-model-len=8192"],
                "resources": {"limits": {GPU: str(gpus)}},
            }
        ],
    }


def workload(name: str, namespace: str, model: str, queue: str) -> dict[str, Any]:
    """A Workload as Kueue makes one for a pod, without the rest of its template."""
    pod_set = {"name": "main", "count": 1, "template": {"spec": served(model)}}
    return _object("Workload", name, {"queueName": queue, "podSets": [pod_set]}, namespace)


def kinds() -> list[dict[str, Any]]:
    """Their CustomResourceDefinitions."""
    anything: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    def by(key: str) -> dict[str, Any]:
        item = {**anything, "properties": {key: {"type": "string"}}, "required": [key]}
        return {
            "type": "array",
            "items": item,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [key],
        }

    status = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"admissionChecks": by("name"), "conditions": by("type")},
    }
    schema = {"type": "object", "properties": {"spec": anything, "status": status}}
    return [
        definition(
            GROUP,
            kind,
            schema,
            version="v1beta2",
            scope=scope,
            plural="topologies" if kind == "Topology" else "",
            subresources={"status": {}},
        )
        for kind, scope in (
            ("AdmissionCheck", "Cluster"),
            ("ClusterQueue", "Cluster"),
            ("ResourceFlavor", "Cluster"),
            ("Topology", "Cluster"),
            ("LocalQueue", "Namespaced"),
            ("Workload", "Namespaced"),
        )
    ]
