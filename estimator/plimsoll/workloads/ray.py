"""RayService, RayCluster and RayJob that run vLLM: in a script of the head, or as a Serve app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import read_image
from plimsoll.workloads.pod import pod, roles
from plimsoll.workloads.roles import Role, at, elements, mapping, names
from plimsoll.workloads.serving import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

MAX_TEXT: Final = 200_000
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
}
"""What applications of KubeRay's examples take from their environment."""


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engines of a Ray object."""
    path = _KEYS[str(obj["kind"])]
    cluster = mapping(at(obj, path))
    namespace = names(obj)[0]
    text = at(obj, "spec.serveConfigV2")
    found = of_cluster(cluster, path, namespace, beside)
    told = any(role.words or role.model for role in found)
    if not told and isinstance(text, str) and (served := _applications(text)):
        found = served  # the image is an engine's, and the applications are what starts it
        for role in found:
            _cluster_around(role, cluster, path)
    for role in found:
        role.replicas_path = path
    return found


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
            role.version, role.version_why = known.version, known.why or "the image is Ray's"
    role.pods = pods or None


def _applications(text: str) -> list[Role]:
    """The models of a Serve config: LLM configs of Ray, or variables of an application."""
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
        imported = str(one.get("import_path"))
        named = next((n for n in ("MODEL_ID", "MODEL_NAME", "MODEL") if variables.get(n)), "")
        if not configs and "llm" in imported.lower() and named:
            found.append(_by_variables(variables, named, f"{path}.runtime_env.env_vars"))
    return found


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
    kind = llm.get("accelerator_type")
    if isinstance(kind, str):
        found = gpus.named([kind, f"{kind}B"])  # Ray writes A100-80G
        role.kinds = gpus.Kinds((found or kind,), "accelerator_type")
        role.kinds_path = f"{path}.accelerator_type"
    return role


def _by_variables(variables: Mapping[str, Any], named: str, path: str) -> Role:
    """An application that takes its model and its sizes from variables."""
    role = Role(engine="vllm", path=path, arguments=path, pods=None)
    role.model = Word(str(variables[named]), f"{path}.{named}")
    grammar = registry.grammar("vllm")
    for name, sets in _VARIABLES.items():
        role.words += typed(grammar, sets, variables.get(name), f"{path}.{name}")
    role.unread("the application's own code may tell the engine more")
    return role
