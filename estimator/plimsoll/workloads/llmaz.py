"""llmaz: a Playground or a Service, with the OpenModels that it claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import engine_named
from plimsoll.workloads.leader_worker_set import group
from plimsoll.workloads.pod import words_of
from plimsoll.workloads.roles import Role, at, elements, mapping, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a Playground."""
    spec = mapping(obj.get("spec"))
    backend = mapping(spec.get("backendRuntimeConfig"))
    named = str(backend.get("backendName") or backend.get("name") or "vllm")
    role = Role(
        engine=engine_named(named) or named[:32],
        words=words_of(backend.get("args"), "spec.backendRuntimeConfig.args"),
        path="spec",
        arguments="spec.backendRuntimeConfig.args",
        gpus_path="spec.backendRuntimeConfig.resources",
    )
    version = backend.get("version")
    role.version = version.removeprefix("v") if isinstance(version, str) else ""
    role.version_why = "the backend's own settings name the image"
    role.gpus = gpus.count(backend.get("resources"))
    name, path, draft = _claimed(spec)
    if draft:
        role.unread(f"draft model {clean(draft)} beside the model")
    model = beside.other("OpenModel", "", name) if name else None
    if name and model is None:
        role.unread(f"OpenModel {clean(name)} ({path}): it is not among the manifests")
    elif model is not None:
        _model(role, mapping(model.get("spec")), path)
    replicas_of(role, spec.get("replicas"), "spec.replicas")
    return [role]


def service(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a Service: the pods of a LeaderWorkerSet, and a model that it claims."""
    spec = mapping(obj.get("spec"))
    found = group(spec.get("workloadTemplate"), "spec.workloadTemplate", obj, beside)
    for role in found:
        name, path, _ = _claimed(spec)
        model = beside.other("OpenModel", "", name) if name else None
        if model is not None:
            _model(role, mapping(model.get("spec")), path)
        replicas_of(role, spec.get("replicas"), "spec.replicas")
    return found


def _claimed(spec: Mapping[str, Any]) -> tuple[str, str, str]:
    """The name of the main model, where it stands, and the name of its draft."""
    single = at(spec, "modelClaim.modelName")
    if isinstance(single, str):
        return single, "spec.modelClaim.modelName", ""
    claims = spec.get("modelClaims")
    path = "spec.modelClaims" if isinstance(claims, list) else "spec.modelClaims.models"
    listed = [
        mapping(one)
        for one in elements(claims if isinstance(claims, list) else mapping(claims).get("models"))
    ]
    draft = next((str(one.get("name")) for one in listed if one.get("role") == "draft"), "")
    for index, one in enumerate(listed):
        if one.get("role", "main") == "main":
            return str(one.get("name")), f"{path}[{index}].name", draft
    return "", "", draft


def _model(role: Role, spec: Mapping[str, Any], path: str) -> None:
    """What an OpenModel says: where the weights are, and which GPUs they are for."""
    hub = mapping(at(spec, "source.modelHub"))
    uri = at(spec, "source.uri")
    if isinstance(hub.get("modelID"), str):
        role.model = Word(hub["modelID"], path)
    elif isinstance(uri, str):
        role.model = Word(uri, path)
    file = hub.get("filename")
    if isinstance(file, str) and role.engine == "llama.cpp":
        role.words = [Word("--hf-file", path), Word(file, path), *role.words]
    for flavor in map(mapping, elements(at(spec, "inferenceConfig.flavors"))):
        count = gpus.count({"limits": flavor.get("limits") or flavor.get("requests")})
        if count.number and role.gpus.number is None:
            role.gpus = count
        found = gpus.kinds(flavor)
        named = flavor.get("name")
        known = gpus.named([named]) if isinstance(named, str) else ""
        if not found.names and known:
            found = gpus.Kinds((known,), "name")  # flavors are called by their GPU
        if found.names and not role.kinds.names:
            role.kinds = found
