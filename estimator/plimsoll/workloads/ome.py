"""OME: InferenceService with its runtime and its base model, and the runtimes themselves.

An engine, and with prefill and decode apart a decoder, is a runner in one pod, or one in a leader
and one in its workers; what the InferenceService says lies over what the runtime says. Base model
and runtime may be of the namespace or of the cluster. Source: sgl-project/ome, pkg/apis/ome/v1beta1
and pkg/controller/v1beta1/inferenceservice/components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import engine_named
from plimsoll.workloads.laid_over import laid_over
from plimsoll.workloads.pod import engine_of, pod, roles, without_mount
from plimsoll.workloads.roles import Role, at, elements, mapping, names, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

GROUP: Final = "ome.io"
_MOUNT: Final = "/mnt/models"
"""Stands for the path that OME puts into `MODEL_PATH`: the model's own, wherever it lies."""
_PARTS: Final = (("engine", "engineConfig"), ("decoder", "decoderConfig"))
"""What an InferenceService calls its engines, and a runtime."""


def inference_service(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of an InferenceService: one, or one for prefill and one for decode."""
    spec, namespace = mapping(obj.get("spec")), names(obj)[0]
    older = mapping(at(spec, "predictor.model"))
    name = at(spec, "model.name") or older.get("baseModel")
    runtime_name = at(spec, "runtime.name") or older.get("runtime")
    runtime = _other("ServingRuntime", namespace, runtime_name, beside)
    found: list[Role] = []
    for key, config in _PARTS:
        own, shared = spec.get(key), mapping(mapping(runtime).get(config))
        if not isinstance(own, dict) and (key == "decoder" or not (shared or older)):
            continue
        path = f"spec.{key}" if isinstance(own, dict) else "spec.predictor"
        part = laid_over(shared, own or spec.get("predictor"))
        role = _engine(part, path, namespace, beside)
        if role is None and not shared:
            role = _of_the_cluster(path, runtime_name)
        if role is not None:
            role.name = key
            _accelerator(role, spec, part, path)
            replicas_of(role, part.get("minReplicas"), f"{path}.minReplicas")
            found.append(role)
    for role in found:
        role.name = role.name if len(found) > 1 else ""
        _model(role, name, namespace, beside)
    return found


def serving_runtime(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a runtime: which model it serves, the InferenceService says."""
    spec, namespace = mapping(obj.get("spec")), names(obj)[0]
    found = []
    for key, config in _PARTS:
        role = _engine(mapping(spec.get(config)), f"spec.{config}", namespace, beside)
        if role is not None:
            role.name = key if isinstance(spec.get(_PARTS[1][1]), dict) else ""
            found.append(role)
    for role in found or roles(spec, "spec", namespace, beside):
        role.words = without_mount(role.words, _MOUNT)
        role.unreadable.append("model: the InferenceService says it")
    return found


def _engine(part: Mapping[str, Any], path: str, namespace: str, beside: Beside) -> Role | None:
    """The engine of a part: of its only pod, or of a leader and its workers."""
    leader = part.get("leader")
    place = f"{path}.leader" if isinstance(leader, dict) else path
    inner = mapping(leader) if isinstance(leader, dict) else part
    runner, workers = mapping(inner.get("runner")), mapping(part.get("worker"))
    more = gpus.whole(workers.get("size", 1)) if workers else 0
    held = gpus.count(runner.get("resources")).number
    given = [{"name": "MODEL_PATH", "value": _MOUNT}]
    if more is not None:
        given.append({"name": "LWS_GROUP_SIZE", "value": str(more + 1)})
    if held and more is not None:
        given.append({"name": "PARALLELISM_SIZE", "value": str(held * (more + 1))})
    container = {**runner, "env": [*given, *elements(runner.get("env"))]}
    role = engine_of(container, f"{place}.runner", inner, namespace, beside) if runner else None
    if role is not None:
        role.model = None
        pod(role, inner, place)
        role.pods = None if more is None else more + 1
    return role


def _of_the_cluster(path: str, runtime: object) -> Role:
    """An engine of which everything stands in a runtime that is not at hand."""
    named = runtime if isinstance(runtime, str) else ""
    role = Role(engine=engine_named(named), path=path)
    where = f"runtime {clean(named, 100)}" if named else "a runtime of the cluster"
    role.unread(f"image, arguments and GPUs: in {where}")
    return role


def _accelerator(role: Role, spec: Mapping[str, Any], part: Mapping[str, Any], path: str) -> None:
    """The kind of GPU whose AcceleratorClass is asked for by name."""
    for place, named in (
        (f"{path}.acceleratorOverride", at(part, "acceleratorOverride.acceleratorClass")),
        ("spec.acceleratorSelector", at(spec, "acceleratorSelector.acceleratorClass")),
    ):
        known = gpus.named([named]) if isinstance(named, str) else ""
        if known and not role.kinds.names:
            role.kinds = gpus.Kinds((known,), "acceleratorClass")
            role.kinds_path = f"{place}.acceleratorClass"


def _model(role: Role, name: object, namespace: str, beside: Beside) -> None:
    """Where the base model's weights come from."""
    role.words = without_mount(role.words, _MOUNT)
    if not isinstance(name, str) or not name:
        return
    path = "spec.model.name"
    uri = at(mapping(_other("BaseModel", namespace, name, beside)), "storage.storageUri")
    if isinstance(uri, str):
        role.model = Word(uri, path)
    else:
        role.model = role.model or Word(name, path)
        role.unread(f"BaseModel {clean(name, 100)} ({path}): it is not among the manifests")


def _other(kind: str, namespace: str, name: object, beside: Beside) -> Mapping[str, Any] | None:
    """The spec of an object of OME, of the namespace or of the cluster; None if it is not here."""
    if not isinstance(name, str) or not name:
        return None
    found = beside.other(f"{GROUP}/{kind}", namespace, name)
    found = found or beside.other(f"{GROUP}/Cluster{kind}", "", name)
    return None if found is None else mapping(found.get("spec"))
