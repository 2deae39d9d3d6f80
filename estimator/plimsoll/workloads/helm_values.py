"""Values of Helm charts that serve models, where such a file says enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import BY_PROFILE, engine_named, model_of, serves_llm
from plimsoll.workloads.pod import engine_of, pod
from plimsoll.workloads.production_stack import fields, take_image
from plimsoll.workloads.roles import Role, at, elements, mapping, replicas_of, typed
from plimsoll.workloads.shell import unresolved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.workloads.roles import Beside

Values = dict[str, Any]


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines that a chart starts with these values; none if no chart of the table has them."""
    for form, reader in _CHARTS:
        value = at(obj, form)
        if value:
            return reader(obj, beside)
    return []


def looks_like_values(document: object) -> bool:
    """Whether a document has the form of the values of a chart that is read here."""
    return isinstance(document, dict) and any(at(document, form) for form, _ in _CHARTS)


def _production_stack(values: Mapping[str, Any], beside: Beside) -> list[Role]:
    """vLLM's production stack: a role for each modelSpec."""
    found: list[Role] = []
    specs = at(values, "servingEngineSpec.modelSpec")
    for index, spec in enumerate(map(mapping, elements(specs))):
        if spec.get("enabled") is False:
            continue  # the chart makes nothing of it
        path = f"servingEngineSpec.modelSpec[{index}]"
        role = Role(engine="vllm", path=path, arguments=f"{path}.vllmConfig.extraArgs")
        if len(elements(specs)) > 1:
            role.name = clean(str(spec.get("name") or index), 64)
        url = spec.get("modelURL")
        if isinstance(url, str):
            role.model = Word(url, f"{path}.modelURL")
        take_image(role, {"name": spec.get("repository"), "tag": spec.get("tag")}, f"{path}.tag")
        role.words = fields(mapping(spec.get("vllmConfig")), f"{path}.vllmConfig")
        role.gpus, role.gpus_path = _requested(spec, path)
        _from_terms(role, spec, path)
        replicas_of(role, spec.get("replicaCount"), f"{path}.replicaCount")
        _ray_cluster(role, mapping(spec.get("raySpec")), path)
        found.append(role)
    return found


def _requested(spec: Mapping[str, Any], path: str) -> tuple[gpus.Count, str]:
    """The GPUs of a pod, and where the values say them: the chart's own field, else resources."""
    raw = gpus.count(spec.get("resources"))
    if raw.key:
        return raw, f"{path}.resources"
    kind = str(spec.get("requestGPUType") or "nvidia.com/gpu")
    requested = spec.get("requestGPU")
    count = gpus.Count() if requested is None else gpus.count({"limits": {kind: requested}})
    return count, f"{path}.requestGPU"


def _ray_cluster(role: Role, ray: Mapping[str, Any], path: str) -> None:
    """A model over a cluster of Ray: its head, and as many workers as replicas are asked for."""
    if ray.get("enabled") is not True:
        return
    head = mapping(ray.get("headNode"))
    count, where = _requested(head, f"{path}.raySpec.headNode")
    workers, role.replicas = role.replicas, 1
    if workers is None:
        role.pods = None
    elif count.number == role.gpus.number:
        role.pods = workers + 1
    elif not count.number:
        role.pods = workers
    else:
        role.pods = None
        role.unread(f"a head with other GPUs than its workers ({where})")


def _from_terms(role: Role, spec: Mapping[str, Any], path: str) -> None:
    """The kinds of GPU in the chart's own short form of a node affinity."""
    terms = spec.get("nodeSelectorTerms")
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }
    found = gpus.kinds({"nodeSelector": spec.get("nodeSelector"), "affinity": affinity})
    if found.names:
        role.kinds, role.kinds_path = found, f"{path}.nodeSelectorTerms"


def _model_service(values: Mapping[str, Any], beside: Beside) -> list[Role]:
    """llm-d's modelservice: a role for decode and one for prefill."""
    found: list[Role] = []
    artifacts = mapping(values.get("modelArtifacts"))
    for name in ("decode", "prefill"):
        part = values.get(name)
        if not isinstance(part, dict) or part.get("create") is False:
            continue
        containers = [one for one in elements(part.get("containers")) if isinstance(one, dict)]
        own = [one for one in containers if one.get("name") in ("vllm", "sglang")] or containers
        container = own[0] if own else {}
        index = elements(part.get("containers")).index(container) if own else 0
        path = f"{name}.containers[{index}]"
        command = str(container.get("modelCommand") or "vllmServe")
        engine = "sglang" if "sglang" in command.lower() else "vllm"
        role = engine_of(container, path, part, "default", beside, engine)
        if role is None:
            continue
        role.name = name
        uri, named = artifacts.get("uri"), artifacts.get("name")
        if isinstance(uri, str) and uri.startswith("hf://") and not unresolved(uri):
            role.model = Word(uri, "modelArtifacts.uri")
        elif isinstance(named, str):
            role.model = Word(named, "modelArtifacts.name")
        parallelism = mapping(part.get("parallelism"))
        grammar = registry.grammar(role.engine)
        front: list[Word] = []
        for key in ("tensor", "pipeline", "data"):
            front += typed(grammar, key, parallelism.get(key), f"{name}.parallelism.{key}")
        role.words = [*front, *role.words]
        tensor = gpus.whole(parallelism.get("tensor", 1)) or 1
        data = gpus.whole(parallelism.get("data", 1)) or 1
        local = gpus.whole(parallelism.get("dataLocal", data)) or data
        if role.gpus.number is None:
            role.gpus = gpus.Count(tensor * local, "parallelism")
            role.gpus_path = f"{name}.parallelism"
        role.pods = max(1, data // local)
        pod(role, part, name)
        replicas_of(role, part.get("replicas"), f"{name}.replicas")
        found.append(role)
    if len(found) == 1:
        found[0].name = ""
    return found


def _inference_charts(values: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The inference charts of AI on EKS: a model, its parameters, a framework, a machine."""
    inference = mapping(values.get("inference"))
    framework = str(inference.get("framework") or "vllm")
    engine = engine_named(framework)
    model = values.get("model")
    if not engine or not isinstance(model, str):
        return []
    role = Role(engine=engine, path="inference", arguments="modelParameters")
    role.model = Word(model, "model")
    server = mapping(at(inference, "modelServer"))
    image = server.get("image") or mapping(values.get("image"))
    take_image(role, image, "inference.modelServer.image")
    role.words = fields(mapping(values.get("modelParameters")), "modelParameters")
    resources = at(server, "deployment.resources.gpu") or server.get("resources")
    role.gpus = gpus.count(resources or inference.get("resources") or values.get("resources"))
    role.gpus_path = "inference.modelServer.deployment.resources"
    machine = at(server, "deployment.instanceType") or inference.get("instanceType")
    name = gpus.from_instance(machine) if isinstance(machine, str) else ""
    if name:
        role.kinds, role.kinds_path = gpus.Kinds((name,), "instanceType"), "inference.instanceType"
    parameters = mapping(values.get("modelParameters"))
    tensor = gpus.whole(parameters.get("tensorParallelSize", 1)) or 1
    pipeline = gpus.whole(parameters.get("pipelineParallelSize", 1)) or 1
    if role.gpus.number is None:
        role.gpus = gpus.Count(tensor, "tensorParallelSize")
    role.pods = pipeline if "lws" in framework or "ray" in framework else 1
    return [role]


def _nim(values: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The chart nim-llm."""
    image = mapping(values.get("image"))
    repository = str(image.get("repository") or "")
    if "/nim/" not in repository:
        return _one_container(values, beside)
    if not serves_llm(model_of(repository)):
        return []
    role = Role(engine="nim", path="image", arguments="env", planned=True)
    role.image, role.image_path = clean(repository, 256), "image.tag"
    named = at(values, "model.name")
    if isinstance(named, str):
        role.model = Word(named, "model.name")
    else:
        role.model = Word(model_of(repository), "image.repository")
    role.gpus, role.gpus_path = gpus.count(values.get("resources")), "resources"
    pod(role, values, "")
    role.unreadable.append(BY_PROFILE)
    replicas_of(role, values.get("replicaCount"), "replicaCount")
    return [role]


def _one_container(values: Mapping[str, Any], beside: Beside) -> list[Role]:
    """A chart with one container, its parts at the top or under image."""
    image = mapping(values.get("image"))
    name = str(image.get("repository") or image.get("name") or "")
    tag = image.get("tag")
    container: Values = {
        "image": f"{name}:{tag}" if tag else name,
        "command": values.get("command") or image.get("command"),
        "args": values.get("args") or image.get("args") or values.get("extraArgs"),
        "env": values.get("env") or values.get("extraEnv") or image.get("env"),
        "resources": values.get("resources"),
    }
    role = engine_of(container, "image", values, "default", beside)
    if role is None:
        return []
    role.gpus_path = "resources"
    pod(role, values, "")
    replicas_of(role, values.get("replicaCount", values.get("replicas")), "replicaCount")
    return [role]


def _triton(values: Mapping[str, Any], beside: Beside) -> list[Role]:
    """TensorRT-LLM over several nodes with Triton."""
    parallelism = mapping(at(values, "tensorrtLLM.parallelism"))
    grammar = registry.grammar("tensorrt-llm")
    role = Role(engine="tensorrt-llm", path="tensorrtLLM", arguments="tensorrtLLM")
    where = "tensorrtLLM.parallelism"
    for key, sets in (("tensor", "tensor"), ("pipeline", "pipeline")):
        role.words += typed(grammar, sets, parallelism.get(key), f"{where}.{key}")
    path = at(values, "triton.triton_model_repo_path") or at(values, "triton.image.model")
    if isinstance(path, str):
        role.model = Word(path, "triton.triton_model_repo_path")
    role.version_why = "the engine is built before it is served"
    number = gpus.whole(values.get("gpuPerNode"))
    role.gpus, role.gpus_path = gpus.Count(number, "gpuPerNode" if number else ""), "gpuPerNode"
    kind = values.get("gpu")
    if isinstance(kind, str) and kind:
        role.kinds, role.kinds_path = gpus.Kinds((gpus.product(kind),), "gpu"), "gpu"
    ranks = (gpus.whole(parallelism.get("tensor")) or 1) * (
        gpus.whole(parallelism.get("pipeline")) or 1
    )
    role.pods = max(1, ranks // number) if number else None
    return [role]


def _engine_arguments(values: Mapping[str, Any], beside: Beside) -> list[Role]:
    """Charts with ``gpus``, an image and the engine's settings as variables or as arguments."""
    variables = mapping(values.get("env_vars"))
    image = values.get("image")
    told = " ".join(map(str, (image, *variables.values(), values.get("entrypoint"))))[:4096]
    llama = "llama.cpp" in told or "GGUF" in told or "GPU_LAYERS" in variables
    engine = "llama.cpp" if llama else engine_named(told)
    name = values.get("model") or variables.get("MODEL") or variables.get("MODEL_ID")
    if not engine or not isinstance(name, str):
        return []
    role = Role(engine=engine, path="env_vars", arguments="env_vars", gpus_path="gpus")
    role.model = Word(name, "model" if values.get("model") else "env_vars.MODEL")
    take_image(role, image, "image")
    grammar = registry.grammar(engine)
    role.words = typed(grammar, "ctx_size", variables.get("CTX_SIZE"), "env_vars.CTX_SIZE")
    layers = variables.get("GPU_LAYERS")
    role.words += typed(grammar, "gpu_layers", layers, "env_vars.GPU_LAYERS")
    for key in ("vllm_engine_args", "engine_args"):
        for flag, value in mapping(values.get(key)).items():
            where = f"{key}.{flag}"
            role.words += [Word(f"--{str(flag).replace('_', '-')}", where)]
            role.words += [Word(str(value), where)] if value not in (None, "", True) else []
    role.planned = engine == "vllm"  # the charts' templates split the model over all the GPUs
    number = gpus.whole(values.get("gpus"))
    role.gpus = gpus.Count(number, "gpus" if number is not None else "")
    replicas_of(role, values.get("replicas"), "replicas")
    return [role]


_CHARTS: Final[tuple[tuple[str, Callable[[Mapping[str, Any], Beside], list[Role]]], ...]] = (
    ("servingEngineSpec.modelSpec", _production_stack),
    ("modelArtifacts.uri", _model_service),
    ("inference.framework", _inference_charts),
    ("tensorrtLLM.parallelism", _triton),
    ("image.repository", _nim),
    ("env_vars", _engine_arguments),
    ("vllm_engine_args", _engine_arguments),
)
"""What the values of each chart have, and who reads them; the first that fits counts."""
