"""From an LLMDeployment object to a request: total, and with every problem at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from pydantic import ValidationError

from plimsoll.api_group import IGNORE_ANNOTATION, OVERRIDE_ANNOTATION
from plimsoll.decision.policy import Override
from plimsoll.decision.request import Prefer, Request, Wanted
from plimsoll.engines.base import AskedSplit, EngineSettings, Lora, Speculative, Workload
from plimsoll.engines.registry import engine
from plimsoll.errors import Problem, Unreadable, clean, shown
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.models.catalogue import load
from plimsoll.models.resolve import Unresolved, known_at, resolve
from plimsoll.paths import Field, Places
from plimsoll.report import wording
from plimsoll.units import count, parse_count, parse_fraction, parse_memory
from plimsoll.workloads.model_names import meant, size_beyond
from plimsoll.workloads.resolved import profile_of
from plimsoll.workloads.spec import (
    AcceleratorSpec,
    EngineSpec,
    LLMDeploymentSpec,
    ModelSpec,
    OutputSpec,
    ParallelismSpec,
    WorkloadSpec,
)
from plimsoll.workloads.spec_errors import problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from plimsoll.engines.base import Reading
    from plimsoll.findings import Finding

DEFAULT_KEYS: Final = ("config.json", "profile.json", "model.json")
"""Keys of a ConfigMap that are looked at if configMapRef names none, in this order."""

PLACES: Final = Places(
    {
        Field.REQUEST: "spec",
        Field.REPLICAS: "spec.replicas",
        Field.PLACEMENT_POLICY: "spec.placementPolicy",
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
        Field.SPECULATIVE_METHOD: "spec.engine.speculative.method",
        Field.SPECULATIVE_MODEL: "spec.engine.speculative.model",
        Field.SPECULATIVE_TOKENS: "spec.engine.speculative.tokens",
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
        Field.MEMORY: "spec.accelerator.memory",
        Field.RESERVED: "spec.accelerator.reserved",
        Field.COMPUTE: "spec.accelerator.computeCapability",
        Field.FAMILY: "spec.accelerator.family",
        Field.TOLERATIONS: "spec.accelerator.tolerations",
        Field.PREFER: "spec.accelerator.prefer",
    }
)
"""Where an LLMDeployment keeps each field."""

MAX_NAME: Final = 253
"""Characters of a name in Kubernetes."""
MAX_REASON: Final = 1000
"""Characters of an override's reason that are kept."""
_T = TypeVar("_T")
_NO_MODEL: Final = Model("an unnamed model", ModelSource.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a document is not to be had, as a sentence.

    unread: it is there and was not read, so that nothing may be admitted on its word.
    """

    why: str
    unread: bool = False


class Documents(Protocol):
    """Where the ConfigMaps are that requests refer to, and the profiles of resolved models."""

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key (None: the first of `DEFAULT_KEYS`), or why there is none.

        namespace: `plimsoll.workloads.resolved.RESOLVED` for the profile of the model of that id.
        """
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
    """The reason in the override annotation, clean; empty if there is none."""
    reason = _annotation(obj, OVERRIDE_ANNOTATION)
    return clean(reason.strip(), MAX_REASON) if isinstance(reason, str) else ""


def override(obj: Mapping[str, Any]) -> Override | None:
    """What an object says of an override of its verdict; None if its annotation claims none."""
    reason = override_reason(obj)
    if not reason:
        return None
    since, by = "", ""
    for one in _entries(obj.get("status"), "conditions"):
        if one.get("type") == "Overridden" and one.get("status") == "True":
            since = clean(str(one.get("lastTransitionTime") or "some time ago"), 40)
    for one in _entries(obj.get("metadata"), "managedFields"):
        fields = one.get("fieldsV1")
        written = _entry(_entry(fields, "f:metadata"), "f:annotations")
        if f"f:{OVERRIDE_ANNOTATION}" in written:
            by = clean(f"{one.get('manager')} at {one.get('time')}", 200)
    return Override(reason, since, by)


def _entry(value: object, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _entries(value: object, key: str) -> list[Mapping[str, Any]]:
    """The mappings in a list of a mapping."""
    found = value.get(key) if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def ignored_rules(obj: Mapping[str, Any]) -> str:
    """What an object's annotation says of rules to ignore; empty if it says nothing."""
    said = _annotation(obj, IGNORE_ANNOTATION)
    return "" if said is None else str(said)


def _annotation(obj: Mapping[str, Any], name: str) -> object:
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations.get(name) if isinstance(annotations, dict) else None


def read_rate(obj: Mapping[str, Any]) -> int | None:
    """Bytes per second with which a pod reads the checkpoint; None if nothing readable says so."""
    spec = obj.get("spec")
    output = spec.get("output") if isinstance(spec, dict) else None
    given = output.get("readRate") if isinstance(output, dict) else None
    try:
        return (parse_memory(given) or None) if isinstance(given, str) else None
    except Unreadable:
        return None


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
    annotations = metadata.get("annotations")
    read = _read(spec, namespace, name, documents)
    return replace(
        read,
        annotations=frozenset(map(str, annotations if isinstance(annotations, dict) else ())),
        engine_said=(read.engine.name, read.engine.version),
    )


def _named(metadata: Mapping[str, Any], field: str) -> str:
    """A name in the metadata, printable and no longer than Kubernetes lets it be."""
    value = metadata.get(field)
    return clean(str(value)[:MAX_NAME], MAX_NAME) if isinstance(value, (str, int)) else ""


def _broken(name: str, *problems: Problem) -> Request:
    return Request(model=_NO_MODEL, name=name, problems=problems, places=PLACES)


@dataclass
class _Collector:
    """What is wrong with an object and what its reader should know, as they come up."""

    problems: list[Finding | Problem] = dataclass_field(default_factory=list)
    warnings: list[Finding | str] = dataclass_field(default_factory=list)

    def wrong(
        self, field: Field, given: str, wanted: str, fix: str = "", index: int | None = None
    ) -> None:
        """Remember a problem. given: safe to print; empty if there was nothing."""
        self.problems.append(Problem(PLACES.path(field, index), given, wanted, fix))

    def read(self, field: Field, text: str | None, parse: Callable[[str], _T]) -> _T | None:
        """A text as the number that it stands for; None if it is unset or unreadable."""
        if not text:
            return None
        try:
            return parse(text)
        except Unreadable as error:
            self.wrong(field, error.given, error.wanted)
            return None


def _read(spec: LLMDeploymentSpec, namespace: str, name: str, documents: Documents) -> Request:
    collected = _Collector()
    engine_spec = spec.engine or EngineSpec.model_construct()
    workload = spec.workload or WorkloadSpec.model_construct()
    settings = _features(_settings(engine_spec, collected), engine_spec, workload, collected)
    split = engine_spec.parallelism or ParallelismSpec.model_construct()
    asked = AskedSplit(split.tensor, split.pipeline, split.data, split.expert)
    reading = engine(settings.name).read_arguments(engine_spec.extra_args or (), settings, asked)
    collected.problems += reading.problems
    collected.problems += _unprintable(engine_spec.extra_args or ())
    collected.warnings += reading.warnings
    model = _model(spec.model, namespace, documents, collected)
    collected.problems += _other_models(model, reading.settings)
    _targeted(spec.output, collected)
    return Request(
        model=model,
        engine=reading.settings,
        workload=Workload(
            workload.concurrent_sequences, workload.input_tokens, workload.output_tokens
        ),
        wanted=_wanted(spec.accelerator or AcceleratorSpec.model_construct(), reading, collected),
        replicas=1 if spec.replicas is None else spec.replicas,
        name=name,
        problems=tuple(collected.problems),
        warnings=tuple(collected.warnings),
        places=PLACES,
        follow=spec.placement_policy == "Follow",
    )


def _targeted(output: OutputSpec | None, collected: _Collector) -> None:
    """Whether mode and target go together."""
    if output is None:
        return
    applies = output.mode == "Apply"
    if applies and output.target_ref is None:
        fix = "say kind and name of the workload"
        collected.problems.append(Problem("spec.output.targetRef", "", "a target to apply to", fix))
    elif output.target_ref is not None and not applies:
        given, wanted = shown(output.target_ref.name), "no target without mode: Apply"
        collected.problems.append(Problem("spec.output.targetRef", given, wanted))


def _unprintable(args: Sequence[str]) -> Iterator[Finding]:
    """Arguments with characters that cannot be printed: they are written into the status."""
    for index, text in enumerate(args):
        if not all(character.isprintable() or character == "\n" for character in text):
            yield finding(Rule.UNPRINTABLE, Field.EXTRA_ARGS, text, index)


def _other_models(model: Model, settings: EngineSettings) -> Iterator[Finding]:
    """Flags that name the file of a model of another size than the one of the request."""
    own = model.architecture
    for flag, name in engine(settings.name).named_models(settings):
        entry = load().find(meant(name).uri.removeprefix("hf://"))
        if entry is None or own is None or entry.architecture.parameters == own.parameters:
            continue
        yield finding(Rule.FILE_OF_OTHER_MODEL, Field.EXTRA_ARGS, flag, other=entry.id)


def _settings(spec: EngineSpec, collected: _Collector) -> EngineSettings:
    return EngineSettings(
        name=spec.name or "vllm",
        version=spec.version or "",
        dtype=spec.dtype or "",
        quantization=spec.quantization or "",
        max_model_len=spec.max_model_len,
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=spec.max_num_batched_tokens,
        kv_cache_dtype=spec.kv_cache_dtype or "",
        kv_cache_memory=collected.read(Field.KV_CACHE_MEMORY, spec.kv_cache_memory, parse_memory),
        utilization=collected.read(Field.UTILIZATION, spec.gpu_memory_utilization, parse_fraction),
        enforce_eager=spec.enforce_eager,
    )


def _features(
    settings: EngineSettings, spec: EngineSpec, workload: WorkloadSpec, collected: _Collector
) -> EngineSettings:
    """The settings with adapters, draft, offload and images."""
    asked: dict[str, Any] = {}
    if spec.lora is not None:
        asked["lora"] = Lora(spec.lora.max_loras, spec.lora.max_rank)
    draft = spec.speculative
    if draft is not None and (draft.method or draft.model):
        asked["speculative"] = Speculative(
            draft.method or "", (draft.model or "").removeprefix("hf://"), draft.tokens
        )
    elif draft is not None:
        fix = "say method: ngram, or model: and the id of the draft"
        collected.wrong(Field.SPECULATIVE, "", "a method or a model", fix)
    offload = collected.read(Field.CPU_OFFLOAD, spec.cpu_offload, parse_memory)
    if offload is not None:
        asked["cpu_offload"] = offload
    if workload.images_per_prompt is not None:
        asked["images"] = workload.images_per_prompt
    if workload.videos_per_prompt is not None or workload.images_per_prompt == 0:
        asked["videos"] = workload.videos_per_prompt or 0
    return replace(settings, **asked)


def _model(spec: ModelSpec, namespace: str, documents: Documents, collected: _Collector) -> Model:
    """The model that is named, or an unknown one with what is wrong in `collected`."""
    document, origin = None, ""
    reference = spec.config_map_ref
    nothing_else = spec.uri is spec.base_model is spec.parameters is None
    if reference is not None:
        found = documents.get(namespace, reference.name, reference.key)
        name = clean(f"the model in ConfigMap {reference.name}", MAX_NAME)
        in_config_map = replace(_NO_MODEL, name=name)
        if isinstance(found, Missing) and found.unread:
            wanted = "a ConfigMap that could be read"
            collected.wrong(Field.CONFIG, shown(reference.name), wanted, clean(found.why, 200))
            return in_config_map
        if isinstance(found, Missing):
            path = PLACES.path(Field.CONFIG)
            collected.warnings.append(
                f"{path}: {clean(found.why, 200)}; the model is not known until it is there"
            )
            if nothing_else:
                return in_config_map
        else:
            document = found
            key = f"/{reference.key}" if reference.key else ""
            origin = clean(f"configmap:{namespace}/{reference.name}{key}", 3 * MAX_NAME)
    elif nothing_else:
        collected.wrong(
            Field.MODEL,
            "",
            "one of uri, baseModel, configMapRef or parameters",
            "say which model it is, e.g. uri: hf://meta-llama/Llama-3.1-8B-Instruct",
        )
        return _NO_MODEL
    elif spec.base_model is None:
        document = profile_of(spec.uri or "", spec.revision or "", documents)
        origin = clean(f"resolved:{spec.uri}", 3 * MAX_NAME) if document else ""
    if spec.bits is not None and spec.parameters is None:
        fix = "leave bits out: those of a known model are known"
        collected.wrong(Field.BITS, str(spec.bits), "model.parameters beside it", fix)
    parameters = collected.read(Field.PARAMETERS, spec.parameters, parse_count)
    if spec.parameters and parameters is None:
        return replace(_NO_MODEL, name=spec.uri or _NO_MODEL.name)
    try:
        model = resolve(
            uri=spec.uri or "",
            base_model=spec.base_model or "",
            document=document,
            origin=origin or (PLACES.path(Field.PARAMETERS) if parameters else ""),
            parameters=parameters,
            bits=(spec.bits or 16) if parameters else None,
            quantization=spec.quantization or "",
            revision=spec.revision or "",
        )
    except Unresolved as error:
        collected.problems += wording.problems(error.placed(PLACES), PLACES)
        return replace(_NO_MODEL, name=spec.uri or spec.base_model or _NO_MODEL.name)
    named = size_beyond(spec.uri or "", model.parameters) if model.parameters else ""
    if not named or known_at(spec.uri or "") or not model.parameters:
        return model
    collected.warnings.append(
        f"{PLACES.path(Field.URI)}: its name says {named}, and the model that is believed has "
        f"{count(model.parameters)} parameters"
    )
    return replace(model, certain=False)


def _wanted(spec: AcceleratorSpec, reading: Reading, collected: _Collector) -> Wanted:
    least = collected.read(Field.MIN_MEMORY, spec.min_memory, parse_memory)
    allowed = tuple(spec.allowed or ())
    for index, name in enumerate(allowed):
        if name in allowed[:index]:
            fix = "remove the second one"
            collected.wrong(Field.ALLOWED, shown(name), "every name once", fix, index)
    for index, one in enumerate(spec.tolerations or ()):
        if one.operator == "Exists" and one.value:
            wanted, fix = "no value with operator: Exists", "leave either out"
            collected.wrong(Field.TOLERATIONS, shown(one.value), wanted, fix, index)
        elif one.operator != "Exists" and not one.key:
            fix = "name it, or say operator: Exists for every taint"
            collected.wrong(Field.TOLERATIONS, "", "a key of a taint", fix, index)
    return Wanted(
        allowed=tuple(dict.fromkeys(allowed)),
        gpus_per_replica=spec.gpus_per_replica,
        split=reading.split,
        min_memory=least,
        reserved=collected.read(Field.RESERVED, spec.reserved, parse_memory) or None,
        node_selector=tuple(sorted((spec.node_selector or {}).items())),
        memory=collected.read(Field.MEMORY, spec.memory, parse_memory),
        compute=_capability(spec.compute_capability),
        family=spec.family or "",
        tolerations=tuple(
            (one.key or "", one.operator or "Equal", one.value or "", one.effect or "")
            for one in spec.tolerations or ()
        ),
        prefer=Prefer(spec.prefer) if spec.prefer else Prefer.FEWEST_GPUS,
    )


def _capability(text: str | None) -> tuple[int, int] | None:
    """Major and minor of a compute capability, whose form the spec has checked."""
    if text is None:
        return None
    major, _, minor = text.partition(".")
    return int(major), int(minor)
