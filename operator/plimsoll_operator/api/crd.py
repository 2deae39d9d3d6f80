"""The CustomResourceDefinitions, made from the types of spec and status.

It must not say anything that the types do not, except for the CEL rules and the columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import GROUP, KIND, LABEL_FORM, PLURAL, VERSION
from plimsoll.workloads.spec import LLMDeploymentSpec
from plimsoll_operator.api import sizing
from plimsoll_operator.api.pool import KIND as KIND_OF_POOLS
from plimsoll_operator.api.pool import PLURAL as PLURAL_OF_POOLS
from plimsoll_operator.api.pool import AcceleratorPoolSpec
from plimsoll_operator.api.status import LLMDeploymentStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]

_DROPPED: Final = ("title", "default", "propertyNames")
_SETS: Final = ("allowed", "allowedAccelerators", "kinds", "requiredAnnotations")

SPEC_RULES: Final = (
    {
        "rule": "!has(self.accelerator) || !has(self.accelerator.gpusPerReplica) || "
        "!has(self.engine) || !has(self.engine.parallelism) || "
        "(has(self.engine.parallelism.tensor) ? self.engine.parallelism.tensor : 1) * "
        "(has(self.engine.parallelism.pipeline) ? self.engine.parallelism.pipeline : 1) * "
        "(has(self.engine.parallelism.data) ? self.engine.parallelism.data : 1) "
        "<= self.accelerator.gpusPerReplica",
        "message": "must be at least engine.parallelism.tensor x pipeline x data: raise it, lower "
        "the split, or leave either out to have it planned",
        "fieldPath": ".accelerator.gpusPerReplica",
    },
    {
        "rule": "!has(self.workload) || !has(self.engine) || !has(self.engine.maxModelLen) || "
        "(has(self.workload.inputTokens) ? self.workload.inputTokens : 0) + "
        "(has(self.workload.outputTokens) ? self.workload.outputTokens : 0) "
        "<= self.engine.maxModelLen",
        "message": "must be at least workload.inputTokens + outputTokens: raise it, or ask for "
        "less",
        "fieldPath": ".engine.maxModelLen",
    },
    {
        "rule": "!has(self.workload) || !has(self.workload.concurrentSequences) || "
        "!has(self.engine) || !has(self.engine.maxNumSeqs) || "
        "self.workload.concurrentSequences <= self.engine.maxNumSeqs",
        "message": "must be at least workload.concurrentSequences: raise it, or ask for less",
        "fieldPath": ".engine.maxNumSeqs",
    },
)
MODEL_RULES: Final = (
    {
        "rule": "has(self.uri) || has(self.baseModel) || has(self.configMapRef) || "
        "has(self.parameters)",
        "message": "one of uri, baseModel, configMapRef or parameters says what the model is",
    },
    {
        "rule": "!has(self.bits) || has(self.parameters)",
        "message": "goes with parameters: leave it out, the bits of a known model are known",
        "fieldPath": ".bits",
    },
)
TOLERATION_RULE: Final = {
    "rule": "has(self.operator) && self.operator == 'Exists' ? "
    "!has(self.value) || self.value == '' : has(self.key)",
    "message": "Exists takes no value, and anything else a key",
}
LABEL_RULE: Final = {
    "rule": f"self.all(key, key.matches(r'{LABEL_FORM}'))",
    "message": "keys of labels are such as zone or example.com/zone",
}
# State: why it is Ready or not. Ready=True alone would promise a pod where a placement is all that
# was asked for: Placed says so, and Serving where output.mode has one run.
COLUMNS: Final = (
    ("State", "string", '.status.conditions[?(@.type=="Ready")].reason'),
    ("Fits", "string", '.status.conditions[?(@.type=="Fits")].status'),
    ("GPUs", "integer", ".status.placement.gpusPerReplica"),
    ("Accelerator", "string", ".status.placement.accelerator"),
    ("Need/GPU", "string", ".status.estimate.needPerGPU"),
    ("Have/GPU", "string", ".status.estimate.havePerGPU"),
    ("Capacity", "string", '.status.conditions[?(@.type=="CapacityAvailable")].reason'),
    ("Overridden", "string", '.status.conditions[?(@.type=="Overridden")].status'),
    ("Age", "date", ".metadata.creationTimestamp"),
)


def structural(schema: Json) -> Json:
    """pydantic's JSON schema as a structural schema: no references, no unions with null."""
    definitions: Json = schema.get("$defs", {})

    def convert(node: Json, name: str = "") -> Json:
        own = {k: v for k, v in node.items() if k not in ("anyOf", "$ref", "$defs")}
        for option in node.get("anyOf", ()):
            if option.get("type") != "null":
                own = {**convert(option, name), **own}
        if "$ref" in node:
            referred = definitions[node["$ref"].rpartition("/")[2]]
            own = {**convert(referred), **own}
        own = {k: v for k, v in own.items() if k not in _DROPPED}
        if "const" in own:
            own["enum"] = [own.pop("const")]
        if "patternProperties" in own:  # whose pattern of keys a structural schema cannot say
            (own["additionalProperties"],) = own.pop("patternProperties").values()
        if "properties" in own:
            own["properties"] = {k: convert(v, k) for k, v in own["properties"].items()}
            own.pop("additionalProperties", None)
        elif isinstance(own.get("additionalProperties"), dict):
            own["additionalProperties"] = convert(own["additionalProperties"])
        elif own.get("additionalProperties") is True:
            own.pop("additionalProperties")
            own["x-kubernetes-preserve-unknown-fields"] = True
        if "items" in own:
            own["items"] = convert(own["items"])
            own["x-kubernetes-list-type"] = "set" if name in _SETS else "atomic"
        return own

    return convert(schema)


def _ordered(node: Any) -> Any:
    """Keys in the order in which a reader looks for them."""
    if isinstance(node, list):
        return [_ordered(item) for item in node]
    if not isinstance(node, dict):
        return node
    first = ("type", "description", "required", "enum", "properties")
    known = [k for k in first if k in node and not isinstance(node.get("type"), dict)]
    return {k: _ordered(node[k]) for k in [*known, *(k for k in node if k not in known)]}


def schema() -> Json:
    """The OpenAPI schema of the whole object."""
    spec = structural(LLMDeploymentSpec.model_json_schema(by_alias=True))
    spec["x-kubernetes-validations"] = [dict(rule) for rule in SPEC_RULES]
    spec["properties"]["model"]["x-kubernetes-validations"] = [dict(rule) for rule in MODEL_RULES]
    accelerator = spec["properties"]["accelerator"]["properties"]
    accelerator["nodeSelector"]["x-kubernetes-validations"] = [dict(LABEL_RULE)]
    accelerator["tolerations"]["items"]["x-kubernetes-validations"] = [dict(TOLERATION_RULE)]
    status = structural(LLMDeploymentStatus.model_json_schema(by_alias=True))
    conditions = status["properties"]["conditions"]
    conditions["x-kubernetes-list-type"] = "map"
    conditions["x-kubernetes-list-map-keys"] = ["type"]
    for holder in (status, conditions["items"]):
        holder["properties"]["observedGeneration"]["format"] = "int64"
    status["properties"]["estimate"]["properties"]["kvCacheTokens"]["format"] = "int64"
    status["default"] = {"observedGeneration": -1}
    return _objects(
        "A model to be served: Plimsoll says what it needs per GPU, how many of "
        "which GPU that takes and where, and refuses what would not start.",
        spec,
        status,
    )


def _objects(description: str, spec: Json, status: Json | None = None) -> Json:
    """The schema of a kind's objects. status: that of what is written back; None: nothing is."""
    made: Json = _ordered(
        {
            "type": "object",
            "description": description,
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": spec,
                **({} if status is None else {"status": status}),
            },
        }
    )
    return made


def _printed(columns: Iterable[tuple[str, str, str]]) -> list[Json]:
    """Columns of `kubectl get`: name, type, path."""
    return [{"name": name, "type": of, "jsonPath": path} for name, of, path in columns]


def pool_crd() -> Json:
    """The CustomResourceDefinition of AcceleratorPools."""
    spec = structural(AcceleratorPoolSpec.model_json_schema(by_alias=True))
    spec["properties"]["labels"]["x-kubernetes-validations"] = [dict(LABEL_RULE)]
    columns = (
        ("Accelerator", "string", ".spec.accelerator"),
        ("GPUs", "integer", ".spec.gpusPerNode"),
        ("Max-Nodes", "integer", ".spec.maxNodes"),
        ("Price/h", "string", ".spec.pricePerHour"),
        ("Spot", "boolean", ".spec.spot"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )
    of_objects = _objects(
        "Nodes with GPUs that the cluster may have, though none of them is there "
        "today: placements are planned on them, and their labels bring them.",
        spec,
    )
    version = {
        "additionalPrinterColumns": _printed(columns),
        "schema": {"openAPIV3Schema": of_objects},
    }
    return _definition(KIND_OF_POOLS, PLURAL_OF_POOLS, "accpool", "Cluster", version)


def policy_crd() -> Json:
    """The CustomResourceDefinition of SizingPolicies."""
    spec = structural(sizing.SizingPolicySpec.model_json_schema(by_alias=True))
    for field, rule in sizing.RULES:
        spec["properties"][field]["x-kubernetes-validations"] = [dict(rule)]
    selector = spec["properties"]["namespaceSelector"]["properties"]
    selector["matchLabels"]["x-kubernetes-validations"] = [dict(LABEL_RULE)]
    conditions = selector["matchExpressions"]["items"]
    conditions["x-kubernetes-validations"] = [dict(sizing.EXPRESSION_RULE)]
    status = structural(sizing.SizingPolicyStatus.model_json_schema(by_alias=True))
    listed = status["properties"]["conditions"]
    listed |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    for holder in (status, listed["items"]):
        holder["properties"]["observedGeneration"]["format"] = "int64"
    columns = (
        ("Mode", "string", ".spec.mode"),
        ("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status'),
        ("Objects", "integer", ".status.objects"),
        ("Refused", "integer", ".status.refused"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )
    of_objects = _objects(
        "Bounds of what the namespaces that it selects may ask for: held to at "
        "kubectl apply, in a pipeline (`plimsoll check --policy FILE`), and in every status.",
        spec,
        status,
    )
    version = {
        "subresources": {"status": {}},
        "additionalPrinterColumns": _printed(columns),
        "schema": {"openAPIV3Schema": of_objects},
    }
    return _definition(sizing.KIND, sizing.PLURAL, "sizepol", "Cluster", version)


def crd() -> Json:
    """The CustomResourceDefinition of LLMDeployments."""
    version = {
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _printed(COLUMNS),
        "schema": {"openAPIV3Schema": schema()},
    }
    return _definition(KIND, PLURAL, "llmd", "Namespaced", version)


def _definition(kind: str, plural: str, short: str, scope: str, version: Json) -> Json:
    """A CustomResourceDefinition of our group. version: what its one version says of objects."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "conversion": {"strategy": "None"},
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["ai"],
            },
            "versions": [{"name": VERSION, "served": True, "storage": True, **version}],
        },
    }
