"""KServe: InferenceService with its runtime, ServingRuntime, LLMInferenceService and its Config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.inventory.devices import CLASSES
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import engine_named
from plimsoll.workloads.laid_over import laid_over
from plimsoll.workloads.pod import engine_of, pod, roles, without_mount
from plimsoll.workloads.roles import Role, at, elements, mapping, names, replicas_of, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

_CLAIM: Final = "serving.kserve.io/exp-dra"
"""How annotations begin that have KServe make a claim of devices."""
_CONFIG: Final = "LLMInferenceServiceConfig"
_SYSTEM: Final = "kserve"
"""The namespace of the configs that KServe itself installs."""
MOST_BASES: Final = 16
"""Configs that one service is laid over."""
_ADDITIONAL: Final = "VLLM_ADDITIONAL_ARGS"
"""In the commands of KServe's configs: further arguments, none if nobody sets it."""
_MOUNT: Final = "/mnt/models"
"""Where KServe puts a model, whichever it is."""
_HUGGING_FACE: Final = "huggingface"
"""The model format whose runtime of KServe's own is vLLM."""


def inference_service(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of an InferenceService's predictor, together with a runtime that is at hand."""
    namespace = names(obj)[0]
    predictor, path = mapping(at(obj, "spec.predictor")), "spec.predictor"
    model = predictor.get("model")
    if isinstance(model, dict):
        found = _by_model(model, predictor, namespace, beside)
    else:
        legacy = predictor.get(_HUGGING_FACE) or predictor.get("vllm")
        if isinstance(legacy, dict):
            key = _HUGGING_FACE if predictor.get(_HUGGING_FACE) else "vllm"
            role = engine_of(legacy, f"{path}.{key}", predictor, namespace, beside, "vllm")
            found = [role] if role else []
            for one in found:
                pod(one, predictor, path)
        else:
            found = roles(predictor, path, namespace, beside)
    for role in found:
        _worker(role, mapping(predictor.get("workerSpec")), f"{path}.workerSpec")
        replicas_of(role, predictor.get("minReplicas"), f"{path}.minReplicas")
    return found


def _by_model(
    model: Mapping[str, Any], predictor: Mapping[str, Any], namespace: str, beside: Beside
) -> list[Role]:
    """A predictor that names a model and leaves the container to a runtime."""
    path = "spec.predictor.model"
    runtime_name = model.get("runtime")
    runtime_name = runtime_name if isinstance(runtime_name, str) else ""
    given_format = mapping(model.get("modelFormat")).get("name") or model.get("modelFormat")
    format_name = given_format if isinstance(given_format, str) else ""
    runtime = beside.other("ServingRuntime", namespace, runtime_name)
    runtime = runtime or beside.other("ClusterServingRuntime", "", runtime_name)
    container, template = _merged(model, mapping(mapping(runtime).get("spec")))
    named = engine_named(runtime_name) or engine_named(format_name)
    if not named and (_HUGGING_FACE in format_name.lower() or _HUGGING_FACE in runtime_name):
        named = "vllm"
    if not named and format_name.lower() == "gguf":
        named = "llama.cpp"
    role = engine_of(container, path, {**template, **predictor}, namespace, beside, named)
    if role is None:
        return []
    pod(role, predictor, "spec.predictor")
    if role.kinds.path == "":
        pod(role, template, "spec")
    if runtime is None:
        where = f"runtime {runtime_name}" if runtime_name else "a runtime of the cluster"
        role.unreadable.append(f"image and further arguments: in {clean(where, 100)}")
    storage = mapping(model.get("storage"))
    uri = model.get("storageUri") or storage.get("path")
    if isinstance(uri, str) and uri:
        key = "storageUri" if model.get("storageUri") else "storage.path"
        mounted = any(
            word.text.startswith(_MOUNT) or word.text.endswith(f"={_MOUNT}") for word in role.words
        )
        role.model = Word(uri.rstrip("/"), f"{path}.{key}")
        if mounted:
            role.words = without_mount(role.words, _MOUNT)
    if named == "nim" and format_name:
        name = format_name.removeprefix("nvidia-").removeprefix("nim-")
        role.model = Word(name, f"{path}.modelFormat.name")
    return [role]


def _merged(
    model: Mapping[str, Any], runtime: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The runtime's container with what the InferenceService says of it; and the runtime's pod."""
    containers = [one for one in elements(runtime.get("containers")) if isinstance(one, dict)]
    own = [one for one in containers if one.get("name") == "kserve-container"] or containers
    container: dict[str, Any] = dict(own[0]) if own else {}
    for key in ("image", "command", "resources"):
        if model.get(key):
            container[key] = model[key]
    container["args"] = [*elements(container.get("args")), *elements(model.get("args"))]
    container["env"] = [*elements(container.get("env")), *elements(model.get("env"))]
    return container, runtime


def _worker(role: Role, worker: Mapping[str, Any], path: str) -> None:
    """The sizes that a worker's spec sets, which KServe hands to the script as variables."""
    grammar = registry.grammar(role.engine)
    front: list[Word] = []
    for key, sets in (("tensorParallelSize", "tensor"), ("pipelineParallelSize", "pipeline")):
        front += typed(grammar, sets, worker.get(key), f"{path}.{key}")
    if not front:
        return
    replaced = ("TENSOR_PARALLEL_SIZE", "PIPELINE_PARALLEL_SIZE")
    role.words = [w for w in role.words if not any(name in w.text for name in replaced)]
    role.words = [*role.words, *front]
    role.pods = gpus.whole(worker.get("pipelineParallelSize")) or role.pods


def serving_runtime(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a runtime: which model it serves and on what GPUs, others say."""
    spec = mapping(obj.get("spec"))
    found = roles(spec, "spec", names(obj)[0], beside)
    for role in found:
        _worker(role, mapping(spec.get("workerSpec")), "spec.workerSpec")
        role.unreadable.append("model and GPUs: the InferenceService says them")
    return found


def llm_inference_service(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of an LLMInferenceService, with the configs that it is based on: its own, and
    that of its prefill."""
    spec, missing = _based(mapping(obj.get("spec")), names(obj)[0], beside)
    named = spec.get("runtime")
    engine = engine_named(named) if isinstance(named, str) else ""
    found = _group(spec, "spec", spec, obj, beside, engine or "vllm")
    prefill = spec.get("prefill")
    if isinstance(prefill, dict):
        for role in found:
            role.name = "decode"
        others = _group(prefill, "spec.prefill", spec, obj, beside, engine or "vllm")
        for role in others:
            role.name = "prefill"
        found += others
    for role in found:
        for name in missing:
            role.unread(f"{_CONFIG} {clean(name, 100)} (spec.baseRefs): it is not at hand")
    if str(obj.get("kind")) == _CONFIG:
        # A config is a part of a service: without a model and without GPUs there is nothing to say.
        found = [role for role in found if role.model or role.gpus.number]
    return found


def _based(
    spec: Mapping[str, Any], namespace: str, beside: Beside
) -> tuple[Mapping[str, Any], list[str]]:
    """A spec laid over those of its `baseRefs`, the last before it; and those not at hand.

    A config may be of the service's namespace or of KServe's own.
    """
    merged: dict[str, Any] = {}
    missing: list[str] = []
    for one in elements(spec.get("baseRefs"))[:MOST_BASES]:
        name = mapping(one).get("name")
        if not isinstance(name, str) or not name:
            continue
        config = beside.other(_CONFIG, namespace, name) or beside.other(_CONFIG, _SYSTEM, name)
        if config is None:
            missing.append(name)
        else:
            merged = laid_over(merged, config.get("spec"))
    return laid_over(merged, spec), missing


def _group(
    part: Mapping[str, Any],
    path: str,
    spec: Mapping[str, Any],
    obj: Mapping[str, Any],
    beside: Beside,
    engine: str,
) -> list[Role]:
    """One server: the pods of a template, with its workers if it has some."""
    namespace = names(obj)[0]
    template = mapping(part.get("template"))
    where = f"{path}.template"
    containers = elements(template.get("containers"))
    index = next(
        (i for i, one in enumerate(containers) if mapping(one).get("name") == "main"),
        0 if containers else None,
    )
    container = mapping(containers[index]) if index is not None else {}
    place = f"{where}.containers[{index}]" if index is not None else where
    variables = [{"name": _ADDITIONAL, "value": ""}, *elements(container.get("env"))]
    container = {**container, "env": variables}
    role = engine_of(container, place, template, namespace, beside, engine)
    if role is None:
        return []
    pod(role, template, where)
    _devices(role, obj)
    role.shared_memory = ""  # the templates of KServe mount it
    _model(role, mapping(spec.get("model")))
    if role.model is not None:
        role.words = without_mount(role.words, _MOUNT)
    parallelism = mapping(part.get("parallelism"))
    grammar = registry.grammar(role.engine)
    front: list[Word] = []
    for key in ("tensor", "pipeline", "data", "expert"):
        front += typed(grammar, key, parallelism.get(key), f"{path}.parallelism.{key}")
    role.words = [*front, *role.words]
    data, local = gpus.whole(parallelism.get("data")), gpus.whole(parallelism.get("dataLocal"))
    pipeline = gpus.whole(parallelism.get("pipeline"))
    if data and local:
        role.pods = max(1, data // local)
    elif pipeline and isinstance(part.get("worker"), dict):
        role.pods = pipeline
    replicas_of(role, part.get("replicas"), f"{path}.replicas")
    if not role.image:
        role.version_why = "the image is in a config of the cluster"
    return [role]


def _devices(role: Role, obj: Mapping[str, Any]) -> None:
    """GPUs that annotations have KServe claim: one of a class of GPUs unless a count is said."""
    said = mapping(mapping(obj.get("metadata")).get("annotations"))
    if role.gpus.key or said.get(f"{_CLAIM}-device-class") not in CLASSES.values():
        return
    number = gpus.whole(said.get(f"{_CLAIM}-device-count", 1))
    key = f"{_CLAIM}-device-count"
    role.gpus, role.gpus_path = gpus.Count(number, key), f"metadata.annotations[{key}]"
    if f"{_CLAIM}-cel-selector" in said:
        role.unreadable.append(f"the selector in metadata.annotations[{_CLAIM}-cel-selector]")


def _model(role: Role, model: Mapping[str, Any]) -> None:
    """The model of an LLMInferenceService: the id in its uri, else its name."""
    uri, name = model.get("uri"), model.get("name")
    if isinstance(uri, str) and (uri.startswith("hf://") or not isinstance(name, str)):
        role.model = Word(uri, "spec.model.uri")
    elif isinstance(name, str) and name:
        role.model = Word(name, "spec.model.name")
        if isinstance(uri, str):
            role.shaken.append(f"model {clean(name)}: the weights come from {clean(uri)}")
            role.unreadable.append(f"weights come from {clean(uri)}")
