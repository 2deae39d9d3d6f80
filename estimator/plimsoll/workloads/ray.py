"""RayService, RayCluster and RayJob that run vLLM: in a script of the head, or as a Serve app."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Any, Final

import yaml

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.models import catalogue
from plimsoll.units import ceil_div
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import read_image
from plimsoll.workloads.pod import engine_of, pod, roles
from plimsoll.workloads.roles import Role, at, elements, mapping, names, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

MAX_TEXT: Final = 200_000
MAX_MODELS: Final = 16
"""Models of one application that are looked at."""
_TENSOR: Final = ("TENSOR_PARALLELISM", "TENSOR_PARALLEL_SIZE")
_KEYS: Final = {
    "RayService": "spec.rayClusterConfig",
    "RayCluster": "spec",
    "RayJob": "spec.rayClusterSpec",
}
"""Where an object of each kind keeps its cluster."""
_VARIABLES: Final = {
    "TENSOR_PARALLELISM": "tensor",
    "TENSOR_PARALLEL_SIZE": "tensor",
    "PIPELINE_PARALLELISM": "pipeline",
    "PIPELINE_PARALLEL_SIZE": "pipeline",
    "MAX_MODEL_LEN": "max_model_len",
    "GPU_MEMORY_UTILIZATION": "utilization",
    "DTYPE": "dtype",
    "MAX_NUM_SEQS": "max_num_seqs",
    "MAX_NUM_SEQ": "max_num_seqs",
    "MAX_NUM_BATCHED_TOKENS": "max_num_batched_tokens",
}
"""What applications of KubeRay's examples take from their environment."""
_MODEL: Final = re.compile(r"(?:([A-Z][A-Z0-9]*)_)?MODEL(?:_(\d+))?(?:_ID|_NAME)?")
"""The variable of a model, with what it is for where an application has several."""
_LLM: Final = re.compile(r"(?<![A-Za-z])llm|L(?:LM|lm)|llm(?![a-z])")
"""The word in the name of a module: ray.serve.llm, rayllm, llm_app, LLMServer, and not wellmed."""
_PINNED: Final = re.compile(r"\bvllm(?:\[[\w,-]*\])?==(\d[\w.]*)")
"""The release of vLLM that an application installs."""


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a Ray object."""
    path = _KEYS[str(obj["kind"])]
    cluster = mapping(at(obj, path))
    namespace = names(obj)[0]
    text = at(obj, "spec.serveConfigV2")
    found = of_cluster(cluster, path, namespace, beside)
    told = any(role.words for role in found)
    entry = at(obj, "spec.entrypoint")
    if not told and isinstance(entry, str):
        found = _submitted(entry, cluster, path, namespace, beside) or found
    if obj["kind"] != "RayService":  # a head that is told nothing starts Ray alone
        found = [role for role in found if role.words or role.model]
    if not told and isinstance(text, str) and (served := _applications(text, str(cluster))):
        found = served  # the image is an engine's, and the applications are what starts it
        for role in found:
            _cluster_around(role, cluster, path)
    for role in found:
        role.replicas_path = path
    return found


def _submitted(
    entry: str, cluster: Mapping[str, Any], path: str, namespace: str, beside: Beside
) -> list[Role]:
    """The engine that a job starts once the cluster is there."""
    head = mapping(at(cluster, "headGroupSpec.template.spec"))
    containers = elements(head.get("containers"))
    first = mapping(containers[0]) if containers else {}
    started = {**first, "command": ["sh", "-c", entry], "args": None, "resources": None}
    role = engine_of(started, "spec.entrypoint", head, namespace, beside)
    if role is None:
        return []
    role.words = [Word(word.text, "spec.entrypoint") for word in role.words]
    role.arguments, role.image_path = "spec.entrypoint", f"{path}.headGroupSpec"
    role.gpus = gpus.Count()
    _cluster_around(role, cluster, path)
    return [role]


def of_cluster(cluster: Mapping[str, Any], path: str, namespace: str, beside: Beside) -> list[Role]:
    """The engine that the head of a cluster starts, over the GPUs of all its pods."""
    where = f"{path}.headGroupSpec.template.spec"
    head = mapping(at(cluster, "headGroupSpec.template.spec"))
    found = [role for role in roles(head, where, namespace, beside) if not role.shaken]
    for role in found:
        _cluster_around(role, cluster, path)
    return found


def _groups(cluster: Mapping[str, Any], path: str) -> list[tuple[Mapping[str, Any], str, int]]:
    """(pod, its path, how many) of the head and of each group of workers."""
    groups = [(mapping(at(cluster, "headGroupSpec.template.spec")), f"{path}.headGroupSpec", 1)]
    for index, group in enumerate(map(mapping, elements(cluster.get("workerGroupSpecs")))):
        size = gpus.whole(group.get("replicas", group.get("minReplicas", 1)))
        hosts = gpus.whole(group.get("numOfHosts", 1)) or 1
        place = f"{path}.workerGroupSpecs[{index}]"
        groups.append((mapping(at(group, "template.spec")), place, (size or 0) * hosts))
    return groups


def _cluster_around(role: Role, cluster: Mapping[str, Any], path: str) -> None:
    """The GPUs of a cluster's pods, and of which kind they are."""
    pods = 0
    for template, place, number in _groups(cluster, path):
        containers = elements(template.get("containers"))
        first = mapping(containers[0]) if containers else {}
        count = gpus.count(first.get("resources"))
        if not count.number:
            continue
        if role.gpus.number is None:
            role.gpus = count
            role.gpus_path = f"{place}.template.spec.containers[0].resources"
        pods += number
        pod(role, template, f"{place}.template.spec")
        image = first.get("image")
        if not role.image and isinstance(image, str):
            known = read_image(image)
            role.image, role.image_path = (
                clean(image, 256),
                f"{place}.template.spec.containers[0].image",
            )
            role.version = role.version or known.version
            role.version_why = known.why or "the image is Ray's"
    role.pods = pods or None
    if role.ranks and role.gpus.number and pods:
        role.pods = min(pods, ceil_div(role.ranks, role.gpus.number))


def _applications(text: str, cluster: str) -> list[Role]:
    """The models of a Serve config: LLM configs of Ray, or variables of an application.

    cluster: the pods around it as a text, which may name the engine.
    """
    try:
        config = yaml.safe_load(text[:MAX_TEXT])
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    found: list[Role] = []
    for index, one in enumerate(map(mapping, elements(mapping(config).get("applications")))):
        path = f"spec.serveConfigV2.applications[{index}]"
        configs = elements(at(one, "args.llm_configs"))
        for place, llm in enumerate(map(mapping, configs)):
            role = _llm_config(llm, f"{path}.args.llm_configs[{place}]")
            role.name = clean(str(one.get("name") or ""), 64) if len(configs) > 1 else ""
            found.append(role)
        variables = mapping(at(one, "runtime_env.env_vars"))
        named = [str(key) for key in variables if _MODEL.fullmatch(str(key))]
        named = [key for key in named if isinstance(variables[key], str) and variables[key]]
        told = f"{one}{cluster}".lower()
        is_vllm = "vllm" in told or _LLM.search(str(one.get("import_path"))) is not None
        if configs or not (is_vllm or any(_is_llm(variables[key]) for key in named)):
            continue
        if not named:
            found += _by_code(one, path, cluster)
        for key in named[:MAX_MODELS]:
            role = _by_variables(one, key, f"{path}.runtime_env.env_vars", vllm=is_vllm)
            role.name = _purpose(key) if len(named) > 1 else ""
            found.append(role)
    return found


def _purpose(variable: str) -> str:
    """What the model of a variable is for, of an application that has several."""
    match = _MODEL.fullmatch(variable)
    return (match[1] or match[2] or "").lower() if match else ""


def _by_code(application: Mapping[str, Any], path: str, cluster: str) -> list[Role]:
    """Models that an application's own code or files name; none of a cluster without GPUs.

    Ray LLM before `ray.serve.llm` took files, called after the model: ``models/owner--name.yaml``.
    """
    if not any(key in cluster for key in gpus.WHOLE[:-1]):
        return []
    files = [one for one in elements(at(application, "args.models")) if isinstance(one, str)]
    found: list[Role] = []
    for index, file in enumerate(files[:MAX_MODELS] or [""]):
        role = Role(engine="vllm", path=path, arguments=path, pods=None, planned=True)
        role.version_why = "the image is Ray's"
        if file:
            where = f"{path}.args.models[{index}]"
            name = file.rpartition("/")[2].rpartition(".")[0].replace("--", "/", 1)
            role.model, role.arguments = Word(name, where), where
        role.name = clean(name, 64) if len(files) > 1 else ""
        role.unread("the application's own code, which says how the model is run")
        found.append(role)
    return found


def _is_llm(name: str) -> bool:
    """Whether a variable names a model that is known to be an LLM."""
    return catalogue.load().find(name) is not None


def _replicas(deployment: Mapping[str, Any]) -> int:
    """Replicas of a deployment of Ray Serve; the least, if their number follows the load."""
    scaled = mapping(deployment.get("autoscaling_config"))
    said = deployment.get("num_replicas", scaled.get("min_replicas"))
    return gpus.whole(said) or 1


def _llm_config(llm: Mapping[str, Any], path: str) -> Role:
    """One LLM config of ``ray.serve.llm``."""
    loading = mapping(llm.get("model_loading_config"))
    key = "model_source" if isinstance(loading.get("model_source"), str) else "model_id"
    role = Role(engine="vllm", path=path, arguments=f"{path}.engine_kwargs", pods=None)
    role.version_why = "the image is Ray's"
    name = loading.get(key)
    if isinstance(name, str):
        role.model = Word(name, f"{path}.model_loading_config.{key}")
    for name, value in mapping(llm.get("engine_kwargs")).items():
        flag, where = f"--{str(name).replace('_', '-')}", f"{path}.engine_kwargs.{name}"
        if isinstance(value, bool):
            role.words += [Word(flag, where)] if value else []
        elif isinstance(value, (str, int, float)):
            role.words += [Word(flag, where), Word(str(value), where)]
    role.replicas = _replicas(mapping(llm.get("deployment_config")))
    sizes = mapping(llm.get("engine_kwargs"))
    splits = [gpus.whole(sizes.get(f"{key}_parallel_size", 1)) for key in ("tensor", "pipeline")]
    role.ranks = prod(size or 1 for size in splits)
    kind = llm.get("accelerator_type")
    if isinstance(kind, str):
        found = gpus.named([kind, f"{kind}B"])  # Ray writes A100-80G
        role.kinds = gpus.Kinds((found or kind,), "accelerator_type")
        role.kinds_path = f"{path}.accelerator_type"
    return role


def _by_variables(application: Mapping[str, Any], named: str, path: str, *, vllm: bool) -> Role:
    """An application that takes its model and its sizes from variables."""
    variables = mapping(at(application, "runtime_env.env_vars"))
    role = Role(engine="vllm" if vllm else "", path=path, arguments=path, pods=None)
    role.model = Word(str(variables[named]), f"{path}.{named}")
    pinned = _PINNED.search(str(application.get("runtime_env"))[:MAX_TEXT])
    role.version = pinned[1] if pinned and vllm else ""
    own = named.removesuffix("_ID").removesuffix("_NAME")
    variables = {**variables, **{n: variables.get(f"{own}_{n}", variables.get(n)) for n in _TENSOR}}
    sizes = (gpus.whole(variables.get(name)) for name in _TENSOR)
    role.ranks = next((size for size in sizes if size), 0)
    role.planned = not role.ranks
    deployments = [one for one in elements(application.get("deployments")) if mapping(one)]
    role.replicas = _replicas(deployments[0]) if deployments else 1
    if not vllm:
        role.unread("the application's own code, which says how the model is run")
        return role
    grammar = registry.grammar("vllm")
    for name, sets in _VARIABLES.items():
        role.words += typed(grammar, sets, variables.get(name), f"{path}.{name}")
    role.unread("the application's own code may tell the engine more")
    return role
