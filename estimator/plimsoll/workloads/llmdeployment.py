"""From an LLMDeployment object to a request: total, and with every problem at once.

It must not decide whether it fits, and it must not look a ConfigMap up: `Documents` is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from plimsoll.api_group import OVERRIDE_ANNOTATION
from plimsoll.decision.request import Request, Wanted
from plimsoll.engines.base import AskedSplit, EngineSettings, Lora, Speculative, Workload
from plimsoll.engines.registry import engine
from plimsoll.errors import Problem, Unreadable, shown
from plimsoll.models.model import Model, ModelSource
from plimsoll.models.resolve import Unresolved, resolve
from plimsoll.paths import Field, Places
from plimsoll.report import wording
from plimsoll.units import parse_count, parse_fraction, parse_memory
from plimsoll.workloads.spec import (
    AcceleratorSpec,
    EngineSpec,
    LLMDeploymentSpec,
    ModelSpec,
    ParallelismSpec,
    WorkloadSpec,
)  # fmt: skip
from plimsoll.workloads.spec_errors import problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.engines.base import Reading
    from plimsoll.findings import Finding

DEFAULT_KEYS: Final = ("config.json", "profile.json", "model.json")
"""Keys of a ConfigMap that are looked at where configMapRef names none, in this order."""

PLACES: Final = Places(
    {
        Field.REQUEST: "spec",
        Field.REPLICAS: "spec.replicas",
        Field.MODEL: "spec.model",
        Field.URI: "spec.model.uri",
        Field.BASE_MODEL: "spec.model.baseModel",
        Field.CONFIG: "spec.model.configMapRef",
        Field.STORED: "spec.model.quantization",
        Field.PARAMETERS: "spec.model.parameters",
        Field.BITS: "spec.model.bits",
        Field.ENGINE: "spec.engine.name",
        Field.VERSION: "spec.engine.version",
        Field.DTYPE: "spec.engine.dtype",
        Field.QUANTIZATION: "spec.engine.quantization",
        Field.MAX_MODEL_LEN: "spec.engine.maxModelLen",
        Field.MAX_NUM_SEQS: "spec.engine.maxNumSeqs",
        Field.MAX_NUM_BATCHED_TOKENS: "spec.engine.maxNumBatchedTokens",
        Field.KV_CACHE_DTYPE: "spec.engine.kvCacheDtype",
        Field.KV_CACHE_MEMORY: "spec.engine.kvCacheMemory",
        Field.UTILIZATION: "spec.engine.gpuMemoryUtilization",
        Field.ENFORCE_EAGER: "spec.engine.enforceEager",
        Field.BLOCK_SIZE: "spec.engine.blockSize",
        Field.LORA: "spec.engine.lora",
        Field.LORA_SLOTS: "spec.engine.lora.maxLoras",
        Field.LORA_RANK: "spec.engine.lora.maxRank",
        Field.SPECULATIVE: "spec.engine.speculative",
        Field.CPU_OFFLOAD: "spec.engine.cpuOffload",
        Field.EXTRA_ARGS: "spec.engine.extraArgs",
        Field.TENSOR: "spec.engine.parallelism.tensor",
        Field.PIPELINE: "spec.engine.parallelism.pipeline",
        Field.DATA: "spec.engine.parallelism.data",
        Field.EXPERT: "spec.engine.parallelism.expert",
        Field.CONCURRENT: "spec.workload.concurrentSequences",
        Field.INPUT_TOKENS: "spec.workload.inputTokens",
        Field.OUTPUT_TOKENS: "spec.workload.outputTokens",
        Field.IMAGES: "spec.workload.imagesPerPrompt",
        Field.VIDEOS: "spec.workload.videosPerPrompt",
        Field.ALLOWED: "spec.accelerator.allowed",
        Field.GPUS: "spec.accelerator.gpusPerReplica",
        Field.MIN_MEMORY: "spec.accelerator.minMemory",
        Field.NODE_SELECTOR: "spec.accelerator.nodeSelector",
    }
)
"""Where an LLMDeployment keeps each field."""

_FEATURES: Final = {
    "lora": "spec.engine.lora", "speculative": "spec.engine.speculative",
    "cpu_offload": "spec.engine.cpuOffload", "images": "spec.workload.imagesPerPrompt",
    "videos": "spec.workload.videosPerPrompt",
}  # fmt: skip

_NO_MODEL: Final = Model("an unnamed model", ModelSource.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a document is not to be had, as a sentence.

    unread: it is there and was not read, so that nothing may be admitted on its word.
    """

    why: str
    unread: bool = False


class Documents(Protocol):
    """Where the ConfigMaps are that requests refer to."""

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key (None: the first of `DEFAULT_KEYS`), or why there is none."""
        ...


def pick(name: str, key: str | None, text: Callable[[str], str | None]) -> str | Missing:
    """The text of a ConfigMap that is there, under a key or the first of `DEFAULT_KEYS`.

    text: of one key, None if it is not there. What is missing is said without the keys that are
    there: whoever reads it may not be allowed to read the ConfigMap.
    """
    for wanted in (key,) if key else DEFAULT_KEYS:
        found = text(wanted)
        if found is not None:
            return found
    return Missing(f"ConfigMap {name} has no model under {key or ' or '.join(DEFAULT_KEYS)}")


class NoDocuments:
    """Nothing is known of ConfigMaps here."""

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """Always missing."""
        return Missing(f"ConfigMap {name} of namespace {namespace} is not at hand here")


def override_reason(obj: Mapping[str, Any]) -> str:
    """The reason in the override annotation; empty where there is none."""
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    reason = annotations.get(OVERRIDE_ANNOTATION) if isinstance(annotations, dict) else None
    return reason.strip() if isinstance(reason, str) else ""


def request(obj: Mapping[str, Any], documents: Documents) -> Request:
    """The request that an object states; never raises, problems are in it."""
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    namespace = _named(metadata, "namespace") or "default"
    name = _named(metadata, "name") or _named(metadata, "generateName") or "unnamed"
    name = f"{namespace}/{name}"
    given = obj.get("spec")
    if not isinstance(given, dict):
        what = shown(given) if given is not None else ""
        return _broken(name, Problem("spec", what, "a mapping", "say at least spec.model"))
    try:
        spec = LLMDeploymentSpec.model_validate(given)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return _broken(name, *problems_of(errors, LLMDeploymentSpec))
    except RecursionError:
        return _broken(name, Problem("spec", "deeply nested", "a spec as the CRD describes it"))
    return _read(spec, namespace, name, documents)


def _named(metadata: Mapping[str, Any], field: str) -> str:
    """A name in the metadata, printable and no longer than Kubernetes lets it be."""
    value = metadata.get(field)
    text = str(value)[:253] if isinstance(value, (str, int)) else ""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _broken(name: str, *problems: Problem) -> Request:
    return Request(model=_NO_MODEL, name=name, problems=problems, places=PLACES)


def _read(spec: LLMDeploymentSpec, namespace: str, name: str, documents: Documents) -> Request:
    problems: list[Finding | Problem] = []
    warnings: list[str] = []
    engine_spec = spec.engine or EngineSpec()
    settings = _settings(engine_spec, problems)
    workload = spec.workload or WorkloadSpec()
    settings = _features(settings, engine_spec, workload, problems)
    split = engine_spec.parallelism or ParallelismSpec()
    asked = AskedSplit(split.tensor, split.pipeline, split.data, split.expert)
    reading = engine(settings.name).read_arguments(engine_spec.extra_args or (), settings, asked)
    problems += reading.problems
    warnings += reading.warnings
    model = _model(spec.model, namespace, documents, problems, warnings)
    return Request(
        model=model,
        engine=reading.settings,
        workload=Workload(
            workload.concurrent_sequences, workload.input_tokens, workload.output_tokens
        ),
        wanted=_wanted(spec.accelerator or AcceleratorSpec(), reading, problems),
        replicas=1 if spec.replicas is None else spec.replicas,
        name=name,
        problems=tuple(problems),
        warnings=tuple(warnings),
        places=PLACES,
    )


def _settings(spec: EngineSpec, problems: list[Finding | Problem]) -> EngineSettings:
    settings = EngineSettings(
        name=spec.name or "vllm",
        version=spec.version or "",
        dtype=spec.dtype or "",
        quantization=spec.quantization or "",
        max_model_len=spec.max_model_len,
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=spec.max_num_batched_tokens,
        kv_cache_dtype=spec.kv_cache_dtype or "",
        enforce_eager=spec.enforce_eager,
    )
    if spec.kv_cache_memory:
        try:
            settings = replace(settings, kv_cache_memory=parse_memory(spec.kv_cache_memory))
        except Unreadable as error:
            problems.append(Problem("spec.engine.kvCacheMemory", error.given, error.wanted))
    if spec.gpu_memory_utilization:
        try:
            share = parse_fraction(spec.gpu_memory_utilization)
            settings = replace(settings, utilization=share)
        except Unreadable as error:
            problems.append(Problem("spec.engine.gpuMemoryUtilization", error.given, error.wanted))
    return settings


def _features(
    settings: EngineSettings,
    spec: EngineSpec,
    workload: WorkloadSpec,
    problems: list[Finding | Problem],
) -> EngineSettings:
    """The settings with adapters, draft, offload and images; only vLLM's model knows them."""
    found: dict[str, Any] = {}
    if spec.lora is not None:
        found["lora"] = Lora(spec.lora.max_loras, spec.lora.max_rank)
    if spec.speculative is not None:
        draft = spec.speculative
        if draft.method or draft.model:
            found["speculative"] = Speculative(
                draft.method or "", (draft.model or "").removeprefix("hf://"), draft.tokens
            )
        else:
            problems.append(
                Problem(
                    "spec.engine.speculative", "", "a method or a model",
                    "say method: ngram, or model: and the id of the draft",
                )
            )  # fmt: skip
    if spec.cpu_offload:
        try:
            found["cpu_offload"] = parse_memory(spec.cpu_offload)
        except Unreadable as error:
            problems.append(Problem("spec.engine.cpuOffload", error.given, error.wanted))
    if workload.images_per_prompt is not None:
        found["images"] = workload.images_per_prompt
    if workload.videos_per_prompt is not None or workload.images_per_prompt == 0:
        found["videos"] = workload.videos_per_prompt or 0
    if found and settings.name != "vllm":
        problems += [
            Problem(
                _FEATURES[field], "", f"no such field beside engine {settings.name}",
                "leave it out; flags of the engine go into spec.engine.extraArgs",
            )
            for field in found
        ]  # fmt: skip
        return settings
    return replace(settings, **found)


def _model(
    spec: ModelSpec, namespace: str, documents: Documents, problems: list[Finding | Problem],
    warnings: list[str],
) -> Model:  # fmt: skip
    """The model that is named, or an unknown one with what is wrong in `problems`."""
    document: str | None = None
    origin = ""
    if spec.config_map_ref is not None:
        reference = spec.config_map_ref
        found = documents.get(namespace, reference.name, reference.key)
        if isinstance(found, Missing) and found.unread:
            path, wanted = "spec.model.configMapRef", "a ConfigMap that could be read"
            problems.append(Problem(path, shown(reference.name), wanted, found.why))
            return replace(_NO_MODEL, name=f"the model in ConfigMap {reference.name}")
        if isinstance(found, Missing):
            warnings.append(f"spec.model.configMapRef: {found.why}; the model is not known until "
                            "it is there")  # fmt: skip
            if spec.uri is spec.base_model is spec.parameters is None:
                return replace(_NO_MODEL, name=f"the model in ConfigMap {reference.name}")
        else:
            document = found
            origin = f"configmap:{namespace}/{reference.name}"
            origin += f"/{reference.key}" if reference.key else ""
    elif spec.uri is spec.base_model is spec.parameters is None:
        problems.append(
            Problem(
                "spec.model",
                "",
                "one of uri, baseModel, configMapRef or parameters",
                "say which model it is, e.g. uri: hf://meta-llama/Llama-3.1-8B-Instruct",
            )
        )
        return _NO_MODEL
    if spec.bits is not None and spec.parameters is None:
        problems.append(
            Problem(
                "spec.model.bits",
                str(spec.bits),
                "model.parameters beside it",
                "leave bits out: those of a known model are known",
            )
        )
    try:
        parameters = parse_count(spec.parameters) if spec.parameters else None
    except Unreadable as error:
        problems.append(Problem("spec.model.parameters", error.given, error.wanted))
        return replace(_NO_MODEL, name=spec.uri or _NO_MODEL.name)
    try:
        return resolve(
            uri=spec.uri or "", base_model=spec.base_model or "", document=document,
            origin=origin or (PLACES.path(Field.PARAMETERS) if parameters else ""),
            parameters=parameters,
            bits=(spec.bits or 16) if parameters else None, quantization=spec.quantization or "",
        )  # fmt: skip
    except Unresolved as error:
        problems += wording.problems(error.placed(PLACES), PLACES)
        return replace(_NO_MODEL, name=spec.uri or spec.base_model or _NO_MODEL.name)


def _wanted(spec: AcceleratorSpec, reading: Reading, problems: list[Finding | Problem]) -> Wanted:
    least: int | None = None
    if spec.min_memory:
        try:
            least = parse_memory(spec.min_memory)
        except Unreadable as error:
            problems.append(Problem("spec.accelerator.minMemory", error.given, error.wanted))
    allowed = tuple(spec.allowed or ())
    for index, name in enumerate(allowed):
        if name in allowed[:index]:
            path = f"spec.accelerator.allowed[{index}]"
            problems.append(Problem(path, shown(name), "every name once", "remove the second one"))
    return Wanted(
        allowed=tuple(dict.fromkeys(allowed)),
        gpus_per_replica=spec.gpus_per_replica,
        split=reading.split,
        min_memory=least,
        node_selector=tuple(sorted((spec.node_selector or {}).items())),
    )
