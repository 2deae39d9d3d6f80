"""Options of a command line that say what a manifest says, and the manifest that they stand for.

There is no other way to say what is wanted: flags become a manifest and go the manifest's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from plimsoll.cli.memory import AUTO, Length
from plimsoll.cli.output import bad_input
from plimsoll.decision.stated import NAME as STATED
from plimsoll.engines.registry import NAMES
from plimsoll.errors import shown

if TYPE_CHECKING:
    from pathlib import Path

    from plimsoll.cli.documents import FileDocument
    from plimsoll.cli.output import Command
    from plimsoll.decision.request import Request

SPEC_OPTIONS: Final = (
    ("--gpus", "accelerator.gpusPerReplica", "N", "GPUs per replica."),
    ("--tp", "engine.parallelism.tensor", "N", "Tensor parallel size."),
    ("--pp", "engine.parallelism.pipeline", "N", "Pipeline parallel size."),
    ("--dp", "engine.parallelism.data", "N", "Data parallel size."),
    ("--ep", "engine.parallelism.expert", "", "Expert parallel."),
    (
        "--max-model-len",
        "engine.maxModelLen",
        "TOKENS",
        "Unset: the model's maximum; auto: what fits.",
    ),
    ("--max-num-seqs", "engine.maxNumSeqs", "N", None),
    ("--max-num-batched-tokens", "engine.maxNumBatchedTokens", "TOKENS", None),
    ("--concurrent", "workload.concurrentSequences", "N", "Sequences that must be held at once."),
    ("--input-tokens", "workload.inputTokens", "TOKENS", "Of one of them."),
    ("--output-tokens", "workload.outputTokens", "TOKENS", "Of one of them."),
    ("--dtype", "engine.dtype", "DTYPE", None),
    ("--quantization", "engine.quantization", "METHOD", "Applied when the engine loads the model."),
    ("--stored-quantization", "model.quantization", "METHOD", "How the checkpoint is stored."),
    ("--kv-cache-dtype", "engine.kvCacheDtype", "DTYPE", None),
    (
        "--gpu-memory-utilization",
        "engine.gpuMemoryUtilization",
        "SHARE",
        "Unset: the engine's default.",
    ),
    ("--enforce-eager", "engine.enforceEager", "", None),
    ("--compute-capability", "accelerator.computeCapability", "X.Y", "Of a stated GPU, as 8.9."),
    ("--engine", "engine.name", "ENGINE", "Unset: vllm."),
    ("--engine-version", "engine.version", "VERSION", "Unset: the newest that is known."),
)
"""Options that each stand for one field of a manifest's spec: the field, what it takes, help."""


def spec_options(command: Command) -> Command:
    """Add every option of `SPEC_OPTIONS` to a command."""
    for option, field, takes, text in reversed(SPEC_OPTIONS):
        kind: dict[str, Any] = {"type": int if takes in ("N", "TOKENS") else str, "metavar": takes}
        if option == "--max-model-len":
            kind["type"] = Length()
        if not takes:
            kind = {"is_flag": True, "default": None}
        elif takes == "ENGINE":
            kind = {"type": click.Choice(NAMES)}
        command = click.option(option, parameter_of(field), help=text, **kind)(command)
    return command


def parameter_of(field: str) -> str:
    """The name of the parameter that holds the value of a field's option."""
    return field.replace(".", "_").lower()


def documents_of(
    model: str | None, config_file: Path | None, output: str, *, hub: bool
) -> FileDocument:
    """What stands in the place of a ConfigMap: a file, or what a checkpoint's headers say."""
    from plimsoll.cli.documents import FileDocument, document_from
    from plimsoll.models.checkpoint.source import is_local

    if model is not None and (hub or is_local(model)):
        return document_from(model, output, hub=hub)
    documents = FileDocument(config_file)
    if documents.problem is not None:
        bad_input([documents.problem], output)
    return documents


def as_meant(model: str, said: dict[str, Any]) -> str:
    """The id that is meant by one as people type it, and a note of it if it is another.

    A copy is estimated as its base, stored so: `said` gets both where nobody said them.
    """
    from plimsoll.models.typed import typed

    found = typed(model)
    if found is None or (found.id == model and not found.stored):
        return model
    copy = parameter_of("model.quantization")
    if found.name != found.id or found.stored:
        said[parameter_of("model.baseModel")] = found.id
        if found.stored and said.get(copy) is None:
            said[copy] = found.stored
    file = parameter_of("engine.quantization")
    if found.file and said.get(parameter_of("engine.name")) == "llama.cpp" and not said.get(file):
        said[file] = found.file
    if found.said:
        click.echo(f"note: {shown(model)[1:-1]} is read as {found.said}", err=True)
    return found.name


def request_of(
    model: str | None,
    documents: FileDocument,
    size: tuple[str | None, int | None],
    gpu: str,
    said: dict[str, Any],
) -> Request:
    """The manifest that the options stand for, read the manifest's way; see `spec_of`."""
    from plimsoll.workloads.llmdeployment import request

    metadata = {"name": "estimate", "namespace": "default"}
    spec = spec_of(model, documents, size, gpu, said)
    return request({"metadata": metadata, "spec": spec}, documents)


def spec_of(
    model: str | None,
    documents: FileDocument,
    size: tuple[str | None, int | None],
    gpu: str,
    said: dict[str, Any],
) -> dict[str, Any]:
    """The spec of a manifest that the options stand for.

    size: parameters and bits, if there is no model. gpu: empty: any. said: the options of
    `SPEC_OPTIONS`.
    """
    allowed = {} if gpu in (STATED, "") else {"allowed": [gpu]}
    spec: dict[str, Any] = {"accelerator": allowed, "model": {}}
    if documents.text is not None:
        uri = f"file://{documents.title}"
        spec["model"] |= {"uri": uri, "configMapRef": documents.reference}
    elif model is not None:
        spec["model"]["uri"] = model if "://" in model else f"hf://{model}"
    else:
        parameters, bits = size
        spec["model"] |= {"parameters": parameters, "bits": 16 if bits is None else bits}
    beside = ("accelerator.memory", "accelerator.reserved", "model.baseModel")
    for field in (*(field for _, field, _, _ in SPEC_OPTIONS), *beside):
        value = said.get(parameter_of(field))
        if value == AUTO:
            spec.setdefault("engine", {})["extraArgs"] = ["--max-model-len", AUTO]
        elif value is not None:
            *sections, last = field.split(".")
            section = spec
            for name in sections:
                section = section.setdefault(name, {})
            section[last] = value
    return spec
