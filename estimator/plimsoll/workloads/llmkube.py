"""LLMKube's InferenceService, with the Model that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import engine_named
from plimsoll.workloads.pod import pod, words_of
from plimsoll.workloads.production_stack import fields, take_image
from plimsoll.workloads.roles import Role, at, mapping, names, replicas_of, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

_FIELDS: Final = {
    "contextSize": ("ctx_size", "max_model_len"),
    "parallelSlots": ("max_num_seqs",),
    "cacheTypeK": ("cache_type_k",),
    "cacheTypeCustomK": ("cache_type_k",),
    "cacheTypeV": ("cache_type_v",),
    "cacheTypeCustomV": ("cache_type_v",),
    "batchSize": ("max_num_batched_tokens",),
    "uBatchSize": ("ubatch_size",),
}
"""Fields of the spec, with what a flag of one of the engines sets by them."""


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of an InferenceService; none of one that a Mac beside the cluster serves."""
    spec = mapping(obj.get("spec"))
    reference = spec.get("modelRef")
    called = reference.get("name") if isinstance(reference, dict) else reference
    called = str(called or "")
    model = beside.other("Model", names(obj)[0], called)
    if at(mapping(model), "spec.hardware.accelerator") == "metal":
        return []
    runtime = str(spec.get("runtime") or "llama.cpp")
    role = Role(
        engine=engine_named(runtime) or runtime[:32], path="spec", arguments="spec.extraArgs"
    )
    take_image(role, spec.get("image"), "spec.image")
    grammar = registry.grammar(role.engine)
    for key, sets in _FIELDS.items():
        for name in sets:
            words = typed(grammar, name, spec.get(key), f"spec.{key}")
            role.words += words
            if words:
                break
    if role.engine == "vllm":
        told = mapping(spec.get("vllmConfig"))
        role.words += fields(told, "spec.vllmConfig")
        cache = told.get("kvCacheCustomDtype")
        role.words += typed(grammar, "kv_cache_dtype", cache, "spec.vllmConfig.kvCacheCustomDtype")
    role.words += words_of(spec.get("extraArgs", spec.get("args")), "spec.extraArgs")
    resources = mapping(spec.get("resources"))
    asked = at(spec, "accelerator.gpuCount")
    if "gpu" not in resources and asked is not None:
        resources = {"gpu": asked}
    role.gpus = gpus.count(
        {"limits": {"gpu": resources["gpu"]}} if "gpu" in resources else resources
    )
    role.gpus_path = "spec.resources.gpu"
    if model is None:
        role.unread(f"Model {clean(called)} (spec.modelRef): it is not among the manifests")
    else:
        _model(role, mapping(model.get("spec")))
    pod(role, spec, "spec")
    replicas_of(role, spec.get("replicas"), "spec.replicas")
    return [role]


def _model(role: Role, spec: Mapping[str, Any]) -> None:
    """What the Model says: its source, its GPUs."""
    source = spec.get("source")
    if isinstance(source, str):
        role.model = Word(_without_hub(source), "spec.modelRef")
        if role.engine == "llama.cpp":
            file = source.rpartition("/")[2]
            role.words = [
                Word("--hf-file", "spec.modelRef"),
                Word(file, "spec.modelRef"),
                *role.words,
            ]
    number = gpus.whole(at(spec, "hardware.gpu.count"))
    if role.gpus.number is None and number is not None:
        role.gpus = gpus.Count(number, "hardware.gpu.count")
        role.gpus_path = "spec.modelRef"


def _without_hub(source: str) -> str:
    """A file of a hub by the repository that it is in."""
    for host in ("https://huggingface.co/", "hf://"):
        if source.startswith(host):
            return "/".join(source.removeprefix(host).split("/")[:2])
    return source
