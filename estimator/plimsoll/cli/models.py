"""`plimsoll models`: the catalogue, one model's structure, and profiles that fit a ConfigMap.

It must not fetch anything unless it is told to (`--from-hub`): a model that is not in the catalogue
is given as a folder or a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from plimsoll.cli.completion import complete_model
from plimsoll.cli.given import MAX_KEPT, text_of
from plimsoll.cli.output import Table, bad_input, dump, format_option, show
from plimsoll.errors import Invalid, Problem, shown, shown_path
from plimsoll.units import grouped

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.cli.output import Command
    from plimsoll.models.architecture import Architecture

Described = tuple[str, dict[str, Any], "Architecture"]


@click.group("models")
def command() -> None:
    """The catalogue of models; profiles for ConfigMaps."""


@command.command("list")
@click.argument("filter_text", metavar="[TEXT]", required=False, default="")
@format_option("table", "json", "yaml")
def list_models(filter_text: str, output: str) -> None:
    """The models of the catalogue, those only whose id or alias holds TEXT."""
    from plimsoll.models.catalogue import load
    from plimsoll.units import count

    text = filter_text.lower()
    found = [e for e in load() if any(text in name.lower() for name in (e.id, *e.aliases))]
    found.sort(key=lambda entry: entry.id.lower())
    if output != "table":
        dump(
            [
                {
                    "id": e.id,
                    "aliases": list(e.aliases),
                    "parameters": e.architecture.parameters,
                    "modelType": e.architecture.model_type,
                    "stored": stored_as(e.architecture),
                    "source": e.source,
                }
                for e in found
            ],
            output,
        )
        return
    if not found:
        near = " or ".join(load().suggest(filter_text))
        like = f"; did you mean {near}?" if near else ""
        click.echo(f"nothing in the catalogue holds {shown(filter_text)}{like}")
        return
    table = Table(
        ("id", "parameters", "stored", "type", "layers", "context"),
        right=frozenset({"parameters", "layers", "context"}),
        drop=("layers", "type", "stored", "parameters"),
    )
    for e in found:
        a = e.architecture
        length, layers = str(a.max_model_len), str(len(a.blocks))
        table.add(e.id, count(a.parameters), stored_as(a), a.model_type, layers, length)
    show(table)


def stored_as(a: Architecture) -> str:
    """How a checkpoint's weights are stored: a dtype, or how most of its linears are.

    With ``?`` behind it where only its name says so.
    """
    quantization = a.quantization
    if quantization is None:
        return a.dtype
    scheme = quantization.schemes[0].name if quantization.schemes else quantization.method
    return f"{scheme}?" if quantization.by_name else scheme


def _chosen(
    model: str | None, config_file: Path | None, output: str, *, hub: bool = False
) -> Described:
    """Name, profile and architecture of what the user named; exit code 2 if it is unknown."""
    from plimsoll.models.catalogue import load
    from plimsoll.models.checkpoint.profile import from_profile, profile
    from plimsoll.models.checkpoint.source import is_local
    from plimsoll.models.files import parse_document

    if (model is None) == (config_file is None):
        raise click.UsageError("say one of ID or --config FILE")
    if config_file is not None:
        try:
            text = text_of(config_file, MAX_KEPT)
            document = parse_document(text, "--config")
            made = profile(document, name=config_file.name)
            return config_file.name, made, from_profile(made)
        except (OSError, UnicodeDecodeError) as error:
            _unreadable(config_file, error, output)
        except Invalid as error:
            bad_input(error.problems, output)
    assert model is not None
    if hub or is_local(model):
        from plimsoll.cli.documents import profile_from

        made = profile_from(model, output, hub=hub)
        return str(made.get("name") or model), made, from_profile(made)
    catalogue = load()
    entry = catalogue.find(model.removeprefix("hf://"))
    if entry is None:
        near = ", ".join(catalogue.suggest(model))
        bad_input(
            Problem(
                "ID",
                shown(model),
                "an id of the catalogue",
                (f"did you mean {near}? " if near else "")
                + "`plimsoll models list` shows all; a model of your own: its folder, "
                "--from-hub or --config FILE",
            ),
            output,
        )
    return entry.id, entry.profile(), entry.architecture


def _unreadable(path: Path, error: Exception, output: str) -> NoReturn:
    reason = getattr(error, "strerror", None) or str(error)
    bad_input(Problem("--config", shown_path(path), f"a readable file ({reason})"), output)


def _model_options(config: str) -> Callable[[Command], Command]:
    """The argument and the options that say which model is meant. config: the help of --config."""
    path = click.Path(path_type=Path)
    hub = "Read the headers of its weights from its hub (HF_ENDPOINT, HF_TOKEN)."

    def add(to: Command) -> Command:
        to = click.option("--from-hub", is_flag=True, help=hub)(to)
        to = click.option("--config", "config_file", type=path, metavar="FILE", help=config)(to)
        return click.argument("model", metavar="ID", required=False, shell_complete=complete_model)(
            to
        )

    return add


@command.command("show")
@_model_options("A config.json or a profile, instead of ID.")
@format_option("table", "json", "yaml")
def show_model(model: str | None, config_file: Path | None, from_hub: bool, output: str) -> None:
    """What one model is made of, with its exact parameter count.

    ID is of the catalogue, or a checkpoint on this machine: a folder, a safetensors or GGUF file.
    """
    from plimsoll.models.storage import stored_bytes

    name, _, a = _chosen(model, config_file, output, hub=from_hub)
    facts = model_dict(name, a, stored_bytes(a))
    if output != "table":
        dump(facts, output)
        return
    table = Table(("", ""))
    for key, value in facts.items():
        table.add(key, _words(value))
    for row in table.rows:
        click.echo(f"{row[0]:<20}{row[1]}")


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_words(v)}" for k, v in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return grouped(value) if isinstance(value, int) else str(value or "–")


def model_dict(name: str, a: Architecture, stored: int) -> dict[str, Any]:
    """A model's structure for machines."""
    kinds: dict[str, int] = {}
    parts: dict[str, int] = {}
    for block in a.blocks:
        for mixer in block.mixers:
            kinds[str(mixer.kind)] = kinds.get(str(mixer.kind), 0) + 1
        for tensor in block.tensors:
            parts[str(tensor.part)] = parts.get(str(tensor.part), 0) + tensor.elements
    for tensor in a.outside:
        parts[str(tensor.part)] = parts.get(str(tensor.part), 0) + tensor.elements
    return {
        "name": name,
        "architecture": a.class_name,
        "modelType": a.model_type,
        "parameters": a.parameters,
        "activeParameters": a.active_parameters,
        "parametersByPart": parts,
        "storedNotServed": sum(t.elements for t in a.extra),
        "dtype": a.dtype,
        "quantization": a.quantization.method if a.quantization else None,
        "stored": stored_as(a),
        "checkpointBytes": stored,
        "layers": len(a.blocks),
        "mixers": kinds,
        "heads": a.heads,
        "hiddenSize": a.hidden_size,
        "vocabularySize": a.vocab_size,
        "maxModelLen": a.max_model_len,
        "tiedEmbeddings": a.tied,
        "multimodal": a.multimodal,
    }


@command.command("resolve")
@click.argument("ids", metavar="ID", nargs=-1, required=True)
@click.option(
    "-n",
    "--namespace",
    default="plimsoll-system",
    show_default=True,
    help="The namespace that controller and admission take them from.",
)
@format_option("yaml", "json")
def resolve_models(ids: tuple[str, ...], namespace: str, output: str) -> None:
    """ConfigMaps by which a cluster knows models that are in no catalogue.

    The headers of their weights are read from their hub (HF_ENDPOINT, HF_TOKEN, HTTPS_PROXY,
    HF_HUB_OFFLINE and HF_HOME count). Each is named after its id: objects that name the id find it
    without a word about it, see docs/models.md.

    \b
    plimsoll models resolve acme/our-70b acme/our-8b-awq | kubectl apply -f -
    """
    from plimsoll.cli.documents import profile_from
    from plimsoll.models.uris import whole_repository
    from plimsoll.workloads.resolved import config_map

    named = {given: whole_repository(f"hf://{given.removeprefix('hf://')}") for given in ids}
    wrong = [
        Problem("ID", shown(given), "owner/name, an id on a hub")
        for given, model in named.items()
        if not model
    ]
    if wrong:
        bad_input(wrong, output)
    made = [
        config_map(
            model, profile_from(model, output, hub=True), by="command-line", namespace=namespace
        )
        for model in named.values()
    ]
    dump(made[0] if len(made) == 1 else {"apiVersion": "v1", "kind": "List", "items": made}, output)


@command.command("export")
@_model_options("A config.json, instead of ID.")
@click.option(
    "--name",
    "configmap",
    metavar="NAME",
    help="Wrap the profile in a ConfigMap of this name, for kubectl apply.",
)
@click.option("-n", "--namespace", help="Namespace of that ConfigMap.")
@format_option("yaml", "json")
def export_model(
    model: str | None,
    config_file: Path | None,
    from_hub: bool,
    configmap: str | None,
    namespace: str | None,
    output: str,
) -> None:
    """A compact profile of a model, small enough for a ConfigMap.

    From a checkpoint (a folder, a safetensors or GGUF file, --from-hub) it also holds what the
    headers of the weights say, so that admission knows them without a network.

    \b
    plimsoll models export --from-hub Qwen/Qwen3-32B-AWQ --name my-model | kubectl apply -f -
    plimsoll models export --config ./config.json --name my-model -n chat | kubectl apply -f -
    spec:
      model:
        configMapRef: {name: my-model}
    """
    import json

    _, made, _ = _chosen(model, config_file, "table", hub=from_hub)
    if configmap is None:
        dump(made, output)
        return
    metadata = {"name": configmap} | ({"namespace": namespace} if namespace else {})
    dump(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"profile.json": json.dumps(made, separators=(",", ":"))},
        },
        output,
    )
