"""NVIDIA's NIMService, and NIMPipeline of several.

The model is the image, and the profile that fits is chosen at start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.claimed import claimed
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import BY_PROFILE, model_of, serves_llm
from plimsoll.workloads.pod import environment, pod, variable_path
from plimsoll.workloads.roles import Role, at, elements, mapping, names, replicas_of, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

_VARIABLES: Final = {
    "NIM_MAX_MODEL_LEN": "max_model_len",
    "NIM_TENSOR_PARALLEL_SIZE": "tensor",
    "NIM_PIPELINE_PARALLEL_SIZE": "pipeline",
}


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a NIMService."""
    return _service(mapping(obj.get("spec")), "spec", names(obj)[0], beside)


def pipeline(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a NIMPipeline, one for each service that it has made."""
    found: list[Role] = []
    for index, one in enumerate(map(mapping, elements(at(obj, "spec.services")))):
        if one.get("enabled") is False:
            continue
        path = f"spec.services[{index}].spec"
        for role in _service(mapping(one.get("spec")), path, names(obj)[0], beside):
            role.name = clean(str(one.get("name") or index), 64)
            found.append(role)
    if len(found) == 1:
        found[0].name = ""
    return found


def _service(spec: Mapping[str, Any], path: str, namespace: str, beside: Beside) -> list[Role]:
    """The engine of what a NIMService says, which lies at a path."""
    image = mapping(spec.get("image"))
    repository, tag = str(image.get("repository") or ""), str(image.get("tag") or "")
    model = model_of(repository)
    if not serves_llm(model):
        return []
    variables = environment(spec, namespace, beside)
    role = Role(engine="nim", path=path, arguments=f"{path}.env", planned=True)
    if variables.get("NIM_USE_SGLANG") == "1":
        role.engine = "sglang"
    role.image, role.image_path = clean(f"{repository}:{tag}", 256), f"{path}.image"
    role.version_why = "the tag of a NIM counts releases of its own"
    cached = _cached(spec, namespace, beside)
    if variables.get("NIM_MODEL_NAME"):
        role.model = Word(variables["NIM_MODEL_NAME"], variable_path(spec, path, "NIM_MODEL_NAME"))
    elif cached:
        role.model = Word(cached, f"{path}.storage.nimCache.name")
    elif model:
        role.model = Word(model, f"{path}.image.repository")
    grammar = registry.grammar(role.engine)
    for name, sets in _VARIABLES.items():
        role.words += typed(grammar, sets, variables.get(name), variable_path(spec, path, name))
    parallelism = mapping(at(spec, "multiNode.parallelism"))
    where = f"{path}.multiNode.parallelism"
    role.words += typed(
        grammar, "tensor", parallelism.get("tp", parallelism.get("tensor")), f"{where}.tp"
    )
    pipeline = parallelism.get("pp", parallelism.get("pipeline"))
    role.words += typed(grammar, "pipeline", pipeline, f"{where}.pp")
    role.gpus = gpus.count(spec.get("resources"))
    role.gpus_path = f"{path}.resources"
    if not role.gpus.key:
        _claims(role, elements(spec.get("draResources")), path, namespace, beside)
    role.pods = gpus.whole(pipeline) or gpus.whole(at(spec, "multiNode.size")) or 1
    pod(role, spec, path)
    role.unreadable.append(BY_PROFILE)
    replicas_of(role, spec.get("replicas"), f"{path}.replicas")
    return [role]


def _cached(spec: Mapping[str, Any], namespace: str, beside: Beside) -> str:
    """The model of a hub that the NIMCache of a service holds; empty if none is at hand."""
    name = at(spec, "storage.nimCache.name")
    cache = beside.other("NIMCache", namespace, name) if isinstance(name, str) else None
    hub = mapping(at(mapping(cache), "spec.source.hf"))
    parts = [hub.get("namespace"), hub.get("modelName")]
    return "/".join(map(str, parts)) if all(isinstance(one, str) for one in parts) else ""


def _claims(role: Role, listed: list[Any], path: str, namespace: str, beside: Beside) -> None:
    """GPUs that a service claims: devices that the operator makes a claim of, or a claim's own."""
    total = 0
    for one in map(mapping, listed):
        made = mapping(one.get("claimCreationSpec"))
        asked = map(mapping, elements(made.get("devices")))
        counts = [gpus.whole(device.get("count", 1)) for device in asked]
        name = one.get("resourceClaimTemplateName") or one.get("resourceClaimName")
        if isinstance(name, str) and not made:
            found, kinds, why = claimed(
                {"resources": {"claims": [{"name": "gpu"}]}},
                {"resourceClaims": [{**one, "name": "gpu"}]},
                namespace,
                beside,
            )
            if why:
                role.unread(why)
            counts, role.kinds = [found.number], kinds
        total += sum(count or 0 for count in counts)
    if total:
        role.gpus, role.gpus_path = gpus.Count(total, "draResources"), f"{path}.draResources"
