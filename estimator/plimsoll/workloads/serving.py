"""From one engine of an object, as its reader found it, to the request that is decided."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.request import Request, Wanted
from plimsoll.engines import registry
from plimsoll.engines.base import NOTHING_ASKED, AskedSplit, EngineSettings, Reading
from plimsoll.engines.flags import FlagRole
from plimsoll.errors import Problem, Unreadable, clean
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.models.resolve import Unresolved, resolve
from plimsoll.paths import Field, Places
from plimsoll.report import wording
from plimsoll.units import ceil_div, parse_count
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word, is_untold
from plimsoll.workloads.llmdeployment import Missing
from plimsoll.workloads.model_names import is_id, meant
from plimsoll.workloads.resolved import profile_of
from plimsoll.workloads.roles import Facts, Served, mapping, names, of_any_release
from plimsoll.workloads.shell import unresolved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.engines.flags import Grammar, Use
    from plimsoll.findings import Finding
    from plimsoll.workloads.llmdeployment import Documents
    from plimsoll.workloads.roles import Role

BASE_MODEL: Final = "plimsoll.dev/base-model"
"""Annotation: the model of the catalogue that has the same structure."""
CONFIG_MAP: Final = "plimsoll.dev/config-map"
"""Annotation: the ConfigMap, with a key after a slash, that holds the model's config."""
PARAMETERS: Final = "plimsoll.dev/parameters"
"""Annotation: how many parameters the model has, for the rule of thumb."""

_MODEL_FLAGS: Final = frozenset(
    {"--model", "--model-path", "--model-id", "--model-tag", "--hf-repo", "--model-dir"}
)
_NAME_FLAGS: Final = frozenset({"--served-model-name", "--alias"})
_KEPT_MODEL_FLAGS: Final = frozenset({"llama.cpp"})
"""Engines whose model flags say more than the model's name."""
_ANY_RELEASE: Final = (
    "nothing says which release of the engine runs, and what it takes beside weights and cache "
    "differs between them: refused as the newest, it may start as another"
)
_FIELDS: Final = {
    "tensor": Field.TENSOR,
    "pipeline": Field.PIPELINE,
    "data": Field.DATA,
    "expert": Field.EXPERT,
    "max_model_len": Field.MAX_MODEL_LEN,
    "ctx_size": Field.MAX_MODEL_LEN,
    "max_num_seqs": Field.MAX_NUM_SEQS,
    "max_num_batched_tokens": Field.MAX_NUM_BATCHED_TOKENS,
    "kv_cache_dtype": Field.KV_CACHE_DTYPE,
    "kv_cache_memory": Field.KV_CACHE_MEMORY,
    "utilization": Field.UTILIZATION,
    "enforce_eager": Field.ENFORCE_EAGER,
    "dtype": Field.DTYPE,
    "quantization": Field.QUANTIZATION,
    "block_size": Field.BLOCK_SIZE,
    "max_loras": Field.LORA_SLOTS,
    "max_lora_rank": Field.LORA_RANK,
    "speculative_config": Field.SPECULATIVE,
    "cpu_offload_gb": Field.CPU_OFFLOAD,
}
"""The fields of a request by what a flag sets."""


@dataclass
class _Arguments:
    """What a role's words say. kept: those that the engine's grammar is to read.

    model: the last that they name; nodes, local: over how many pods, and ranks of data in one pod.
    """

    kept: list[Word] = field(default_factory=list)
    model: Word | None = None
    name: str = ""
    nodes: int | None = None
    local: int | None = None


def served(role: Role, kind: str, obj: Mapping[str, Any], documents: Documents) -> Served:
    """The request of one engine of an object, with what was read. Never raises."""
    namespace, name = names(obj)
    annotations = mapping(mapping(obj.get("metadata")).get("annotations"))
    engine_name = role.engine if role.engine in registry.NAMES else "generic"
    grammar = registry.grammar(engine_name)
    arguments = _arguments(role, grammar)
    settings = EngineSettings(name=engine_name, version=role.version)
    texts = [word.text for word in arguments.kept]
    reading = Reading(settings)
    if grammar is not None:
        reading = registry.engine(engine_name).read_arguments(texts, settings, NOTHING_ASKED)
    elif role.words:
        role.unread(f"the arguments of {role.engine or 'the engine'} are not read")
    reading = of_any_release(role, reading, arguments.kept)
    pods = _pods(role, arguments)
    called = arguments.model or _certain(role, role.model)
    places = _places(role, grammar, arguments, called, pods)
    problems: list[Finding | Problem] = list(reading.problems)
    warnings: list[Finding | str] = list(reading.warnings)
    wanted = _wanted(role, reading, pods, arguments, problems, warnings)
    said = _Model(role, annotations, namespace, documents, places, problems)
    model = said.resolved(called, arguments.name or role.served_name)
    settings = _modelled_version(role, reading.settings, model)
    opened = _left_open(role)
    facts = _facts(role, kind, (namespace, name), reading, pods, called)
    replicas = role.replicas
    if replicas and role.pods == 1 and pods and pods > 1 and arguments.nodes:
        replicas = max(1, replicas // pods)
    label = f"{namespace}/{name}" + (f" ({role.name})" if role.name else "")
    request = Request(
        model=model,
        engine=settings,
        wanted=wanted,
        replicas=1 if replicas is None else replicas,
        name=label,
        problems=tuple(problems),
        warnings=tuple(warnings),
        places=places,
        unread=tuple(dict.fromkeys(clean(one, 290) for one in role.shaken)),
        open=opened,
        any_release="" if role.version else _ANY_RELEASE,
        annotations=frozenset(map(str, annotations)) if "metadata" in obj else None,
        engine_said=(role.engine, role.version),
    )
    return Served(request, facts)


def _arguments(role: Role, grammar: Grammar | None) -> _Arguments:
    """The words of a role sorted: the model, what the grammar reads, and what nobody can read."""
    sorted_words = _Arguments()
    words = role.words
    if grammar is None:
        return sorted_words
    for word in words:
        if (
            is_untold(word.text)
            and not _is_value(word, words)
            and not _harmless(role, word, grammar)
        ):
            role.unread(f"arguments in {clean(word.text)} ({word.path})")
    known = [w for w in words if not is_untold(w.text) or _is_value(w, words)]
    for use in grammar.uses([word.text for word in known]):
        if isinstance(use, tuple):
            index, text = use
            if sorted_words.model is None and not text.startswith("-"):
                sorted_words.model = known[index]
            else:
                sorted_words.kept.append(known[index])
            continue
        _sort_use(role, use, known[use.index : use.index + len(use.written)], sorted_words)
    sorted_words.model = _certain(role, sorted_words.model)
    return sorted_words


def _harmless(role: Role, word: Word, grammar: Grammar) -> bool:
    """Whether a variable stands for flags that memory does not hang on, whichever they are."""
    name = word.text.strip("${}")
    if name not in role.choices:
        return False
    for text in role.choices[name]:
        for use in grammar.uses(text.split()):
            if isinstance(use, tuple) or use.flag.role is not FlagRole.HARMLESS:
                return False
    return True


def _certain(role: Role, model: Word | None) -> Word | None:
    """A model's name, unless it holds a variable that nobody filled in."""
    if model is not None and unresolved(model.text):
        role.unread(f"model {clean(model.text)} ({model.path})")
        return None
    return model


def _is_value(word: Word, words: list[Word]) -> bool:
    """Whether a variable stands where a flag's value stands."""
    place = next(index for index, one in enumerate(words) if one is word)
    before = words[place - 1].text if place else ""
    return place == 0 or (before.startswith("-") and "=" not in before)


def _sort_use(role: Role, use: Use, words: list[Word], into: _Arguments) -> None:
    """One flag: the model's, a count of pods, one that cannot be read, or one for the grammar."""
    name = use.flag.name.partition("=")[0].replace("_", "-")
    value = use.values[0] if use.values else ""
    if name in _MODEL_FLAGS or (role.engine, name) == ("tgi", "--model-name"):  # IBM's TGIS
        if value:
            into.model = Word(value, words[-1].path)
        if role.engine in _KEPT_MODEL_FLAGS:
            into.kept += words
        return
    if name in _NAME_FLAGS and value:
        into.name = value
    if any(unresolved(text) for text in (*use.values, use.written[0])):
        if use.flag.role is not FlagRole.HARMLESS:
            role.unread(f"{clean(' '.join(use.written))} ({words[0].path})")
        return
    if name == "--nnodes":
        into.nodes = gpus.whole(value)
    elif name == "--data-parallel-size-local":
        into.local = gpus.whole(value)
    into.kept += words


def _pods(role: Role, arguments: _Arguments) -> int | None:
    """How many pods one replica has."""
    if role.pods is not None and role.pods > 1:
        return role.pods
    return arguments.nodes or role.pods


def _places(
    role: Role,
    grammar: Grammar | None,
    arguments: _Arguments,
    called: Word | None,
    pods: int | None,
) -> Places:
    """Where this object keeps each field: the argument that sets it, or where one would stand."""
    where = role.arguments or f"{role.path}.args"
    paths: dict[Field, str] = {
        Field.REQUEST: role.path,
        Field.REPLICAS: role.replicas_path,
        Field.ENGINE: role.image_path or role.path,
        Field.VERSION: role.image_path or role.path,
        Field.MODEL: called.path if called else role.path,
        Field.URI: called.path if called else role.path,
        Field.STORED: called.path if called else role.path,
        Field.BASE_MODEL: f"metadata.annotations[{BASE_MODEL}]",
        Field.CONFIG: f"metadata.annotations[{CONFIG_MAP}]",
        Field.PARAMETERS: f"metadata.annotations[{PARAMETERS}]",
        Field.EXTRA_ARGS: where,
        Field.GPUS: role.gpus_path or f"{role.path}.resources.limits",
        Field.SHARED_MEMORY: role.shared_memory or role.path,
        Field.ALLOWED: role.kinds_path or role.path,
        Field.NODE_SELECTOR: role.kinds_path or role.path,
        Field.MEMORY: "plimsoll check --gpu-memory",
    }
    if pods and pods > 1:
        paths[Field.GPUS] += f" times {pods} pods"
    if grammar is not None:
        for flag in grammar.flags.values():
            if flag.sets in _FIELDS:
                paths.setdefault(
                    _FIELDS[flag.sets], f"{where} {grammar.written_as.get(flag.name, flag.name)}"
                )
        for use in grammar.uses([word.text for word in arguments.kept]):
            if not isinstance(use, tuple) and use.flag.sets in _FIELDS:
                written = use.written[0].partition("=")[0]
                path = arguments.kept[use.index].path
                paths[_FIELDS[use.flag.sets]] = f"{path} {written}" if path.endswith("]") else path
    indexed = tuple(word.path for word in arguments.kept)
    kinds = tuple(paths[Field.ALLOWED] for _ in role.kinds.names)
    return Places(paths, {Field.EXTRA_ARGS: indexed, Field.ALLOWED: kinds})


def _wanted(
    role: Role,
    reading: Reading,
    pods: int | None,
    arguments: _Arguments,
    problems: list[Finding | Problem],
    warnings: list[Finding | str],
) -> Wanted:
    """The GPUs that the object has against the ranks that its engine is told to start."""
    count, split = role.gpus, _split(role, reading)
    if count.given:
        role.unread(f"GPU count {count.given} ({role.gpus_path})")
    there = count.number * pods if count.number and pods else None
    if role.ranks and there and not role.shaken:
        there = min(there, role.ranks)
    sizes = {"tensor": split.tensor, "pipeline": split.pipeline, "data": split.data}
    if arguments.local and split.data and role.pods == 1:
        sizes["data"] = arguments.local
        split = replace(split, data=arguments.local)
    given = {name: size for name, size in sizes.items() if size and size > 1}
    product = prod(given.values()) if split.tensor is not None else None
    wanted = there if product is None else product
    if product is not None and there is not None and product != there:
        facts: dict[str, Any] = {"product": product, "there": there}
        if there < product <= there * count.most_ranks:
            role.shaken.append(f"{product} ranks on {there} x {count.key}, each of several cores")
        elif product > there:
            named = tuple(f"{name} {size}" for name, size in given.items())
            facts |= {"split": named, "wanted": ceil_div(product, pods or 1)}
            rule = Rule.FEWER_GPUS_THAN_RANKS
            problems.append(finding(rule, Field.GPUS, there, **facts))
            wanted = there
        elif role.engine != "llama.cpp" and not role.ranks:
            facts["idle"] = there - product
            warnings.append(finding(Rule.MORE_GPUS_THAN_RANKS, Field.GPUS, **facts))
    if (split.tensor or 1) > 1 and role.shared_memory:
        warnings.append(finding(Rule.SHARED_MEMORY, Field.SHARED_MEMORY))
    allowed = role.kinds.known or role.kinds.names
    if count.profile and not any("-mig-" in name for name in allowed):
        parents = set(allowed)
        names = gpus.slices(count.profile)
        own = tuple(n for n in names if n.partition("-mig-")[0] in parents)
        allowed = own or names
    return Wanted(allowed=allowed, gpus_per_replica=wanted or None, split=split)


def _split(role: Role, reading: Reading) -> AskedSplit:
    """The split that the engine runs with: what is said, else its default of one rank."""
    split = reading.split
    if role.planned or role.engine not in ("vllm", "sglang", "tensorrt-llm"):
        return split
    unread = " ".join(role.shaken)
    if any(
        word in unread
        for word in ("--tensor", "--tp", "-tp ", "--pipeline", "arguments in", "script", "the file")
    ):
        return split
    return replace(split, tensor=split.tensor or 1, pipeline=split.pipeline or 1)


@dataclass
class _Model:
    """What an object says of its model, and how that leads to one."""

    role: Role
    annotations: Mapping[str, Any]
    namespace: str
    documents: Documents
    places: Places
    problems: list[Finding | Problem]

    def resolved(self, called: Word | None, served_name: str) -> Model:
        """The model that is meant, or an unknown one."""
        name = called.text if called else ""
        found = meant(name) if name else meant("")
        if not found.uri and is_id(served_name):
            by_name = meant(served_name)
            found = replace(by_name, assumed=True) if _known(by_name.uri) else found
        unknown = Model(clean(name, 512) or "an unnamed model", ModelSource.UNKNOWN)
        base, document, origin = self._base(), None, ""
        reference = self._text(CONFIG_MAP)
        if reference:
            config_map, _, key = reference.partition("/")
            text = self.documents.get(self.namespace, config_map, key or None)
            if isinstance(text, Missing):
                self.role.unread(f"{CONFIG_MAP}: {clean(text.why, 200)}")
            else:
                document, origin = text, f"configmap:{self.namespace}/{reference}"
        parameters = self._parameters()
        if not name and not (base or document or parameters):
            if not any(one.startswith("model") for one in self.role.unreadable):
                self.role.unreadable.append("model: nothing says which it is")
            return unknown
        if found.gguf and self.role.engine != "llama.cpp" and not (base or document or parameters):
            self.role.unreadable.append(
                f"model {clean(name)}: a GGUF file, whose weights are judged for llama.cpp alone"
            )
            return unknown
        if found.assumed and not (base or document):
            self.role.shaken.append(
                f"model {clean(name)} is taken for {found.uri.removeprefix('hf://')}, which its "
                f"name says; {BASE_MODEL} says it for sure"
            )
        if not found.uri and not (base or document or parameters):
            self.role.unreadable.append(f"model {clean(name)}: a location says no model id")
            return unknown
        if not (base or document):
            document = profile_of(found.uri, "", self.documents)
            origin = f"resolved:{found.uri}" if document else ""
        try:
            return resolve(
                uri="" if found.assumed and (base or document) else found.uri,
                base_model=base,
                document=document,
                origin=origin or (self.places.path(Field.PARAMETERS) if parameters else ""),
                parameters=parameters,
                bits=16 if parameters else None,
            )
        except Unresolved as error:
            self.problems += wording.problems(error.placed(self.places), self.places)
            return unknown

    def _text(self, annotation: str) -> str:
        value = self.annotations.get(annotation)
        return value.strip()[:512] if isinstance(value, str) else ""

    def _base(self) -> str:
        return self._text(BASE_MODEL)

    def _parameters(self) -> int | None:
        text = self._text(PARAMETERS)
        if not text:
            return None
        try:
            return parse_count(text)
        except Unreadable as error:
            path = self.places.path(Field.PARAMETERS)
            self.problems.append(Problem(path, error.given, error.wanted))
            return None


def _known(uri: str) -> bool:
    return bool(uri) and resolve(uri=uri).architecture is not None


def _modelled_version(role: Role, settings: EngineSettings, model: Model) -> EngineSettings:
    """The settings, without a version that no table here covers; what is not known is said."""
    if settings.name == "generic":
        role.shaken.append(f"the memory of {role.engine or 'an unnamed engine'} is not modelled")
        return settings
    if not role.version:
        why = role.version_why or "no image says it"
        role.unreadable.append(f"engine version: {why}")
    elif model.architecture is not None:
        found = registry.engine(settings.name).problems(model.architecture, settings, None, None)
        if any(one.rule is Rule.UNREADABLE_VERSION for one in found):
            why = f"{role.engine} {clean(role.version)} is older than what is modelled here"
            role.shaken.append(why)
            role.unreadable.append(why)
            return replace(settings, version="")
    return settings


def _left_open(role: Role) -> tuple[str, ...]:
    """What the object leaves to chance: the kind of GPU, and how many."""
    opened: list[str] = []
    if not role.kinds.names:
        role.unreadable.append("accelerator type")
        opened.append(
            "nothing says on which kind of GPU it runs, so one that would do is named; "
            "a nodeSelector settles it"
        )
    if role.gpus.number is None and not role.gpus.given:
        role.unreadable.append("GPU count")
        role.shaken.append("nothing says how many GPUs it gets; its resources would")
    elif role.gpus.number == 0:
        role.shaken.append("it asks for no GPU, and memory is judged on GPUs alone")
    return tuple(opened)


def _facts(
    role: Role,
    kind: str,
    called_as: tuple[str, str],
    reading: Reading,
    pods: int | None,
    called: Word | None,
) -> Facts:
    """What was read, as it stands in the object: nothing is planned and nothing defaulted."""
    settings, split = reading.settings, reading.split
    context = settings.max_model_len or getattr(settings.options, "ctx_size", None)
    accelerators = role.kinds.names
    return Facts(
        kind=kind,
        namespace=called_as[0],
        name=called_as[1],
        role=role.name,
        engine=role.engine or None,
        engine_version=role.version or None,
        model=_plain(called.text) if called else None,
        tensor=_tensor_as_written(reading),
        pipeline=split.pipeline,
        data=split.data,
        expert=split.expert,
        gpus_per_pod=role.gpus.number,
        pods_per_replica=pods,
        max_model_len=context,
        max_num_seqs=settings.max_num_seqs,
        gpu_memory_utilization=float(settings.utilization) if settings.utilization else None,
        quantization=(settings.quantization if role.engine != "llama.cpp" else "") or None,
        dtype=settings.dtype or None,
        kv_cache_dtype=settings.kv_cache_dtype or getattr(settings.options, "cache_type_k", None),
        enforce_eager=settings.enforce_eager,
        accelerator=accelerators[0] if len(accelerators) == 1 else None,
        unreadable=tuple(dict.fromkeys(clean(one, 240) for one in role.unreadable)),
    )


def _tensor_as_written(reading: Reading) -> int | None:
    """Tensor parallelism as SGLang is told it where the ranks of data parallelism lie within."""
    split = reading.split
    if getattr(reading.settings.options, "enable_dp_attention", None) and split.tensor:
        return split.tensor * (split.data or 1)
    return split.tensor


def _plain(model: str) -> str:
    """A model's name without the schemes that stand for a hub."""
    for scheme in ("hf://", "huggingface://", "ollama://"):
        model = model.removeprefix(scheme)
    return clean(model, 512)
