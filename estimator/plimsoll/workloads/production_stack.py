"""vLLM's production stack: the VLLMRuntime object, and what its fields share with Helm values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import read_image
from plimsoll.workloads.pod import pod, words_of
from plimsoll.workloads.roles import Role, mapping, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_OTHER_NAMES: Final = {"--enable-lo-ra": "--enable-lora", "--enable-loRA": "--enable-lora"}


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a VLLMRuntime."""
    spec = mapping(obj.get("spec"))
    deployment = mapping(spec.get("deploymentConfig"))
    model = mapping(spec.get("model"))
    role = Role(engine="vllm", path="spec", arguments="spec.vllmConfig.extraArgs")
    image = deployment.get("image", spec.get("image"))
    take_image(
        role, image, "spec.deploymentConfig.image" if deployment.get("image") else "spec.image"
    )
    url = model.get("modelURL")
    if isinstance(url, str):
        role.model = Word(url, "spec.model.modelURL")
    role.words = [
        *fields(spec, "spec"),  # where older versions of the operator keep them
        *fields(model, "spec.model"),
        *fields(mapping(spec.get("vllmConfig")), "spec.vllmConfig"),
    ]
    resources = mapping(deployment.get("resources", spec.get("resources")))
    where = "spec.deploymentConfig.resources" if deployment.get("resources") else "spec.resources"
    kind = str(resources.get("gpuType") or "gpu")
    role.gpus = gpus.count(
        {"limits": {kind: resources["gpu"]}} if "gpu" in resources else resources
    )
    role.gpus_path = f"{where}.gpu"
    pod(role, deployment, "spec.deploymentConfig")
    pod(role, spec, "spec")
    replicas = deployment.get("replicas", spec.get("replicas"))
    replicas_of(role, replicas, "spec.deploymentConfig.replicas")
    return [role]


def take_image(role: Role, image: object, path: str) -> None:
    """The engine's version from an image, as one text or in parts."""
    parts = mapping(image)
    text = image if isinstance(image, str) else ""
    if parts:
        registry_name = parts.get("registry")
        name = parts.get("name") or parts.get("repository")
        text = f"{registry_name}/{name}" if registry_name else str(name or "")
        tag = parts.get("tag")
        text += f":{tag}" if tag else ""
    if not text:
        role.version_why = role.version_why or "no image is named"
        return
    known = read_image(text)
    role.image, role.image_path = clean(text, 256), path
    role.version = known.version if known.engine == role.engine else ""
    role.version_why = known.why or "its image names no version of the engine"


def fields(config: Mapping[str, Any], path: str) -> list[Word]:
    """Settings in camel case as the flags of vLLM that they stand for, ``extraArgs`` last."""
    grammar = registry.grammar("vllm")
    words: list[Word] = []
    for key, value in config.items():
        flag = "--" + _CAPITAL.sub(lambda match: "-" + match[1], str(key)).lower()
        flag = _OTHER_NAMES.get(flag, flag)
        if grammar is None or flag not in grammar.flags or flag == "--model":
            continue
        where = f"{path}.{key}"
        if isinstance(value, bool):
            words += [Word(flag, where)] if value else []
        elif isinstance(value, (str, int, float)) and value != "":
            words += [Word(flag, where), Word(str(value), where)]
    return words + words_of(config.get("extraArgs"), f"{path}.extraArgs")
