"""From a pod to the engine in it: which container serves a model, and what it is told."""

from __future__ import annotations

import posixpath
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import yaml

from plimsoll.engines import registry
from plimsoll.engines.flags import FlagShape
from plimsoll.errors import clean
from plimsoll.workloads import gpus, shell
from plimsoll.workloads.claimed import claimed
from plimsoll.workloads.command_line import Launch, Word, launch, serves_by_flags, substituted
from plimsoll.workloads.images import BY_PROFILE, Image, model_of, read_image, serves_llm
from plimsoll.workloads.model_names import is_id
from plimsoll.workloads.roles import Role, elements, mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.workloads.roles import Beside

_INITIALIZER: Final = "storage-initializer"
"""The container of KServe's that fetches a model: its arguments are from where and to where."""
_MODEL_VARIABLES: Final = (
    "MODEL_ID",
    "MODEL_NAME",
    "MODEL",
    "MODEL_PATH",
    "HF_MODEL_ID",
    "HF_MODEL",
    "VLLM_MODEL",
    "SGLANG_MODEL_PATH",
    "NIM_MODEL_NAME",
    "OLLAMA_MODEL",
)
"""Variables in which images with a start script of their own take the model."""
_LLAMA_VARIABLES: Final = {
    "LLAMA_ARG_MODEL": "--model",
    "LLAMA_ARG_HF_REPO": "--hf-repo",
    "LLAMA_ARG_HF_FILE": "--hf-file",
    "LLAMA_ARG_CTX_SIZE": "--ctx-size",
    "LLAMA_ARG_N_PARALLEL": "--parallel",
    "LLAMA_ARG_N_GPU_LAYERS": "--gpu-layers",
    "LLAMA_ARG_BATCH": "--batch-size",
    "LLAMA_ARG_UBATCH": "--ubatch-size",
    "LLAMA_ARG_CACHE_TYPE_K": "--cache-type-k",
    "LLAMA_ARG_CACHE_TYPE_V": "--cache-type-v",
    "LLAMA_ARG_FLASH_ATTN": "--flash-attn",
    "LLAMA_ARG_SPLIT_MODE": "--split-mode",
    "LLAMA_ARG_TENSOR_SPLIT": "--tensor-split",
    "LLAMA_ARG_N_CPU_MOE": "--n-cpu-moe",
    "LLAMA_ARG_FIT": "--fit",
    "LLAMA_ARG_MMPROJ": "--mmproj",
}
_NOT_OF_TGI: Final = frozenset({"ENV", "PORT", "HOSTNAME"})
"""Variables that other programs set and that say nothing of memory."""
_SETTINGS_FILES: Final = {
    "vllm": ("--config",),
    "sglang": ("--config",),
    "tensorrt-llm": ("--config", "--extra_llm_api_options", "--extra-engine-args"),
}
"""Flags that name a file of further settings; Dynamo's workers call TensorRT-LLM's by their own."""
_TENSORRT_OPTIONS: Final = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "moe_expert_parallel_size",
        "max_batch_size",
        "max_num_tokens",
        "max_seq_len",
        "max_beam_width",
        "backend",
    }
)
_STAGES: Final = "--omni"
"""What makes several engines of one (vllm-omni), each a stage of the model on GPUs of its own."""
_FURTHER_ARGUMENTS: Final = ("VLLM_ADDITIONAL_ARGS", "NIM_PASSTHROUGH_ARGS")
"""Variables that hold further arguments for the engine, where the image's own start reads them: a
command that is written out, or an entrypoint that is the engine itself, reads none of them."""


def roles(
    template: Mapping[str, Any],
    path: str,
    namespace: str,
    beside: Beside,
    assumed: str = "",
) -> list[Role]:
    """The engines that a pod starts, one for each container that serves a model.

    template: a pod's spec, which lies at `path`. assumed: the engine that the kind runs if the
    container itself says none.
    """
    found: list[tuple[Role, str]] = []
    for part in ("containers", "initContainers"):
        for index, one in enumerate(elements(template.get(part))):
            container = mapping(one)
            if part == "initContainers" and container.get("restartPolicy") != "Always":
                continue  # it ends before the others begin
            where = f"{path}.{part}[{index}]"
            role = engine_of(container, where, template, namespace, beside, assumed)
            if role is not None:
                pod(role, template, path)
                _fetched(role, template, path)
                found.append((role, str(container.get("name") or index)))
    if len(found) > 1:
        for role, name in found:
            role.name = role.name or clean(name, 64)
    return [role for role, _ in found]


def _fetched(role: Role, template: Mapping[str, Any], path: str) -> None:
    """The model that KServe's storage initializer fetches to where the engine is told to look."""
    for index, one in enumerate(map(mapping, elements(template.get("initContainers")))):
        words = words_of(one.get("args"), f"{path}.initContainers[{index}].args")
        if one.get("name") != _INITIALIZER or len(words) != 2:
            continue
        if any(word.text.rpartition("=")[2] == words[1].text for word in role.words):
            role.model, role.words = words[0], without_mount(role.words, words[1].text)


_NAMING_MODELS: Final = frozenset(
    {"--model", "--model-path", "--model_dir", "--model-id", "--tokenizer", "--tokenizer-path"}
)


def without_mount(words: list[Word], mount: str) -> list[Word]:
    """The arguments without the model's mount, which stands for a model that is named elsewhere."""
    kept: list[Word] = []
    for word in words:
        if word.text.startswith(mount):
            before = kept[-1].text if kept else ""
            if before in _NAMING_MODELS:
                kept.pop()
            elif len(word.text) > len(mount) and before.startswith("-") and "=" not in before:
                kept.append(word)  # a file in it, as the value of another flag
        elif not word.text.partition("=")[2].startswith(mount):
            kept.append(word)
    return kept


def pod(role: Role, template: Mapping[str, Any], path: str) -> None:
    """What the pod around a container says: which GPUs, and how much shared memory."""
    if not role.kinds.names:
        role.kinds = gpus.kinds(template)
        role.kinds_path = f"{path}.{role.kinds.path}" if role.kinds.path else f"{path}.nodeSelector"


def environment(container: Mapping[str, Any], namespace: str, beside: Beside) -> dict[str, str]:
    """The variables of a container whose values are in the manifests; the others are left out."""
    values: dict[str, str] = {}
    for source in elements(container.get("envFrom")):
        reference = mapping(mapping(source).get("configMapRef"))
        data = beside.config_map(namespace, str(reference.get("name"))) or {}
        prefix = mapping(source).get("prefix")
        values |= {f"{prefix if isinstance(prefix, str) else ''}{k}": v for k, v in data.items()}
    for entry in elements(container.get("env")):
        one = mapping(entry)
        name = one.get("name")
        if not isinstance(name, str):
            continue
        values.pop(name, None)
        value = _value(one, namespace, beside)
        if value is not None:
            values[name] = substituted(value, values)
    return values


def _value(entry: Mapping[str, Any], namespace: str, beside: Beside) -> str | None:
    if "value" in entry:
        value = entry["value"]
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, (str, int, float)) else None
    reference = mapping(mapping(entry.get("valueFrom")).get("configMapKeyRef"))
    data = beside.config_map(namespace, str(reference.get("name"))) or {}
    return data.get(str(reference.get("key")))


def engine_of(
    container: Mapping[str, Any],
    path: str,
    template: Mapping[str, Any],
    namespace: str,
    beside: Beside,
    assumed: str = "",
) -> Role | None:
    """What a container tells an engine; None if it starts none."""
    image_text = container.get("image")
    image_text = image_text if isinstance(image_text, str) else ""
    image = read_image(image_text)
    variables = environment(container, namespace, beside)
    command = words_of(container.get("command"), f"{path}.command")
    arguments = words_of(container.get("args"), f"{path}.args")
    mounted = _Mounts(container, template, namespace, beside)
    engine = image.engine or ("" if image.why else assumed)
    has_gpus = bool(gpus.count(container.get("resources")).key)
    start = launch(command, arguments, variables, engine, mounted.text, suspected=has_gpus)
    untold = shell.unresolved(image_text) or not image_text
    named = bool(start)
    if start is None and not (image.engine or image.why or command):
        guessed = _by_flags(arguments)
        start = Launch(guessed, tuple(arguments), variables) if guessed else None
        if start is None and has_gpus and serves_by_flags(word.text for word in arguments):
            left = "which engine takes its arguments"
            start = Launch("", (), variables, certain=False, left=left)
    if start is None or (start.engine == "nim" and not _serves(image_text, start)):
        return None
    role = Role(
        engine=start.engine,
        version=image.version if start.engine == image.engine else "",
        image=clean(image_text, 256),
        image_path=f"{path}.image",
        version_why=_why(image, image_text),
        words=list(start.words),
        path=path,
        arguments=f"{path}.{'command' if command and not arguments else 'args'}",
        gpus=gpus.count(container.get("resources")),
        gpus_path=f"{path}.resources",
        choices=start.choices,
    )
    if not role.gpus.key and not role.gpus.given:
        role.gpus, role.kinds, why = claimed(container, template, namespace, beside)
        role.gpus_path = f"{path}.resources.claims" if role.gpus.key else role.gpus_path
        role.kinds_path = role.gpus_path
        if why:
            role.unread(why)
    elif role.gpus.key:
        part = "limits" if role.gpus.limits else "requests"
        role.gpus_path = f"{path}.resources.{part}[{role.gpus.key}]"
    if role.engine and (untold or not named) and image_text:
        role.unreadable.append(f"image {clean(image_text)}: the engine is read off its arguments")
    further = bool(assumed) or not (command or image.own)
    _started(role, start, partial(variable_path, container, path), mounted, further=further)
    _missing_variables(role, container, path, variables, namespace, beside)
    _shared_memory(role, container, template, path)
    return role


def _serves(image: str, start: Launch) -> bool:
    """Whether a NIM serves an LLM: some serve search or speech, and some only fill their cache."""
    first = start.words[0].text if start.words else ""
    return serves_llm(model_of(image)) and first not in ("download-to-cache", "list-model-profiles")


def _why(image: Image, text: str) -> str:
    if image.why:
        return image.why
    return f"image {clean(text)} names no engine" if text else "no image is named"


def _started(
    role: Role, start: Launch, places: Callable[[str], str], mounted: _Mounts, *, further: bool
) -> None:
    """What the way the engine is started adds to its words. places: of variables.

    further: whether the image's own start may take arguments from a variable.
    """
    variables = start.environment
    if start.script:
        role.unread(f"script {clean(start.script)}: what it starts is not in the manifest")
    elif start.left:
        role.unread(start.left)
    elif not start.certain:
        role.unread("a condition in the script decides which command runs")
    if any(word.text == _STAGES for word in role.words):
        role.words = [word for word in role.words if word.text != _STAGES]
        role.planned = True
        role.unread(f"{_STAGES}: which of the model's stages has which GPU, its configuration says")
    front = _from_variables(role.engine, variables, places)
    role.words = [*front, *_with_file(role, role.words, mounted)]
    for name in _FURTHER_ARGUMENTS if further else ():
        text = variables.get(name)
        if text and not any(name in word.text for word in role.words):
            extra = next(iter(shell.commands(text.replace("\n", " "), variables)), None)
            where = places(name)
            role.words += [Word(w, where) for w in (extra.words if extra else ())]
    if role.model is None:
        name = next((n for n in _MODEL_VARIABLES if variables.get(n)), "")
        if name:
            role.model = Word(variables[name], places(name))
    if role.engine == "nim":
        role.planned = True
        role.unreadable.append(BY_PROFILE)
        named = model_of(role.image)
        if role.model is None and named:
            role.model = Word(named, role.image_path)


def _missing_variables(
    role: Role,
    container: Mapping[str, Any],
    path: str,
    variables: Mapping[str, str],
    namespace: str,
    beside: Beside,
) -> None:
    """Note variables that may say what the engine does, and whose values are not at hand.

    What a Secret holds nobody reads: it is taken to be a token unless a variable's name says more.
    """
    telling = _telling(role.engine)
    if telling:
        for index, source in enumerate(elements(container.get("envFrom"))):
            name = mapping(mapping(source).get("configMapRef")).get("name")
            if isinstance(name, str) and beside.config_map(namespace, name) is None:
                where = f"{path}.envFrom[{index}]"
                role.unread(f"the variables of ConfigMap {clean(name, 100)} ({where})")
    for index, entry in enumerate(elements(container.get("env"))):
        one = mapping(entry)
        name = one.get("name")
        if isinstance(name, str) and name in telling and name not in variables:
            role.unread(f"variable {name} ({path}.env[{index}]): its value is not at hand")


def _telling(engine: str) -> frozenset[str]:
    """The variables that an engine takes its settings from."""
    if engine == "llama.cpp":
        return frozenset(_LLAMA_VARIABLES)
    grammar = registry.grammar(engine) if engine == "tgi" else None
    flags = grammar.flags.values() if grammar else ()
    return frozenset(_variable_of(flag.name) for flag in flags) - _NOT_OF_TGI


def _variable_of(flag: str) -> str:
    """The variable that stands for a flag of TGI."""
    return flag.removeprefix("--").replace("-", "_").upper()


def variable_path(container: Mapping[str, Any], path: str, name: str) -> str:
    """Where a container keeps the value of a variable."""
    entries = elements(container.get("env"))
    indices = [i for i, entry in enumerate(entries) if mapping(entry).get("name") == name]
    return f"{path}.env[{indices[-1]}].value" if indices else f"{path}.envFrom"


def _from_variables(
    engine: str, variables: Mapping[str, str], places: Callable[[str], str]
) -> list[Word]:
    """The variables that stand for flags, as those flags: the command line overrides them."""
    words: list[Word] = []
    if engine == "llama.cpp":
        for name, written in _LLAMA_VARIABLES.items():
            if variables.get(name):
                where = places(name)
                words += [Word(written, where), Word(variables[name], where)]
    grammar = registry.grammar(engine) if engine == "tgi" else None
    for flag in grammar.flags.values() if grammar else ():
        name = _variable_of(flag.name)
        given = variables.get(name)
        if not given or name in _NOT_OF_TGI:
            continue
        where = places(name)
        if flag.shape is FlagShape.SWITCH:
            words += [Word(flag.name, where)] if given.lower() in ("true", "1") else []
        else:
            words += [Word(flag.name, where), Word(given, where)]
    return words


def _with_file(role: Role, words: list[Word], mounted: _Mounts) -> list[Word]:
    """The words, with those of a mounted file of settings before the others."""
    names = _SETTINGS_FILES.get(role.engine, ())
    for index, word in enumerate(words):
        name, _, value = word.text.partition("=")
        if name not in names:
            continue
        value = value or (words[index + 1].text if index + 1 < len(words) else "")
        text = mounted.text(value)
        try:
            settings = yaml.safe_load(text[:100_000]) if text else None
        except (yaml.YAMLError, ValueError, RecursionError):
            settings = None
        rest = words[:index] + words[index + (1 if "=" in word.text else 2) :]
        if not isinstance(settings, dict):
            role.unread(f"{name} {clean(value)}: the file is not among the manifests")
            return words if name in ("--config", "--extra_llm_api_options") else rest
        if role.engine == "tensorrt-llm":
            front = _of_tensorrt(settings, word.path)
        else:
            front = [w for key, item in settings.items() for w in as_flag(key, item, word.path)]
        first = 0 if not rest or rest[0].text.startswith("-") else 1
        return rest[:first] + front + rest[first:]
    return words


def _of_tensorrt(settings: Mapping[str, Any], path: str) -> list[Word]:
    """What a file of TensorRT-LLM's options says, as the flags of trtllm-serve."""
    cache = mapping(settings.get("kv_cache_config"))
    told = {key: item for key, item in settings.items() if key in _TENSORRT_OPTIONS}
    told |= {"free_gpu_memory_fraction": cache.get("free_gpu_memory_fraction")}
    told |= {"kv_cache_dtype": cache.get("dtype")}
    return [
        word
        for key, item in told.items()
        if isinstance(item, (str, int, float)) and not isinstance(item, bool)
        for word in (Word(f"--{key}", path), Word(str(item), path))
    ]


def as_flag(key: object, value: object, path: str) -> list[Word]:
    """A setting of a file as the flag that says the same; none if the setting is off."""
    name = f"--{str(key).replace('_', '-')}"
    if isinstance(value, bool):
        return [Word(name, path)] if value else []
    return (
        [Word(name, path), Word(str(value), path)] if isinstance(value, (str, int, float)) else []
    )


def words_of(value: object, path: str) -> list[Word]:
    """The words of a command or of arguments; a single text counts as one word."""
    if isinstance(value, str):
        return [Word(value, path)]
    found: list[Word] = []
    for index, one in enumerate(elements(value)):
        if isinstance(one, bool):
            found.append(Word(str(one).lower(), f"{path}[{index}]"))
        elif isinstance(one, (str, int, float)):
            found.append(Word(str(one), f"{path}[{index}]"))
    return found


_OF_VLLM: Final = (
    "--tensor-parallel-size",
    "--max-model-len",
    "--gpu-memory-utilization",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--kv-transfer-config",
)
_OF_SGLANG: Final = ("--tp-size", "--mem-fraction-static", "--chunked-prefill-size")


def _by_flags(arguments: list[Word]) -> str:
    """The engine that takes such arguments, of an image whose name is not filled in.

    vLLM takes its model first or after ``--model``, SGLang after ``--model-path``.
    """
    names = {word.text.partition("=")[0].replace("_", "-") for word in arguments}
    first = arguments[0].text if arguments else "-"
    if "--model-path" in names:
        return "sglang" if names.intersection(_OF_SGLANG) else ""
    named = "--model" in names or (is_id(first) and not first.startswith(("-", "/", ".")))
    return "vllm" if named and names.intersection(_OF_VLLM) else ""


class _Mounts:
    """The ConfigMaps that a container mounts, where they lie among the manifests."""

    def __init__(
        self,
        container: Mapping[str, Any],
        template: Mapping[str, Any],
        namespace: str,
        beside: Beside,
    ) -> None:
        self._container, self._template = container, template
        self._namespace, self._beside = namespace, beside

    def text(self, path: str) -> str | None:
        """The text of the file at a path of the container; None if it is not at hand."""
        volumes = {
            str(mapping(one).get("name")): mapping(mapping(one).get("configMap"))
            for one in elements(self._template.get("volumes"))
        }
        for mount in map(mapping, elements(self._container.get("volumeMounts"))):
            volume = volumes.get(str(mount.get("name")))
            folder = mount.get("mountPath")
            if not volume or not isinstance(folder, str):
                continue
            key = mount.get("subPath") if path == folder else posixpath.relpath(path, folder)
            data = self._beside.config_map(self._namespace, str(volume.get("name"))) or {}
            items = {
                str(mapping(item).get("path")): str(mapping(item).get("key"))
                for item in elements(volume.get("items"))
            }
            text = data.get(items.get(str(key), str(key)))
            if text is not None:
                return text
        return None


def _shared_memory(
    role: Role, container: Mapping[str, Any], template: Mapping[str, Any], path: str
) -> None:
    """Note if nothing is mounted at /dev/shm, which matters to several ranks."""
    mounts = map(mapping, elements(container.get("volumeMounts")))
    if template.get("hostIPC") is True or any(
        str(mount.get("mountPath")).rstrip("/") == "/dev/shm" for mount in mounts
    ):
        return
    role.shared_memory = f"{path}.volumeMounts"
