"""`plimsoll render`: the objects that run what was planned, for GitOps.

It must not decide: the verdict is admission's, and what is printed is read back before it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from plimsoll.accelerators.types import Dialect
from plimsoll.cli.asked import spec_of, spec_options
from plimsoll.cli.completion import complete_gpu, complete_model
from plimsoll.cli.given import MAX_FILE, given_inventory, inventory_option, text_of
from plimsoll.cli.gpu import gpus_named
from plimsoll.cli.memory import gpu_memory_option, in_use_option
from plimsoll.cli.output import bad_input
from plimsoll.cli.own_accelerators import accelerators_option, read_own
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.files import Manifests

PINS: Final = {
    "utilization": "Utilization",
    "kv-cache-bytes": "KVCacheBytes",
    "nothing": "Nothing",
}
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@click.command("render")
@click.argument("source", metavar="FILE|DIR|-|MODEL", shell_complete=complete_model)
@click.option("--gpu", shell_complete=complete_gpu, metavar="NAME", help="Of MODEL. Unset: any.")
@gpu_memory_option
@in_use_option
@spec_options
@click.option("--name", metavar="NAME", help="Of the objects of MODEL.  [default: of the model]")
@click.option("-n", "--namespace", metavar="NAME", help="Of the objects of MODEL.")
@click.option("--replicas", type=int, metavar="N", help="Of MODEL.  [default: 1]")
@inventory_option
@click.option(
    "--dialect",
    type=click.Choice([str(d) for d in Dialect if d is not Dialect.DRA]),
    help="Labels that nodes are selected by where no inventory shows any.  [default: of the "
    "vendor's own labeller]",
)
@accelerators_option
@click.option("--image", metavar="IMAGE", help="Of the engine.  [default: its own, by version]")
@click.option("--registry", metavar="HOST[/PATH]", help="A mirror in the place of its registry.")
@click.option("--token-secret", metavar="NAME[/KEY]", help="Secret with the hub's token.")
@click.option("--cache-claim", metavar="NAME", help="PersistentVolumeClaim for the model's files.")
@click.option("--queue", metavar="NAME", help="LocalQueue of Kueue.")
@click.option("--read-rate", metavar="SIZE", help="Read in a second, as 1Gi.  [default: 125 MB]")
@click.option("--pin", type=click.Choice(list(PINS)), help="[default: utilization]")
@click.option(
    "--template",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Pod template to lay over the one that is made.",
)
@click.option("-o", "output", type=click.Choice(["yaml", "json"]), default="yaml")
def command(
    source: str,
    gpu: str | None,
    gpu_memory: int | None,
    in_use: int | None,
    name: str | None,
    namespace: str | None,
    replicas: int | None,
    inventory_file: str | None,
    dialect: str | None,
    own_file: str | None,
    output: str,
    **said: Any,
) -> None:
    """Print the objects that run a placement.

    Of every LLMDeployment in FILE, or of MODEL with the options of `plimsoll estimate`: a
    Deployment, or a LeaderWorkerSet where a replica spans nodes, and its Service, with what each
    pod needs. What is refused renders nothing.

    \b
    plimsoll render llama-70b.yaml
    plimsoll render Qwen/Qwen3-32B --gpu nvidia-h100-80gb --max-model-len 16384
    plimsoll render llama-70b.yaml --registry registry.example.com/mirror --queue team-a

    \b
    Exit code: 0 all is printed, 1 something is refused or cannot be rendered, 2 bad input.
    """
    from plimsoll.decision.knowledge import shipped
    from plimsoll.inventory.pools import with_own

    inventory = given_inventory(inventory_file, output)
    own = read_own(own_file, output)
    for size, field in ((gpu_memory, "memory"), (in_use, "reserved")):
        if size is not None:
            said[f"accelerator_{field}"] = f"{size // MIB}Mi"
    given = _given(said, output)
    if _is_file(source):
        if gpu or gpu_memory or in_use or name or namespace or replicas is not None:
            raise click.UsageError(
                "--gpu, --gpu-memory, --in-use, --name, --namespace and --replicas go with MODEL: "
                "a manifest says them"
            )
        asked = _in_files(source)
    else:
        known = shipped().adding(own)
        if gpu and not gpu_memory:
            gpu = gpus_named((gpu,), "table", known)[0].name
        obj = _of_model(source, gpu or "", name, namespace, replicas, said)
        asked = [(obj, None)]
    for obj, _ in asked:
        _laid_over(obj, given)
    printer = _Printer(
        with_own(inventory, own),
        shipped().adding(own),
        Dialect(dialect) if dialect else None,
    )
    for obj, beside in asked:
        printer.take(obj, beside)
    printer.end(output)


def _is_file(source: str) -> bool:
    return source == "-" or source.endswith(_SUFFIXES) or Path(source).exists()


def _in_files(source: str) -> list[tuple[dict[str, Any], Manifests | None]]:
    """The LLMDeployments of files, and what each sees beside it; exit code 2 if there are none or a
    file is bad."""
    from plimsoll.errors import Problem
    from plimsoll.workloads.files import load

    manifests = load((source,))
    found: list[tuple[dict[str, Any], Manifests | None]] = [
        (dict(one.obj), manifests.beside(one))
        for one in manifests.deployments
        if one.kind.reader is None
    ]
    if manifests.problems:
        bad_input(manifests.problems)
    if not found:
        bad_input(Problem(source, "", "an LLMDeployment", "nothing else is rendered"))
    return found


def _of_model(
    model: str,
    gpu: str,
    name: str | None,
    namespace: str | None,
    replicas: int | None,
    said: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest that the options stand for."""
    from plimsoll.cli.documents import FileDocument

    spec = spec_of(model, FileDocument(None), (None, None), gpu, dict(said))
    if replicas is not None:
        spec["replicas"] = replicas
    own = re.sub(r"[^a-z0-9]+", "-", model.rstrip("/").rpartition("/")[2].lower()).strip("-")
    metadata = {"name": name or own}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"metadata": metadata, "spec": spec}


def _given(said: dict[str, Any], output: str) -> dict[str, Any]:
    """What options say of `spec.output`."""
    names = {"image": "image", "registry": "registry", "cache_claim": "cacheClaim"}
    names |= {"queue": "queueName", "read_rate": "readRate"}
    given = {key: said[option] for option, key in names.items() if said.get(option) is not None}
    if said.get("pin"):
        given["pin"] = PINS[said["pin"]]
    if said.get("token_secret"):
        secret, _, key = said["token_secret"].partition("/")
        given["tokenSecretRef"] = {"name": secret, **({"key": key} if key else {})}
    if said.get("template"):
        given["template"] = _template(said["template"], output)
    return given


def _template(path: Path, output: str) -> dict[str, Any]:
    """The mapping in a file; exit code 2 if it holds none."""
    from plimsoll.errors import Problem, shown_path
    from plimsoll.workloads.yaml_text import NotYaml, documents

    try:
        text = text_of(path, MAX_FILE)
    except (OSError, UnicodeDecodeError) as error:
        wanted = f"a readable file ({type(error).__name__})"
        bad_input(Problem("--template", shown_path(path), wanted), output)
    found = next((value for _, value in documents(text)), None)
    if isinstance(found, NotYaml) or not isinstance(found, dict):
        bad_input(Problem("--template", shown_path(path), "a pod template in YAML"), output)
    return found


def _laid_over(obj: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Have an object say what the options say of its output."""
    spec = obj.get("spec")
    if given and isinstance(spec, dict):
        before = spec.get("output")
        over = {**(before if isinstance(before, dict) else {}), **given}
        obj["spec"] = {**spec, "output": over}


class _Printer:
    """What is to be printed, and whether all of it can be."""

    def __init__(
        self,
        inventory: Inventory,
        knowledge: Knowledge,
        dialect: Dialect | None,
    ) -> None:
        self._inventory, self._knowledge = inventory, knowledge
        self._dialect = dialect
        self._manifests: Manifests | None = None
        self._objects: list[dict[str, Any]] = []
        self._comments: list[tuple[str, ...]] = []
        self._refused = False

    def take(self, obj: Mapping[str, Any], beside: Manifests | None) -> None:
        """Decide and render one LLMDeployment, with what it may refer to."""
        from plimsoll.decision.capacity import for_pods
        from plimsoll.decision.decide import decide
        from plimsoll.render.objects import asked_of
        from plimsoll.render.rendered import render
        from plimsoll.report import messages
        from plimsoll.report.nodes import small_message
        from plimsoll.workloads.llmdeployment import NoDocuments, request

        self._manifests = beside
        asked = request(obj, beside or NoDocuments())
        verdict = decide(asked, self._inventory, knowledge=self._knowledge)
        for warning in messages.warning(asked, verdict) if not verdict.denied else ():
            click.echo(f"plimsoll: {asked.name}: warning: {warning}", err=True)
        if verdict.denied:
            self._refuse(asked, messages.denial(asked, verdict).splitlines())
            return
        if verdict.placement is None:
            self._refuse(asked, [messages.fits_message(asked, verdict)])
            return
        made = render(obj, asked, verdict, self._dialect, self._knowledge)
        if made.problems:
            self._refuse(asked, [str(problem) for problem in made.problems])
            return
        wrong = self._read_back(made.objects[0])
        if wrong:
            self._refuse(asked, ["with the pod template it would be refused:", *wrong])
            return
        room = for_pods(asked, self._inventory, verdict, asked_of(made.objects[0]))
        if said := small_message(room):
            click.echo(f"plimsoll: {asked.name}: warning: {said}", err=True)
        heads: list[tuple[str, ...]] = [() for _ in made.objects]
        heads[0] = (_planned(asked, verdict), *made.reasons)
        self._objects += made.objects
        self._comments += heads

    def _read_back(self, workload: Mapping[str, Any]) -> list[str]:
        """What admission would say against the workload; empty if nothing."""
        from plimsoll.decision.decide import decide
        from plimsoll.report import messages
        from plimsoll.workloads import kinds
        from plimsoll.workloads.roles import NothingBeside

        kind = kinds.find(workload["apiVersion"], workload["kind"])
        assert kind is not None
        found: list[str] = []
        for one in kind.read(workload, self._manifests or NothingBeside()):
            verdict = decide(one.request, self._inventory, knowledge=self._knowledge)
            if verdict.denied:
                found += messages.denial(one.request, verdict).splitlines()
        return found

    def _refuse(self, asked: Request, lines: Sequence[str]) -> None:
        self._refused = True
        click.echo(f"plimsoll: {asked.name} is not rendered:", err=True)
        for line in lines:
            click.echo(f"  {line}", err=True)

    def end(self, output: str) -> None:
        """Print everything, or nothing if something is refused, and leave."""
        if self._refused:
            sys.exit(1)
        if output == "json":
            from plimsoll.cli.output import dump

            items = {"apiVersion": "v1", "kind": "List", "items": self._objects}
            dump(items, output)
            return
        for obj, comments in zip(self._objects, self._comments, strict=True):
            click.echo("---")
            for line in comments:
                click.echo(f"# {line}")
            _dump_yaml(obj)


def _planned(asked: Request, verdict: Verdict) -> str:
    from plimsoll.report import messages

    return f"{asked.name}: {messages.placement_message(verdict)}"


def _dump_yaml(obj: Mapping[str, Any]) -> None:
    import yaml

    click.echo(yaml.safe_dump(obj, sort_keys=False, allow_unicode=False, width=1000), nl=False)
