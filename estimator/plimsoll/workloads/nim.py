"""NVIDIA's NIMService: the model is the image, and the profile that fits is chosen at start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import registry
from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.pod import environment, pod, variable_path
from plimsoll.workloads.roles import Role, at, mapping, names, replicas_of
from plimsoll.workloads.serving import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

_VARIABLES: Final = {
    "NIM_MAX_MODEL_LEN": "max_model_len",
    "NIM_TENSOR_PARALLEL_SIZE": "tensor",
    "NIM_PIPELINE_PARALLEL_SIZE": "pipeline",
}
_NOT_LLMS: Final = (
    "embed",
    "rerank",
    "riva",
    "parakeet",
    "asr",
    "tts",
    "ocr",
    "nemoretriever",
    "clip",
    "sdxl",
    "flux",
    "stable-diffusion",
    "whisper",
    "canary",
    "page-elements",
    "table-structure",
    "graphic-elements",
    "openfold",
    "alphafold",
    "boltz",
    "diffdock",
    "proteinmpnn",
    "rfdiffusion",
    "msa-search",
    "evo2",
    "genmol",
    "molmim",
    "audio2face",
    "vista3d",
    "corrdiff",
    "fourcastnet",
)
"""Parts of the names of NIMs that serve no LLM but search, speech, pictures, molecules, weather."""


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a NIMService."""
    spec = mapping(obj.get("spec"))
    image = mapping(spec.get("image"))
    repository, tag = str(image.get("repository") or ""), str(image.get("tag") or "")
    model = model_of(repository)
    if any(word in model for word in _NOT_LLMS):
        return []
    variables = environment(spec, names(obj)[0], beside)
    role = Role(engine="nim", path="spec", arguments="spec.env", planned=True)
    if variables.get("NIM_USE_SGLANG") == "1":
        role.engine = "sglang"
    role.image, role.image_path = clean(f"{repository}:{tag}", 256), "spec.image"
    role.version_why = "the tag of a NIM counts releases of its own"
    if variables.get("NIM_MODEL_NAME"):
        role.model = Word(
            variables["NIM_MODEL_NAME"], variable_path(spec, "spec", "NIM_MODEL_NAME")
        )
    elif model:
        role.model = Word(model, "spec.image.repository")
    grammar = registry.grammar(role.engine)
    for name, sets in _VARIABLES.items():
        role.words += typed(grammar, sets, variables.get(name), variable_path(spec, "spec", name))
    parallelism = mapping(at(spec, "multiNode.parallelism"))
    where = "spec.multiNode.parallelism"
    role.words += typed(
        grammar, "tensor", parallelism.get("tp", parallelism.get("tensor")), f"{where}.tp"
    )
    pipeline = parallelism.get("pp", parallelism.get("pipeline"))
    role.words += typed(grammar, "pipeline", pipeline, f"{where}.pp")
    role.gpus = gpus.count(spec.get("resources"))
    role.gpus_path = "spec.resources"
    role.pods = gpus.whole(pipeline) or gpus.whole(at(spec, "multiNode.size")) or 1
    pod(role, spec, "spec")
    role.unreadable.append("split, precision and backend: the profile of the NIM chooses them")
    replicas_of(role, spec.get("replicas"), "spec.replicas")
    return [role]


def model_of(repository: str) -> str:
    """The model in a NIM's repository: its last two parts."""
    parts = [part for part in repository.partition(":")[0].split("/") if part]
    return "/".join(parts[-2:]) if len(parts) > 2 else "/".join(parts[-1:])
